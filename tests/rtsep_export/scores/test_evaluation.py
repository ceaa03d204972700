"""The figures: known separations and known transcriptions."""

import numpy as np
import pytest
import torch

from rtsep_export.measures import si_sdr
from rtsep_export.scores import evaluation
from rtsep_export.scores.clips import Clips
from rtsep_export.scores.networks import N_BINS, N_NOTES, signals, spectra
from rtsep_export.scores.songs import SAMPLE_RATE, load_songs, store_song
from rtsep_export.scores.tables import tables
from tests.rtsep_export.scores.test_settings import tones


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("songs")
    stems, notes = tones(4)
    stems[1] = 0.0  # no guitar
    store_song(folder, "a", stems, [n for n in notes if n[0] != 1], {})
    return Clips(load_songs(folder))


class Fixed(torch.nn.Module):
    """A network that says what it was told."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, magnitudes):
        return self.logits.expand(len(magnitudes), -1, -1, -1)


def test_spectra_come_back():
    audio = torch.randn(2, 64_000, generator=torch.Generator().manual_seed(0))
    back = signals(spectra(audio), 64_000)
    assert torch.allclose(back, audio, atol=1e-5)
    tone = torch.sin(2 * np.pi * 1000 * torch.arange(64_000) / 16_000)
    assert spectra(tone).abs().max().item() == pytest.approx(1.0, abs=0.02)


def test_si_sdr_ignores_the_scale_and_knows_the_noise():
    rng = np.random.default_rng(0)
    target, noise = rng.normal(size=(2, 100_000))
    target -= target.mean()
    noise -= noise.mean()
    noise -= target * (noise @ target) / (target @ target)
    noise *= np.sqrt((target @ target) / (noise @ noise)) * 10 ** (-12 / 20)
    assert si_sdr(target, 3 * (target + noise)) == pytest.approx(12.0, abs=1e-6)


def test_separation_of_masks_that_pass_all_is_the_mixture(clips):
    passing = Fixed(torch.full((1, 3, N_BINS, 1), 20.0))
    ours = evaluation.separation(passing, clips)
    mixture = evaluation.separation(None, clips)
    assert mixture["guitar"] == []
    assert len(mixture["bass"]) == len(clips) == 3
    for name in ("bass", "piano"):
        assert ours[name] == pytest.approx(mixture[name], abs=0.01)


def test_an_instrument_alone_is_no_separation(tmp_path):
    stems, notes = tones(4)
    stems[1:, : 4 * SAMPLE_RATE] = 0.0
    store_song(tmp_path, "a", stems, notes, {})
    found = evaluation.separation(None, Clips(load_songs(tmp_path)))
    assert {name: len(values) for name, values in found.items()} == dict.fromkeys(found, 2)


def test_accuracy_is_mir_evals(clips):
    score = clips.batch([0]).score
    rng = np.random.default_rng(1)
    flipped = torch.from_numpy(rng.random(score.shape) < 0.01)
    guess = torch.where(flipped, 1 - score, score)

    class Scored(torch.nn.Module):
        calls = 0

        def forward(self, magnitudes):
            logits = guess if Scored.calls == 0 else torch.zeros_like(guess)
            Scored.calls += 1
            return 2 * logits - 1

    notes = evaluation.transcription(Scored(), clips, isolated=False)
    hits = (guess * score).sum((2, 3))[0]
    either = ((guess + score) > 0).sum((2, 3))[0]
    for instrument in (0, 2):
        expected = float(hits[instrument] / either[instrument])
        assert notes.accuracies[instrument][0] == pytest.approx(expected, abs=1e-6)
    wrong = float((guess * (1 - score)).sum() / guess.sum())
    assert notes.false_positive_rate() == pytest.approx(wrong)


def test_a_silent_network_is_right_where_nothing_plays(clips):
    silent = Fixed(torch.full((1, 3, N_NOTES, 129), -5.0))
    notes = evaluation.transcription(silent, clips, isolated=True)
    assert notes.accuracies[1] == []
    assert notes.accuracy()[0] == 0.0
    assert notes.false_positive_rate() == 0.0


def test_tables_leave_out_what_was_not_trained():
    lines = tables({"mixture": {"si_sdr": [1.0, -5.0, -2.0]}}, 7)
    (row,) = [line for line in lines if line.startswith("| input mixture")]
    assert row == "| input mixture | 1.0 / 1.2 | -5.0 / -5.8 | -2.0 / -2.3 | -2.0 / -2.3 |  |"
    assert not any("fine-tune" in line for line in lines)
