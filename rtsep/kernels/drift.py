"""Two sound cards, two clocks: keeping what one plays in step with what the other hears.

Each stream's callback feeds a clock, see `rtsep.kernels.timeline`.

The output's callback compares both lines: how far the input has come at this instant,
against how far it has read itself.  The ratio of the slopes, and a slow pull towards the
set point, give the speed at which `play` reads.  Too far from the set point, after a
device has stalled, it jumps there under the cross-fade of a miss.  Where the input ends,
the sound is continued by odd reflection while it fades.

The table of a link of two clocks has words of 64 bits, int64 or float64; they are the
constants below.
"""

import numpy as np
from numba import boolean, int64, njit, void

from rtsep.kernels import handover as ho
from rtsep.kernels import tables
from rtsep.kernels import timeline as tl
from rtsep.kernels.atomics import float_rows, floats, load, store, words
from rtsep.kernels.simd import LANES
from rtsep.kernels.timeline import doubles
from rtsep.kernels.varispeed import HALF, PHASES, SCRATCH, TAPS, varispeed

PULL_S = 8.0
"""Time constant of the pull towards the set point, once it has been there for a while."""
MOST_SPEED = 2 * tl.MOST_DRIFT
KEEP = 2 * tables.FADE + 8
"""Samples before the newest that are kept, to reflect."""

# --- set by the host --------------------------------------------------------------
CONTROL, IN_CLOCK, OUT_CLOCK, FIFO, CAPACITY, FILTERS, FILTER, POINTERS, OUT, OUT_LENGTH = range(10)
SET_POINT, MOST_SET_POINT, STEP, BOUND, STALE_NS, STARTS = 10, 11, 12, 13, 14, 15
# --- written by the output's callback -----------------------------------------------
FILL, DRY, EDGE, JUMPS, SHORTAGES, SHORT, OUT_FRAMES, LAST_N = 16, 17, 18, 19, 20, 21, 22, 23
ROWS, JUMP_NS, IN_STEP, RAISED = 24, 25, 26, 27
POSITION, SPEED, ERROR, SCORE = 32, 33, 34, 35
LINK_WORDS = 40
_PATIENCE_S = 10.0
_MOST_SHORTAGES = 3.0


@njit([void(int64, int64)], nogil=True, cache=True)
def _jump(control: int, frames: int) -> None:
    """Go on at another out time, under the cross-fade of a miss."""
    c = words(control, tables.CONTROL_WORDS)
    length = tables.HISTORY_LENGTH
    turn = frames % length
    for channel in range(c[tables.CHANNELS]):
        past = floats(c[tables.HISTORY] + 4 * channel * length, length)
        # What was heard keeps its place before the next sample: rotate by reversals.
        for start, stop in ((0, length), (0, turn), (turn, length)):
            low, high = start, stop - 1
            while low < high:
                past[low], past[high] = past[high], past[low]
                low += 1
                high -= 1
    c[tables.OUT_TIME] += frames
    if c[tables.KIND] != tables.SILENCE:
        c[tables.FADE_START], c[tables.FADED], c[tables.WHOLE] = c[tables.OUT_TIME], 0, -1


@njit([void(int64, int64)], nogil=True, cache=True)
def _resume(link: int, frames: int) -> None:
    """Go on at another out time, from silence."""
    w = words(link, LINK_WORDS)
    c = words(w[CONTROL], tables.CONTROL_WORDS)
    past = floats(c[tables.HISTORY], c[tables.CHANNELS] * tables.HISTORY_LENGTH)
    past[:] = np.float32(0.0)
    c[tables.OUT_TIME] += frames
    w[DRY] = -1


@njit([void(int64)], nogil=True, cache=True)
def _run_dry(link: int) -> None:
    """Begin to fade out: the mix is not there that should go out now."""
    w = words(link, LINK_WORDS)
    control = w[CONTROL]
    c = words(control, tables.CONTROL_WORDS)
    w[DRY], w[EDGE] = 0, w[FILL] - 1
    c[tables.KIND], c[tables.FADED], c[tables.WHOLE] = tables.SILENCE, tables.FADE, -1
    store(control, tables.SHOWN, 0)


