"""Every step is found, and nothing is that is none."""

import numpy as np
import pytest

from rtsep.bench.clicks import FACTOR, Click, ClickDetector, smoothest_step
from rtsep.bench.signals import Floats, smooth_signal
from rtsep.kernels.tables import FADE

RATE = 48_000
SIGNAL = smooth_signal(RATE)[:, : 3 * RATE]
PEAK = float(np.abs(SIGNAL).max())
CURVE = 0.5 - 0.5 * np.cos(np.pi * (np.arange(FADE) + 1) / (FADE + 1))


def clicks(samples: Floats, chunk: int = 10_007, start: int = 0) -> list[Click]:
    detector = ClickDetector(samples.shape[0], PEAK, start)
    found = []
    for at in range(0, samples.shape[1], chunk):
        found += detector.feed(samples[:, at : at + chunk])
    return found + detector.finish()


def stems() -> Floats:
    """Two ports of very different loudness."""
    return np.stack((0.9 * SIGNAL[0], 0.001 * SIGNAL[1])).astype(np.float32)


def test_the_signal_has_no_step_where_it_repeats() -> None:
    whole = smooth_signal(RATE)
    assert 0.2 < np.abs(whole).max() < 0.7
    assert clicks(np.concatenate((whole, whole), axis=1)) == []


@pytest.mark.parametrize("chunk", [64, 1_000, 144_000])
@pytest.mark.parametrize("place", [3, 2_047, 40_000, 70_001, 143_990])
@pytest.mark.parametrize("port", [0, 1])
def test_a_click_of_a_fiftieth_is_found_wherever_it_is(port: int, place: int, chunk: int) -> None:
    samples = stems()
    samples[port, place] += 0.02 * PEAK
    found = clicks(samples, chunk, start=500)
    assert found
    for click in found:
        assert click.port == port
        assert abs(click.frame - 500 - place) <= 1
        assert click.size > click.usual


def test_a_hard_switch_to_the_mix_and_back_is_found() -> None:
    samples = stems()
    samples[1, 50_000:50_128] = SIGNAL[1, 50_000:50_128]
    found = {(click.port, round(click.frame / 128)) for click in clicks(samples)}
    assert {(1, round(50_000 / 128)), (1, round(50_128 / 128))} <= found
    assert {port for port, _ in found} == {1}


def test_many_clicks_do_not_hide_each_other() -> None:
    samples = stems()
    places = np.arange(20_000, 60_000, 1_000)
    samples[0, places] += 0.1
    assert len({click.frame // 100 for click in clicks(samples)}) == places.size


@pytest.mark.parametrize("period", [10**9, 512, 137])
def test_a_cross_fade_to_the_mix_is_no_click(period: int) -> None:
    samples = stems().astype(np.float64)
    switch = np.zeros(samples.shape[1])
    for place in range(30_000, 90_000, max(2 * FADE + 128, min(period, 60_000))):
        switch[place : place + FADE] = CURVE
        switch[place + FADE : place + FADE + 100] = 1.0
        switch[place + FADE + 100 : place + 2 * FADE + 100] = CURVE[::-1]
    faded = samples + switch * (SIGNAL - samples)
    assert clicks(faded.astype(np.float32)) == []


def test_a_stem_continued_by_odd_reflection_is_no_click() -> None:
    samples, at = stems(), 60_000
    for port in range(2):
        edge, past = samples[port, at - 1], samples[port, at - 2 - np.arange(FADE)]
        fade = CURVE.astype(np.float32)
        reflected = 2 * edge - past
        ahead = SIGNAL[port, at : at + FADE]
        samples[port, at : at + FADE] = fade * ahead + (1 - fade) * reflected
        samples[port, at + FADE :] = SIGNAL[port, at + FADE :]
    assert clicks(samples) == []


def test_the_smallest_click_that_is_found_is_small() -> None:
    assert FACTOR * smoothest_step(PEAK) < 0.005 * PEAK
