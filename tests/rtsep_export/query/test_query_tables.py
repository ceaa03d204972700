"""Figures and the table, by themselves and from the command line."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from rtsep_export.cli import app
from rtsep_export.query import evaluation, tables
from rtsep_export.query.evaluation import Found
from rtsep_export.query.networks import BINS, CLASSES, MODELS, SILENCE, QueryModel, spectrum
from rtsep_export.query.pairs import fixed_pairs
from rtsep_export.query.parts import load_parts


def test_spectra_come_back():
    audio = torch.randn(16_000, generator=torch.Generator().manual_seed(0))
    back = evaluation.audio(spectrum(audio), 16_000)
    # All but the top bin, of which there are 1,025.
    assert evaluation.sdr(audio.numpy(), back) > 25.0


def test_precision_counts_notes_and_not_silence():
    truth = np.array([10, 10, SILENCE, SILENCE, 20, 20])
    assert evaluation.precision(truth, truth) == 1.0
    guess = np.array([10, 11, 12, SILENCE, SILENCE, 20])
    assert evaluation.precision(truth, guess) == 0.5
    assert evaluation.precision(truth, np.full(6, SILENCE)) == 0.0


class Oracle(QueryModel):
    """Says what it was told."""

    def __init__(self, pair):
        super().__init__(MODELS["msi"])
        self.pair = pair

    def forward(self, mixture, query):
        source = spectrum(torch.from_numpy(self.pair.source)).abs()[None, None]
        classes = torch.nn.functional.one_hot(torch.from_numpy(self.pair.classes), CLASSES)
        return source, classes.T[None].float()


def test_a_perfect_answer_is_limited_by_the_phase_alone(tone_parts):
    pair = next(iter(fixed_pairs(tone_parts / "test", 1)))
    (found,) = evaluation.evaluate(Oracle(pair), [pair])
    assert found.precision == 1.0
    assert found.sdr > found.mixture_sdr + 5.0
    assert found.masked_sdr > found.mixture_sdr + 5.0


def test_models_are_measured_for_what_they_do(tone_parts):
    pairs = list(fixed_pairs(tone_parts / "test", 1))[:1]
    for name in ("separation", "transcription"):
        (found,) = evaluation.evaluate(QueryModel(MODELS[name]), pairs)
        assert (found.sdr is not None) == (found.masked_sdr is not None) == MODELS[name].separates
        assert (found.precision is not None) == MODELS[name].transcribes


def figures(instrument, sdr):
    return Found(instrument, sdr, sdr + 1.0, 0.0, sdr / 10)


def test_rows_are_means_over_pairs_with_the_interval_of_the_checkpoints():
    found = [
        [figures("violin", 4.0), figures("flute", 6.0), figures("tuba", 0.0)],
        [figures("violin", 6.0), figures("flute", 8.0), figures("tuba", 2.0)],
    ]
    mean, half = tables.mean_and_interval(found, "sdr", "seen")
    assert mean == pytest.approx(6.0)
    assert half == pytest.approx(1.96 * np.std([5.0, 7.0], ddof=1) / np.sqrt(2))
    assert tables.mean_and_interval(found, "sdr", "unseen")[0] == pytest.approx(1.0)
    assert tables.mean_and_interval(found, "precision", "overall")[0] == pytest.approx(26 / 60)
    lines = tables.table({"msi": found})
    assert any(line.startswith("| seen | 6.00 ± 1.96 / 6.33 ± 0.17 |") for line in lines)
    assert any(line.startswith("| overall | 0.43 ± ") for line in lines)


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("test_font")
def test_quick_table(data_dir, tmp_path):
    """Parts are rendered, every model trains a moment, and the table is printed."""
    words = ["tables", "msi", "--quick", "--runs", str(tmp_path / "runs"), "--data", str(data_dir)]
    words += ["--json", str(tmp_path / "msi.json"), "--plot", str(tmp_path / "msi.png")]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert set(load_parts(tmp_path / "runs" / "parts" / "train")) < set(
        load_parts(tmp_path / "runs" / "parts" / "test")
    )
    for name in MODELS:
        assert (tmp_path / "runs" / name / "model.pt").is_file()
    for text in ("MSS-only", "AMT-only", "MSI-DIS", "| unseen |", "precision of the notes"):
        assert text in done.stdout
    kept = json.loads((tmp_path / "msi.json").read_text())
    assert set(kept) == set(MODELS)
    assert all(len(found) >= 1 for found in kept.values())
    assert (tmp_path / "msi.png").read_bytes().startswith(b"\x89PNG")
    assert BINS == 1024


def test_an_unknown_model_is_refused_in_one_line(tmp_path):
    done = CliRunner().invoke(app, ["learn-query", "cello", str(tmp_path), "-o", str(tmp_path)])
    assert "model cello" in str(done.exception)
    assert "msi-dis" in str(done.exception)
