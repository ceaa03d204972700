"""The losses are the paper's equations, worked out by hand on small cases."""

import math

import numpy as np
import pytest
import torch

from rtsep_export.scores import losses
from rtsep_export.scores.losses import MAGNITUDE_SCALE, Weights
from rtsep_export.scores.networks import FRAME_S, LOWEST_NOTE, N_BINS, N_FFT
from rtsep_export.scores.songs import SAMPLE_RATE

ONES = torch.ones(3)


def score_of(*cells):
    score = torch.zeros(1, 3, 88, 4)
    for instrument, note, frame in cells:
        score[0, instrument, note, frame] = 1.0
    return score


def test_piano_roll_counts_frames_by_their_middle():
    notes = [(1, 60, 2 * FRAME_S, 4 * FRAME_S), (2, 61, 0.1 * FRAME_S, 0.2 * FRAME_S)]
    roll = losses.piano_roll(notes, 6)
    assert roll.shape == (3, 88, 6)
    assert roll[1, 60 - LOWEST_NOTE].tolist() == [0, 0, 1, 1, 0, 0]
    assert roll[2, 61 - LOWEST_NOTE].sum() == 1  # never lost, however short
    assert roll.sum() == 3
    assert losses.piano_roll([(0, 5, 0.0, 1.0)], 6).sum() == 0  # below the lowest note


def test_score_loss_is_the_mean_over_frames_of_the_sum():
    score = score_of((0, 10, 1))
    logits = torch.zeros(1, 3, 88, 4)
    assert losses.score_loss(logits, score, ONES).item() == pytest.approx(3 * 88 * math.log(2))
    weighted = losses.score_loss(logits, score, torch.tensor([2.0, 0.0, 0.0]))
    assert weighted.item() == pytest.approx(2 * 88 * math.log(2))
    sure = 40.0 * (2 * score - 1)
    assert losses.score_loss(sure, score, ONES).item() == pytest.approx(0.0, abs=1e-6)


def test_marginals_look_at_maxima():
    score = score_of((0, 10, 1), (1, 10, 1))
    logits = torch.full((1, 3, 88, 4), -40.0)
    logits[0, 2, 10, 1] = 40.0  # the right pitch at the right time on the wrong instrument
    none = Weights(instrument=0.0, pitch=0.0)
    base = losses.transcription_loss(logits, score, ONES, none)
    pitch = losses.transcription_loss(logits, score, ONES, Weights(instrument=0.0, pitch=1.0))
    assert (pitch - base).item() == pytest.approx(0.0, abs=1e-5)
    activity = losses.transcription_loss(logits, score, ONES, Weights(instrument=1.0, pitch=0.0))
    assert (activity - base).item() == pytest.approx(3 * 40.0 / 4, rel=1e-4)


def test_each_source_is_to_hold_its_own_score_alone():
    score = score_of((0, 10, 1), (1, 20, 2))
    labels = losses.of_each(score)
    assert labels.shape == (1, 3, 3, 88, 4)
    for source in range(3):
        for instrument in range(3):
            wanted = score[0, instrument] if source == instrument else torch.zeros(88, 4)
            assert torch.equal(labels[0, source, instrument], wanted)
    right = 40.0 * (2 * labels - 1)
    assert losses.separated_score_loss(right, score, ONES).item() == pytest.approx(0, abs=1e-5)
    # Equation 10 wants just what equation 5 forbids.
    others = 40.0 * (2 * (score[:, None] - labels) - 1)
    assert losses.adversarial_score_loss(others, score, ONES).item() == pytest.approx(0, abs=1e-5)
    assert losses.adversarial_score_loss(right, score, ONES).item() > 10


