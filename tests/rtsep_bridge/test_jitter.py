"""Stems over a network, simulated: two clocks, late messages, lost ones, other mixes."""

import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from rtsep.kernels import drift as dr
from rtsep.live.drift import least_buffer
from rtsep_bridge.jitter import JitterBuffer

RATE = 48_000
PERIOD = 4096
HEIGHT = 0.5
#: What a fade may show, and a cut of the same sound: over 0.1.
SMOOTH = 2e-4


def spiral(t: np.ndarray) -> np.ndarray:
    """Two stems that show at every sample which one it is."""
    angle = 2 * np.pi * t / PERIOD
    pair = HEIGHT * np.stack([np.cos(angle), np.sin(angle)])
    return np.concatenate([0.25 * pair, 0.75 * pair]).astype(np.float32)


class Studio:
    """A sender with a clock of its own, a network that delays, and a callback here."""

    def __init__(
        self,
        *,
        ppm: float = 0.0,
        jitter_s: float = 0.001,
        buffer_s: float = 0.02,
        block: int = 128,
        out_block: int = 128,
        seed: int = 1,
        start: int = 10**9,
    ) -> None:
        self.random = np.random.default_rng(seed)
        self.ppm, self.jitter_s, self.block, self.out_block = ppm, jitter_s, block, out_block
        self.jitter = JitterBuffer(("a", "b"), RATE, block, buffer_s)
        self.jitter.handover.restart(out_block, RATE)
        self.drift = self.jitter.follow(RATE, out_block)
        self.jitter.handover.open_channels()
        self.sample = self.start = start
        self.sent_at, self.arrived, self.play_at = 0.010, 0.0, 0.0113
        self.events: list[tuple[float, int, int]] = []
        self.drop: Callable[[int], bool] = lambda sample: False
        self.errors: list[float] = []
        self.outputs: list[np.ndarray] = []
        self.times: list[float] = []
        self._send()

    def _send(self) -> None:
        self.sent_at += self.block / (RATE * (1 + 1e-6 * self.ppm))
        # As with TCP, what is late holds up what comes after it.
        late = self.random.exponential(self.jitter_s)
        self.arrived = max(self.arrived + 1e-6, self.sent_at + late)
        heapq.heappush(self.events, (self.arrived, 0, self.sample))
        self.sample += self.block

    def run(self, seconds: float) -> None:
        stop = self.play_at + seconds
        while self.play_at < stop:
            while self.events and self.events[0][0] <= self.play_at:
                at, _, sample = heapq.heappop(self.events)
                if not self.drop(sample):
                    stems = spiral(np.arange(sample - self.start, sample - self.start + self.block))
                    self.jitter.take(sample, stems, 10**15 + round(at * 1e9))
                if not self.events:
                    self._send()
            late = self.random.exponential(min(50e-6, self.jitter_s))
            dr.play(
                self.drift.address,
                self.out_block,
                10**15 + round((self.play_at + late) * 1e9),
                False,
            )
            self.errors.append(self.drift.error_samples)
            # Stems first, then their sum.
            self.outputs.append(self.drift.out[[2, 3, 4, 5, 0, 1], : self.out_block])
            self.times.append(self.play_at)
            self.play_at += self.out_block / RATE

    def heard(self) -> np.ndarray:
        return np.concatenate(self.outputs, axis=1)

    def delay(self) -> float:
        """From when the network would bring a sample at its best, to when it is played."""
        row = self.outputs[-1][:2, 0]
        phase = np.arctan2(row[1], row[0]) / (2 * np.pi) * PERIOD
        came = (self.times[-1] - 0.010) * RATE * (1 + 1e-6 * self.ppm)
        return float((came - phase) % PERIOD)


@contextmanager
def studio(**settings: object) -> Iterator[Studio]:
    simulated = Studio(**settings)  # type: ignore[arg-type]
    try:
        yield simulated
    finally:
        simulated.jitter.close()


