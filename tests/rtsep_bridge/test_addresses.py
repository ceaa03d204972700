"""Addresses of a bridge: what is one, what is refused, and whose business it is."""

import pytest
import zmq

from rtsep.errors import RtsepError
from rtsep_bridge.addresses import DEFAULT, Address, parse_address

KEY = "?key=&#/:a" + "b" * 30


def test_the_default_is_this_machine() -> None:
    assert parse_address(DEFAULT) == Address("tcp://127.0.0.1:7610", "tcp://127.0.0.1:7611")


@pytest.mark.parametrize(
    ("text", "out", "local"),
    [
        ("tcp://127.9.9.9:1", "tcp://127.9.9.9:2", True),
        ("tcp://[::1]:65534", "tcp://[::1]:65535", True),
        (" tcp://studio-2.lan:7610 ", "tcp://studio-2.lan:7611", False),
        ("tcp://192.168.1.9:7610", "tcp://192.168.1.9:7611", False),
        ("tcp://0.0.0.0:7610", "tcp://0.0.0.0:7611", False),
        ("tcp://*:7610", "tcp://*:7611", False),
        ("ipc:///tmp/rtsep?x", "ipc:///tmp/rtsep?x.pub", True),
    ],
)
def test_what_is_an_address(text: str, out: str, local: bool) -> None:
    address = parse_address(text)
    assert address == Address(text.strip(), out, "", local)
    assert address.ipv6 == ("::1" in text)


def test_localhost_is_an_address_that_can_be_bound() -> None:
    address = parse_address("tcp://localhost:7610")
    assert address.mix == "tcp://127.0.0.1:7610"
    assert address.local


def test_a_key_may_hold_what_separates_elsewhere() -> None:
    key = zmq.curve_keypair()[0].decode()
    for tail in (key, KEY, "?key=" * 8):
        address = parse_address(f"tcp://studio:7610?key={tail}")
        assert address == Address("tcp://studio:7610", "tcp://studio:7611", tail, False)
        assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "tcp://HOST:PORT or ipc://PATH"),
        ("studio:7610", "tcp://HOST:PORT or ipc://PATH"),
        ("http://studio:7610", "tcp://HOST:PORT or ipc://PATH"),
        ("inproc://x", "tcp://HOST:PORT or ipc://PATH"),
        ("tcp://studio", "has no port"),
        ("tcp://studio:", "has no port"),
        ("tcp://:7610", "is none"),
        ("tcp://studio:port", "is none"),
        ("tcp://studio:7610/x", "is none"),
        ("tcp://studio:7610?clé=x", "is none"),
        ("tcp://studio:0", "1 to 65,534"),
        ("tcp://studio:65535", "1 to 65,534"),
        ("tcp://studio:99999999999", "1 to 65,534"),
        ("tcp://[1:2]:7610", "IPv6"),
        ("ipc://", "no path"),
        ("ipc://a\0b", "no path"),
        ("ipc:///" + "x" * 200, "shorter"),
        ("tcp://studio:7610?key=", "40 characters of Z85"),
        ("tcp://studio:7610?key=" + "a" * 39, "40 characters of Z85"),
        ("tcp://studio:7610?key=" + "a" * 41, "40 characters of Z85"),
        ("tcp://studio:7610?key=" + "a" * 39 + "~", "40 characters of Z85"),
        ("tcp://studio:7610?key=" + "é" * 40, "40 characters of Z85"),
    ],
)
def test_what_is_refused(text: str, said: str) -> None:
    with pytest.raises(RtsepError, match=said.replace("?", r"\?")) as caught:
        parse_address(text)
    assert "\n" not in str(caught.value)


def test_zeromq_takes_what_is_taken_here() -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        for text in (DEFAULT, "tcp://[::1]:7610", "tcp://studio-2.lan:7610", "ipc:///tmp/x?y"):
            address = parse_address(text)
            socket.setsockopt(zmq.IPV6, address.ipv6)
            socket.connect(address.mix)
            socket.connect(address.out)
        socket.linger = 0
