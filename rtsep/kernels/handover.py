"""What happens in an audio callback: the mix goes in, stems come out.

Two functions, for a host's C callback to call: `take_in` keeps a block of the mix and
wakes the engine, `give_out` puts out the stems that are due.  Where they are not there,
the mix of the same instant goes out whole, on the residual.  Neither waits, except for
a block's time where the host is out of step (see `_bear_with`).

Start, stop, a miss, another engine, another latency: whenever what plays changes, what
was heard is continued by odd reflection about its last sample, without a step in value
or slope, while it fades out and the new source fades in.  Where the stems are the
mixer's untouched ones, the residual is what the others leave of the mix also in a fade.

Three tables of 64-bit words carry the state; their words are the constants below.

- *control*: of the callback alone, in the host's memory.
- *mix header*: shared, written by the callback, read by engine processes.
- *slot header*: shared, one an engine process, written by it, read by the callback.

Rings are indexed by absolute frame, ``t & (capacity - 1)``.  The ring of a slot is
indexed by stem time: the frame of the mix to which a sample of a stem belongs.
"""

import numpy as np
from numba import int64, njit, types, void
from numpy.typing import NDArray

from rtsep.kernels import clock
from rtsep.kernels.atomics import float_rows, floats, load, store, words

Floats = NDArray[np.float32]
Words = NDArray[np.int64]

MAX_CHANNELS = 64
MONITOR_CHANNELS = 2
"""The first channels are the monitor's; those of the stems follow, and more may come."""
FADE = 128
"""Length of a cross-fade in samples."""
NEVER = 1 << 62
SAMPLE_LIMIT = np.float32(1e6)

# --- control: set by the host before the start, or with a release store -----------
MIX_RING, MIX_LAST, MIX_HEADER = 0, 1, 2
CHANNELS, WANT, LOCKSTEP_NS = 3, 5, 6
TRACE, TRACE_LAST, LOG, LOG_LENGTH = 7, 8, 9, 10
TAP, TAP_LAST, HISTOGRAM, HISTOGRAM_LENGTH = 11, 12, 13, 14
FADE_CURVE, SAMPLE_RATE = 15, 4
# Written by the callback.
OUT_TIME, CALLBACKS, MISSES, TRACED, LOGGED, OVERLOADS = 16, 17, 18, 19, 20, 21
IN_TIME, XRUNS, WAITS, POSTED_NS, POSTED_BEFORE_NS = 22, 23, 24, 25, 26
# What plays: kind, slot, latency; how much of the fade to it is done; where it began.
KIND, SLOT, DELAY, FADED, FADE_START, SHOWN = 28, 29, 30, 31, 32, 33
# The latency at which all stems sum to the mix, -1 where they do not.
WHOLE, HISTORY = 34, 35
SLOTS, SLOT_WORDS = 40, 8
# In a slot's part of control: its header, its ring, its channels' ring channels.
S_HEADER, S_RING, S_LAST, S_SEMAPHORE, S_MAP = 0, 1, 2, 3, 4
CONTROL_WORDS = 64

SILENCE, MIX, STEMS = 0, 1, 2
HISTORY_LENGTH = 4 * FADE
"""Samples of every channel's output that are kept for the next fade."""

# --- mix header: one word a cache line where two sides meet ------------------------
WRITTEN_MIX, EPOCH, EPOCH_START, BLOCK = 0, 8, 9, 10
MIX_HEADER_WORDS = 16

# --- slot header --------------------------------------------------------------------
WRITTEN, VALID_FROM, LATENCY, NEUTRAL, RESIDUAL = 0, 8, 9, 10, 11
SLOT_CHANNELS, HEARD, BUSY_NS, WORST_PPM, JUMPS = 12, 13, 16, 17, 18
ENGINE_MISSES, BAD_SAMPLES, FAILURES, NOTES, READY_EPOCH = 19, 20, 21, 22, 23
SLOT_FALLBACK = 32
"""From this word on: float32 [MAX_CHANNELS], gain of the mix where stems are missing."""
SLOT_METERS = SLOT_FALLBACK + MAX_CHANNELS // 2
"""From this word on: float32 [MAX_CHANNELS, 2], peak and mean square."""
SLOT_HEADER_WORDS = SLOT_METERS + MAX_CHANNELS

#: Kinds of an entry of the trace: frame, time in ns, kind, number.
TRACE_MISS, TRACE_SWITCH, TRACE_EPOCH = 1, 2, 3
TRACE_WORDS = 4
_PAUSE_NS = 20_000


