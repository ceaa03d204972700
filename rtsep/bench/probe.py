"""Two JACK clients around whatever is measured: one plays into it, the other hears it.

Two, because one client on both sides would make a loop of the graph, and JACK adds a
block of delay to a loop.
"""

import ctypes
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from rtsep.errors import SetupError
from rtsep.kernels import atomics
from rtsep.live.jack_connections import joining

Floats = NDArray[np.float32]
Words = NDArray[np.int64]

_GAP_ROWS = 4096
_CAPTURE = 0


class _LatencyRange(ctypes.Structure):
    _fields_ = (("min", ctypes.c_uint32), ("max", ctypes.c_uint32))


class _Side:
    """A client, its table and its samples."""

    def __init__(
        self, name: str, server: str, ports: Sequence[str], data: Floats, *, plays: bool
    ) -> None:
        import jack

        from rtsep.bench import kernels

        self._kernels = kernels
        library, ffi = jack._lib, jack._ffi
        quiet = ffi.cast("void(*)(const char*)", kernels.say_nothing.address)
        library.jack_set_error_function(quiet)
        library.jack_set_info_function(quiet)
        try:
            self.client = jack.Client(name, no_start_server=True, servername=server)
        except jack.JackOpenError as error:
            raise SetupError(
                f"the JACK server {server} takes no client", remedy="see whether it still runs"
            ) from error
        self.server = server
        self.data = data
        self._gaps: Words = np.zeros((_GAP_ROWS, 2), np.int64)
        self.table: Words = np.zeros(kernels.WORDS, np.int64)
        kind = self.client.outports if plays else self.client.inports
        self.ports = [kind.register(port) for port in ports]
        handles = [port._ptr for port in self.ports]
        self.table[kernels.CLIENT] = int(ffi.cast("intptr_t", self.client._ptr))
        self.table[kernels.PORTS] = len(handles)
        self.table[kernels.PORT : kernels.PORT + len(handles)] = [
            int(ffi.cast("intptr_t", handle)) for handle in handles
        ]
        self.table[kernels.DATA] = data.ctypes.data
        self.table[kernels.FRAMES] = data.shape[1]
        self.table[kernels.GAPS] = self._gaps.ctypes.data
        self.table[kernels.GAP_ROWS] = _GAP_ROWS
        self.table[kernels.START] = kernels.NEVER
        callback = kernels.play if plays else kernels.record
        status = library.jack_set_process_callback(
            self.client._ptr,
            ffi.cast("JackProcessCallback", callback.address),
            ffi.cast("void*", self.table.ctypes.data),
        )
        if status != 0:
            self.client.close()
            raise SetupError(f"the JACK server {server} takes no callback of {name}")

    def join(self) -> None:
        """Take part in the server's cycles."""
        with joining(self.server, self.client.name):
            self.client.activate()

    @property
    def clock(self) -> int:
        return int(atomics.load(self.table.ctypes.data, self._kernels.CLOCK))

    def gaps(self) -> list[tuple[int, int]]:
        """Frames left out (or heard again): from, to."""
        count = int(self.table[self._kernels.GAP_COUNT])
        return [(int(a), int(b)) for a, b in self._gaps[: min(count, _GAP_ROWS)]]

    def close(self) -> None:
        with suppress(Exception):  # a server that has gone cannot be told anything
            self.client.deactivate(ignore_errors=True)
        with suppress(Exception):
            self.client.close(ignore_errors=True)


