"""A shipped separator comes back to torch, and learns a song from its score."""

import numpy as np
import pretty_midi
import pytest
import torch
from typer.testing import CliRunner

from rtsep.bundle import load_bundle
from rtsep.engine import Engine
from rtsep.errors import BundleError
from rtsep.presets import PRESETS
from rtsep_export.adapt import GRID
from rtsep_export.cli import app
from rtsep_export.from_onnx import load_separator
from rtsep_export.pseudo_stems import pseudo_stems
from rtsep_export.rendered import read_notes
from rtsep_export.stems import STEMS
from tests.rtsep_export.reading import read_stems


def test_a_transcriber_is_refused():
    with pytest.raises(BundleError, match="no separator of rtsep's own making"):
        load_separator(load_bundle("notes"))


def sdr(truth, estimate):
    return 10 * np.log10((truth**2).sum() / ((truth - estimate) ** 2).sum())


def blind_masks(mix):
    return torch.zeros(len(STEMS), len(GRID.bins_hz), len(GRID.times_s(mix.shape[-1])))


def test_stems_of_a_score_add_up_and_are_nearer_than_the_mixture(long_songs):
    gains = []
    for song in long_songs:
        stems = torch.from_numpy(read_stems(song))
        mix = stems.sum(0)
        blind = blind_masks(mix) + 1 / len(STEMS)
        found = pseudo_stems(mix, read_notes(song), blind, GRID, STEMS)
        assert found.shape == stems.shape
        np.testing.assert_allclose(found.sum(0), mix, atol=1e-4)
        for truth, own in zip(stems[:4].numpy(), found[:4].numpy(), strict=True):
            if np.abs(truth).max() > 0:
                gains.append(sdr(truth, own) - sdr(truth, mix.numpy()))
    assert np.mean(gains) > 5.0


def test_a_stem_without_notes_is_left_to_the_network():
    mix = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, (2, 48_000)).astype(np.float32))
    masks = blind_masks(mix)
    masks[0] = 1.0
    found = pseudo_stems(mix, [], masks, GRID, STEMS)
    np.testing.assert_allclose(found[0], mix, atol=1e-3)


def adapt(*words):
    return CliRunner().invoke(app, ["adapt", *map(str, words)])


def test_a_song_is_learnt(long_songs, tmp_path):
    song = long_songs[1]
    output = tmp_path / "My Song.onnx"
    words = (song / "mix.flac", "--midi", song / "notes.mid", "-o", output, "--minutes", "0.4")
    done = adapt(*words)
    assert done.exit_code == 0, done.output
    bundle = load_bundle(str(output))
    assert bundle.manifest.name == "my-song"
    assert "adapted to mix.flac" in bundle.manifest.training.remarks
    assert bundle.manifest.training.data == load_bundle("live").manifest.training.data
    stems = read_stems(song)
    true = [i for i in range(4) if np.abs(stems[i]).max() > 0]
    scores = [separated(bundle, stems, true), separated(load_bundle("live"), stems, true)]
    assert scores[0] > scores[1]
    nowhere = adapt(*words[:4], tmp_path / "none" / "out.onnx")
    assert "is no folder to write to" in str(nowhere.exception)
    # A bundle that is there stays as it is.
    before = output.read_bytes()
    again = adapt(*words)
    assert "is there already" in str(again.exception)
    assert output.read_bytes() == before


def separated(bundle, stems, rows):
    """Mean SDR of some stems through the engine."""
    mix = np.ascontiguousarray(stems.sum(0))
    engine = Engine(bundle, None, PRESETS["live"])
    engine.prepare(48_000, 4_800)
    found = np.zeros((len(STEMS), *mix.shape), np.float32)
    for start in range(0, mix.shape[1], 4_800):
        span = slice(start, start + 4_800)
        engine.process(np.ascontiguousarray(mix[:, span]), found[:, :, span])
    late = engine.latency_samples
    return np.mean([sdr(stems[i][:, :-late], found[i][:, late:]) for i in rows])


def test_a_score_that_names_no_instrument_of_ours(long_songs, tmp_path):
    midi = pretty_midi.PrettyMIDI()
    part = pretty_midi.Instrument(73)  # flute
    part.notes = [pretty_midi.Note(90, 60, 0.0, 19.0)]
    midi.instruments.append(part)
    midi.write(str(tmp_path / "flute.mid"))
    output = tmp_path / "out.onnx"
    done = adapt(long_songs[0] / "mix.flac", "--midi", tmp_path / "flute.mid", "-o", output)
    assert "has no track of drums, bass, guitar, piano" in str(done.exception)
    assert not output.exists()


def test_the_wrong_score_leaves_nothing(long_songs, tmp_path):
    output = tmp_path / "out.onnx"
    done = adapt(long_songs[0] / "mix.flac", "--midi", long_songs[1] / "notes.mid", "-o", output)
    assert "do not match" in str(done.exception)
    assert list(tmp_path.iterdir()) == []
