"""The server's handle on the process of one session's engine."""

import multiprocessing
import socket
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Literal

import msgspec

from rtsep import realtime
from rtsep.live.engine_process import STALL_S, START_TIMEOUT_S, no_interrupt
from rtsep_bridge.messages import Bytes
from rtsep_bridge.pipe import FramePipe, pair
from rtsep_bridge.stream_worker import DONE, MESSAGE, OPEN, STATUS, Task

IN_FLIGHT = 4
"""Blocks that are given to an engine before it has dealt with the first of them."""


def _run(task: Task, end: socket.socket, parent: "Connection[Any, Any]") -> None:
    """Be the process; what that takes is imported there only."""
    from rtsep_bridge.stream_worker import run

    run(task, FramePipe(end), parent)


class StreamProcess:
    """An engine in a process of its own, which a session can take.

    Parameters
    ----------
    model, transcriber, masks : str or None
    priority : int
        Real-time priority of its engine.

    Attributes
    ----------
    state : {"loading", "ready", "ended"}
    failure : str
        Why it ended.
    in_flight : int
        Blocks that it has and has not dealt with.
    granted : tuple
        What the system granted, as `rtsep.realtime` tells it.
    pipe : FramePipe
        To poll; read it with `receive`.
    """

    def __init__(
        self,
        model: str | None,
        transcriber: str | None,
        masks: str | None,
        priority: int,
    ) -> None:
        self.state: Literal["loading", "ready", "ended"] = "loading"
        self.failure = ""
        self.in_flight = 0
        self.granted: tuple[Any, ...] = ()
        self._started = self._heard = time.monotonic()
        self.pipe, theirs = pair()
        self.pipe.make_nonblocking()
        task = Task(model, transcriber, masks, priority)
        spawn = multiprocessing.get_context("spawn")
        self._said, other = spawn.Pipe()
        self._process = spawn.Process(
            target=_run, args=(task, theirs.socket, other), daemon=True, name="rtsep bridge engine"
        )
        with no_interrupt():
            self._process.start()
        other.close()
        theirs.close()

    @property
    def pid(self) -> int:
        """Of the process."""
        return int(self._process.pid or 0)

    def poll(self) -> None:
        """Take what the process says of itself, and look whether it is still there."""
        if self.state == "ended":
            return
        now = time.monotonic()
        with suppress(EOFError, OSError):
            self.pipe.flush()
            while self._said.poll():
                kind, content = self._said.recv()
                if kind == "ready":
                    self.state, self.granted = "ready", content
                else:
                    self.failure = content
        if not self.failure:
            if not self._process.is_alive():
                code = self._process.exitcode
                self.failure = f"the engine process ended by itself (status {code})"
            elif self.state == "loading" and now - self._started > START_TIMEOUT_S:
                self.failure = f"the engine did not start within {START_TIMEOUT_S:g} s"
            elif self.in_flight and now - self._heard > STALL_S:
                self.failure = f"the engine has stood still for {STALL_S:g} s"
        if self.failure:
            self.state = "ended"

    @property
    def takes(self) -> bool:
        """Whether it can be given one more block."""
        return self.state == "ready" and self.in_flight < IN_FLIGHT and not self.pipe.waiting

    def open(self, header: Bytes, counts: dict[str, int]) -> None:
        """Have it get ready for a mix, going on with the numbers of another engine."""
        self._give([OPEN, header, msgspec.msgpack.encode(counts)])

    def give(self, frames: list[bytes]) -> None:
        """Give it a block of the mix."""
        self._give([MESSAGE, *frames])

    def _give(self, frames: list[Any]) -> None:
        if not self.in_flight:
            self._heard = time.monotonic()
        self.in_flight += 1
        self._send(frames)

    def _send(self, frames: list[Any]) -> None:
        with suppress(OSError):  # it has died; `poll` tells
            self.pipe.send(frames)

    def control(self, header: bytes) -> None:
        """Give it a control."""
        self._send([MESSAGE, header])

    def ask_status(self, *, misses: int, restarts: int, message: str) -> None:
        """Have it say how it is; it comes with the other messages."""
        self._send([STATUS, msgspec.msgpack.encode((misses, restarts, message))])

    def receive(self) -> list[bytes] | None:
        """A message's frames, none where only a block was done; None where nothing came."""
        try:
            came = self.pipe.receive()
        except EOFError:  # `poll` tells
            return None
        if came is None:
            return None
        mark, *frames = came
        if mark == DONE:
            self.in_flight -= 1
            self._heard = time.monotonic()
        return frames

    def close(self) -> None:
        """End the process and let go of its pipe; does not wait until it has `gone`."""
        self.state = "ended"
        self._said.close()
        with suppress(ProcessLookupError):
            # Giving its memory back takes tens of ms, in which others' engines go first.
            realtime.make_normal(self.pid)
        self._process.kill()
        self.pipe.close()

    def gone(self, timeout_s: float = 0.0) -> bool:
        """Whether the process has gone, after `close`."""
        self._process.join(timeout_s)
        return not self._process.is_alive()