@njit([void(int64, int64, int64, int64)], nogil=True, cache=True)
def _note(control: int, frame: int, kind: int, number: int) -> None:
    """Write a line of the bounded trace."""
    c = words(control, CONTROL_WORDS)
    row = c[TRACED] & c[TRACE_LAST]
    trace = words(c[TRACE], (c[TRACE_LAST] + 1) * TRACE_WORDS)
    trace[row * TRACE_WORDS + 0] = frame
    trace[row * TRACE_WORDS + 1] = clock.now_ns()
    trace[row * TRACE_WORDS + 2] = kind
    trace[row * TRACE_WORDS + 3] = number
    store(control, TRACED, c[TRACED] + 1)


@njit([void(int64, int64, int64, int64)], nogil=True, cache=True)
def take_in(control: int, n: int, pointers: int, stride: int) -> None:
    """Keep a block of the mix and wake the engines.

    Parameters
    ----------
    control : int
        Address of the control table.
    n : int
        Frames in the block.
    pointers : int
        Address of two addresses, of the first float32 sample left and right.
    stride : int
        Samples from one frame to the next in each.
    """
    c = words(control, CONTROL_WORDS)
    last = c[MIX_LAST]
    ring = float_rows(c[MIX_RING], 2, last + 1)
    inputs = words(pointers, 2)
    header = c[MIX_HEADER]
    shared = words(header, MIX_HEADER_WORDS)
    t = c[IN_TIME]
    if n != shared[BLOCK]:
        # The host has changed its block size: engines start anew at this boundary.
        store(header, BLOCK, n)
        store(header, EPOCH_START, t)
        store(header, EPOCH, shared[EPOCH] + 1)
        _note(control, t, TRACE_EPOCH, n)
    for side in range(2):
        samples = floats(inputs[side], n * stride)
        row = ring[side]
        for i in range(n):
            x = samples[i * stride]
            # Not a number compares false.
            row[(t + i) & last] = x if np.abs(x) <= SAMPLE_LIMIT else np.float32(0.0)
    c[IN_TIME] = t + n
    store(header, WRITTEN_MIX, t + n)
    c[POSTED_BEFORE_NS], c[POSTED_NS] = c[POSTED_NS], clock.now_ns()
    for slot in range(2):
        semaphore = load(control, SLOTS + slot * SLOT_WORDS + S_SEMAPHORE)
        if semaphore != 0:
            clock.post(semaphore)


@njit([types.boolean(int64, int64, int64, int64)], nogil=True, cache=True)
def _has(control: int, slot: int, start: int, stop: int) -> bool:
    """Whether a slot's ring holds the stems from `start` to `stop`."""
    header = load(control, SLOTS + slot * SLOT_WORDS + S_HEADER)
    if header == 0:
        return False
    return load(header, VALID_FROM) <= start and stop <= load(header, WRITTEN)


@njit([types.boolean(int64, int64, int64, int64)], nogil=True, cache=True)
def _late(control: int, slot: int, t: int, n: int) -> bool:
    """Whether a slot owes stems for the out time from `t` on that are not there yet."""
    header = load(control, SLOTS + slot * SLOT_WORDS + S_HEADER)
    if load(header, READY_EPOCH) != load(load(control, MIX_HEADER), EPOCH):
        return True
    start = t - load(header, LATENCY)
    return load(header, VALID_FROM) <= start and load(header, WRITTEN) < start + n


@njit([void(types.float32[::1], int64, types.float32[::1], int64)], nogil=True, cache=True)
def _copy(ring: Floats, start: int, out: Floats, n: int) -> None:
    """Copy `n` samples from index `start` of a ring on.

    Loops over slices run on vectors; assigning to slices would prepare for arrays that
    overlap, which allocates, and for shapes that differ, which raises.
    """
    head = min(n, ring.size - start)
    early = ring[start : start + head]
    for i in range(head):
        out[i] = early[i]
    late = out[head:n]
    for i in range(n - head):
        late[i] = ring[i]


@njit([void(types.float32[::1], int64, types.float32[::1])], nogil=True, cache=True)
def _keep(ring: Floats, start: int, values: Floats) -> None:
    """Write to a ring from index `start` on."""
    head = min(values.size, ring.size - start)
    early = ring[start : start + head]
    for i in range(head):
        early[i] = values[i]
    late = values[head:]
    for i in range(late.size):
        ring[i] = late[i]


@njit(
    [void(int64, int64, int64, int64, types.float32[::1])],
    nogil=True,
    cache=True,
    error_model="numpy",
)
def _read(control: int, channel: int, t: int, n: int, out: Floats) -> None:
    """Read `n` samples of a channel of what plays, from out time `t` on."""
    c = words(control, CONTROL_WORDS)
    slot = SLOTS + c[SLOT] * SLOT_WORDS
    header = c[slot + S_HEADER]
    column = int64(-1)
    if c[KIND] != SILENCE and header != 0:
        column = words(c[slot + S_MAP], MAX_CHANNELS)[channel]
    at = t - c[DELAY]
    if column < 0:
        out[:n] = np.float32(0.0)
    elif c[KIND] == MIX:
        last = c[MIX_LAST]
        _copy(float_rows(c[MIX_RING], 2, last + 1)[column & 1], at & last, out, n)
        gain = floats(header + 8 * SLOT_FALLBACK, MAX_CHANNELS)[column]
        for i in range(n):
            out[i] *= gain
    else:
        last = c[slot + S_LAST]
        _copy(float_rows(c[slot + S_RING], MAX_CHANNELS, last + 1)[column], at & last, out, n)


