"""The host process's side of two devices that drift: tables, set point, what it costs."""

from math import ceil

import numpy as np

from rtsep.kernels import atomics, tables
from rtsep.kernels import drift as dr
from rtsep.kernels import timeline as tl
from rtsep.kernels.simd import LANES
from rtsep.kernels.varispeed import HALF, SCRATCH, TAPS, varispeed_filters

LEAST_MARGIN_S = 0.002
MOST_RAISE_S = 0.2
STALE_S = 0.05
"""Without a callback for so long, or for four blocks, a device stands still."""
_REACH = HALF + 2
"""Samples that the resampler needs behind its position, with one for rounding."""


class Drift:
    """Keeps the output of one device in step with the input of another.

    The input's callback calls `rtsep.kernels.timeline.tick` on `in_clock` after it has
    taken its block in, the output's calls `rtsep.kernels.drift.play` on `address` and
    finds in `out` what to put out.

    The set point leaves a block of either device, the resampler's reach and a margin
    between the position of the input and that of the output; the margin is a block, at
    least `LEAST_MARGIN_S`.  Where a device calls back in bursts that this does not cover,
    the callback raises the set point by a block at a time.

    Attributes
    ----------
    address, in_clock : int
        Addresses for the callbacks.
    out : float32 [MAX_CHANNELS, most_frames]
        What `play` writes.

    Parameters
    ----------
    control : int
        Address of the control table of `rtsep.kernels.handover`.
    sample_rate : int
        In Hz, of both devices in name.
    in_block, out_block : int
        Frames that the devices ask for at a time.
    most_frames : int
        The longest block that `play` may be asked for.
    buffer : int, optional
        The set point, where it is to be another and stay what it is; at least
        `least_buffer`.
    """

    def __init__(
        self,
        control: int,
        sample_rate: int,
        in_block: int,
        out_block: int,
        most_frames: int,
        buffer: int | None = None,
    ) -> None:
        self._in_block = in_block
        margin = max(in_block, out_block, ceil(LEAST_MARGIN_S * sample_rate))
        capacity = dr.KEEP + TAPS + 2 * most_frames + 64
        self._fifo = np.zeros((tables.MAX_CHANNELS, capacity), np.float32)
        self._filters = varispeed_filters()
        self._filter = np.zeros(SCRATCH, np.float32)
        self._starts = np.zeros(LANES, np.int64)
        self._pointers = np.zeros(tables.MAX_CHANNELS, np.int64)
        self.out = np.zeros((tables.MAX_CHANNELS, most_frames), np.float32)
        self._clocks = np.zeros((2, tl.CLOCK_WORDS), np.int64)
        self._clocks.view(np.float64)[:, tl.NOMINAL] = 1e9 / sample_rate
        self._link = np.zeros(dr.LINK_WORDS, np.int64)
        link = self._link
        self.in_clock = int(self._clocks[0].ctypes.data)
        link[dr.CONTROL] = control
        link[dr.IN_CLOCK], link[dr.OUT_CLOCK] = self.in_clock, self._clocks[1].ctypes.data
        link[dr.FIFO], link[dr.CAPACITY] = self._fifo.ctypes.data, capacity
        link[dr.FILTERS], link[dr.FILTER] = self._filters.ctypes.data, self._filter.ctypes.data
        link[dr.STARTS] = self._starts.ctypes.data
        link[dr.POINTERS] = self._pointers.ctypes.data
        link[dr.OUT], link[dr.OUT_LENGTH] = self.out.ctypes.data, most_frames
        link[dr.SET_POINT] = in_block + out_block + _REACH + margin
        link[dr.MOST_SET_POINT] = link[dr.SET_POINT] + ceil(MOST_RAISE_S * sample_rate)
        link[dr.STEP], link[dr.BOUND] = max(in_block, out_block), margin
        link[dr.STALE_NS] = round(1e9 * max(STALE_S, 4 * in_block / sample_rate))
        if buffer is not None:
            link[dr.SET_POINT] = link[dr.MOST_SET_POINT] = buffer
            link[dr.BOUND] = max(margin, buffer // 4)
            link[dr.STALE_NS] = max(link[dr.STALE_NS], 2_000_000_000 * buffer // sample_rate)
        # Silent until both clocks are known.
        link[dr.FILL] = link[dr.EDGE] = dr.KEEP + TAPS
        link[dr.DRY], link[dr.LAST_N] = tables.FADE, out_block
        floats = link.view(np.float64)
        floats[dr.POSITION], floats[dr.SPEED] = dr.KEEP + TAPS - HALF, 1.0
        self.address = int(link.ctypes.data)

    @property
    def added_latency_samples(self) -> int:
        """How much later a stem comes than from one device that does both.

        The set point and the resampler's delay, less the block of input that any
        callback waits for.
        """
        return int(atomics.load(self.address, dr.SET_POINT)) - self._in_block

    @property
    def in_step(self) -> bool:
        """Whether both clocks are known and the output follows the input."""
        return bool(self._link[dr.IN_STEP]) and self._link[dr.DRY] < 0

    @property
    def jumps(self) -> int:
        """How often the output went to the set point at once, the first time included."""
        return int(atomics.load(self.address, dr.JUMPS))

    @property
    def shortages(self) -> int:
        """How often the output was asked for more than the input had brought."""
        return int(atomics.load(self.address, dr.SHORTAGES))

    @property
    def drift_ppm(self) -> float:
        """How much faster the input's clock is than the output's, in parts per million."""
        return (float(self._link.view(np.float64)[dr.SPEED]) - 1.0) * 1e6

    @property
    def error_samples(self) -> float:
        """How far the output is from its set point; positive: behind it."""
        return float(self._link.view(np.float64)[dr.ERROR])


def least_buffer(sample_rate: int, in_block: int, out_block: int) -> int:
    """The shortest set point for blocks that come in bursts of one."""
    return in_block + out_block + _REACH + ceil(LEAST_MARGIN_S * sample_rate)
