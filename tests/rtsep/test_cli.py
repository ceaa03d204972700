"""The command line on input that it can use."""

from pathlib import Path

import mido
import numpy as np
import pytest

from rtsep.bundle import load_bundle, shipped_bundles
from rtsep.doctor import play_model
from rtsep.engine import Engine
from rtsep.latency import separator_latency
from rtsep.presets import PRESETS
from rtsep.rates import NATIVE_RATES
from tests.rtsep import models
from tests.rtsep.cli import MASKS, CommandLine, music, read_audio, write_audio

STEMS = models.STEMS


@pytest.mark.parametrize("preset", PRESETS)
def test_stems_sum_to_the_mix_and_notes_come_along(rtsep: CommandLine, preset: str) -> None:
    mix = music(1.3)
    write_audio(rtsep.folder / "song.wav", mix)
    outcome = rtsep("separate", "song.wav", "-o", "out", "--preset", preset)
    assert (outcome.status, outcome.err) == (0, "")
    assert "out/song" in outcome.out
    assert rtsep.files() == {f"song/{stem}.wav" for stem in STEMS} | {"song/song.mid"}
    stems = [read_audio(rtsep.folder / f"out/song/{stem}.wav") for stem in STEMS]
    np.testing.assert_allclose(sum(stems), mix, atol=1e-5)
    for stem, mask in zip(stems[:-1], MASKS[:-1], strict=True):
        # Nothing is masked before the first network frame, nor in the fade from it.
        np.testing.assert_allclose(stem[:, 8192:], mask * mix[:, 8192:], atol=1e-4)
    tracks = [track.name for track in mido.MidiFile(rtsep.folder / "out/song/song.mid").tracks]
    assert set(tracks) - {""} == {"bass", "guitar", "piano", "drums"}


@pytest.mark.parametrize("extension", ["flac", "mp3", "ogg", "aiff"])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_other_formats_and_rates_keep_length_and_rate(
    rtsep: CommandLine, extension: str, rate: int
) -> None:
    path = write_audio(rtsep.folder / f"song.{extension}", music(0.4, rate, 1), rate)
    assert rtsep("separate", path, "-o", "out", "--format", "flac").status == 0
    for stem in STEMS:
        assert read_audio(rtsep.folder / f"out/song/{stem}.flac").shape == read_audio(path).shape


def test_stems_are_chosen_by_name_for_audio_and_notes(rtsep: CommandLine) -> None:
    write_audio(rtsep.folder / "song.wav", music())
    assert rtsep("separate", "song.wav", "-o", "out", "--stems", "bass, piano").status == 0
    assert rtsep.files() == {"song/bass.wav", "song/piano.wav", "song/song.mid"}
    file = mido.MidiFile(rtsep.folder / "out/song/song.mid")
    assert {track.name for track in file.tracks} - {""} == {"bass", "piano"}
    assert any(message.type == "note_on" for track in file.tracks for message in track)


def test_without_midi_and_with_a_model_by_path(rtsep: CommandLine) -> None:
    write_audio(rtsep.folder / "song.wav", music())
    models.save(models.fir_audio(), rtsep.folder / "mine.onnx")
    outcome = rtsep("separate", "song.wav", "-o", "a/b", "--model", "mine.onnx", "--no-midi")
    assert outcome.status == 0
    assert rtsep.files("a/b") == {f"song/{stem}.wav" for stem in STEMS[-3:]}


def test_many_files_one_bad_the_others_done(rtsep: CommandLine) -> None:
    for name in ("one", "three"):
        write_audio(rtsep.folder / f"{name}.wav", music(0.3))
    (rtsep.folder / "two.wav").write_bytes(b"no audio here")
    outcome = rtsep("separate", "one.wav", "two.wav", "three.wav", "-o", "out", "--no-midi")
    assert outcome.status == 2
    assert "two.wav is not audio" in outcome.err
    assert "1 of 3" in outcome.err
    assert {Path(name).parts[0] for name in rtsep.files()} == {"one", "three"}


def test_results_are_replaced_only_when_asked(rtsep: CommandLine) -> None:
    write_audio(rtsep.folder / "song.wav", music(0.3))
    assert rtsep("separate", "song.wav", "-o", "out", "--no-midi").status == 0
    assert "--overwrite" in rtsep.refuses("separate", "song.wav", "-o", "out")
    assert len(rtsep.files()) == 5
    stems = ("--stems", "bass")
    assert rtsep("separate", "song.wav", "-o", "out", "--overwrite", *stems).status == 0
    assert rtsep.files() == {"song/bass.wav", "song/song.mid"}
    assert rtsep("transcribe", "song.wav", "-o", "out").status == 0
    assert "--overwrite" in rtsep.refuses("transcribe", "song.wav", "-o", "out")
    assert rtsep("transcribe", "song.wav", "-o", "out", "--overwrite").status == 0


