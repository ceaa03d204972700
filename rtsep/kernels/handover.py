"""What happens in an audio callback: the mix goes in, stems come out.

Two functions, for a host's C callback to call: `take_in` keeps a block of the mix and
wakes the engine, `give_out` puts out the stems that are due.  Where they are not there,
the mix of the same instant goes out whole, on the residual.  Neither waits, except for
a block's time where the host is out of step (see `_bear_with`).

Start, stop, a miss, another engine, another latency: whenever what plays changes, what
was heard is continued by odd reflection about its last sample, without a step in value
or slope, while it fades out and the new source fades in.  Where the stems are the
mixer's untouched ones, the residual is what the others leave of the mix also in a fade.

What stands where is said in `rtsep.kernels.tables`.
"""

import numpy as np
from numba import int64, njit, types, void
from numpy.typing import NDArray

from rtsep.kernels import clock, tables
from rtsep.kernels.atomics import float_rows, floats, load, store, words
from rtsep.kernels.rings import read_ring, write_ring

Floats = NDArray[np.float32]
Words = NDArray[np.int64]

_PAUSE_NS = 20_000


@njit([void(int64, int64, int64, int64)], nogil=True, cache=True)
def _note(control: int, frame: int, kind: int, number: int) -> None:
    """Write a line of the bounded trace."""
    c = words(control, tables.CONTROL_WORDS)
    row = c[tables.TRACED] & c[tables.TRACE_LAST]
    trace = words(c[tables.TRACE], (c[tables.TRACE_LAST] + 1) * tables.TRACE_WORDS)
    trace[row * tables.TRACE_WORDS + 0] = frame
    trace[row * tables.TRACE_WORDS + 1] = clock.now_ns()
    trace[row * tables.TRACE_WORDS + 2] = kind
    trace[row * tables.TRACE_WORDS + 3] = number
    store(control, tables.TRACED, c[tables.TRACED] + 1)


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
    c = words(control, tables.CONTROL_WORDS)
    last = c[tables.MIX_LAST]
    ring = float_rows(c[tables.MIX_RING], 2, last + 1)
    inputs = words(pointers, 2)
    header = c[tables.MIX_HEADER]
    shared = words(header, tables.MIX_HEADER_WORDS)
    t = c[tables.IN_TIME]
    if n != shared[tables.BLOCK]:
        # The host has changed its block size: engines start anew at this boundary.
        store(header, tables.BLOCK, n)
        store(header, tables.EPOCH_START, t)
        store(header, tables.EPOCH, shared[tables.EPOCH] + 1)
        _note(control, t, tables.TRACE_EPOCH, n)
    for side in range(2):
        samples = floats(inputs[side], n * stride)
        row = ring[side]
        for i in range(n):
            x = samples[i * stride]
            # Not a number compares false.
            row[(t + i) & last] = x if np.abs(x) <= tables.SAMPLE_LIMIT else np.float32(0.0)
    c[tables.IN_TIME] = t + n
    store(header, tables.WRITTEN_MIX, t + n)
    c[tables.POSTED_BEFORE_NS], c[tables.POSTED_NS] = c[tables.POSTED_NS], clock.now_ns()
    for slot in range(2):
        semaphore = load(control, tables.SLOTS + slot * tables.SLOT_WORDS + tables.S_SEMAPHORE)
        if semaphore != 0:
            clock.post(semaphore)


@njit([types.boolean(int64, int64, int64, int64)], nogil=True, cache=True)
def _has(control: int, slot: int, start: int, stop: int) -> bool:
    """Whether a slot's ring holds the stems from `start` to `stop`."""
    header = load(control, tables.SLOTS + slot * tables.SLOT_WORDS + tables.S_HEADER)
    if header == 0:
        return False
    return load(header, tables.VALID_FROM) <= start and stop <= load(header, tables.WRITTEN)


@njit([types.boolean(int64, int64, int64, int64)], nogil=True, cache=True)
def _late(control: int, slot: int, t: int, n: int) -> bool:
    """Whether a slot owes stems for the out time from `t` on that are not there yet."""
    header = load(control, tables.SLOTS + slot * tables.SLOT_WORDS + tables.S_HEADER)
    if load(header, tables.READY_EPOCH) != load(load(control, tables.MIX_HEADER), tables.EPOCH):
        return True
    start = t - load(header, tables.LATENCY)
    return load(header, tables.VALID_FROM) <= start and load(header, tables.WRITTEN) < start + n


