"""An engine without a model, for the plugin's tests: it speaks the protocol and nothing else.

``python null_engine.py ADDRESS`` serves until it is killed.  Its stems are known filters of
the mix, so that a test can tell every sample of them.
"""

import argparse
import sys
from collections.abc import Sequence

import numpy as np
import zmq

from rtsep.note_events import NoteEvent
from rtsep_bridge.keys import secure_server
from rtsep_bridge.messages import (
    Counters,
    Hello,
    Message,
    Mix,
    Notes,
    Open,
    Opened,
    Refusal,
    Samples,
    Stems,
    encode,
)
from rtsep_bridge.sequence import Sender

STEMS = ("drums", "bass", "vocals", "other")
LATENCY = 192
NOTE_LENGTH = 1000
LOUD = 0.95
PITCHES = {"drums": 36, "bass": 40, "vocals": 60, "other": 64}


def filtered(mix: Samples, before: Samples, stems: Sequence[str] = STEMS) -> Samples:
    """Stems of shape (stems, 2, frames): half the sample before, a quarter of it, and the rest.

    `before` is the sample of the mix before the first, of shape (2, 1).
    """
    late = np.concatenate((before, mix[:, :-1]), axis=1)
    out = np.zeros((len(stems), 2, mix.shape[1]), np.float32)
    for number in range(len(stems) - 1):
        out[number] = late * np.float32(0.5 ** (number + 1))
    out[-1] = mix - out[:-1].sum(axis=0)
    return out


class Connection:
    """The mix of one plugin."""

    def __init__(self, header: Open, stems: Sequence[str], latency: int) -> None:
        self.header, self.stems, self.latency = header, tuple(stems), latency
        self.sender = Sender(header.sample_rate, header.session)
        self.line = np.zeros((2, latency + 1), np.float32)
        self.start = self.next = -1
        self.off: list[tuple[int, str]] = []

    def opened(self) -> Message:
        numbers = self.sender.numbers(Opened, self.header.sample)
        return Message(
            Opened(
                **numbers,
                preset=self.header.preset,
                latency=self.latency,
                note_delay=0,
                stems=self.stems,
            )
        )

    def take(self, header: Mix, samples: Samples) -> list[Message]:
        if self.next != header.sample:
            self.start = header.sample
            self.line[:] = 0.0
        self.next = header.sample + header.frames
        line = np.concatenate((self.line, samples), axis=1)
        self.line = line[:, -self.latency - 1 :]
        first = header.sample - self.latency
        skip = min(header.frames, max(0, self.start - first))
        messages = [self._stems(first, skip, header, line)] if skip < header.frames else []
        return messages + self._notes(header, samples)

    def _stems(self, first: int, skip: int, header: Mix, line: Samples) -> Message:
        mix = line[:, 1 : 1 + header.frames]
        stems = filtered(mix, line[:, :1], self.stems).reshape(-1, header.frames)
        stated = Stems(
            **self.sender.numbers(Stems, first + skip),
            frames=header.frames - skip,
            latency=self.latency,
            stems=self.stems,
        )
        return Message(stated, np.ascontiguousarray(stems[:, skip:]))

    def _notes(self, header: Mix, samples: Samples) -> list[Message]:
        """A note on every stem where the mix is loud on the left, until a moment later."""
        events = []
        for at in np.flatnonzero(np.abs(samples[0]) > LOUD):
            onset = header.sample + int(at)
            for stem in self.stems:
                events.append(NoteEvent(onset, self.next, stem, PITCHES.get(stem, 72), 100))
                self.off.append((onset + NOTE_LENGTH, stem))
        due = [entry for entry in self.off if entry[0] <= self.next]
        self.off = [entry for entry in self.off if entry[0] > self.next]
        events += [NoteEvent(at, self.next, stem, PITCHES.get(stem, 72), 0) for at, stem in due]
        if not events:
            return []
        return [
            Message(
                Notes(**self.sender.numbers(Notes, self.next), notes=tuple(events[at : at + 128]))
            )
            for at in range(0, len(events), 128)
        ]


def serve(
    address: str, stems: Sequence[str], latency: int, refuse: str = "", curve: bool = False
) -> None:
    """Answer plugins until the process ends."""
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.linger = 0
    authenticator = secure_server(context, [router]) if curve else None
    router.bind(address)
    own = Sender(48_000)
    counters = Counters()
    connections: dict[bytes, Connection] = {}
    print("serving", flush=True)
    while authenticator is None or authenticator.is_alive():
        identity, *frames = router.recv_multipart()
        message = counters.take(frames)
        if message is None:
            continue
        for answer in answers(message, identity, connections, own, stems, latency, refuse):
            router.send_multipart([identity, *encode(answer)])


def answers(
    message: Message,
    identity: bytes,
    connections: dict[bytes, Connection],
    own: Sender,
    stems: Sequence[str],
    latency: int,
    refuse: str,
) -> list[Message]:
    header = message.header
    if isinstance(header, Hello):
        hello = Hello(**own.numbers(Hello, 0), versions=(1,), program="null engine")
        return [Message(hello)]
    if isinstance(header, Open):
        if refuse:
            return [Message(Refusal(**own.numbers(Refusal, 0), versions=(1,), reason=refuse))]
        connections[identity] = Connection(header, stems, latency)
        return [connections[identity].opened()]
    if isinstance(header, Mix):
        connection = connections.get(identity)
        if connection is None or connection.header.session != header.session:
            refusal = Refusal(**own.numbers(Refusal, 0), versions=(1,), reason="open first")
            return [Message(refusal)]
        assert message.samples is not None
        return connection.take(header, message.samples)
    return []


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("--latency", type=int, default=LATENCY)
    parser.add_argument("--stems", default=",".join(STEMS))
    parser.add_argument("--refuse", default="")
    parser.add_argument("--curve", action="store_true")
    args = parser.parse_args()
    serve(args.address, args.stems.split(","), args.latency, args.refuse, args.curve)


if __name__ == "__main__":
    sys.exit(main())
