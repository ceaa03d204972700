"""The host process's handle on an engine process."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Literal, Protocol

import numpy as np

from rtsep.kernels import atomics, tables
from rtsep.kernels.rings import read_ring
from rtsep.live.handover import Handover
from rtsep.live.session import Session
from rtsep.live.shared import NOTE_CAPACITY, STEM_CAPACITY, Segment, slot_segment
from rtsep.live.stem_feed import StemBlock
from rtsep.note_events import NoteEvent

START_TIMEOUT_S = 60.0
STALL_S = 5.0
_END_S = 2.0
STEMS_AT_HAND = STEM_CAPACITY * 3 // 4
"""Frames of the newest stems that may be read: two seconds at 48 kHz."""


class Semaphore(Protocol):
    """What of a semaphore of `multiprocessing` is used."""

    def acquire(self) -> bool:
        """Wait until it is posted."""


@dataclass(frozen=True)
class Task:
    """What an engine process is to do.

    Attributes
    ----------
    session : Session
    sample_rate : int
    priority : int
        For `rtsep.realtime.make_realtime`.
    mix : str
        Name of the shared memory with the mix.
    query : tuple of float
        The vector of the session's query, if it has one.
    """

    session: Session
    sample_rate: int
    priority: int
    mix: str
    query: tuple[float, ...] = ()


@contextmanager
def no_interrupt() -> Iterator[None]:
    """Keep Ctrl-C, which the terminal sends to all, from processes that start meanwhile.

    The host process gets it afterwards, and decides what it means.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run(task: Task, semaphore: Semaphore, parent: "Connection[Any, Any]") -> None:
    """Be the engine process; what that takes is imported there only."""
    # The terminal sends Ctrl-C to all; the host process decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    debugging = bool(os.environ.get("RTSEP_TRACEBACK"))
    if not debugging:
        # Plug-ins print as they like; the terminal belongs to the host process.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nowhere, stream)
    with suppress(ConnectionError, EOFError):  # the host process has ended
        try:
            from rtsep.live.worker import run

            run(task, semaphore, parent)
        except (ConnectionError, EOFError):
            raise
        except Exception as error:
            if debugging:
                raise
            parent.send(("failed", f"a mistake in rtsep itself ({type(error).__name__}: {error})"))