def test_what_is_not_heard_in_its_source_costs_more_than_what_is_heard_in_another():
    score = score_of((0, 10, 1))
    labels = losses.of_each(score)
    right = 8.0 * (2 * labels - 1)
    missed, extra = right.clone(), right.clone()
    missed[0, 0, 0, 10, 1] = -8.0
    extra[0, 1, 0, 10, 1] = 8.0
    best = losses.separated_score_loss(right, score, ONES)
    costs = [losses.separated_score_loss(heard, score, ONES) - best for heard in (missed, extra)]
    assert (costs[0] / costs[1]).item() == pytest.approx(losses.MISSED, rel=1e-2)


def test_mixture_losses_of_a_perfect_separation():
    rng = np.random.default_rng(0)
    separated = torch.from_numpy(rng.uniform(0, 1, (1, 3, N_BINS, 4)).astype(np.float32))
    score = score_of((0, 10, 1), (1, 20, 2))  # the piano rests
    separated[:, 2] = 0.0
    mixture = separated.sum(1)
    assert losses.clip_mix_loss(mixture, separated, score).item() == pytest.approx(0, abs=0.5)
    separated[:, 2] = 0.5
    wrong = losses.clip_mix_loss(mixture, separated, score).item()
    assert wrong == pytest.approx(MAGNITUDE_SCALE * 0.5 * N_BINS, rel=1e-4)


def test_harmonic_loss_asks_for_harmonics_where_the_score_has_them():
    score = score_of((0, 69 - LOWEST_NOTE, 1))  # 440 Hz on the bass in frame 1
    masks = losses.harmonic_masks(score)
    assert masks.shape == (1, 3, N_BINS, 4)
    assert masks[0, 1:].sum() == 0
    assert masks[0, 0, :, [0, 2, 3]].sum() == 0
    base = 440.0 * N_FFT / SAMPLE_RATE
    bins = sorted({round(base * k) + s for k in range(1, losses.HARMONICS + 1) for s in (-1, 0, 1)})
    wanted = [b for b in bins if b < N_BINS]
    assert masks[0, 0, :, 1].nonzero().flatten().tolist() == wanted
    mixture = torch.ones(1, N_BINS, 4)
    own = masks * mixture[:, None]
    loss = losses.harmonic_mix_loss(mixture, own, score).item()
    # All of the mixture off the harmonics stays unexplained.
    assert loss == pytest.approx(MAGNITUDE_SCALE * (N_BINS - len(wanted) / 4), rel=1e-5)


def test_an_adversary_gains_by_notes_that_it_does_not_hear_and_up_to_a_guess():
    score = score_of((0, 10, 1))

    def loss(there, elsewhere):
        logits = torch.where(score > 0, there, elsewhere)
        return losses.adversarial_mix_loss(logits, score, ONES).item()

    assert loss(-1e3, 0.0) == pytest.approx(-np.log(2) / 4)
    assert loss(0.0, 0.0) == pytest.approx(-np.log(2) / 4)
    assert loss(1.0, 0.0) == pytest.approx(-np.log1p(np.exp(-1.0)) / 4)
    # Notes that are not there win nothing.
    assert loss(1.0, 1e3) == loss(1.0, -1e3) == loss(1.0, 0.0)


def test_a_remix_takes_each_instrument_and_its_score_from_one_sample():
    batch = 5
    separated = torch.zeros(batch, 3, N_BINS, 4)
    score = torch.zeros(batch, 3, 88, 4)
    for sample in range(batch):
        for instrument in range(3):
            separated[sample, instrument] = 10.0**instrument * (sample + 1)
            score[sample, instrument, sample] = 1.0
    mixture, labels = losses.remix(separated, score, np.random.default_rng(3))
    for sample in range(batch):
        picks = [int(labels[sample, i, :, 0].argmax()) + 1 for i in range(3)]
        assert mixture[sample, 0, 0].item() == sum(10**i * pick for i, pick in enumerate(picks))
    assert not torch.equal(labels, score)


def test_rare_instruments_weigh_more():
    weights = losses.activity_weights([0.6, 0.15, 0.3])
    assert weights.mean().item() == pytest.approx(1.0)
    assert (weights[1] / weights[0]).item() == pytest.approx(4.0)
