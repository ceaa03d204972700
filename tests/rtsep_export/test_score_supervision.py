"""What a critic hears through masks, and what a score allows."""

import numpy as np
import pytest
import torch

from rtsep.manifest import band_count
from rtsep_export.features import SEPARATOR_FRONT_ENDS, TRANSCRIBER_FRONT_ENDS, features
from rtsep_export.note_rolls import N_NOTES
from rtsep_export.score_supervision import Critic, activity, mix_losses
from rtsep_export.separation import SeparationTask
from rtsep_export.stems import STEMS
from rtsep_export.transcription import make_transcriber

BANDS = band_count(SEPARATOR_FRONT_ENDS[0])
FRAMES = 60


@pytest.fixture(scope="module")
def critic():
    torch.manual_seed(0)
    return Critic(make_transcriber().eval())


@pytest.fixture(scope="module")
def heard():
    """Features of two seconds of noise at a moderate level."""
    rng = np.random.default_rng(0)
    audio = torch.from_numpy(rng.normal(0, 0.1, (2, 512 * FRAMES)).astype(np.float32))
    return audio, features(audio, TRANSCRIBER_FRONT_ENDS, 512)[None]


def test_masks_move_levels_by_their_decibels(critic, heard):
    audio, mixture = heard
    masks = torch.zeros(1, 2 * FRAMES, len(STEMS), BANDS)
    masks[:, :, 0], masks[:, :, 1] = 1.0, 0.5
    found = critic.heard(mixture, masks)
    assert found.shape == (1, len(STEMS), FRAMES, mixture.shape[-1])
    torch.testing.assert_close(found[:, 0], mixture, atol=1e-2, rtol=0)  # a fifth of a decibel
    quiet = features(0.5 * audio, TRANSCRIBER_FRONT_ENDS, 512)[None]
    torch.testing.assert_close(found[:, 1], quiet, atol=1e-2, rtol=0)  # a fifth of a decibel
    assert (found[:, 2] == found[0, 2, 0, 0]).all()  # masked away: the features' floor


def test_a_mask_of_some_bands_is_heard_there(critic, heard):
    _, mixture = heard
    masks = torch.zeros(1, 2 * FRAMES, len(STEMS), BANDS)
    masks[:, :, 0, : BANDS // 2] = 1.0
    found = critic.heard(mixture, masks)[0, 0]
    width = band_count(TRANSCRIBER_FRONT_ENDS[0])
    torch.testing.assert_close(
        found[:, :40], mixture[0, :, :40], atol=1e-2, rtol=0
    )  # a fifth of a decibel
    assert (found[:, width - 20 : width] < mixture[0, :, width - 20 : width] - 1).all()


def test_the_critic_teaches_and_does_not_learn(critic, heard):
    _, mixture = heard
    logits = torch.zeros(1, 2 * FRAMES, len(STEMS), BANDS, requires_grad=True)
    target = torch.zeros(1, FRAMES, N_NOTES)
    target[:, 10:20, 5] = 1.0
    loss = critic.loss(mixture, torch.softmax(logits, dim=2), target, target)
    loss.backward()
    assert logits.grad.abs().max() > 0
    assert all(p.grad is None for p in critic.parameters())


def test_activity_follows_the_score():
    notes = [("bass", 45, 0.5, 1.0, 90), ("drums", 36, 1.0, 1.1, 90), ("other", 60, 0.0, 1.0, 90)]
    active = activity(notes, 256, 375)
    bass, drums, other = (active[:, STEMS.index(s)] for s in ("bass", "drums", "other"))
    at = lambda seconds: round(seconds * 187.5)  # noqa: E731
    assert bass[: at(0.48)].sum() == 0
    assert bass[at(1.2) :].sum() == 0
    sounding = bass[at(0.7)]
    assert sounding[4:7].sum() >= 1  # 110 Hz lies in band 5
    assert 0 < sounding.sum() < BANDS
    assert drums[at(1.1)].all()
    assert not drums[at(0.9)].any()
    assert other.all()
    assert active[:, STEMS.index("guitar")].sum() == 0


def test_mix_losses_count_what_the_score_does_not_allow():
    energy = torch.ones(2, 8, BANDS)
    active = torch.zeros(2, 8, len(STEMS), BANDS)
    active[:, :, 0] = 1.0
    masks = torch.zeros_like(active)
    masks[:, :, 0] = 1.0
    assert mix_losses(masks, energy, active).item() == 0.0
    masks[:, :, 0], masks[:, :, 1] = 0.75, 0.25
    assert mix_losses(masks, energy, active).item() == pytest.approx(1.1 * 0.25, rel=1e-4)


@pytest.mark.parametrize("stems_weight", [0.0, 1.0])
def test_a_separator_learns_from_scores(tiny_songs, stems_weight):
    torch.manual_seed(0)
    task = SeparationTask(
        tiny_songs,
        frames=160,
        batch=2,
        bfloat16=False,
        stems_weight=stems_weight,
        critic=make_transcriber(),
    )
    optimiser = torch.optim.Adam(task.network.parameters(), 2e-3)
    losses = []
    batch = task.mixes.draw(np.random.default_rng(0))
    task.mixes.draw = lambda _: batch
    before = [p.clone() for p in task.critic.parameters()]
    for _ in range(24):
        loss, figures = task.loss(np.random.default_rng(0))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(figures["from score"])
    assert losses[-1] < losses[0]
    assert all(torch.equal(a, b) for a, b in zip(before, task.critic.parameters(), strict=True))
