"""The losses, on numbers small enough to do by hand."""

import math

import pytest
import torch

from rtsep_export.query.losses import (
    MARGIN,
    query_loss,
    separation_loss,
    transcription_loss,
)


def test_examples_of_one_source_are_drawn_together_and_others_apart():
    apart = torch.tensor([[[0.9, -0.9], [-0.9, 0.9], [-0.9, -0.9]]])
    assert query_loss(apart, apart) == 0.0
    assert query_loss(apart, apart + 0.1).item() == pytest.approx(0.01)
    same = torch.zeros(2, 3, 6)
    assert query_loss(same, same).item() == pytest.approx(MARGIN)
    # Half as far as the margin: a distance of 0.0625 from each to the next.
    near = torch.tensor([[[0.0], [0.25]]])
    assert query_loss(near, near).item() == pytest.approx(MARGIN - 0.0625)


def test_a_wrong_note_costs_and_a_right_one_does_not():
    logits = torch.full((1, 89, 4), -30.0)
    logits[0, 40] = 30.0
    classes = torch.full((1, 4), 40)
    assert transcription_loss(logits, classes) < 1e-6
    assert transcription_loss(torch.zeros(1, 89, 4), classes).item() == pytest.approx(math.log(89))


def test_separation_is_the_mean_absolute_error():
    source = torch.rand(2, 1, 5, 8)
    assert separation_loss(source, source) == 0.0
    assert separation_loss(source - 0.5, source).item() == pytest.approx(0.5)
