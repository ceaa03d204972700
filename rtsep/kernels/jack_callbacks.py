"""What JACK calls, compiled: no Python, no lock, no allocation.

Each callback gets the address of a table of 64-bit words, whose places are the constants
below: functions of JACK's library by address, port handles, and room to work in.
"""

from typing import Any

import numpy as np
from numba import cfunc, int64, types

from rtsep.kernels import atomics, clock, drift, foreign, tables
from rtsep.kernels import handover as ho

_COMPILED: dict[str, Any] = {"nopython": True, "cache": True}
_LOCKSTEP_NS = 2_000_000_000

CONTROL, GET_BUFFER, GET_RANGE, SET_RANGE = 0, 1, 2, 3
INPUTS, OUTPUTS, IN_PLACES, OUT_PLACES, NOWHERE, RANGE, GONE = 4, 5, 6, 7, 8, 9, 10
LINK, ROWS, MOST_FRAMES = 11, 12, 13
TRANSPORT_QUERY, CLIENT, POSITION = 14, 15, 16
TABLE_WORDS = 24
#: Room for a jack_position_t; its third word holds the frame in its upper half.
POSITION_WORDS = 32
_FRAME_WORD = 2
_CAPTURE = 0
_ROLLING = 1


@cfunc(types.int32(types.uint32, types.voidptr), **_COMPILED)
def on_process(frames, host):  # type: ignore[no-untyped-def]
    """One period: the mix in, the stems out."""
    started = clock.now_ns()
    n: Any = int64(frames)
    table = atomics.words(atomics.address_of(host), TABLE_WORDS)
    control, get = table[CONTROL], table[GET_BUFFER]
    channels = atomics.load(control, tables.CHANNELS)
    inputs, places = atomics.words(table[INPUTS], 2), atomics.words(table[IN_PLACES], 2)
    for side in range(2):
        places[side] = foreign.pointer_of(get, inputs[side], n)
    header = atomics.load(control, tables.MIX_HEADER)
    rolling = foreign.answer_of(table[TRANSPORT_QUERY], table[CLIENT], table[POSITION]) == _ROLLING
    transport: Any = int64(tables.NEVER)
    if rolling:
        frame = (atomics.load(table[POSITION], _FRAME_WORD) >> 32) & 0xFFFFFFFF
        transport = frame - atomics.load(control, tables.IN_TIME)
    atomics.store(header, tables.TRANSPORT, transport)
    ho.take_in(control, n, table[IN_PLACES], 1)
    targets = atomics.words(table[OUT_PLACES], tables.MAX_CHANNELS)
    for channel in range(channels):
        port = atomics.load(table[OUTPUTS], channel)
        targets[channel] = foreign.pointer_of(get, port, n) if port != 0 else table[NOWHERE]
    ho.give_out(control, n, table[OUT_PLACES], 1)
    ho.finish(control, started)
    return np.int32(0)


@cfunc(types.int32(types.uint32, types.voidptr), **_COMPILED)
def on_follow(frames, host):  # type: ignore[no-untyped-def]
    """One period of stems that come at another clock than the server's."""
    started = clock.now_ns()
    n: Any = int64(frames)
    table = atomics.words(atomics.address_of(host), TABLE_WORDS)
    control = table[CONTROL]
    fits = n <= table[MOST_FRAMES]
    if fits:
        drift.play(table[LINK], n, started, False)
    rows = atomics.float_rows(table[ROWS], tables.MAX_CHANNELS, table[MOST_FRAMES])
    for channel in range(atomics.load(control, tables.CHANNELS)):
        port = atomics.load(table[OUTPUTS], channel)
        if port != 0:
            out = atomics.floats(foreign.pointer_of(table[GET_BUFFER], port, n), n)
            for i in range(n):
                out[i] = rows[channel, i] if fits else np.float32(0.0)
    ho.finish(control, started)
    return np.int32(0)


@cfunc(types.void(types.int32, types.voidptr), **_COMPILED)
def on_latency(mode, host):  # type: ignore[no-untyped-def]
    """State the latency of one direction: that of the other side, and ours."""
    table = atomics.words(atomics.address_of(host), TABLE_WORDS)
    control = table[CONTROL]
    wanted = atomics.load(control, tables.WANT)
    ours: Any = int64(0)
    if wanted >= 0:
        header = atomics.load(control, tables.SLOTS + wanted * tables.SLOT_WORDS + tables.S_HEADER)
        if header != 0:
            ours = max(ours, atomics.load(header, tables.LATENCY))
    count = atomics.load(control, tables.CHANNELS)
    sources, targets = table[INPUTS], table[OUTPUTS]
    source_count: Any = int64(2)
    target_count: Any = count
    if mode != _CAPTURE:
        sources, source_count, targets, target_count = targets, target_count, sources, source_count
    # A range is two 32-bit numbers, smallest and largest, in one word.
    place = table[RANGE]
    smallest: Any = int64(1 << 31)
    largest: Any = int64(0)
    direction: Any = int64(mode)
    for i in range(source_count):
        port = atomics.load(sources, i)
        if port != 0:
            foreign.with_place(table[GET_RANGE], port, direction, place)
            word = atomics.load(place, 0)
            smallest = min(smallest, word & 0xFFFFFFFF)
            largest = max(largest, (word >> 32) & 0xFFFFFFFF)
    smallest = min(smallest, largest) + ours
    largest = largest + ours
    for i in range(target_count):
        port = atomics.load(targets, i)
        if port != 0:
            atomics.store(place, 0, (largest << 32) | smallest)
            foreign.with_place(table[SET_RANGE], port, direction, place)


@cfunc(types.int32(types.voidptr), **_COMPILED)
def on_xrun(host):  # type: ignore[no-untyped-def]
    """Count."""
    table = atomics.words(atomics.address_of(host), TABLE_WORDS)
    atomics.add(table[CONTROL], tables.XRUNS, 1)
    return np.int32(0)


@cfunc(types.void(types.int32, types.voidptr), **_COMPILED)
def on_freewheel(starting, host):  # type: ignore[no-untyped-def]
    """Wait for the engine while the server runs as fast as it can."""
    table = atomics.words(atomics.address_of(host), TABLE_WORDS)
    limit: Any = int64(_LOCKSTEP_NS) if starting != 0 else int64(0)
    atomics.store(table[CONTROL], tables.LOCKSTEP_NS, limit)


@cfunc(types.void(types.int32, types.voidptr, types.voidptr), **_COMPILED)
def on_shutdown(code, reason, host):  # type: ignore[no-untyped-def]
    """Note that the server has gone."""
    atomics.store(atomics.address_of(host), GONE, 1)


@cfunc(types.void(types.voidptr), **_COMPILED)
def on_message(text):  # type: ignore[no-untyped-def]
    """Keep JACK's library from printing into the terminal."""
