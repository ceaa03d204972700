"""Messages of several frames between two processes, over a pair of connected sockets.

Two wake-ups a message fewer than between ZeroMQ's sockets, whose own threads pass on
what comes and goes: a third of the time for a block of a mix and back.
"""

import socket
import struct
from collections.abc import Sequence

from rtsep_bridge.messages import Bytes

_COUNT = struct.Struct("<I")
_READ = 1 << 18


class FramePipe:
    """One end of a pair; made by `pair`, and sent to a process that is being started.

    Parameters
    ----------
    end : socket.socket
        Connected, of the stream kind.
    """

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self._came = bytearray()
        self._waiting = bytearray()

    def make_nonblocking(self) -> None:
        """Let neither side of this end wait: see `send` and `receive`."""
        self.socket.setblocking(False)

    def fileno(self) -> int:
        """What to poll."""
        return self.socket.fileno()

    def send(self, frames: Sequence[Bytes]) -> None:
        """Send a message; what a non-blocking end cannot send now goes with `flush`."""
        sizes = [memoryview(frame).nbytes for frame in frames]
        head = struct.pack(f"<I{len(sizes)}I", len(sizes), *sizes)
        self._waiting += head
        for frame in frames:
            self._waiting += frame
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
            try:
                more = self.socket.recv(_READ)
            except BlockingIOError:
                return None
            except OSError:
                more = b""
            if not more:
                raise EOFError
            self._came += more

    def _take(self) -> list[bytes] | None:
        """A message out of what came, if it is whole."""
        came = self._came
        if len(came) < _COUNT.size:
            return None
        (count,) = _COUNT.unpack_from(came)
        start = _COUNT.size * (1 + count)
        if len(came) < start:
            return None
        sizes = struct.unpack_from(f"<{count}I", came, _COUNT.size)
        if len(came) < start + sum(sizes):
            return None
        frames = []
        for size in sizes:
            frames.append(bytes(came[start : start + size]))
            start += size
        del came[:start]
        return frames

    def close(self) -> None:
        """Let go of this end."""
        self.socket.close()


def pair() -> tuple[FramePipe, FramePipe]:
    """Two ends of one pipe."""
    a, b = socket.socketpair()
    return FramePipe(a), FramePipe(b)
