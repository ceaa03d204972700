import numpy as np
import pytest

from rtsep.rates import FILE_RATE_RANGE, NATIVE_RATES, native_rate, rate_factor


@pytest.mark.parametrize(("rate", "factor"), [(44_100, 1), (48_000, 1), (88_200, 2), (96_000, 2)])
def test_windows_double_with_the_rate(rate: int, factor: int) -> None:
    assert rate_factor(rate) == factor


@pytest.mark.parametrize("rate", [0, 8000, 44_099, 192_000])
def test_refuses_a_rate_that_is_not_native(rate: int) -> None:
    with pytest.raises(ValueError, match=f"{rate} Hz; expected one of"):
        rate_factor(rate)


@pytest.mark.parametrize(
    ("rate", "native"),
    [
        (8_000, 48_000),
        (11_025, 44_100),
        (16_000, 48_000),
        (22_050, 44_100),
        (24_000, 48_000),
        (32_000, 48_000),
        (37_800, 48_000),
        (64_000, 48_000),
        (176_400, 88_200),
        (192_000, 96_000),
        *((rate, rate) for rate in NATIVE_RATES),
    ],
)
def test_every_family_has_its_native_rate(rate: int, native: int) -> None:
    assert native_rate(rate) == native


def test_every_file_rate_maps_to_a_native_one_without_losing_much_band() -> None:
    low, high = FILE_RATE_RANGE
    for rate in np.random.default_rng(0).integers(low, high, 500).tolist():
        native = native_rate(rate)
        assert native in NATIVE_RATES
        # At least 20 kHz of audio bandwidth, or all that the file has.
        assert native >= min(rate, 44_100)