@njit([void(int64, int64, int64, int64, types.float32[::1])], nogil=True, cache=True)
def _fade(control: int, channel: int, t: int, n: int, out: Floats) -> None:
    """Mix into `out`, from out time `t` on, what is left of what was heard before."""
    c = words(control, CONTROL_WORDS)
    curve = floats(c[FADE_CURVE], FADE)
    past = floats(c[HISTORY] + 4 * channel * HISTORY_LENGTH, HISTORY_LENGTH)
    start = c[FADE_START]
    edge = past[(start - 1) & (HISTORY_LENGTH - 1)]
    for i in range(n):
        at = t + i - start
        if at >= FADE:
            break
        mirror = past[(start - 2 - at) & (HISTORY_LENGTH - 1)]
        echo = np.float32(2.0) * edge - mirror
        out[i] = curve[at] * out[i] + (np.float32(1.0) - curve[at]) * echo


@njit([void(int64, int64, int64, int64, int64)], nogil=True, cache=True)
def _complete(control: int, t: int, n: int, pointers: int, stride: int) -> None:
    """Make the residual of a fading block what the other stems leave of the mix."""
    c = words(control, CONTROL_WORDS)
    slot = SLOTS + c[SLOT] * SLOT_WORDS
    header = c[slot + S_HEADER]
    columns = words(c[slot + S_MAP], MAX_CHANNELS)
    gains = floats(header + 8 * SLOT_FALLBACK, MAX_CHANNELS)
    outputs = words(pointers, c[CHANNELS])
    residual = load(header, RESIDUAL)
    last = c[MIX_LAST]
    mix = float_rows(c[MIX_RING], 2, last + 1)
    start = t - c[DELAY]
    for target in range(c[CHANNELS]):
        column = columns[target]
        out = floats(outputs[target], n * stride)
        if column == residual or column == residual + 1:
            for i in range(n):
                out[i * stride] = mix[column & 1, (start + i) & last]
            for other in range(MONITOR_CHANNELS, c[CHANNELS]):
                if other != target and (other & 1) == (target & 1):
                    stem = floats(outputs[other], n * stride)
                    for i in range(n):
                        out[i * stride] -= stem[i * stride]
        elif target < MONITOR_CHANNELS and column >= 0:
            for i in range(n):
                out[i * stride] = gains[column] * mix[column & 1, (start + i) & last]


@njit([void(int64, int64, int64, int64, int64)], nogil=True, cache=True)
def _remember(control: int, t: int, n: int, pointers: int, stride: int) -> None:
    """Keep the end of every channel for the next fade, and the stems' sum to measure by."""
    c = words(control, CONTROL_WORDS)
    outputs = words(pointers, c[CHANNELS])
    scratch = floats(c[FADE_CURVE] + 4 * FADE, FADE)
    total = float_rows(c[FADE_CURVE] + 8 * FADE, 2, FADE)
    last = c[TAP_LAST]
    tap = float_rows(c[TAP], 2, last + 1)
    done = 0
    while done < n:
        count = min(n - done, FADE)
        total[:] = np.float32(0.0)
        for channel in range(c[CHANNELS]):
            out = floats(outputs[channel], n * stride)
            for i in range(count):
                scratch[i] = out[(done + i) * stride]
            past = floats(c[HISTORY] + 4 * channel * HISTORY_LENGTH, HISTORY_LENGTH)
            _keep(past, (t + done) & (HISTORY_LENGTH - 1), scratch[:count])
            if channel >= MONITOR_CHANNELS:
                side_total = total[channel & 1]
                for i in range(count):
                    side_total[i] += scratch[i]
        for side in range(2):
            _keep(tap[side], (t + done) & last, total[side, :count])
        done += count


@njit([void(int64, int64, int64, int64)], nogil=True, cache=True)
def _bear_with(control: int, slot: int, t: int, n: int) -> None:
    """Where the host itself is out of step, give the engine most of a block's time.

    A machine that stood still for a while calls back late, and then too soon, to make up
    for it; the engine has had no time for its block.  To go on at once would miss for
    nothing.  A host in step is never kept waiting.
    """
    c = words(control, CONTROL_WORDS)
    block_ns = n * 1_000_000_000 // max(1, c[SAMPLE_RATE])
    if abs(c[POSTED_NS] - c[POSTED_BEFORE_NS] - block_ns) < block_ns // 4:
        return
    c[WAITS] += 1
    until = clock.now_ns() + block_ns * 3 // 4
    while clock.now_ns() < until and _late(control, slot, t, n):
        clock.pause(_PAUSE_NS)


