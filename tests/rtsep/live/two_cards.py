"""Two simulated sound cards, each with a crystal and a scheduler of its own."""

import heapq
from collections.abc import Callable

import numpy as np

from rtsep.kernels import atomics, tables
from rtsep.kernels import drift as dr
from rtsep.kernels import handover as ho
from rtsep.kernels import timeline as tl
from rtsep.live.drift import Drift
from rtsep.live.handover import Handover
from rtsep.live.shared import STEM_CAPACITY, Segment, fallback_gains, slot_segment

RATE = 48_000
CHANNELS = ("other_L", "other_R", "monitor_L", "monitor_R")


class TwoCards:
    """An input and an output whose callbacks come when their own clocks say, and late.

    Parameters
    ----------
    in_ppm, out_ppm : float
        How much faster than its name each clock runs.
    jitter_s : float
        Mean of the time by which callbacks are late, distributed exponentially.
    in_burst, out_burst : int
        So many callbacks come at a time.
    latency : int or None
        Of an engine that gives the mix on the only stem; None: nothing plays.
    """

    def __init__(
        self,
        *,
        in_ppm: float = 0.0,
        out_ppm: float = 0.0,
        in_block: int = 128,
        out_block: int = 128,
        jitter_s: float = 100e-6,
        in_burst: int = 1,
        out_burst: int = 1,
        latency: int | None = None,
        mix: Callable[[np.ndarray], np.ndarray] = lambda t: np.zeros((2, t.shape[0])),
        seed: int = 0,
    ) -> None:
        self.blocks = {"in": in_block, "out": out_block}
        self.ppm = {"in": in_ppm, "out": out_ppm}
        self.bursts = {"in": in_burst, "out": out_burst}
        self.jitter_s, self.latency, self.mix = jitter_s, latency, mix
        self.random = np.random.default_rng(seed)
        self.handover = Handover()
        self.handover.add_channels(CHANNELS)
        self.handover.open_channels()
        self.handover.restart(in_block, 48_000)
        self.slot: Segment | None = None
        if latency is not None:
            self._attach(latency)
        self.drift = Drift(self.handover.address, RATE, in_block, out_block, out_block)
        # When the next block of each is due at its card, and what is due after a pause.
        self.due = {"in": 0.010, "out": 0.0113}
        self.silent_until = {"in": 0.0, "out": 0.0}
        self.lose = {"in": False, "out": False}
        self.events: list[tuple[float, str]] = []
        self.in_frames = 0
        self.now = 0.0
        self.speeds: list[float] = []
        self.errors: list[float] = []
        self.times: list[float] = []
        self.outputs: list[np.ndarray] = []
        for side in ("in", "out"):
            self._schedule(side)

    def _attach(self, latency: int) -> None:
        self.slot = slot_segment(len(CHANNELS))
        header = self.slot["header"]
        header[tables.LATENCY], header[tables.VALID_FROM] = latency, 0
        header[tables.NEUTRAL], header[tables.RESIDUAL] = 1, 0
        header[tables.READY_EPOCH] = self.handover.mix["header"][tables.EPOCH]
        fallback_gains(self.slot)[:4] = 1.0
        self.handover.attach(0, self.slot, CHANNELS, 0)
        self.handover.want(0)

    def stall(self, side: str, seconds: float, lose: bool) -> None:
        """Let a card's callbacks stay out; afterwards they catch up, or have been lost."""
        self.silent_until[side] = self.now + seconds
        self.lose[side] = lose

    def _schedule(self, side: str) -> None:
        """The next callback, or a burst of them."""
        for _ in range(self.bursts[side]):
            if self.due[side] < self.silent_until[side] and self.lose[side]:
                self.due[side] = self.silent_until[side]
            period = self.blocks[side] / (RATE * (1 + 1e-6 * self.ppm[side]))
            self.due[side] += period
        late = self.random.exponential(self.jitter_s)
        at = max(self.due[side] + late, self.silent_until[side])
        for k in range(self.bursts[side]):
            heapq.heappush(self.events, (at + 1e-6 * k, side))

    def run(self, seconds: float) -> None:
        stop = self.now + seconds
        while self.events[0][0] < stop:
            self.now, side = heapq.heappop(self.events)
            now_ns = 10**15 + round(self.now * 1e9)
            if side == "in":
                self._hear(now_ns)
            else:
                self._play(now_ns)
            if all(other != side for _, other in self.events):
                self._schedule(side)
        self.now = stop

    def _hear(self, now_ns: int) -> None:
        n = self.blocks["in"]
        block = self.mix(np.arange(self.in_frames, self.in_frames + n)).astype(np.float32)
        places = np.array([row.ctypes.data for row in block], np.int64)
        ho.take_in(self.handover.address, n, places.ctypes.data, 1)
        self.in_frames += n
        tl.tick(self.drift.in_clock, n, self.in_frames, now_ns, False)
        if self.slot is not None:
            # The engine has done what came before this block.
            assert self.latency is not None
            up_to = self.in_frames - self.latency
            index = np.arange(int(self.slot["header"][tables.WRITTEN]), up_to)
            stems = self.handover.mix["ring"][:, index % self.handover.mix["ring"].shape[1]]
            self.slot["ring"][:2, index % STEM_CAPACITY] = stems
            self.slot["ring"][2:, index % STEM_CAPACITY] = stems
            if up_to > 0:
                atomics.store(self.slot.address("header"), tables.WRITTEN, up_to)

    def _play(self, now_ns: int) -> None:
        n = self.blocks["out"]
        dr.play(self.drift.address, n, now_ns, False)
        self.times.append(self.now)
        self.speeds.append(self.drift.drift_ppm)
        self.errors.append(self.drift.error_samples)
        if self.slot is not None:
            self.outputs.append(self.drift.out[:4, :n].copy())

    def true_delay(self, phase: float, period: int) -> float:
        """How much later the last output block came than one device would give it.

        Parameters
        ----------
        phase : float
            Of the block's first sample, in samples of a mix that repeats itself.
        period : int
            How often the mix repeats itself.
        """
        n = self.blocks["out"]
        began = self.due["out"] - n / (RATE * (1 + 1e-6 * self.ppm["out"]))
        blocks = sum(side == "in" for _, side in self.events)
        in_rate = RATE * (1 + 1e-6 * self.ppm["in"])
        to_come = (self.due["in"] - began) * in_rate
        heard = self.in_frames + self.blocks["in"] * blocks - to_come
        return float((heard - phase - self.blocks["in"]) % period)

    def close(self) -> None:
        if self.slot is not None:
            self.slot.close()
        self.handover.close()
