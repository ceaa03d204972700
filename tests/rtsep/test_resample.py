import numpy as np
import numpy.typing as npt
import pytest

from rtsep.rates import native_rate
from rtsep.resample import Resampler

Floats = npt.NDArray[np.float32]
FILE_RATES = (8_000, 11_025, 16_000, 22_050, 32_000, 37_800, 47_999, 176_400, 192_000)


def tones(sample_rate: int, seconds: float, highest_hz: float) -> npt.NDArray[np.float64]:
    """A known band-limited signal, at any rate: tones in an envelope that starts at 0."""
    t = np.arange(round(seconds * sample_rate)) / sample_rate
    waves = [
        np.sin(2 * np.pi * share * highest_hz * t + i)
        for i, share in enumerate(np.linspace(0.02, 0.7, 9))
    ]
    return np.sum(waves, axis=0) * np.exp(-(((t - seconds / 2) / (seconds / 6)) ** 2))


def convert(resampler: Resampler, audio: Floats, sizes: tuple[int, ...]) -> Floats:
    parts, start, turn = [], 0, 0
    while start < audio.shape[1]:
        size = sizes[turn % len(sizes)]
        parts.append(resampler.process(audio[:, start : start + size]))
        start, turn = start + size, turn + 1
    return np.concatenate([*parts, resampler.finish()], axis=1)


@pytest.mark.parametrize("file_rate", FILE_RATES)
@pytest.mark.parametrize("back", [False, True])
def test_every_output_sample_lies_where_it_says(file_rate: int, back: bool) -> None:
    source, target = file_rate, native_rate(file_rate)
    if back:
        source, target = target, source
    highest = min(source, target) / 2
    audio = tones(source, 0.4, highest).astype(np.float32)[None]
    converted = convert(Resampler(source, target, 1), audio, (4096,))
    assert converted.shape[1] == -(-audio.shape[1] * target // source)
    ideal = tones(target, 0.4, highest)
    n = min(len(ideal), converted.shape[1])
    error = converted[0, :n] - ideal[:n]
    # A thousandth of a sample off would leave more than -65 dB.
    assert 10 * np.log10(np.mean(error**2) / np.mean(ideal**2)) < -90


@pytest.mark.parametrize("rates", [(8_000, 48_000), (48_000, 32_000), (176_400, 88_200)])
@pytest.mark.parametrize("n", [0, 1, 2, 63, 1000, 9001])
def test_streamed_equals_one_block(rates: tuple[int, int], n: int) -> None:
    audio = np.random.default_rng(n).standard_normal((2, n)).astype(np.float32)
    whole = convert(Resampler(*rates, 2), audio, (max(n, 1),))
    pieces = convert(Resampler(*rates, 2), audio, (1, 777, 2, 4096))
    assert whole.shape == (2, -(-n * rates[1] // rates[0]))
    np.testing.assert_array_equal(pieces, whole)


@pytest.mark.parametrize("rates", [(48_000, 32_000), (48_000, 8_000), (192_000, 96_000)])
@pytest.mark.parametrize(("share", "low_db", "high_db"), [(0.92, -0.01, 0.01), (1.0, -300, -79)])
def test_what_passes_and_what_does_not(
    rates: tuple[int, int], share: float, low_db: float, high_db: float
) -> None:
    source, target = rates
    frequency = share * min(rates) / 2
    wave = np.sin(2 * np.pi * frequency * np.arange(source // 4) / source + 1)
    out = convert(Resampler(source, target, 1), wave.astype(np.float32)[None], (4096,))
    middle = out[0, target // 16 : -target // 16]
    level_db = 10 * np.log10(2 * np.mean(np.square(middle, dtype=np.float64)) + 1e-30)
    assert low_db <= level_db <= high_db