@njit([void(int64, int64)], nogil=True, cache=True, error_model="numpy")
def _follow(link: int, now_ns: int) -> None:
    """Find out how far the input is ahead, and how fast to read."""
    w, f = words(link, LINK_WORDS), doubles(link, LINK_WORDS)
    control, source, sink = w[CONTROL], w[IN_CLOCK], w[OUT_CLOCK]
    c = words(control, tables.CONTROL_WORDS)
    w[IN_STEP] = 0
    version = load(source, tl.VERSION)
    frames, time_ns = load(source, tl.FRAMES), load(source, tl.TIME_NS)
    slope, steady, seen = load(source, tl.SLOPE), load(source, tl.STEADY), load(source, tl.SEEN_NS)
    # Half written: the other callback is at it right now, so the last speed will do.
    if version & 1 or load(source, tl.VERSION) != version:
        return
    if not steady or not load(sink, tl.STEADY) or now_ns - seen > w[STALE_NS]:
        return
    w[IN_STEP] = 1
    period = slope / tl.SLOPE_UNIT
    since = (
        (w[OUT_FRAMES] - w[LAST_N] - load(sink, tl.FRAMES)) * load(sink, tl.SLOPE) / tl.SLOPE_UNIT
    )
    heard = frames + (load(sink, tl.TIME_NS) + since - time_ns) / period
    read = c[tables.OUT_TIME] - w[FILL] + f[POSITION]
    error = heard - read - w[SET_POINT]
    jump = int64(np.floor(error + 0.5))
    if w[DRY] >= tables.FADE:
        # Only once the mix is there that is due then.
        wanted = c[tables.OUT_TIME] + jump + w[LAST_N] + 3
        back = wanted <= load(c[tables.MIX_HEADER], tables.WRITTEN_MIX)
    else:
        back = w[DRY] < 0 and (w[RAISED] != 0 or abs(error) > w[BOUND])
    if back:
        if w[DRY] >= 0:
            _resume(link, jump)
        else:
            _jump(control, jump)
        error -= jump
        w[RAISED] = 0
        w[JUMP_NS] = now_ns
        store(link, JUMPS, w[JUMPS] + 1)
    f[ERROR] = error
    pull = min(PULL_S, max(0.5, 0.5e-9 * (now_ns - w[JUMP_NS])))
    speed = load(sink, tl.SLOPE) / slope + error * period / (1e9 * pull)
    f[SPEED] = min(1.0 + MOST_SPEED, max(1.0 - MOST_SPEED, speed))


@njit([int64(int64)], nogil=True, cache=True)
def _least_delay(control: int) -> int:
    """How late the mix is put out by what plays or will play next."""
    c = words(control, tables.CONTROL_WORDS)
    delay: int = c[tables.DELAY] if c[tables.KIND] != tables.SILENCE else tables.NEVER
    wanted = load(control, tables.WANT)
    if wanted >= 0:
        header = load(control, tables.SLOTS + wanted * tables.SLOT_WORDS + tables.S_HEADER)
        if header != 0 and load(header, tables.LATENCY) >= 0:
            delay = min(delay, load(header, tables.LATENCY))
    return delay


@njit([void(int64, int64)], nogil=True, cache=True, error_model="numpy")
def _watch(link: int, count: int) -> None:
    """Look whether the mix of the next `count` frames has come, and note if it has not."""
    w, f = words(link, LINK_WORDS), doubles(link, LINK_WORDS)
    control = w[CONTROL]
    c = words(control, tables.CONTROL_WORDS)
    delay = _least_delay(control)
    missing = c[tables.OUT_TIME] + count - load(c[tables.MIX_HEADER], tables.WRITTEN_MIX)
    if delay == tables.NEVER or missing <= 0:
        w[SHORT] = 0
        return
    if w[SHORT] == 0:
        store(link, SHORTAGES, w[SHORTAGES] + 1)
        if w[IN_STEP] != 0:
            f[SCORE] += 1.0
    w[SHORT] = 1
    if f[SCORE] >= _MOST_SHORTAGES and w[SET_POINT] + w[STEP] <= w[MOST_SET_POINT]:
        # Not a stall but a habit: this device calls back in bursts.
        store(link, SET_POINT, w[SET_POINT] + w[STEP])
        f[SCORE] = 0.0
        w[RAISED] = 1
    if missing > delay:
        _run_dry(link)