@njit(
    [void(int64, int64, int64, int64, types.float32[::1])],
    nogil=True,
    cache=True,
    error_model="numpy",
)
def _read(control: int, channel: int, t: int, n: int, out: Floats) -> None:
    """Read `n` samples of a channel of what plays, from out time `t` on."""
    c = words(control, tables.CONTROL_WORDS)
    slot = tables.SLOTS + c[tables.SLOT] * tables.SLOT_WORDS
    header = c[slot + tables.S_HEADER]
    column = int64(-1)
    if c[tables.KIND] != tables.SILENCE and header != 0:
        column = words(c[slot + tables.S_MAP], tables.MAX_CHANNELS)[channel]
    at = t - c[tables.DELAY]
    if column < 0:
        out[:n] = np.float32(0.0)
    elif c[tables.KIND] == tables.MIX:
        last = c[tables.MIX_LAST]
        read_ring(float_rows(c[tables.MIX_RING], 2, last + 1)[column & 1], at, out[:n])
        gain = floats(header + 8 * tables.SLOT_FALLBACK, tables.MAX_CHANNELS)[column]
        for i in range(n):
            out[i] *= gain
    else:
        last = c[slot + tables.S_LAST]
        ring = float_rows(c[slot + tables.S_RING], tables.MAX_CHANNELS, last + 1)
        read_ring(ring[column], at, out[:n])


@njit([void(int64, int64, int64, int64, types.float32[::1])], nogil=True, cache=True)
def _fade(control: int, channel: int, t: int, n: int, out: Floats) -> None:
    """Mix into `out`, from out time `t` on, what is left of what was heard before."""
    c = words(control, tables.CONTROL_WORDS)
    curve = floats(c[tables.FADE_CURVE], tables.FADE)
    past = floats(c[tables.HISTORY] + 4 * channel * tables.HISTORY_LENGTH, tables.HISTORY_LENGTH)
    start = c[tables.FADE_START]
    edge = past[(start - 1) & (tables.HISTORY_LENGTH - 1)]
    for i in range(n):
        at = t + i - start
        if at >= tables.FADE:
            break
        mirror = past[(start - 2 - at) & (tables.HISTORY_LENGTH - 1)]
        echo = np.float32(2.0) * edge - mirror
        out[i] = curve[at] * out[i] + (np.float32(1.0) - curve[at]) * echo


@njit([void(int64, int64, int64, int64, int64)], nogil=True, cache=True)
def _complete(control: int, t: int, n: int, pointers: int, stride: int) -> None:
    """Make the residual of a fading block what the other stems leave of the mix."""
    c = words(control, tables.CONTROL_WORDS)
    slot = tables.SLOTS + c[tables.SLOT] * tables.SLOT_WORDS
    header = c[slot + tables.S_HEADER]
    columns = words(c[slot + tables.S_MAP], tables.MAX_CHANNELS)
    gains = floats(header + 8 * tables.SLOT_FALLBACK, tables.MAX_CHANNELS)
    outputs = words(pointers, c[tables.CHANNELS])
    residual = load(header, tables.RESIDUAL)
    last = c[tables.MIX_LAST]
    mix = float_rows(c[tables.MIX_RING], 2, last + 1)
    start = t - c[tables.DELAY]
    for target in range(c[tables.CHANNELS]):
        column = columns[target]
        out = floats(outputs[target], n * stride)
        if column == residual or column == residual + 1:
            for i in range(n):
                out[i * stride] = mix[column & 1, (start + i) & last]
            for other in range(tables.MONITOR_CHANNELS, c[tables.CHANNELS]):
                if other != target and (other & 1) == (target & 1):
                    stem = floats(outputs[other], n * stride)
                    for i in range(n):
                        out[i * stride] -= stem[i * stride]
        elif target < tables.MONITOR_CHANNELS and column >= 0:
            for i in range(n):
                out[i * stride] = gains[column] * mix[column & 1, (start + i) & last]


@njit([void(int64, int64, int64, int64, int64)], nogil=True, cache=True)
def _remember(control: int, t: int, n: int, pointers: int, stride: int) -> None:
    """Keep the end of every channel for the next fade, and the stems' sum to measure by."""
    c = words(control, tables.CONTROL_WORDS)
    outputs = words(pointers, c[tables.CHANNELS])
    scratch = floats(c[tables.FADE_CURVE] + 4 * tables.FADE, tables.FADE)
    total = float_rows(c[tables.FADE_CURVE] + 8 * tables.FADE, 2, tables.FADE)
    last = c[tables.TAP_LAST]
    tap = float_rows(c[tables.TAP], 2, last + 1)
    done = 0
    while done < n:
        count = min(n - done, tables.FADE)
        total[:] = np.float32(0.0)
        for channel in range(c[tables.CHANNELS]):
            out = floats(outputs[channel], n * stride)
            for i in range(count):
                scratch[i] = out[(done + i) * stride]
            past = floats(
                c[tables.HISTORY] + 4 * channel * tables.HISTORY_LENGTH, tables.HISTORY_LENGTH
            )
            write_ring(past, t + done, scratch[:count])
            if channel >= tables.MONITOR_CHANNELS:
                side_total = total[channel & 1]
                for i in range(count):
                    side_total[i] += scratch[i]
        for side in range(2):
            write_ring(tap[side], t + done, total[side, :count])
        done += count