class EngineProcess:
    """An engine in a process of its own, in one of the two slots of a `Handover`.

    Parameters
    ----------
    handover : Handover
    slot : {0, 1}
    task : Task
    say : callable
        Gets lines for the player.

    Attributes
    ----------
    state : {"loading", "running", "ended"}
        "running": it takes blocks, see `delivers`.
    channels : tuple of str
        What it puts out, known once it runs.
    failure : str
        Why it ended; empty as long as it has not, or where it was closed.
    refused : bool
        The failure is one that another engine of this task would meet too.
    """

    def __init__(
        self, handover: Handover, slot: int, task: Task, say: Callable[[str], None]
    ) -> None:
        self.slot, self.task = slot, task
        self.state: Literal["loading", "running", "ended"] = "loading"
        self.channels: tuple[str, ...] = ()
        self.failure = ""
        self.refused = False
        self.granted: tuple[Any, ...] = ()
        self._handover, self._say = handover, say
        self._segment: Segment | None = None
        self._notes_read = 0
        self._heard, self._heard_at, self._frames = 0, time.monotonic(), 0
        self._started = time.monotonic()
        context = multiprocessing.get_context("spawn")
        self._semaphore = context.Semaphore(0)
        self._pipe, other = context.Pipe()
        self._process = context.Process(
            target=_run, args=(task, self._semaphore, other), daemon=True, name="rtsep engine"
        )
        with no_interrupt():
            self._process.start()
        other.close()

    @property
    def pid(self) -> int:
        """Of the process."""
        return int(self._process.pid or 0)

    @property
    def stems(self) -> tuple[str, ...]:
        """Names of the stems, the residual last."""
        return tuple(name[:-2] for name in self.channels[:-2:2])

    def poll(self) -> None:
        """Take the process's messages and look whether it is still there."""
        if self.state == "ended":
            return
        with suppress(EOFError, OSError):
            while self._pipe.poll():
                self._take(*self._pipe.recv())
        if self.failure:
            self._end(self.failure)
        elif not self._process.is_alive():
            code = self._process.exitcode
            self._end(f"the engine process ended by itself (status {code})")
        elif self.state == "loading" and time.monotonic() - self._started > START_TIMEOUT_S:
            self.refused = True
            self._end(f"the engine did not start within {START_TIMEOUT_S:g} s")
        elif self.state == "running" and self._stalled():
            self._end(f"the engine has stood still for {STALL_S:g} s")

    def _take(self, kind: str, content: Any) -> None:
        if kind == "channels":
            self.channels = content
            self._segment = slot_segment(len(content))
            self._handover.attach(self.slot, self._segment, content, self._handle())
            self._pipe.send(self._segment.name)
        elif kind == "ready":
            self.granted = content
            self.state = "running"
        elif kind == "failed":
            self.failure = content
            self.refused = True
        else:
            self._say(content)

    def _handle(self) -> int:
        """Where the semaphore is, for compiled code."""
        return int(self._semaphore._semlock.handle)  # type: ignore[attr-defined, unused-ignore]

    def _stalled(self) -> bool:
        """Whether the mix goes on and the engine has not for `STALL_S`."""
        now, frames, heard = time.monotonic(), self._handover.frames, self.header(tables.HEARD)
        if heard != self._heard or frames == self._frames:
            self._heard, self._heard_at = heard, now
        self._frames = frames
        return now - self._heard_at > STALL_S

    def _end(self, why: str) -> None:
        self.failure = why
        self.state = "ended"
        self._handover.silence_semaphore(self.slot)
        self._process.kill()

    def header(self, word: int) -> int:
        """A word of the slot's header; 0 before there is one."""
        return 0 if self._segment is None else int(self._segment["header"][word])

    def delivers(self, warm_frames: int) -> bool:
        """Whether stems come out of an engine that has heard `warm_frames` of the mix."""
        if self.state != "running" or self._segment is None:
            return False
        words = self._segment.address("header")
        if atomics.load(words, tables.READY_EPOCH) != int(
            self._handover.mix["header"][tables.EPOCH]
        ):
            return False
        return (
            atomics.load(words, tables.HEARD) - atomics.load(words, tables.VALID_FROM)
            >= warm_frames
        )

    @property
    def latency(self) -> int:
        """Stated added latency in samples; -1 before the engine has said it."""
        return -1 if self._segment is None else self.header(tables.LATENCY)

    @property
    def segment(self) -> Segment | None:
        """The shared memory, once there is one."""
        return self._segment

    def take_worst_share(self) -> float:
        """The longest that a block took since the last call, as a share of its length."""
        if self._segment is None:
            return 0.0
        header = self._segment["header"]
        worst, header[tables.WORST_PPM] = int(header[tables.WORST_PPM]), 0
        return worst / 1e6

    def take_notes(self) -> list[NoteEvent]:
        """Notes decided since the last call, on the host's clock."""
        if self._segment is None:
            return []
        count = atomics.load(self._segment.address("header"), tables.NOTES)
        first = max(self._notes_read, count - NOTE_CAPACITY)
        self._notes_read = count
        rows, stems = self._segment["notes"], self.stems
        return [
            NoteEvent(int(r[0]), int(r[1]), stems[int(r[2])], int(r[3]), int(r[4]))
            for r in (rows[i % NOTE_CAPACITY] for i in range(first, count))
        ]

    def read_stems(self, start: int, most: int) -> StemBlock | None:
        """See `rtsep.live.stem_feed.StemSource`; what is nearly overwritten is left alone."""
        if self._segment is None:
            return None
        words = self._segment.address("header")
        written = atomics.load(words, tables.WRITTEN)
        first = max(start, atomics.load(words, tables.VALID_FROM), written - STEMS_AT_HAND)
        n = min(most, written - first)
        if n <= 0:
            return None
        stems = self.stems
        audio = np.empty((2 * len(stems), n), np.float32)
        for channel, row in enumerate(audio):
            read_ring(self._segment["ring"][channel], first, row)
        return StemBlock(first, self.latency, stems, audio)

    def apply(self, session: Session, query: tuple[float, ...]) -> None:
        """Send a session of the same structure, and the vector of its query."""
        with suppress(OSError):
            self._pipe.send((session, query))

    def close(self) -> None:
        """End the process and let go of its memory; the callback must not show its slot."""
        self.state = "ended"
        self._handover.detach(self.slot)
        self._pipe.close()
        self._process.join(0.2)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(_END_S)
        time.sleep(0.01)  # a callback that was at work when the slot was detached is not now
        if self._segment is not None:
            self._segment.close()
            self._segment = None
