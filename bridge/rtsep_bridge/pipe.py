"""Messages of several frames between two processes, over a pair of connected sockets.

Two wake-ups a message fewer than between ZeroMQ's sockets, whose own threads pass on
what comes and goes: a third of the time for a block of a mix and back.
"""

import socket
import struct
from collections.abc import Sequence
from contextlib import suppress

from rtsep_bridge.messages import Bytes

_WORD = struct.Struct("<I")
_READ = 1 << 18
"""Bytes that are read at once; longer messages make the buffer grow."""


class FramePipe:
    """One end of a pair; made by `pair`, and sent to a process that is being started.

    Parameters
    ----------
    end : socket.socket
        Connected, of the stream kind.
    """

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        # One buffer for good: as large a one for every read would be mapped and unmapped.
        self._buffer = bytearray(_READ)
        self._start = self._stop = 0
        self._waiting = bytearray()

    def make_nonblocking(self) -> None:
        """Let neither side of this end wait: see `send` and `receive`."""
        self.socket.setblocking(False)

    def fileno(self) -> int:
        """What to poll."""
        return self.socket.fileno()

    def send(self, frames: Sequence[Bytes]) -> None:
        """Send a message; what a non-blocking end cannot send now goes with `flush`.

        Raises
        ------
        OSError
            The other side has gone.
        """
        sizes = [memoryview(frame).nbytes for frame in frames]
        message = b"".join((struct.pack(f"<{1 + len(sizes)}I", len(sizes), *sizes), *frames))
        sent = 0
        if not self._waiting:
            with suppress(BlockingIOError):
                sent = self.socket.send(message)
        if sent < len(message):
            self._waiting += message[sent:]
            self.flush()

    def flush(self) -> None:
        """Send what waits.

        Raises
        ------
        OSError
            The other side has gone.
        """
        while self._waiting:
            try:
                sent = self.socket.send(self._waiting)
            except BlockingIOError:
                return
            del self._waiting[:sent]

    @property
    def waiting(self) -> int:
        """Bytes that the other side has not taken."""
        return len(self._waiting)

    def receive(self) -> list[bytes] | None:
        """The next message; None where a non-blocking end has none yet.

        Raises
        ------
        EOFError
            The other side has gone.
        """
        while True:
            frames = self._take()
            if frames is not None:
                return frames
            self._make_room()
            try:
                count = self.socket.recv_into(memoryview(self._buffer)[self._stop :])
            except BlockingIOError:
                return None
            except OSError:
                count = 0
            if not count:
                raise EOFError
            self._stop += count

    def _make_room(self) -> None:
        """Have free bytes at the end of the buffer: move what is there, or double it."""
        if self._start:
            there = self._stop - self._start
            self._buffer[:there] = self._buffer[self._start : self._stop]
            self._start, self._stop = 0, there
        if self._stop == len(self._buffer):
            self._buffer.extend(bytes(len(self._buffer)))

    def _take(self) -> list[bytes] | None:
        """A message out of what came, if it is whole."""
        came = self._stop - self._start
        if came < _WORD.size:
            return None
        (count,) = _WORD.unpack_from(self._buffer, self._start)
        head = _WORD.size * (1 + count)
        if came < head:
            return None
        sizes = struct.unpack_from(f"<{count}I", self._buffer, self._start + _WORD.size)
        if came < head + sum(sizes):
            return None
        view = memoryview(self._buffer)
        at = self._start + head
        frames = []
        for size in sizes:
            frames.append(bytes(view[at : at + size]))
            at += size
        self._start = at
        return frames

    def close(self) -> None:
        """Let go of this end."""
        self.socket.close()


def pair() -> tuple[FramePipe, FramePipe]:
    """Two ends of one pipe."""
    a, b = socket.socketpair()
    return FramePipe(a), FramePipe(b)