def test_transcribe_hears_the_notes_that_separate_hears(rtsep: CommandLine) -> None:
    write_audio(rtsep.folder / "song.wav", music(2))
    assert rtsep("separate", "song.wav", "-o", "a").status == 0
    outcome = rtsep("transcribe", "song.wav", "-o", "b")
    assert (outcome.status, outcome.err) == (0, "")
    assert rtsep.files("b") == {"song.mid"}
    separate, transcribe = (
        (rtsep.folder / path).read_bytes() for path in ("a/song/song.mid", "b/song.mid")
    )
    assert separate == transcribe


def test_clipped_samples_are_counted(rtsep: CommandLine) -> None:
    write_audio(rtsep.folder / "song.wav", 20 * music(0.3))
    outcome = rtsep("separate", "song.wav", "-o", "out", "--format", "flac", "--no-midi")
    assert outcome.status == 0
    assert "were clipped" in outcome.err


def test_a_model_that_fails_leaves_the_mix_in_the_residual_and_is_reported(
    rtsep: CommandLine,
) -> None:
    mix = music(0.5)
    write_audio(rtsep.folder / "song.wav", mix)
    models.save(models.constant_masks([np.nan, 0, 0, 0, 0]), rtsep.folder / "nan.onnx")
    outcome = rtsep("separate", "song.wav", "-o", "out", "--model", "nan.onnx", "--no-midi")
    assert outcome.status == 0
    assert "unusable" in outcome.err
    np.testing.assert_allclose(read_audio(rtsep.folder / "out/song/other.wav"), mix, atol=1e-5)


def test_models_are_listed(rtsep: CommandLine) -> None:
    outcome = rtsep("models")
    assert outcome.status == 0
    for name in ("live", "relaxed", "offline", "notes"):
        assert name in outcome.out or name == "notes"
    assert "lowest, live" in outcome.out


def test_info_shows_what_the_bundle_states(rtsep: CommandLine) -> None:
    outcome = rtsep("info", "live")
    assert outcome.status == 0
    for text in ("drums, bass, guitar, piano, other", "1 x 46", "256 (5.3)", "GPL-3.0-or-later"):
        assert text in outcome.out
    notes = rtsep("info", "notes").out
    assert "4 notes, MIDI 69 to 88" in notes
    engine = Engine(None, models.bundle(models.transcriber()), PRESETS["offline"])
    engine.prepare(48_000, 512)
    assert f"known {engine.note_delay_samples} samples" in notes


@pytest.mark.parametrize(
    "data", [models.constant_masks(lookahead=512), models.constant_chunk(), models.fir_audio()]
)
@pytest.mark.parametrize("preset", ["lowest", "offline"])
def test_info_states_the_latency_of_the_engine(data: bytes, preset: str) -> None:
    bundle = models.bundle(data)
    engine = Engine(bundle, None, PRESETS[preset], device="cpu")
    for rate in NATIVE_RATES:
        stated = separator_latency(bundle.manifest, PRESETS[preset], rate)
        assert (stated is None) == (rate not in engine.native_rates)
        if stated is not None:
            engine.prepare(rate, 512)
            assert stated == engine.latency_samples


def test_doctor_says_how_each_thing_is(rtsep: CommandLine) -> None:
    outcome = rtsep("doctor")
    assert outcome.status == 0
    assert "rtsep works here" in outcome.out
    for name in ("Python", "JACK", "PortAudio", "MIDI", "Numba cache", "model live", "GPU"):
        assert f" {name}: " in outcome.out
    (rtsep.folder / ".models/live.onnx").write_bytes(b"")
    broken = rtsep("doctor")
    assert broken.status == 1
    assert "BROKEN  model live" in broken.out


def test_help_and_version(rtsep: CommandLine) -> None:
    assert rtsep("--version").out.startswith("rtsep ")
    for command in ("separate", "transcribe", "models", "info", "doctor"):
        assert command in rtsep("--help").out
        assert rtsep(command, "--help").status == 0


@pytest.mark.parametrize("name", shipped_bundles() or [None])
def test_every_model_that_ships_loads_and_plays(name: str | None) -> None:
    if name is None:
        pytest.skip("no model ships with this tree")
    assert load_bundle(name).size_bytes < 12e6
    play_model(name)