@pytest.mark.parametrize("ppm", [-200, 0, 200])
def test_it_stays_locked_while_the_clocks_drift(ppm: float) -> None:
    with studio(ppm=ppm) as simulated:
        simulated.run(30)
        assert simulated.drift.in_step
        assert simulated.drift.jumps == 1
        assert simulated.drift.shortages == 0
        times = np.array(simulated.times)
        assert np.abs(np.array(simulated.errors)[times > 10]).max() < 4
        assert simulated.drift.drift_ppm == pytest.approx(ppm, abs=20)
        assert simulated.jitter.buffer == 960
        assert simulated.delay() == pytest.approx(960, abs=20)
        out = simulated.heard()[:, 2 * RATE :]
        np.testing.assert_allclose(np.hypot(out[0], out[1]), 0.25 * HEIGHT, atol=2e-6)
        np.testing.assert_allclose(out[4:], out[:2] + out[2:4], atol=1e-6)  # their sum


def test_without_drift_and_delay_nothing_is_changed() -> None:
    with studio(jitter_s=0.0) as simulated:
        simulated.run(10)
        out = simulated.heard()[:4, 8 * RATE :].astype(np.float64)
        phase = np.unwrap(np.arctan2(out[1], out[0])) / (2 * np.pi) * PERIOD
        straight = phase[0] + np.arange(phase.shape[0])
        assert np.abs(phase - straight).max() < 0.5
        np.testing.assert_allclose(np.hypot(out[0], out[1]), 0.25 * HEIGHT, atol=2e-6)


@pytest.mark.parametrize("missing", [1, 7, 60])
def test_lost_blocks_are_faded_counted_and_leave_all_in_its_place(missing: int) -> None:
    with studio(ppm=50) as simulated:
        simulated.run(5)
        gone = range(simulated.sample + 12_800, simulated.sample + 12_800 + 128 * missing)
        simulated.drop = lambda sample: sample in gone
        simulated.run(5)
        assert simulated.jitter.lost == 128 * missing
        assert simulated.jitter.breaks == 0
        for row in simulated.heard():
            assert np.abs(np.diff(row, 3)).max() < SMOOTH
        assert simulated.delay() == pytest.approx(960, abs=20)


@pytest.mark.parametrize("seconds", [0.03, 0.15, 1.0])
def test_a_network_that_stands_still_is_faded_and_comes_back_in_its_place(seconds: float) -> None:
    with studio(ppm=-100) as simulated:
        simulated.run(5)
        simulated.arrived += seconds  # what comes then comes at once
        simulated.run(8 if seconds < 1 else 24)
        assert simulated.drift.shortages >= 1
        assert simulated.drift.in_step
        for row in simulated.heard():
            assert np.abs(np.diff(row, 3)).max() < SMOOTH
        assert simulated.delay() == pytest.approx(960, abs=24)
        silent = np.hypot(*simulated.heard()[:2, 2 * RATE :]) < 1e-3
        assert silent.sum() < (seconds + 0.4) * RATE


def test_another_mix_is_taken_up_where_it_is() -> None:
    with studio() as simulated:
        simulated.run(3)
        for step in (-50_000, 3_000_000):
            simulated.sample += step
            simulated.run(3)
            assert simulated.drift.in_step
            out = simulated.heard()[:2, -RATE:]
            np.testing.assert_allclose(np.hypot(*out), 0.25 * HEIGHT, atol=2e-6)
        assert simulated.jitter.breaks == 2
        for row in simulated.heard():
            assert np.abs(np.diff(row, 3)).max() < SMOOTH


def test_a_mix_that_is_rendered_faster_than_time_breaks_nothing() -> None:
    with studio() as simulated:
        simulated.run(2)
        for _ in range(2000):
            stems = np.zeros((4, 1024), np.float32)
            now_ns = 10**15 + round(simulated.play_at * 1e9)
            simulated.jitter.take(simulated.sample, stems, now_ns)
            simulated.sample += 1024
        assert simulated.jitter.breaks > 10
        simulated.sent_at = simulated.arrived = simulated.play_at
        simulated.run(6)
        assert simulated.drift.in_step
        assert np.hypot(*simulated.heard()[:2, -RATE:]).min() > 0.24 * HEIGHT


def test_long_blocks_get_the_buffer_that_they_need() -> None:
    with studio(block=1024, out_block=256, buffer_s=0.02) as simulated:
        assert simulated.jitter.buffer == least_buffer(RATE, 1024, 256)
        simulated.run(5)
        assert simulated.drift.in_step
        assert simulated.drift.shortages == 0
