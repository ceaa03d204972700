"""Callback times as a straight line of frames over time.

A delay-locked loop of second order (F. Adriaensen, "Using a DLL to filter time", 2005).
Its gains begin as those of a growing least-squares fit and end at a bandwidth of
`CLOCK_HZ`.  Where frames were lost, the line starts anew at the same slope.

A clock is a table of words of 64 bits, int64 or float64: those that another callback may
read, then integers and floats of its own.
"""

from typing import Any

import numpy as np
from numba import boolean, carray, float64, int64, njit, void  # type: ignore[attr-defined, unused-ignore]

from rtsep.kernels.atomics import add, as_pointer, store, words

CLOCK_HZ = 0.05
MOST_DRIFT = 0.002
"""How far a clock may be from its name, as a share."""

VERSION, FRAMES, TIME_NS, SLOPE, STEADY, SEEN_NS = 0, 1, 2, 3, 4, 5
TICKS, SINCE, STRAYS, RESTARTS, BASE_NS, RESTART_NS, HELD = 8, 9, 10, 11, 12, 13, 14
TIME, PERIOD, NOMINAL = 16, 17, 18
CLOCK_WORDS = 24
SLOPE_UNIT = 2.0**32
_STRAY_TICKS = 16
_FIRST_NS, _AGAIN_NS = 500_000_000, 100_000_000


@njit(nogil=True, forceinline=True)
def doubles(address: int, count: int) -> Any:
    """View of `count` float64 numbers."""
    return carray(as_pointer(address), (count,), np.float64)  # type: ignore[call-arg, unused-ignore]


@njit([void(int64, int64, float64, float64)], nogil=True, cache=True, error_model="numpy")
def _bend(clock: int, advance: int, predicted: float, late: float) -> None:
    """Move the line and turn it by what one callback shows."""
    w, f = words(clock, CLOCK_WORDS), doubles(clock, CLOCK_WORDS)
    omega = min(0.5, 2e-9 * np.pi * CLOCK_HZ * advance * f[NOMINAL])
    k = float(w[TICKS])
    move, turn = np.sqrt(2.0) * omega, omega * omega
    turn = max(turn, 6.0 / (k * (k + 1.0)))
    if w[SINCE] == w[TICKS]:
        move = max(move, 2.0 * (2.0 * k - 1.0) / (k * (k + 1.0)))
    else:
        move = max(move, 1.0 / w[SINCE])
    f[TIME] = predicted + move * late
    limit = MOST_DRIFT * f[NOMINAL]
    period = f[PERIOD] + turn * late / max(1, advance)
    f[PERIOD] = min(f[NOMINAL] + limit, max(f[NOMINAL] - limit, period))


@njit([void(int64, int64, int64, int64, boolean)], nogil=True, cache=True, error_model="numpy")
def tick(clock: int, advance: int, frames: int, now_ns: int, lost: bool) -> None:
    """Draw a stream's line of time through one more callback.

    Of several callbacks that come at once, because the device's buffer holds them all,
    the first one counts.

    Parameters
    ----------
    clock : int
        Address of its table.
    advance : int
        Frames since the callback before.
    frames : int
        Frames so far.
    now_ns : int
        When the callback began.
    lost : bool
        Whether the host says that frames were lost.
    """
    w, f = words(clock, CLOCK_WORDS), doubles(clock, CLOCK_WORDS)
    w[HELD] += advance
    again = 4 * (now_ns - w[SEEN_NS]) < advance * f[NOMINAL]
    store(clock, SEEN_NS, now_ns)
    if w[TICKS] == 0:
        w[BASE_NS] = w[RESTART_NS] = now_ns
        w[TICKS] = w[SINCE] = 1
        f[TIME], f[PERIOD] = 0.0, f[NOMINAL]
    elif again and not lost:
        return
    else:
        now = float(now_ns - w[BASE_NS])
        block = advance * f[PERIOD]
        predicted = f[TIME] + w[HELD] * f[PERIOD]
        late = now - predicted
        stray = w[SINCE] > 8 and abs(late) > 0.5 * block
        w[STRAYS] = w[STRAYS] + 1 if stray else 0
        w[TICKS] += 1
        if lost or abs(late) > max(4.0 * block, 1e7) or w[STRAYS] > _STRAY_TICKS:
            w[SINCE], w[STRAYS], w[RESTART_NS] = 1, 0, now_ns
            w[RESTARTS] += 1
            f[TIME] = now
        else:
            w[SINCE] += 1
            if stray:
                late = 0.5 * block if late > 0.0 else -0.5 * block
            _bend(clock, w[HELD], predicted, late)
    w[HELD] = 0
    since = now_ns - w[RESTART_NS]
    steady = since >= _AGAIN_NS and now_ns - w[BASE_NS] >= _FIRST_NS
    add(clock, VERSION, 1)
    store(clock, FRAMES, frames)
    store(clock, TIME_NS, w[BASE_NS] + round(f[TIME]))
    store(clock, SLOPE, round(f[PERIOD] * SLOPE_UNIT))
    store(clock, STEADY, int64(steady))
    add(clock, VERSION, 1)
