"""A bridge without engines: a ROUTER and a PUB that say what a test wants said."""

import socket as sockets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import zmq

from rtsep.note_events import NoteEvent
from rtsep_bridge.addresses import KEY_MARK, parse_address
from rtsep_bridge.keys import load_keys, secure_server
from rtsep_bridge.messages import AnyHeader, Message, Notes, Stems, decode, encode
from rtsep_bridge.sequence import Sender

RATE = 48_000
NAMES = ("drums", "bass", "other")


def free_address() -> str:
    """Two ports in a row that nobody has."""
    while True:
        with sockets.socket() as low, sockets.socket() as high:
            low.bind(("127.0.0.1", 0))
            port = low.getsockname()[1]
            with suppress(OSError, OverflowError):
                high.bind(("127.0.0.1", port + 1))
                return f"tcp://127.0.0.1:{port}"


def ramp(start: int, frames: int, names: tuple[str, ...] = NAMES) -> np.ndarray:
    """Stems that show at every sample which one it is: [2 * names, frames]."""
    index = (np.arange(start, start + frames) % 4093 + 1) / 8192
    scale = np.arange(1, 2 * len(names) + 1)[:, None] / (2 * len(names))
    return (index * scale).astype(np.float32)


class Double:
    """Says what it is told to; hears what programs send."""

    def __init__(self, address: str | None = None, keys: Path | None = None) -> None:
        self.address = address or free_address()
        place = parse_address(self.address)
        self.context: zmq.Context[Any] = zmq.Context()
        self.router, self.pub = self.context.socket(zmq.ROUTER), self.context.socket(zmq.XPUB)
        self.authenticator = None
        for socket in (self.router, self.pub):
            socket.linger = 0
            socket.set_hwm(0)
        self.pub.setsockopt(zmq.XPUB_VERBOSE, 1)
        if keys is not None:
            self.authenticator = secure_server(self.context, [self.router, self.pub], keys)
            self.address = place.mix + KEY_MARK + load_keys("server", keys).public
        self.router.bind(place.mix)
        self.pub.bind(place.out)
        self.sender = Sender(RATE)
        self.at = 0

    def await_listener(self, topics: int = 5, timeout_s: float = 20.0) -> None:
        """Until somebody has subscribed to so many kinds of messages."""
        for _ in range(topics):
            assert self.pub.poll(1000 * timeout_s), "nobody subscribes"
            self.pub.recv()

    def say(self, header: AnyHeader, samples: np.ndarray | None = None) -> None:
        """To all that listen."""
        self.pub.send_multipart(encode(Message(header, samples)))

    def new_session(self, rate: int = RATE) -> None:
        self.sender, self.at = Sender(rate), 0

    def stems(
        self,
        frames: int = 128,
        *,
        names: tuple[str, ...] = NAMES,
        at: int | None = None,
        latency: int = 256,
        samples: np.ndarray | None = None,
    ) -> None:
        """The next block of stems; a ramp where nothing else is given."""
        at = self.at if at is None else at
        header = Stems(
            **self.sender.numbers(Stems, at), frames=frames, latency=latency, stems=names
        )
        self.say(header, ramp(at, frames, names) if samples is None else samples)
        self.at = at + frames

    def notes(self, *events: NoteEvent) -> None:
        self.say(Notes(**self.sender.numbers(Notes, self.at), notes=events))

    def hear(self, timeout_s: float = 10.0) -> Message:
        """The next message of a program."""
        assert self.router.poll(1000 * timeout_s), "nobody sends"
        self.caller, *frames = self.router.recv_multipart()
        return decode(frames)

    def answer(self, header: AnyHeader, samples: np.ndarray | None = None) -> None:
        """To the program that was heard last."""
        self.router.send_multipart([self.caller, *encode(Message(header, samples))])

    def close(self) -> None:
        if self.authenticator is not None:
            self.authenticator.stop()
        self.context.destroy(linger=0)


@contextmanager
def double(address: str | None = None, keys: Path | None = None) -> Iterator[Double]:
    """One that is gone afterwards."""
    there = Double(address, keys)
    try:
        yield there
    finally:
        there.close()
