"""Figures in a report end up in the manifests that they are about."""

import json

import pytest
import torch

from rtsep.bundle import load_bundle
from rtsep.errors import RtsepError
from rtsep.manifest import Training
from rtsep_export.figures import state_figures
from rtsep_export.separation import make_separator
from rtsep_export.to_onnx import export_separator


@pytest.fixture
def models(tmp_path):
    torch.manual_seed(0)
    training = Training(data=("none",), sound_fonts=(), audio_hours=0.0, command="a test")
    folder = tmp_path / "models"
    folder.mkdir()
    export_separator(make_separator().eval(), "live", folder / "live.onnx", training, "0.0.1")
    return folder


def row(clip, method, si_sdr):
    return {
        "dataset": "rendered test",
        "clip": clip,
        "method": method,
        "stem": "bass",
        "si_sdr": si_sdr,
    }


def test_means_and_baselines_are_stated(models, tmp_path):
    rows = [row("a", "rtsep live", 3.0), row("b", "rtsep live", 5.0), row("a", "mix", -2.0)]
    (tmp_path / "r.json").write_text(json.dumps({"rows": rows}))
    before = load_bundle(models / "live.onnx")
    assert state_figures(tmp_path / "r.json", models) == {"live": 1}
    after = load_bundle(models / "live.onnx")
    (figure,) = after.manifest.quality
    assert (figure.stem, figure.value, figure.baseline_value) == ("bass", 4.0, -2.0)
    assert (figure.preset, figure.dataset) == ("live", "rendered test, 2 clips")
    assert after.manifest.state == before.manifest.state
    assert after.inputs == before.inputs


@pytest.mark.parametrize("text", ["", "[]", '{"rows": [{"x": 1}]}'])
def test_something_else_is_refused_and_nothing_changes(models, tmp_path, text):
    (tmp_path / "r.json").write_text(text)
    before = (models / "live.onnx").read_bytes()
    with pytest.raises(RtsepError, match=r"quality\.py --json"):
        state_figures(tmp_path / "r.json", models)
    assert (models / "live.onnx").read_bytes() == before
