"""Masks from a file on a stream: aligned, found again, and never in the mix's way."""

import numpy as np
import pytest

from rtsep.engine import Engine
from rtsep.fingerprint import fingerprint
from rtsep.mask_file import MaskFile, read_masks, write_masks
from rtsep.played_masks import REST, Place
from rtsep.presets import PRESETS
from tests.rtsep import models
from tests.rtsep.cli import CommandLine, read_audio, write_audio

RATE, N_FFT, HOP = 44_100, 1024, 512
SPLIT = 24  # the bin of about 1 kHz


def beats(seconds: float = 6.0, rate: int = RATE) -> np.ndarray:
    """A low tone, and a high one that is there every other half second, over faint noise."""
    time = np.arange(round(seconds * rate)) / rate
    rng = np.random.default_rng(0)
    low = 0.3 * np.sin(2 * np.pi * 300 * time) * (1 + 0.3 * np.sin(2 * np.pi * 0.7 * time**1.5))
    high = 0.3 * np.sin(2 * np.pi * (4000 + 40 * time) * time) * gate(time)
    noise = 1e-3 * rng.standard_normal((2, len(time)))
    return (np.stack([low + high, low - high]) + noise).astype(np.float32)


def gate(time: np.ndarray) -> np.ndarray:
    return (np.floor(2 * time) % 2 == 1).astype(np.float64)


