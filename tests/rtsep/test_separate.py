import tracemalloc
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from rtsep.bundle import Bundle
from rtsep.engine import Engine
from rtsep.note_events import Note, NoteEvent, collect_notes
from rtsep.presets import PRESETS
from rtsep.rates import NATIVE_RATES
from rtsep.separate import SeparatedBlock, engine_rate, separate_audio
from tests.rtsep import models

Floats = npt.NDArray[np.float32]

FOREIGN_RATES = (8_000, 11_025, 16_000, 22_050, 32_000, 37_800, 176_400, 192_000)


@cache
def bundle(kind: str) -> Bundle:
    data = {
        "identity": lambda: models.constant_masks(),
        "taps": lambda: models.tcn_taps(lookahead=300),
        "chunk": lambda: models.tcn_chunk(),
        "audio": lambda: models.fir_audio(),
        "notes": lambda: models.transcriber(threshold_db=-40.0),
    }[kind]()
    return models.bundle(data, kind)


@cache
def engine_of(kind: str | None, preset: str = "live", notes: bool = False) -> Engine:
    separator = bundle(kind) if kind else None
    transcriber = bundle("notes") if notes else None
    return Engine(separator, transcriber, PRESETS[preset], device="cpu")


def pieces(audio: Floats, sizes: Sequence[int]) -> Iterator[Floats]:
    start = turn = 0
    while start < audio.shape[1]:
        stop = start + sizes[turn % len(sizes)]
        yield audio[:, start:stop]
        start, turn = stop, turn + 1


def separate(
    engine: Engine, audio: Floats, sample_rate: int, sizes: Sequence[int] = (5000, 1, 0, 20_000)
) -> tuple[Floats, list[NoteEvent]]:
    blocks = list(separate_audio(engine, pieces(audio, sizes), sample_rate, audio.shape[0]))
    position = 0
    for block in blocks:
        assert block.start == position
        position += block.stems.shape[2]
    assert position == audio.shape[1]
    stems = np.concatenate([block.stems for block in blocks], axis=2)
    return stems, [event for block in blocks for event in block.notes]


def noise(n: int, channels: int = 2, *, band: float = 1.0) -> Floats:
    """Noise in the lower part, `band`, of all frequencies."""
    rng = np.random.default_rng(0)
    spectrum = np.fft.rfft(0.2 * rng.standard_normal((channels, n)))
    spectrum[:, int(band * spectrum.shape[1]) :] = 0
    return np.fft.irfft(spectrum, n).astype(np.float32)


def offset_samples(late: Floats, reference: Floats) -> float:
    """Delay of one signal against another by the peak of their cross-correlation."""
    n = 2 * len(late)
    cross = np.fft.irfft(np.fft.rfft(late, n) * np.conj(np.fft.rfft(reference, n)), 16 * n)
    peak = int(np.argmax(cross))
    return (peak if peak < 8 * n else peak - 16 * n) / 16


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", NATIVE_RATES)
def test_native_rates_are_aligned_to_the_sample(rate: int, channels: int, preset: str) -> None:
    audio = noise(20_000, channels)
    stems, _ = separate(engine_of("identity", preset), audio, rate)
    np.testing.assert_allclose(stems.sum(axis=0), audio, atol=1e-5)
    # Before the first masks the mix is in the residual.
    np.testing.assert_allclose(stems[0, :, 6000:], audio[:, 6000:], atol=1e-5)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", FOREIGN_RATES)