class Probe:
    """Plays a stereo signal into a client's ``mix_L/R`` and records its output ports.

    Used as a context manager.

    Parameters
    ----------
    server : str
        Name of the JACK server.
    channels : sequence of str
        Output ports to record.
    signal : float32 array, shape (2, frames)
        What can be played.
    keep : int
        How many of the last frames of every port stay readable, at least.

    Raises
    ------
    SetupError
        There is no such server, or, on entering, it does not go on.
    """

    def __init__(self, server: str, channels: Sequence[str], signal: Floats, keep: int) -> None:
        from rtsep.bench import kernels

        self._kernels = kernels
        self.channels = tuple(channels)
        ring: Floats = np.empty((len(channels), 1 << int(keep - 1).bit_length()), np.float32)
        ring.fill(0.0)  # touched, so that no page is missing when it is written
        played = np.ascontiguousarray(signal, np.float32)
        self._sink = _Side("rtsep-bench-sink", server, channels, ring, plays=False)
        try:
            self._source = _Side(
                "rtsep-bench-source", server, ("out_L", "out_R"), played, plays=True
            )
        except BaseException:
            self._sink.close()
            raise
        self.sample_rate = int(self._sink.client.samplerate)
        self.block = int(self._sink.client.blocksize)

    def __enter__(self) -> Self:
        try:
            self._sink.join()
            self._source.join()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the server."""
        self._source.close()
        self._sink.close()

    def connect(self, client: str) -> None:
        """Plug both ends into a client.

        Raises
        ------
        SetupError
            It has not got these ports.
        """
        ours = self._source.client
        pairs = [
            (port.name, f"{client}:mix_{side}")
            for port, side in zip(self._source.ports, "LR", strict=True)
        ]
        pairs += [
            (f"{client}:{channel}", port.name)
            for channel, port in zip(self.channels, self._sink.ports, strict=True)
        ]
        for output, port in pairs:
            try:
                ours.connect(output, port)
            except Exception as error:
                raise SetupError(f"{output} cannot be connected to {port} ({error})") from error

    def reported_latency(self, client: str, channel: str) -> int:
        """What JACK's latency API says from a client's ``mix_L`` to an output port of it.

        In samples; -1 where the ports are not there.
        """
        import jack

        library = ctypes.CDLL(jack._libname)
        library.jack_port_by_name.restype = ctypes.c_void_p
        handle = ctypes.c_void_p(int(self._sink.table[self._kernels.CLIENT]))
        latest = []
        for port in (f"{client}:mix_L", f"{client}:{channel}"):
            found = library.jack_port_by_name(handle, port.encode())
            if not found:
                return -1
            span = _LatencyRange()
            library.jack_port_get_latency_range(
                ctypes.c_void_p(found), _CAPTURE, ctypes.byref(span)
            )
            latest.append(int(span.max))
        return latest[1] - latest[0]

    @property
    def clock(self) -> int:
        """The frame behind the last one recorded."""
        return self._sink.clock

    @property
    def callbacks(self) -> int:
        """Cycles that the sink has seen."""
        return int(self._sink.table[self._kernels.CALLBACKS])

    def play(self, *, loop: bool = False) -> int:
        """Start the signal at once, from its beginning; the frame of its first sample."""
        table = self._source.table
        start = self.clock + self.sample_rate // 10
        table[self._kernels.LOOP] = int(loop)
        atomics.store(table.ctypes.data, self._kernels.START, start)
        return start

    def silence(self) -> None:
        """Stop playing, at once."""
        address = self._source.table.ctypes.data
        atomics.store(address, self._kernels.START, self._kernels.NEVER)

    def wait(self, frame: int, alive: Callable[[], bool] = lambda: True) -> None:
        """Return when everything before `frame` is recorded.

        Raises
        ------
        SetupError
            The server has stopped calling, or `alive` says no.
        """
        last, since = self.clock, time.monotonic()
        while last < frame:
            time.sleep(min(0.2, max(0.002, (frame - last) / self.sample_rate)))
            now = self.clock
            if now != last:
                last, since = now, time.monotonic()
            elif time.monotonic() - since > 5:
                raise SetupError("the JACK server has stopped", remedy="start it again")
            if not alive():
                raise SetupError("what was measured has ended")

    def read(self, start: int, frames: int) -> Floats:
        """What was recorded from frame `start` on, shape (ports, frames).

        Raises
        ------
        ValueError
            It is not there yet, or not any more.
        """
        ring = self._sink.data
        size = ring.shape[1]
        if not (self.clock - size <= start and start + frames <= self.clock):
            raise ValueError(f"frames {start} to {start + frames} are not in the ring")
        out: Floats = ring[:, np.arange(start, start + frames) & (size - 1)]
        return out

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """Frames left out (or heard again) so far, on either side: from, to."""
        return [*self._source.gaps(), *self._sink.gaps()]

    def whole(self, start: int, stop: int) -> bool:
        """Whether all between two frames can be read, and no cycle was left out on either side.

        What is about to be overwritten counts as gone, so that there is time to read the rest.
        """
        size = self._sink.data.shape[1]
        if not (self.clock - size + size // 8 <= start and stop <= self.clock):
            return False
        return not any(min(gap) < stop and start < max(gap) for gap in self.gaps)
