import pytest

from rtsep.presets import PRESETS
from rtsep.rates import NATIVE_RATES


def test_the_dial_has_its_positions_in_order_of_latency() -> None:
    assert list(PRESETS) == ["lowest", "live", "relaxed", "offline"]
    latencies = [preset.latency_samples(0) for preset in PRESETS.values()]
    assert latencies == sorted(latencies)
    assert len(set(latencies)) == len(latencies)


def test_lowest_and_live_keep_their_promise_without_lookahead() -> None:
    assert PRESETS["lowest"].latency_samples(0) <= 128
    assert PRESETS["live"].latency_samples(0) <= 256


def test_lookahead_is_paid_for_in_full() -> None:
    assert PRESETS["live"].latency_samples(512) == PRESETS["live"].latency_samples(0) + 512


@pytest.mark.parametrize("name", PRESETS)
def test_sizes_fit_each_other(name: str) -> None:
    preset = PRESETS[name]
    assert preset.name == name
    assert (preset.synthesis // 2) % preset.hop == 0
    for rate in NATIVE_RATES:
        n_fft = preset.frame_length(rate)
        assert n_fft & (n_fft - 1) == 0
        assert n_fft >= preset.synthesis
        assert n_fft == preset.n_fft * (2 if rate > 64_000 else 1)
