"""Levels found on songs end up in the bundle, and nothing else changes."""

import pytest
import torch

from rtsep.bundle import load_bundle
from rtsep.errors import SetupError
from rtsep.manifest import Training
from rtsep.note_tracker import DEFAULT_SETTINGS
from rtsep_export.to_onnx import export_transcriber
from rtsep_export.transcription import make_transcriber
from rtsep_export.tuning import tune


@pytest.fixture
def bundle_path(tmp_path):
    torch.manual_seed(0)
    training = Training(data=("none",), sound_fonts=(), audio_hours=0.0, command="a test")
    path = tmp_path / "notes.onnx"
    export_transcriber(make_transcriber().eval(), path, training, "0.0.1")
    return path


def test_levels_are_stated_for_every_stem(bundle_path, rendered, monkeypatch):
    monkeypatch.setattr("rtsep_export.tuning.ONSETS", (0.01, 0.9))
    monkeypatch.setattr("rtsep_export.tuning.FRAMES_ON", (0.0,))
    before = load_bundle(bundle_path).manifest
    found = list(tune(bundle_path, rendered[0]))
    after = load_bundle(bundle_path).manifest
    assert [stem for _, _, stem, _ in found] == [part.stem for part in before.notes]
    for part, tuned in zip(before.notes, after.notes, strict=True):
        assert (part.levels, tuned.pitches) == (None, part.pitches)
        assert tuned.levels is not None
        assert tuned.levels.onset in (0.01, 0.9)
        assert DEFAULT_SETTINGS.of(tuned).onset == tuned.levels.onset
    # An untrained network hears everything everywhere: at 0.9 it finds nothing.
    scores = {stem: f1 for _, _, stem, f1 in found}
    assert all(0.0 <= f1 <= 1.0 for f1 in scores.values())
    assert after.state == before.state


def test_no_songs_is_one_clear_line(bundle_path, tmp_path):
    with pytest.raises(SetupError, match="run rtsep-export render"):
        list(tune(bundle_path, tmp_path))
