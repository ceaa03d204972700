"""What PortAudio calls, compiled: no Python, no lock, no allocation.

One stream for both directions where they share a clock; else a stream for each, whose
clocks `rtsep.kernels.drift` keeps in step.  Buffers are interleaved float32.  Each
callback gets the address of a table of 64-bit words, whose places are the constants
below.
"""

import ctypes
from typing import Any

import numpy as np
from numba import cfunc, int64, njit, types, void

from rtsep.kernels import atomics, clock, drift, tables, timeline
from rtsep.kernels import handover as ho

# C's unsigned long, which has 32 bits on Windows.
_LONG = types.uint32 if ctypes.sizeof(ctypes.c_ulong) == 4 else types.uint64
_CALLBACK = types.int32(types.voidptr, types.voidptr, _LONG, types.voidptr, _LONG, types.voidptr)
_COMPILED: dict[str, Any] = {"nopython": True, "cache": True}

CONTROL, IN_WIDTH, OUT_WIDTH, IN_PLACES, OUT_PLACES = 0, 1, 2, 3, 4
ROWS, MOST_FRAMES, ROUTE, NOWHERE, IN_CLOCK, LINK = 5, 6, 7, 8, 9, 10
IN_CALLS, OUT_CALLS = 11, 12
TABLE_WORDS = 16
_XRUN_FLAGS = 15
"""Underflow and overflow of the input, underflow and overflow of the output."""


@njit([void(int64, int64, int64)], nogil=True, cache=True)
def _take(host: int, buffer: int, n: int) -> None:
    """Hand in the mix; a device with one channel is heard on both sides."""
    table = atomics.words(host, TABLE_WORDS)
    width = table[IN_WIDTH]
    start = buffer if buffer != 0 else table[NOWHERE]
    places = atomics.words(table[IN_PLACES], 2)
    places[0] = start
    places[1] = start + 4 if width > 1 else start
    ho.take_in(table[CONTROL], n, table[IN_PLACES], width)
    atomics.add(host, IN_CALLS, 1)


@njit([void(int64, int64, int64)], nogil=True, cache=True)
def _clear(host: int, buffer: int, n: int) -> None:
    samples = atomics.floats(buffer, n * atomics.load(host, OUT_WIDTH))
    samples[:] = np.float32(0.0)


@njit([void(int64, int64, int64, int64, int64)], nogil=True, cache=True)
def _emit(host: int, buffer: int, n: int, rows: int, length: int) -> None:
    """Put rows of samples on the device's channels, which are silent, as the route says."""
    table = atomics.words(host, TABLE_WORDS)
    width = table[OUT_WIDTH]
    out = atomics.floats(buffer, n * width)
    route = atomics.words(atomics.load(host, ROUTE), tables.MAX_CHANNELS)
    channels = atomics.load(table[CONTROL], tables.CHANNELS)
    source = atomics.float_rows(rows, channels, length)
    for channel in range(channels):
        target = route[channel]
        if target >= 0 and target < width:
            for i in range(n):
                out[i * width + target] = source[channel, i]
    atomics.add(host, OUT_CALLS, 1)


@njit([void(int64, int64)], nogil=True, cache=True)
def _note_xrun(host: int, flags: int) -> None:
    if flags & _XRUN_FLAGS:
        atomics.add(atomics.load(host, CONTROL), tables.XRUNS, 1)


@cfunc(_CALLBACK, **_COMPILED)
def on_duplex(heard, played, frames, times, flags, host):  # type: ignore[no-untyped-def]
    """One block of a device that hears and plays: the mix in, the stems out."""
    started = clock.now_ns()
    place = atomics.address_of(host)
    n: Any = int64(frames)
    table = atomics.words(place, TABLE_WORDS)
    control = table[CONTROL]
    _note_xrun(place, int64(flags))
    _clear(place, atomics.address_of(played), n)
    if n <= table[MOST_FRAMES]:
        _take(place, atomics.address_of(heard), n)
        rows = table[ROWS]
        targets = atomics.words(table[OUT_PLACES], tables.MAX_CHANNELS)
        for channel in range(tables.MAX_CHANNELS):
            targets[channel] = rows + 4 * channel * table[MOST_FRAMES]
        ho.give_out(control, n, table[OUT_PLACES], 1)
        _emit(place, atomics.address_of(played), n, rows, table[MOST_FRAMES])
    ho.finish(control, started)
    return np.int32(0)


@cfunc(_CALLBACK, **_COMPILED)
def on_input(heard, played, frames, times, flags, host):  # type: ignore[no-untyped-def]
    """One block of the device that hears."""
    started = clock.now_ns()
    place = atomics.address_of(host)
    n: Any = int64(frames)
    table = atomics.words(place, TABLE_WORDS)
    _note_xrun(place, int64(flags))
    if n <= table[MOST_FRAMES]:
        _take(place, atomics.address_of(heard), n)
        now_at = atomics.load(table[CONTROL], tables.IN_TIME)
        timeline.tick(table[IN_CLOCK], n, now_at, started, (int64(flags) & _XRUN_FLAGS) != 0)
    return np.int32(0)


@cfunc(_CALLBACK, **_COMPILED)
def on_output(heard, played, frames, times, flags, host):  # type: ignore[no-untyped-def]
    """One block of the device that plays."""
    started = clock.now_ns()
    place = atomics.address_of(host)
    n: Any = int64(frames)
    table = atomics.words(place, TABLE_WORDS)
    _note_xrun(place, int64(flags))
    _clear(place, atomics.address_of(played), n)
    if n <= table[MOST_FRAMES]:
        drift.play(table[LINK], n, started, (int64(flags) & _XRUN_FLAGS) != 0)
        _emit(place, atomics.address_of(played), n, table[ROWS], table[MOST_FRAMES])
    ho.finish(table[CONTROL], started)
    return np.int32(0)