@njit([void(int64, int64)], nogil=True, cache=True)
def _die_away(link: int, count: int) -> None:
    """Continue what was heard last by odd reflection while it fades, then silence."""
    w = words(link, LINK_WORDS)
    c = words(w[CONTROL], tables.CONTROL_WORDS)
    curve = floats(c[tables.FADE_CURVE], tables.FADE)
    rows = float_rows(w[FIFO], c[tables.CHANNELS], w[CAPACITY])
    edge = w[EDGE]
    for channel in range(rows.shape[0]):
        for i in range(count):
            at = w[DRY] + i
            value = np.float32(0.0)
            if at < tables.FADE:
                echo = np.float32(2.0) * rows[channel, edge] - rows[channel, edge - 1 - at]
                value = (np.float32(1.0) - curve[at]) * echo
            rows[channel, w[FILL] + i] = value
    w[DRY] += count


@njit([void(int64, int64)], nogil=True, cache=True)
def _make_room(link: int, count: int) -> None:
    """Move what is still needed to the front where `count` samples more do not fit."""
    w, f = words(link, LINK_WORDS), doubles(link, LINK_WORDS)
    if w[FILL] + count <= w[CAPACITY]:
        return
    first = min(w[FILL] - KEEP, int64(f[POSITION]) - HALF)
    rows = float_rows(w[FIFO], w[ROWS], w[CAPACITY])
    for channel in range(rows.shape[0]):
        for i in range(w[FILL] - first):
            rows[channel, i] = rows[channel, first + i]
    w[FILL] -= first
    w[EDGE] -= first
    f[POSITION] -= first


@njit([void(int64, int64, int64, boolean)], nogil=True, cache=True, error_model="numpy")
def play(link: int, n: int, now_ns: int, lost: bool) -> None:
    """Put out a block at the output's clock.

    Parameters
    ----------
    link : int
        Address of the table.
    n : int
        Frames, at most as many as the link was made for.
    now_ns : int
        When the callback began.
    lost : bool
        Whether the host says that frames were lost.
    """
    w, f = words(link, LINK_WORDS), doubles(link, LINK_WORDS)
    control = w[CONTROL]
    c = words(control, tables.CONTROL_WORDS)
    channels = c[tables.CHANNELS]
    rows = float_rows(w[FIFO], channels, w[CAPACITY])
    while w[ROWS] < channels:
        rows[w[ROWS], :] = np.float32(0.0)
        w[ROWS] += 1
    tl.tick(w[OUT_CLOCK], w[LAST_N], w[OUT_FRAMES], now_ns, lost)
    w[OUT_FRAMES] += n
    w[LAST_N] = n
    _follow(link, now_ns)
    nominal = doubles(w[OUT_CLOCK], tl.CLOCK_WORDS)[tl.NOMINAL]
    f[SCORE] -= f[SCORE] * n * nominal / (1e9 * _PATIENCE_S)
    # One more than the filter reaches, for the rounding of the position.
    count = int64(f[POSITION] + f[SPEED] * (n - 1)) + HALF + 2 - w[FILL]
    if count > 0:
        _make_room(link, count)
        if w[DRY] < 0:
            _watch(link, count)
        if w[DRY] < 0:
            pointers = words(w[POINTERS], tables.MAX_CHANNELS)
            for channel in range(channels):
                pointers[channel] = w[FIFO] + 4 * (channel * w[CAPACITY] + w[FILL])
            ho.give_out(control, count, w[POINTERS], 1)
        else:
            _die_away(link, count)
        w[FILL] += count
    f[POSITION] = varispeed(
        floats(w[FIFO], channels * w[CAPACITY]),
        w[CAPACITY],
        f[POSITION],
        f[SPEED],
        channels,
        n,
        floats(w[FILTERS], (PHASES + 1) * TAPS),
        floats(w[FILTER], SCRATCH),
        words(w[STARTS], LANES),
        floats(w[OUT], channels * w[OUT_LENGTH]),
        w[OUT_LENGTH],
    )
