"""What every bridge does at its door: who is there, what they say, what they are told."""

import time
from abc import ABC, abstractmethod
from pathlib import Path

from rtsep import __version__
from rtsep_bridge.addresses import Address
from rtsep_bridge.doors import Doors
from rtsep_bridge.messages import (
    VERSION,
    AnyHeader,
    Counters,
    Hello,
    Message,
    Refusal,
    as_text,
    encode,
)
from rtsep_bridge.peers import Peer

MOST_PEERS = 64
_BURST = 16
"""Messages that are taken in a row before everybody else is looked at."""


class Front(ABC):
    """A door with programs at it.

    Parameters
    ----------
    address : Address
    keyed : bool
        Let in only who is on the allow-list, on this machine too; beyond it that holds
        anyway.
    keys : Path, optional
        Folder of the keys; the user's own where it is not given.
    priority : int
        Real-time priority of the sockets' own thread, which the system must grant.

    Attributes
    ----------
    counters : Counters
        What came of all that arrived.
    key : str
        The bridge's public key; empty where it needs none.

    Raises
    ------
    RtsepError
        The address cannot be served.
    """

    def __init__(
        self,
        address: Address,
        *,
        keyed: bool = False,
        keys: Path | None = None,
        priority: int = 0,
    ) -> None:
        self.counters = Counters()
        self._doors = Doors(address, keyed=keyed, folder=keys, priority=priority)
        self.key = self._doors.key
        self._peers: dict[bytes, Peer] = {}

    def _take_burst(self) -> None:
        """Deal with what has come, or with some of it."""
        for _ in range(_BURST):
            parts = self._doors.receive()
            if parts is None:
                return
            identity, *frames = parts
            message = self.counters.take(frames)
            if message is None:
                continue
            try:
                peer = self._peers.get(identity)
                if isinstance(message.header, Hello):
                    self._greet(peer or self._new_peer(identity), message.header)
                elif peer is None:
                    peer = self._new_peer(identity)
                    self._refuse(peer, "no hello came before this; say hello first")
                else:
                    peer.seen = time.monotonic()
                    self._take(peer, message.header, frames)
            except LookupError:
                self._forget(identity)

    @abstractmethod
    def _take(self, peer: Peer, header: AnyHeader, frames: list[bytes]) -> None:
        """Deal with what somebody says who has said hello."""

    def _new_peer(self, identity: bytes) -> Peer:
        if len(self._peers) >= MOST_PEERS:
            idle = [peer for peer in self._peers.values() if peer.opened is None]
            # There are fewer sessions than peers, so there always is one.
            self._forget(min(idle, key=lambda peer: peer.seen).identity)
        return self._peers.setdefault(identity, Peer(identity))

    def _greet(self, peer: Peer, header: Hello) -> None:
        if VERSION not in header.versions:
            spoken = ", ".join(map(str, header.versions))
            reason = f"versions {spoken} of the protocol; version {VERSION} is spoken here"
            self._refuse(peer, reason)
            return
        numbers = peer.sender.numbers(Hello, header.sample)
        program = f"rtsep {__version__}"
        self._answer(peer, Message(Hello(**numbers, versions=(VERSION,), program=program)))

    def _answer(self, peer: Peer, message: Message) -> None:
        peer.answer(self._doors, encode(message))

    def _refuse(self, peer: Peer, reason: str) -> None:
        numbers = peer.sender.numbers(Refusal, 0)
        refusal = Refusal(**numbers, versions=(VERSION,), reason=as_text(reason))
        self._answer(peer, Message(refusal))

    def _forget(self, identity: bytes) -> None:
        self._peers.pop(identity, None)