@njit([void(int64, int64, int64, int64)], nogil=True, cache=True)
def _bear_with(control: int, slot: int, t: int, n: int) -> None:
    """Where the host itself is out of step, give the engine most of a block's time.

    A machine that stood still for a while calls back late, and then too soon, to make up
    for it; the engine has had no time for its block.  To go on at once would miss for
    nothing.  A host in step is never kept waiting.
    """
    c = words(control, tables.CONTROL_WORDS)
    block_ns = n * 1_000_000_000 // max(1, c[tables.SAMPLE_RATE])
    if abs(c[tables.POSTED_NS] - c[tables.POSTED_BEFORE_NS] - block_ns) < block_ns // 4:
        return
    c[tables.WAITS] += 1
    until = clock.now_ns() + block_ns * 3 // 4
    while clock.now_ns() < until and _late(control, slot, t, n):
        clock.pause(_PAUSE_NS)


@njit([void(int64, int64, int64, int64)], nogil=True, cache=True)
def _choose(control: int, t: int, n: int, wanted: int) -> None:
    """Decide what plays in the frames from `t` on, and begin a fade where it changes."""
    c = words(control, tables.CONTROL_WORDS)
    kind, slot, latency = tables.SILENCE, c[tables.SLOT], c[tables.DELAY]
    if wanted >= 0:
        header = load(control, tables.SLOTS + wanted * tables.SLOT_WORDS + tables.S_HEADER)
        stated = load(header, tables.LATENCY) if header != 0 else -1
        if stated >= 0:
            waited = 0
            while waited < c[tables.LOCKSTEP_NS] and _late(control, wanted, t, n):
                clock.pause(_PAUSE_NS)
                waited += _PAUSE_NS
            if c[tables.KIND] == tables.STEMS and _late(control, wanted, t, n):
                _bear_with(control, wanted, t, n)
            slot, latency = wanted, load(header, tables.LATENCY)
            start = t - latency
            kind = tables.STEMS if _has(control, slot, start, start + n) else tables.MIX
            if kind == tables.MIX and start >= load(header, tables.VALID_FROM):
                c[tables.MISSES] += 1
                _note(control, t, tables.TRACE_MISS, c[tables.MISSES])
    same = kind == c[tables.KIND] and slot == c[tables.SLOT] and latency == c[tables.DELAY]
    if same or (kind == tables.SILENCE and c[tables.KIND] == tables.SILENCE):
        return
    neutral = False
    if kind != tables.SILENCE:
        neutral = (
            load(
                load(control, tables.SLOTS + slot * tables.SLOT_WORDS + tables.S_HEADER),
                tables.NEUTRAL,
            )
            != 0
        )
    c[tables.KIND], c[tables.SLOT], c[tables.DELAY], c[tables.FADE_START] = kind, slot, latency, t
    # Whole in the fade too only if it was whole before, and equally late.
    c[tables.WHOLE] = latency if neutral and c[tables.WHOLE] == latency else -1
    c[tables.FADED] = 0
    _note(control, t, tables.TRACE_SWITCH, kind)


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
    c = words(control, tables.CONTROL_WORDS)
    t = c[tables.OUT_TIME]
    _choose(control, t, n, load(control, tables.WANT))
    fading = c[tables.FADED] < tables.FADE
    outputs = words(pointers, c[tables.CHANNELS])
    scratch = floats(c[tables.FADE_CURVE] + 4 * tables.FADE, tables.FADE)
    for channel in range(c[tables.CHANNELS]):
        out = floats(outputs[channel], n * stride)
        done = 0
        while done < n:
            count = min(n - done, tables.FADE)
            _read(control, channel, t + done, count, scratch)
            if fading:
                _fade(control, channel, t + done, count, scratch)
            for i in range(count):
                out[(done + i) * stride] = scratch[i]
            done += count
    if fading:
        if c[tables.WHOLE] >= 0:
            _complete(control, t, n, pointers, stride)
        c[tables.FADED] = min(tables.FADE, c[tables.FADED] + n)
        if c[tables.FADED] == tables.FADE and c[tables.KIND] != tables.SILENCE:
            header = load(
                control, tables.SLOTS + c[tables.SLOT] * tables.SLOT_WORDS + tables.S_HEADER
            )
            c[tables.WHOLE] = c[tables.DELAY] if load(header, tables.NEUTRAL) != 0 else -1
    _remember(control, t, n, pointers, stride)
    c[tables.OUT_TIME] = t + n
    playing = c[tables.SLOT] if c[tables.KIND] != tables.SILENCE else -1
    store(control, tables.SHOWN, (c[tables.KIND] << 8) | (playing + 1))


@njit([void(int64, int64)], nogil=True, cache=True)
def finish(control: int, started_ns: int) -> None:
    """Count a callback and its duration, at its end."""
    c = words(control, tables.CONTROL_WORDS)
    now = clock.now_ns()
    length = c[tables.HISTOGRAM_LENGTH]
    histogram = words(c[tables.HISTOGRAM], length + 1)
    spent = now - started_ns
    histogram[min(length - 1, spent // 1000)] += 1
    histogram[length] = max(histogram[length], spent)
    if c[tables.LOGGED] < c[tables.LOG_LENGTH]:
        log = words(c[tables.LOG], 2 * c[tables.LOG_LENGTH])
        log[2 * c[tables.LOGGED]] = started_ns
        log[2 * c[tables.LOGGED] + 1] = now
        c[tables.LOGGED] += 1
    store(control, tables.CALLBACKS, c[tables.CALLBACKS] + 1)
