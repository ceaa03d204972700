"""Two devices whose clocks drift, simulated: in step, smooth, and back after a stall."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from rtsep.kernels.varispeed import HALF
from tests.rtsep.live.two_cards import RATE, TwoCards

LATENCY = 256
PERIOD = 4096
HEIGHT = 0.5


def spiral(t: np.ndarray) -> np.ndarray:
    """A mix whose two sides show at every sample which one it is."""
    angle = 2 * np.pi * t / PERIOD
    return HEIGHT * np.stack([np.cos(angle), np.sin(angle)])


@contextmanager
def cards(**settings: object) -> Iterator[TwoCards]:
    simulated = TwoCards(**settings)  # type: ignore[arg-type]
    try:
        yield simulated
    finally:
        simulated.close()


def played(simulated: TwoCards) -> np.ndarray:
    return np.concatenate(simulated.outputs, axis=1)


def last_delay(simulated: TwoCards) -> float:
    left, right = simulated.outputs[-1][:2, 0]
    phase = np.arctan2(right, left) / (2 * np.pi) * PERIOD
    return simulated.true_delay(float(phase), PERIOD)


def steps(signal: np.ndarray) -> float:
    """Largest third difference: a slow sine has a small one, a click a large one."""
    return float(np.abs(np.diff(signal, 3)).max())


#: What the fade that follows a miss may show, and a cut of the same sound: over 0.1.
SMOOTH = 2e-4


@pytest.mark.parametrize(("in_ppm", "out_ppm"), [(0, 0), (500, 0), (-500, 0), (-250, 250), (3, -2)])
def test_it_locks_within_seconds_and_does_not_wow(in_ppm: float, out_ppm: float) -> None:
    with cards(in_ppm=in_ppm, out_ppm=out_ppm, seed=int(in_ppm + out_ppm) % 7) as simulated:
        simulated.run(40)
        true = ((1 + 1e-6 * in_ppm) / (1 + 1e-6 * out_ppm) - 1) * 1e6
        times, wrong = np.array(simulated.times), np.array(simulated.speeds) - true
        errors = np.abs(simulated.errors)
        assert np.abs(wrong[times > 4]).max() < 30
        assert errors[times > 4].max() < 2
        steady = wrong[times > 15]
        assert np.sqrt(np.mean(steady**2)) < 2
        assert np.abs(steady).max() < 5
        assert simulated.drift.in_step
        assert simulated.drift.jumps == 1
        assert simulated.drift.shortages == 0


@pytest.mark.parametrize(("in_block", "out_block"), [(64, 256), (256, 64), (1024, 512), (128, 480)])
def test_blocks_need_not_be_equal(in_block: int, out_block: int) -> None:
    with cards(
        in_ppm=80, in_block=in_block, out_block=out_block, latency=2 * in_block, mix=spiral
    ) as simulated:
        simulated.run(8)
        assert simulated.drift.drift_ppm == pytest.approx(80, abs=40)
        assert simulated.handover.misses == 0
        stated = 2 * in_block + simulated.drift.added_latency_samples
        assert last_delay(simulated) == pytest.approx(stated, abs=8)


def test_even_the_longest_blocks_come_into_step() -> None:
    with cards(in_block=8192, out_block=8192, latency=8192, mix=spiral) as simulated:
        simulated.run(20)
        assert simulated.drift.in_step
        assert simulated.handover.misses == 0
        assert np.hypot(*played(simulated)[:2, -8192:]).min() > 0.99 * HEIGHT


def test_the_delay_is_the_stated_one_and_the_sound_unharmed() -> None:
    with cards(in_ppm=300, latency=LATENCY, mix=spiral) as simulated:
        simulated.run(12)
        stated = LATENCY + simulated.drift.added_latency_samples
        assert last_delay(simulated) == pytest.approx(stated, abs=1)
        assert simulated.drift.added_latency_samples == 128 + 128 + HALF + 2
        assert simulated.handover.misses == 0
        out = played(simulated)[:, 2 * RATE :]
        np.testing.assert_allclose(np.hypot(out[0], out[1]), HEIGHT, atol=2e-6)
        np.testing.assert_array_equal(out[:2], out[2:])


def test_a_sine_keeps_its_purity_while_clocks_drift_and_callbacks_jitter() -> None:
    hertz = 1000.0

    def sine(t: np.ndarray) -> np.ndarray:
        tone = HEIGHT * np.sin(2 * np.pi * hertz / RATE * t)
        return np.stack([tone, tone])

    with cards(in_ppm=200, latency=LATENCY, mix=sine) as simulated:
        simulated.run(14)
        heard = played(simulated)[0, 12 * RATE : 13 * RATE].astype(np.float64)
    power = np.abs(np.fft.rfft(heard * np.kaiser(heard.shape[0], 25.0))) ** 2
    # The loop's slow wander is bounded above; what is further than 20 Hz away is not it.
    near = np.abs(np.arange(power.shape[0]) - hertz) <= 20
    assert 10 * np.log10(power[~near].sum() / power[near].sum()) < -100


def test_a_step_of_the_drift_is_followed_without_a_jump() -> None:
    with cards(in_ppm=300, latency=LATENCY, mix=spiral) as simulated:
        simulated.run(8)
        simulated.ppm["in"] = 400.0
        simulated.run(30)
        assert simulated.drift.jumps == 1
        assert simulated.handover.misses == 0
        assert simulated.drift.drift_ppm == pytest.approx(400, abs=5)
        stated = LATENCY + simulated.drift.added_latency_samples
        assert last_delay(simulated) == pytest.approx(stated, abs=3)
        assert steps(played(simulated)[0]) < SMOOTH


@pytest.mark.parametrize("lose", [True, False])
@pytest.mark.parametrize("side", ["in", "out"])
@pytest.mark.parametrize("seconds", [0.003, 0.02, 0.1, 0.7])
def test_after_a_stall_it_comes_back_without_a_click(side: str, seconds: float, lose: bool) -> None:
    with cards(in_ppm=-200, latency=LATENCY, mix=spiral, seed=3) as simulated:
        simulated.run(4)
        simulated.stall(side, seconds, lose)
        simulated.run(12)
        out = played(simulated)
        for channel in out:
            assert steps(channel) < SMOOTH < 1e-3 * steps(np.where(np.arange(9) < 4, HEIGHT, 0))
        # Silent for no longer than the input was, and the time to trust its clock again.
        silent = np.hypot(out[0], out[1])[2 * RATE :] < 1e-3
        assert silent.sum() <= (seconds + 0.3) * RATE
        assert not silent[-RATE:].any()
        assert simulated.drift.in_step
        stated = LATENCY + simulated.drift.added_latency_samples
        assert last_delay(simulated) == pytest.approx(stated, abs=24)


def test_bursts_of_the_input_cost_nothing() -> None:
    with cards(in_ppm=100, in_burst=4, latency=LATENCY, mix=spiral) as simulated:
        before = simulated.drift.added_latency_samples
        simulated.run(20)
        assert simulated.drift.added_latency_samples == before
        assert simulated.drift.shortages == simulated.handover.misses == 0
        assert simulated.drift.drift_ppm == pytest.approx(100, abs=5)


def test_bursts_of_the_output_raise_the_set_point_until_they_are_covered() -> None:
    with cards(in_ppm=100, out_burst=4, latency=LATENCY, mix=spiral) as simulated:
        before = simulated.drift.added_latency_samples
        simulated.run(20)
        raised = simulated.drift.added_latency_samples
        assert before < raised <= before + 4 * 128
        shortages = simulated.drift.shortages
        simulated.run(10)
        assert simulated.drift.shortages == shortages
        assert simulated.drift.added_latency_samples == raised
        assert steps(played(simulated)[0]) < SMOOTH


def test_without_an_input_there_is_silence() -> None:
    with cards(latency=LATENCY, mix=spiral) as simulated:
        simulated.stall("in", 10.0, True)
        simulated.events = [event for event in simulated.events if event[1] == "out"]
        simulated.run(2)
        assert not simulated.drift.in_step
        assert not played(simulated).any()