@njit([void(int64, int64, int64, int64)], nogil=True, cache=True)
def _choose(control: int, t: int, n: int, wanted: int) -> None:
    """Decide what plays in the frames from `t` on, and begin a fade where it changes."""
    c = words(control, CONTROL_WORDS)
    kind, slot, latency = SILENCE, c[SLOT], c[DELAY]
    if wanted >= 0:
        header = load(control, SLOTS + wanted * SLOT_WORDS + S_HEADER)
        stated = load(header, LATENCY) if header != 0 else -1
        if stated >= 0:
            waited = 0
            while waited < c[LOCKSTEP_NS] and _late(control, wanted, t, n):
                clock.pause(_PAUSE_NS)
                waited += _PAUSE_NS
            if c[KIND] == STEMS and _late(control, wanted, t, n):
                _bear_with(control, wanted, t, n)
            slot, latency = wanted, load(header, LATENCY)
            start = t - latency
            kind = STEMS if _has(control, slot, start, start + n) else MIX
            if kind == MIX and start >= load(header, VALID_FROM):
                c[MISSES] += 1
                _note(control, t, TRACE_MISS, c[MISSES])
    same = kind == c[KIND] and slot == c[SLOT] and latency == c[DELAY]
    if same or (kind == SILENCE and c[KIND] == SILENCE):
        return
    neutral = False
    if kind != SILENCE:
        neutral = load(load(control, SLOTS + slot * SLOT_WORDS + S_HEADER), NEUTRAL) != 0
    c[KIND], c[SLOT], c[DELAY], c[FADE_START] = kind, slot, latency, t
    # Whole in the fade too only if it was whole before, and equally late.
    c[WHOLE] = latency if neutral and c[WHOLE] == latency else -1
    c[FADED] = 0
    _note(control, t, TRACE_SWITCH, kind)


@njit([void(int64, int64, int64, int64)], nogil=True, cache=True)
def give_out(control: int, n: int, pointers: int, stride: int) -> None:
    """Put out the stems of `LATENCY` frames ago, or the mix of that instant.

    Parameters
    ----------
    control : int
        Address of the control table.
    n : int
        Frames in the block.
    pointers : int
        Address of as many addresses as there are channels, each of its first float32
        sample.
    stride : int
        Samples from one frame to the next in each.
    """
    c = words(control, CONTROL_WORDS)
    t = c[OUT_TIME]
    _choose(control, t, n, load(control, WANT))
    fading = c[FADED] < FADE
    outputs = words(pointers, c[CHANNELS])
    scratch = floats(c[FADE_CURVE] + 4 * FADE, FADE)
    for channel in range(c[CHANNELS]):
        out = floats(outputs[channel], n * stride)
        done = 0
        while done < n:
            count = min(n - done, FADE)
            _read(control, channel, t + done, count, scratch)
            if fading:
                _fade(control, channel, t + done, count, scratch)
            for i in range(count):
                out[(done + i) * stride] = scratch[i]
            done += count
    if fading:
        if c[WHOLE] >= 0:
            _complete(control, t, n, pointers, stride)
        c[FADED] = min(FADE, c[FADED] + n)
        if c[FADED] == FADE and c[KIND] != SILENCE:
            header = load(control, SLOTS + c[SLOT] * SLOT_WORDS + S_HEADER)
            c[WHOLE] = c[DELAY] if load(header, NEUTRAL) != 0 else -1
    _remember(control, t, n, pointers, stride)
    c[OUT_TIME] = t + n
    playing = c[SLOT] if c[KIND] != SILENCE else -1
    store(control, SHOWN, (c[KIND] << 8) | (playing + 1))


@njit([void(int64, int64)], nogil=True, cache=True)
def finish(control: int, started_ns: int) -> None:
    """Count a callback and its duration, at its end."""
    c = words(control, CONTROL_WORDS)
    now = clock.now_ns()
    length = c[HISTOGRAM_LENGTH]
    histogram = words(c[HISTOGRAM], length + 1)
    spent = now - started_ns
    histogram[min(length - 1, spent // 1000)] += 1
    histogram[length] = max(histogram[length], spent)
    if c[LOGGED] < c[LOG_LENGTH]:
        log = words(c[LOG], 2 * c[LOG_LENGTH])
        log[2 * c[LOGGED]] = started_ns
        log[2 * c[LOGGED] + 1] = now
        c[LOGGED] += 1
    store(control, CALLBACKS, c[CALLBACKS] + 1)