def test_other_rates_are_aligned_too(rate: int, channels: int) -> None:
    ratio = engine_rate(engine_of("identity"), rate) / rate
    # Without the top fifth of what both rates can hold, which the converters' filters eat.
    audio = noise(rate // 2, channels, band=0.8 * min(ratio, 1.0))
    stems, _ = separate(engine_of("identity"), audio, rate)
    np.testing.assert_allclose(stems.sum(axis=0), audio, atol=1e-5)
    start = int(3000 / ratio)
    # The file's end is a step, whose ringing the residual keeps.
    inner = slice(start, -500)
    for stem, mix in zip(stems[0, :, inner], audio[:, inner], strict=True):
        assert abs(offset_samples(stem, mix)) <= 1 / 16
        error = np.mean(np.square(stem - mix)) / np.mean(np.square(mix))
        assert 10 * np.log10(error) < -70


@pytest.mark.parametrize("kind", ["taps", "chunk", "audio"])
@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_stems_sum_to_the_file(kind: str, rate: int, channels: int) -> None:
    audio = noise(17_001, channels)
    stems, _ = separate(engine_of(kind), audio, rate)
    assert stems.shape == (len(bundle(kind).manifest.stems), *audio.shape)
    np.testing.assert_allclose(stems.sum(axis=0), audio, atol=1e-5)
    assert (np.abs(stems[:, :, 10_000:]).max(axis=(1, 2)) > 1e-3).all()


@pytest.mark.parametrize("rate", [11_025, 48_000, 176_400])
@pytest.mark.parametrize("n", [0, 1, 2, 255, 256, 257, 8191, 8193])
def test_any_length(rate: int, n: int) -> None:
    audio = noise(10_000)[:, :n]
    stems, _ = separate(engine_of("taps", notes=True), audio, rate, sizes=(999,))
    assert stems.shape == (5, 2, n)
    np.testing.assert_allclose(stems.sum(axis=0), audio, atol=1e-5)


@pytest.mark.parametrize("rate", [32_000, 44_100])
def test_chunk_sizes_do_not_matter(rate: int) -> None:
    audio = melody(rate)
    engine = engine_of("taps", notes=True)
    stems, notes = separate(engine, audio, rate, sizes=(audio.shape[1],))
    for sizes in ((1111,), (37, 9000, 1)):
        again_stems, again_notes = separate(engine, audio, rate, sizes)
        np.testing.assert_allclose(again_stems, stems, atol=1e-6)
        assert again_notes == notes


def test_an_audio_model_brings_its_own_rate() -> None:
    engine = engine_of("audio")
    assert [engine_rate(engine, rate) for rate in (44_100, 48_000, 96_000)] == [48_000] * 3
    audio = noise(20_000)
    stems, _ = separate(engine, audio, 48_000)
    expected = models.fir_stems(audio, models.fir_kernels())
    np.testing.assert_allclose(stems, expected, atol=1e-5)


def melody(rate: int) -> Floats:
    """A note of the transcriber's guitar at 0.25 s and one of its piano at 1 s."""
    t = np.arange(rate // 2) / rate
    fade = np.minimum(1, np.minimum(t, t[::-1]) * 50)
    beeps = [0.3 * fade * np.sin(2 * np.pi * f * t) for f in (261.6, 880.0)]
    silence = np.zeros(rate // 4)
    line = np.concatenate([silence, beeps[0], silence, beeps[1]])
    return np.tile(line, (2, 1)).astype(np.float32)


@pytest.mark.parametrize("kind", [None, "taps"])
@pytest.mark.parametrize("rate", [8_000, 44_100, 96_000, 176_400])
def test_notes_are_in_samples_of_the_file(kind: str | None, rate: int) -> None:
    audio = melody(rate)
    stems, events = separate(engine_of(kind, notes=True), audio, rate)
    assert stems.shape[1:] == audio.shape
    notes = collect_notes(events)
    for key, seconds in ((("guitar", 60), 0.25), (("piano", 81), 1.0)):
        found = [note for note in notes if (note.stem, note.pitch) == key]
        first = min(found, key=lambda note: abs(note.onset - seconds * rate))
        assert first.onset / rate == pytest.approx(seconds, abs=0.03)
        assert first.offset / rate == pytest.approx(seconds + 0.5, abs=0.12)


def test_the_end_of_a_file_is_no_event() -> None:
    # Cut in full swing: a click in every band, as a transcriber hears it.
    rate = 48_000
    t = np.arange(rate) / rate
    audio = np.tile(0.5 * np.sin(2 * np.pi * 50 * t + 1), (2, 1)).astype(np.float32)
    engine = engine_of(None, notes=True)
    engine.prepare(rate, 8192)
    padded = np.pad(audio, ((0, 0), (0, 10_000)))
    events: list[NoteEvent] = []
    for block in pieces(padded, (8000,)):
        engine.process(block, np.empty((0, *block.shape), np.float32))
        events += engine.take_notes()
    onsets = [event.sample for event in events if event.velocity]
    assert max(onsets) >= rate, "the toy transcriber did not hear the click"
    notes: list[Note] = collect_notes(separate(engine, audio, rate)[1])
    assert notes
    assert max(note.onset for note in notes) < rate


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_memory_stays_bounded(rate: int) -> None:
    engine = engine_of("identity")
    block = noise(8192)
    peaks = []
    for count in (8, 48):
        tracemalloc.start()
        for _ in separate_audio(engine, (block for _ in range(count)), rate, 2):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + block.nbytes


def test_results_come_while_the_file_goes_in() -> None:
    fed = 0

    def chunks() -> Iterator[Floats]:
        nonlocal fed
        for _ in range(20):
            fed += 4096
            yield noise(4096)

    furthest = 0
    for block in separate_audio(engine_of("taps"), chunks(), 22_050, 2):
        assert isinstance(block, SeparatedBlock)
        furthest = max(furthest, fed - block.start)
    assert furthest < 4 * 4096


def test_refuses_chunks_of_another_kind() -> None:
    engine = engine_of("identity")
    with pytest.raises(ValueError, match=r"expected \(1, n\)"):
        list(separate_audio(engine, [noise(10)], 48_000, 1))
    with pytest.raises(TypeError, match="float64"):
        list(separate_audio(engine, [np.zeros((2, 10))], 48_000, 2))  # type: ignore[list-item]
