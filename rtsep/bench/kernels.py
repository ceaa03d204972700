"""The callbacks of the two JACK clients that measure: one plays, the other records.

Both count in frames of the server's own clock, so that what one played at frame f and
the other heard at frame g came g - f samples late, whatever happened in between.

Each has a table of 64-bit words, named below.  Importing this module loads JACK's library.
"""

from typing import Any

import jack
import numpy as np
from llvmlite import binding
from numba import cfunc, int64, njit, types, void  # type: ignore[attr-defined, unused-ignore]

from rtsep.kernels.atomics import float_rows, floats, load, store, words

binding.load_library_permanently(jack._libname)

_get_buffer: Any = types.ExternalFunction(
    "jack_port_get_buffer", types.int64(types.int64, types.uint32)
)
_last_frame_time: Any = types.ExternalFunction("jack_last_frame_time", types.uint32(types.int64))

MAX_PORTS = 64
# Words of a table.  Set before the client is activated:
CLIENT, PORTS, DATA, FRAMES = 0, 1, 2, 3
"""Handle, number of ports, address of the samples, how many (the sink: a power of two)."""
GAPS, GAP_ROWS = 4, 5
"""Address of a list of [expected frame, frame], where cycles were left out, and its length,
a power of two."""
# Set while it plays: the first frame of the samples, and whether they repeat.
START, LOOP = 6, 7
NEVER = 1 << 62
# Written by the callback: behind its last frame, callbacks, gaps, frames of the last one.
CLOCK, CALLBACKS, GAP_COUNT, BLOCK = 8, 16, 17, 18
PORT = 24
WORDS = PORT + MAX_PORTS


@njit([int64(int64, int64)], nogil=True, cache=True)
def _begin(table: int, n: int) -> int:
    """The frame at which this callback's block starts; notes where frames were left out."""
    c = words(table, WORDS)
    now = int64(_last_frame_time(c[CLIENT]))
    if c[CALLBACKS] > 0:
        expected = c[CLOCK]
        # JACK's counter has 32 bits.
        step = (now - expected + (1 << 31)) & 0xFFFF_FFFF
        now = expected + step - (1 << 31)
        if now != expected:
            gaps = words(c[GAPS], 2 * c[GAP_ROWS])
            row = 2 * (c[GAP_COUNT] & (c[GAP_ROWS] - 1))
            gaps[row], gaps[row + 1] = expected, now
            c[GAP_COUNT] += 1
    c[BLOCK] = n
    return now  # type: ignore[no-any-return, unused-ignore]


@njit([void(int64, int64)], nogil=True, cache=True)
def _end(table: int, clock: int) -> None:
    c = words(table, WORDS)
    c[CALLBACKS] += 1
    store(table, CLOCK, clock)


@njit([int64(int64, int64)], nogil=True, cache=True, error_model="numpy")
def _remainder(index: int, length: int) -> int:
    """`index` modulo `length`, with no exception prepared for a length of 0."""
    return index % length


@cfunc(types.int32(types.uint32, types.int64), cache=True)
def play(frames: int, table: int) -> int:
    """JACK process callback of the source: samples from `START` on, silence elsewhere."""
    c = words(table, WORDS)
    n: Any = int64(frames)
    now = _begin(table, n)
    at = now - load(table, START)
    length = c[FRAMES]
    data = float_rows(c[DATA], c[PORTS], length)
    for port in range(c[PORTS]):
        out = floats(_get_buffer(c[PORT + port], frames), n)
        for i in range(n):
            index = at + i
            if c[LOOP] != 0 and index >= 0:
                index = _remainder(index, length)
            out[i] = data[port, index] if 0 <= index < length else np.float32(0.0)
    _end(table, now + n)
    return 0


@cfunc(types.int32(types.uint32, types.int64), cache=True)
def record(frames: int, table: int) -> int:
    """JACK process callback of the sink: every port into a ring indexed by frame."""
    c = words(table, WORDS)
    n: Any = int64(frames)
    now = _begin(table, n)
    last = c[FRAMES] - 1
    ring = float_rows(c[DATA], c[PORTS], last + 1)
    for port in range(c[PORTS]):
        samples = floats(_get_buffer(c[PORT + port], frames), n)
        for i in range(n):
            ring[port, (now + i) & last] = samples[i]
    _end(table, now + n)
    return 0


@cfunc(types.void(types.int64), cache=True)
def say_nothing(text: int) -> None:
    """JACK error and information callback."""
