"""Messages between two processes, over a pair of sockets."""

import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsep_bridge.pipe import FramePipe, pair

Ends = tuple[FramePipe, FramePipe]


@pytest.fixture
def ends() -> Iterator[Ends]:
    a, b = pair()
    yield a, b
    a.close()
    b.close()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.binary(max_size=3000), max_size=4), max_size=12))
def test_what_is_sent_arrives_in_order(messages: list[list[bytes]]) -> None:
    a, b = pair()
    for frames in messages:
        a.send(frames)
    assert [b.receive() for _ in messages] == messages
    b.make_nonblocking()
    assert b.receive() is None
    a.close()
    b.close()


def test_a_message_comes_whole_however_it_is_cut(ends: Ends) -> None:
    a, b = ends
    b.make_nonblocking()
    one, other = socket.socketpair()
    whole = FramePipe(one)
    whole.send([b"head", b"x" * 100])
    data = other.recv(1000)
    for byte in data[:-1]:
        a.socket.send(bytes([byte]))
        assert b.receive() is None
    a.socket.send(data[-1:])
    assert b.receive() == [b"head", b"x" * 100]
    one.close()
    other.close()


def test_nobody_waits_for_an_end_that_does_not_read(ends: Ends) -> None:
    a, b = ends
    a.make_nonblocking()
    sent = [[bytes([n]) * 300_000, b"tail"] for n in range(5)]
    for frames in sent:
        a.send(frames)
    assert a.waiting > 0
    got: list[list[bytes] | None] = []
    reader = threading.Thread(target=lambda: got.extend(b.receive() for _ in sent))
    reader.start()
    while reader.is_alive():
        a.flush()
        reader.join(0.001)
    assert got == sent
    assert a.waiting == 0


def test_an_end_that_has_gone_is_told(ends: Ends) -> None:
    a, b = ends
    a.send([b"last"])
    a.close()
    assert b.receive() == [b"last"]
    with pytest.raises(EOFError):
        b.receive()
    with pytest.raises(OSError, match="pipe"):
        b.send([b"to nobody"])