def make_file(path, audio: np.ndarray, rate: int = RATE, tags=("high",)) -> MaskFile:
    """Masks that let the high tone through where it sounds."""
    frames = 1 + round(audio.shape[1] * RATE / rate) // HOP
    mask = np.zeros((frames, N_FFT // 2 + 1), np.float32)
    mask[:, SPLIT:] = gate(np.arange(frames) * HOP / RATE)[:, None]
    masks = dict.fromkeys(tags, mask)
    write_masks(
        path,
        masks,
        fingerprint(audio, rate),
        sample_rate=RATE,
        samples=round(audio.shape[1] * RATE / rate),
        n_fft=N_FFT,
        hop=HOP,
        settings={},
    )
    return read_masks(path)


def run(engine: Engine, audio: np.ndarray, places=(), block: int = 441) -> np.ndarray:
    """All stems; `places` are told by the block's number."""
    places = dict(places)
    stems = np.zeros((len(engine.stems), *audio.shape), np.float32)
    for number, start in enumerate(range(0, audio.shape[1] - block + 1, block)):
        if number in places:
            engine.locate(places[number])
        engine.process(
            np.ascontiguousarray(audio[:, start : start + block]),
            stems[:, :, start : start + block],
        )
    return stems


def make_engine(file: MaskFile, rate: int = RATE) -> Engine:
    engine = Engine(file, None, PRESETS["live"])
    engine.locate(Place(0, 0.0))
    engine.prepare(rate, 960, 2)
    return engine


def edges_of(stem: np.ndarray, rate: int) -> np.ndarray:
    """Seconds at which the stem comes and goes, by its loudness over 4 ms."""
    size = round(0.004 * rate)
    loud = np.convolve(stem**2, np.ones(size) / size, "same") > 0.25 * 0.045
    edges = (np.flatnonzero(np.diff(loud.astype(int))) + 1) / rate
    return edges[np.diff(edges, prepend=-1.0) > 0.02]


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_masks_fall_where_they_belong_at_any_rate(tmp_path, rate):
    audio = beats(rate=rate)
    file = make_file(tmp_path / "song.masks", audio, rate)
    engine = make_engine(file, rate)
    assert engine.stems == ("high", REST)
    assert engine.latency_samples == 256
    stems = run(engine, audio, block=rate // 100)
    delayed = np.pad(audio, ((0, 0), (256, 0)))[:, : audio.shape[1]]
    np.testing.assert_allclose(stems.sum(0), delayed, atol=1e-5)
    found = edges_of(stems[0, 0], rate) - 256 / rate
    np.testing.assert_allclose(found[:10], np.arange(1, 11) * 0.5, atol=0.008)


def test_a_jump_is_followed_and_a_lost_place_is_silence(tmp_path):
    audio = beats()
    engine = make_engine(make_file(tmp_path / "song.masks", audio))
    # Two seconds in the stream goes back to the beginning of the song; later it is lost.
    jumped = np.concatenate([audio[:, : 2 * RATE], audio[:, : 3 * RATE]], axis=1)
    stems = run(engine, jumped, {200: Place(2 * RATE, 0.0), 400: None})
    high, rest = stems[0, 0], stems[1, 0]
    found = edges_of(high[: 4 * RATE - 4410], RATE) - 256 / RATE
    expected = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5]
    np.testing.assert_allclose(found[: len(expected)], expected, atol=0.03)
    lost = slice(round(4.1 * RATE), None)
    assert not high[lost].any()
    np.testing.assert_allclose(
        rest[lost], np.roll(jumped[0], 256)[lost][: len(rest[lost])], atol=1e-6
    )
    delayed = np.pad(jumped, ((0, 0), (256, 0)))[:, : jumped.shape[1]]
    np.testing.assert_allclose(stems.sum(0), delayed, atol=1e-5)


def test_several_tags_share_what_they_all_claim(tmp_path):
    audio = beats(2.0)
    engine = make_engine(make_file(tmp_path / "song.masks", audio, tags=("one", "two")))
    stems = run(engine, audio)
    np.testing.assert_allclose(stems[0], stems[1], atol=1e-6)
    middle = slice(round(0.6 * RATE), round(0.9 * RATE))
    assert np.abs(stems[0, 0, middle]).max() == pytest.approx(0.15, rel=0.05)
    assert np.abs(stems[2, 0, middle]).max() < 0.41


def test_before_and_after_the_song_there_is_nothing(tmp_path):
    audio = beats(2.0)
    engine = make_engine(make_file(tmp_path / "song.masks", audio))
    assert not run(engine, audio, {0: Place(0, -5.0 * RATE)})[0].any()
    engine.reset()
    assert not run(engine, audio, {0: Place(0, 3.0 * RATE)})[0, :, RATE // 10 :].any()
    plain = Engine(models.bundle(models.constant_masks()), None, PRESETS["live"], device="cpu")
    with pytest.raises(ValueError, match="without masks"):
        plain.locate(None)


def test_separate_takes_a_song_apart_by_its_masks(rtsep: CommandLine) -> None:
    audio = beats()
    write_audio(rtsep.folder / "song.wav", audio, RATE)
    make_file(rtsep.folder / "song.masks", audio)
    outcome = rtsep("separate", "song.wav", "--masks", "song.masks", "-o", "out", "--no-midi")
    assert (outcome.status, outcome.err) == (0, "")
    assert rtsep.files() == {"song/high.wav", "song/rest.wav"}
    high, rest = (read_audio(rtsep.folder / f"out/song/{name}.wav") for name in ("high", "rest"))
    np.testing.assert_allclose(high + rest, audio, atol=1e-5)
    loud, quiet = (high[0, round(s * RATE) :][: RATE // 5] for s in (0.65, 1.15))
    assert np.sqrt(np.mean(loud**2)) > 20 * np.sqrt(np.mean(quiet**2))


def test_other_songs_and_files_are_refused(rtsep: CommandLine) -> None:
    audio = beats()
    write_audio(rtsep.folder / "song.wav", audio, RATE)
    write_audio(rtsep.folder / "other.wav", audio[:, ::-1].copy(), RATE)
    write_audio(rtsep.folder / "half.wav", audio[:, : 3 * RATE], RATE)
    make_file(rtsep.folder / "song.masks", audio)
    data = (rtsep.folder / "song.masks").read_bytes()
    (rtsep.folder / "cut.masks").write_bytes(data[:-100])
    for words, said in {
        ("other.wav", "--masks", "song.masks"): "is not the song of these masks",
        ("half.wav", "--masks", "song.masks"): "3 s for 6 s",
        ("song.wav", "--masks", "cut.masks"): "damaged or cut short",
        ("song.wav", "--masks", "song.wav"): "is no mask file",
        ("song.wav", "--masks", "none.masks"): "cannot be read",
        ("song.wav", "half.wav", "--masks", "song.masks"): "--masks for 2 songs",
        ("song.wav", "--masks", "song.masks", "--model", "live"): "--model and --masks",
        ("song.wav", "--masks", "song.masks", "--stems", "bass"): "some of high,rest",
    }.items():
        assert said in rtsep.refuses("separate", *words, "-o", "out")
        assert rtsep.files() == set()
