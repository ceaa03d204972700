"""A program at the bridge's door, its session, and what waits on the way to and from it."""

import time
from collections import deque
from collections.abc import Sequence as Frames

import msgspec

from rtsep_bridge.doors import Doors
from rtsep_bridge.messages import Bytes, Control, Message, Mix, Open, decode, encode
from rtsep_bridge.sequence import Sender, Sequence
from rtsep_bridge.stream_process import StreamProcess

MIX_QUEUE_S = 0.5
OFFLINE_QUEUE = 65_536
"""Samples that a program without a clock may have on their way."""
ANSWER_QUEUE = 64
"""Messages that wait for a program that does not take them, beyond the socket's own."""
REFUSE_EVERY_S = 1.0


class Peer:
    """One connection.

    Parameters
    ----------
    identity : bytes
        As the ROUTER knows it.

    Attributes
    ----------
    opened : Open or None
        What started its session; None before, and after a failure that ended it.
    process : StreamProcess or None
        Its engine; None while there is none for it.
    late : int
        Blocks of the mix that were dropped because newer ones came.
    lost : int
        Messages to the program that were dropped because it did not take them.
    restarts : int
        Engines of this session before the present one.
    deaths : deque of float
        When they ended.
    counts : dict of str to int
        How many messages of each kind its engines have sent.
    controls : dict of str to bytes
        What holds for each stem that a control has changed.
    """

    def __init__(self, identity: bytes) -> None:
        self.identity = identity
        self.seen = time.monotonic()
        self.opened: Open | None = None
        self.opened_frame = b""
        self.process: StreamProcess | None = None
        self.sender = Sender(48_000)  # of what the bridge itself says
        self.mix, self.control = Sequence(), Sequence()
        self.counts: dict[str, int] = {}
        self.controls: dict[str, bytes] = {}
        self._strips: dict[str, Control] = {}
        self.late = self.lost = self.restarts = 0
        self.deaths: deque[float] = deque(maxlen=3)
        self.message = ""
        self._queue: deque[tuple[int, list[bytes]]] = deque()
        self._queued = 0
        self._answers: deque[list[Bytes]] = deque()
        self._refused_at = -REFUSE_EVERY_S

    def open(self, header: Open, frame: bytes) -> None:
        """Start another session."""
        self.opened, self.opened_frame = header, frame
        self.sender = Sender(header.sample_rate, self.sender.session)
        self.mix, self.control = Sequence(), Sequence()
        self.counts, self.controls, self._strips = {}, {}, {}
        self.late = self.lost = self.restarts = 0
        self.deaths.clear()
        self.message = ""
        self.forget_mix()

    def remember(self, frame: bytes) -> None:
        """Keep what a control of this session has set, for an engine that may follow."""
        header = decode([frame]).header
        if self.opened is None or not isinstance(header, Control):
            return
        if header.preset is not None:
            self.opened = msgspec.structs.replace(self.opened, preset=header.preset)
            self.opened_frame = bytes(encode(Message(self.opened))[0])
        if header.stem is not None:
            before = self._strips.get(header.stem, header)
            strip = msgspec.structs.replace(
                header,
                preset=None,
                gain_db=before.gain_db if header.gain_db is None else header.gain_db,
                mute=before.mute if header.mute is None else header.mute,
            )
            self._strips[header.stem] = strip
            self.controls[header.stem] = bytes(encode(Message(strip))[0])

    def forget_mix(self) -> None:
        """Drop what waits for an engine."""
        self._queue.clear()
        self._queued = 0

    def offer(self, header: Mix, frames: list[bytes]) -> None:
        """Take a block for the engine; where too much waits, the oldest goes."""
        self._queue.append((header.frames, frames))
        self._queued += header.frames
        most = OFFLINE_QUEUE if header.offline else int(MIX_QUEUE_S * header.sample_rate)
        while self._queued > most and len(self._queue) > 1:
            self._queued -= self._queue.popleft()[0]
            self.late += 1
        self.feed()

    def feed(self) -> None:
        """Give the engine what waits, as far as it takes it."""
        while self._queue and self.process is not None and self.process.takes:
            length, frames = self._queue.popleft()
            self._queued -= length
            self.process.give(frames)

    def answer(self, doors: Doors, frames: Frames[Bytes]) -> None:
        """Send to the program; behind what still waits, of which the oldest goes.

        Raises
        ------
        LookupError
            It is not there any more.
        """
        if not self._answers and doors.give(self.identity, frames):
            return
        self._answers.append(list(frames))
        if len(self._answers) > ANSWER_QUEUE:
            self._answers.popleft()
            self.lost += 1

    def try_again(self, doors: Doors) -> None:
        """Send what waits for the program.

        Raises
        ------
        LookupError
            It is not there any more.
        """
        while self._answers and doors.give(self.identity, self._answers[0]):
            self._answers.popleft()

    def may_refuse(self) -> bool:
        """Whether it is time to tell the program again that it cannot be served."""
        now = time.monotonic()
        if now - self._refused_at < REFUSE_EVERY_S:
            return False
        self._refused_at = now
        return True
