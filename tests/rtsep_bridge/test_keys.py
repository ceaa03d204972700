"""Keys: made once, kept to oneself, and nobody in without one that is allowed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq

from rtsep.errors import OutputError, RtsepError, SetupError
from rtsep_bridge.addresses import Address, parse_address
from rtsep_bridge.keys import (
    allow,
    allowed,
    forget,
    keys_folder,
    load_keys,
    make_keys,
    secure_client,
    secure_server,
)

Socket = zmq.Socket[Any]
STRANGER = zmq.curve_keypair()[0].decode()


def test_where_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("RTSEP_BRIDGE_KEYS", raising=False)
    if os.name == "posix":
        assert keys_folder() == tmp_path / "rtsep/bridge"
    monkeypatch.setenv("RTSEP_BRIDGE_KEYS", str(tmp_path / "x"))
    assert keys_folder() == tmp_path / "x"


def test_a_pair_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    folder = tmp_path / "a/b"
    pair = make_keys("server", folder)
    assert make_keys("server", folder) == load_keys("server", folder) == pair
    assert make_keys("client", folder) != pair
    assert pair.secret not in repr(pair)
    assert sorted(path.name for path in folder.iterdir()) == [
        "client.key_secret",
        "server.key_secret",
    ]
    if os.name == "posix":
        assert (folder / "server.key_secret").stat().st_mode & 0o777 == 0o600
        assert folder.stat().st_mode & 0o077 == 0
        (folder / "server.key_secret").chmod(0o640)
        with pytest.raises(SetupError, match="chmod 600"):
            load_keys("server", folder)


@pytest.mark.parametrize("content", [b"", b"\xff\0", b'curve\npublic-key = "short"\n'])
def test_a_damaged_pair_is_said(tmp_path: Path, content: bytes) -> None:
    make_keys("client", tmp_path)
    (tmp_path / "client.key_secret").write_bytes(content)
    with pytest.raises(SetupError, match="holds no pair"):
        make_keys("client", tmp_path)


def test_no_pair_is_said(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="rtsep bridge keys"):
        load_keys("client", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        make_keys("client", tmp_path / "file/x")


def test_the_allow_list(tmp_path: Path) -> None:
    assert allowed(tmp_path) == {}
    allow("studio", STRANGER, tmp_path)
    other = zmq.curve_keypair()[0].decode()
    allow("stage", other, tmp_path)
    (tmp_path / "allowed/nonsense.key").write_text("public-key = 7")
    assert allowed(tmp_path) == {"stage": other, "studio": STRANGER}
    allow("studio", other, tmp_path)
    forget("stage", tmp_path)
    assert allowed(tmp_path) == {"studio": other}
    with pytest.raises(RtsepError, match="expected one of: studio"):
        forget("stage", tmp_path)
    for name in ("", "../up", "Ä", "a\n"):
        with pytest.raises(RtsepError, match="the name"):
            allow(name, STRANGER, tmp_path)
    with pytest.raises(RtsepError, match="40 characters"):
        allow("studio", STRANGER[:-1], tmp_path)


class Bridge:
    """A ROUTER that only allowed clients reach."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.context = zmq.Context[Socket]()
        self.router = self.context.socket(zmq.ROUTER)
        self.authenticator = secure_server(self.context, [self.router], folder)
        port = self.router.bind_to_random_port("tcp://127.0.0.1")
        key = load_keys("server", folder).public
        self.address = parse_address(f"tcp://127.0.0.1:{port}?key={key}")

    def hears(self, address: Address, folder: Path | None = None) -> str | None:
        """Whose message arrives, when somebody knocks; None where none does."""
        with zmq.Context[Socket]() as context, context.socket(zmq.DEALER) as dealer:
            dealer.linger = 0
            secure_client(dealer, address, folder or self.folder)
            dealer.connect(address.mix)
            dealer.send(b"knock")
            if not self.router.poll(400):
                return None
            return str(self.router.recv_multipart(copy=False)[1].get("User-Id"))

    def close(self) -> None:
        if self.authenticator.is_alive():
            self.authenticator.stop()
        self.context.destroy(linger=0)


@contextmanager
def bridge(folder: Path) -> Iterator[Bridge]:
    there = Bridge(folder)
    try:
        yield there
    finally:
        there.close()


def test_only_who_is_allowed_gets_in(tmp_path: Path) -> None:
    make_keys("server", tmp_path)
    client = make_keys("client", tmp_path).public
    with bridge(tmp_path) as there:
        assert there.hears(there.address) is None
        allow("me", client, tmp_path)
        assert there.hears(there.address) == client  # without a restart
        wrong = parse_address(f"{there.address.mix}?key={STRANGER}")
        assert there.hears(wrong) is None
        assert there.hears(parse_address(there.address.mix)) is None
        make_keys("client", tmp_path / "thief")
        assert there.hears(there.address, tmp_path / "thief") is None
        forget("me", tmp_path)
        assert there.hears(there.address) is None


def test_without_its_guard_the_door_is_shut(tmp_path: Path) -> None:
    make_keys("server", tmp_path)
    allow("me", make_keys("client", tmp_path).public, tmp_path)
    with bridge(tmp_path) as there:
        assert there.hears(there.address)
        there.authenticator.stop()
        assert there.hears(there.address) is None


def test_beyond_this_machine_only_with_a_key(tmp_path: Path) -> None:
    with zmq.Context[Socket]() as context, context.socket(zmq.DEALER) as dealer:
        with pytest.raises(RtsepError, match="without a key"):
            secure_client(dealer, parse_address("tcp://studio:7610"), tmp_path)
        with pytest.raises(SetupError, match="rtsep bridge keys"):
            secure_client(dealer, parse_address(f"tcp://studio:7610?key={STRANGER}"), tmp_path)
        secure_client(dealer, parse_address("tcp://127.0.0.1:7610"), tmp_path)


def test_a_bridge_without_keys_says_so(tmp_path: Path) -> None:
    with zmq.Context[Socket]() as context, pytest.raises(SetupError, match="rtsep bridge keys"):
        secure_server(context, [], tmp_path)
