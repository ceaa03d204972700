"""Random and fixed pairs."""

import numpy as np
import torch

from rtsep_export.query.networks import BINS, HOP, LOWEST_NOTE, SAMPLE_RATE, SILENCE
from rtsep_export.query.pairs import Pairs, fixed_pairs
from rtsep_export.query.parts import load_parts


def test_a_batch_holds_mixtures_of_what_is_asked_for(tone_parts):
    batch = Pairs(tone_parts / "train", 1.0).draw(6, np.random.default_rng(0))
    frames = SAMPLE_RATE // HOP + 1
    for spectra in (batch.mixture, batch.twin, batch.source):
        assert spectra.shape == (6, 1, frames, BINS)
        assert (spectra >= 0).all()
    assert batch.examples.shape == (2, 6, 3, frames, BINS)
    assert batch.classes.shape == (6, frames)
    assert ((batch.mixture - batch.source).abs().mean((1, 2, 3)) > 1e-3).all()


def test_classes_say_where_the_source_is_loudest(tone_parts):
    """Most of these tones are strongest in their fundamental or a harmonic of it."""
    batch = Pairs(tone_parts / "train", 2.0).draw(8, np.random.default_rng(1))
    right = []
    for source, classes in zip(batch.source[:, 0], batch.classes, strict=True):
        # Frames within a note, away from its edges, whose windows hold two notes.
        for k in range(8, len(classes) - 8):
            if classes[k] != SILENCE and (classes[k - 7 : k + 8] == classes[k]).all():
                hz = 440.0 * 2 ** ((int(classes[k]) + LOWEST_NOTE - 69) / 12)
                ratio = float(source[k].argmax()) * SAMPLE_RATE / 2 / BINS / hz
                right.append(abs(ratio - round(ratio)) < 0.06 * max(ratio, 1.0) and ratio > 0.9)
    assert len(right) > 100
    assert np.mean(right) > 0.9


def test_the_twin_differs_in_the_source_alone(tone_parts):
    pairs = Pairs(tone_parts / "train", 1.0)
    found = [pairs.draw(4, np.random.default_rng(seed)) for seed in range(4)]
    moved = [
        (batch.twin[i] - batch.mixture[i]).abs().max() > 1.0 for batch in found for i in range(4)
    ]
    # One time in three the twin is the part itself.
    assert 4 <= sum(bool(m) for m in moved) < 16


def test_batches_are_the_same_for_the_same_seed(tone_parts):
    pairs = Pairs(tone_parts / "train", 1.0)
    one, again, other = (pairs.draw(2, np.random.default_rng(s)) for s in (3, 3, 4))
    assert torch.equal(one.mixture, again.mixture)
    assert not torch.equal(one.mixture, other.mixture)


def test_fixed_pairs_ask_for_every_instrument(tone_parts):
    found = list(fixed_pairs(tone_parts / "test", 3))
    assert [p.instrument for p in found] == sorted(p.instrument for p in found)
    assert {p.instrument for p in found} == set(load_parts(tone_parts / "test"))
    for pair in found:
        assert pair.other != pair.instrument
        assert len(pair.source) == len(pair.mixture) == len(pair.example) == 4 * SAMPLE_RATE
        assert not np.array_equal(pair.example, pair.source)
        assert len(pair.classes) == 4 * SAMPLE_RATE // HOP + 1
    again = list(fixed_pairs(tone_parts / "test", 3))
    assert all(np.array_equal(a.mixture, b.mixture) for a, b in zip(found, again, strict=True))
