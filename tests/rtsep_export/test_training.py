"""Losses are what they claim, fall, and a killed run goes on."""

import itertools

import numpy as np
import pytest
import torch

from rtsep.errors import RtsepError
from rtsep_export.features import HEADS, TRANSCRIBER_HOP
from rtsep_export.note_rolls import COLUMN, LOOKAHEAD, N_NOTES, rolls
from rtsep_export.separation import (
    SHAPES,
    SHARE,
    STRIDE,
    SeparationTask,
    segment_sdr,
    segment_si_sdr,
)
from rtsep_export.training import Schedule, train
from rtsep_export.transcription import TranscriptionTask


def tiny_task(songs, shape=SHAPES["separator"]):
    torch.manual_seed(0)
    return SeparationTask(songs, shape, frames=160, batch=2, bfloat16=False)


def test_sdr_from_statistics_is_the_sdr():
    rng = np.random.default_rng(1)
    energy = torch.from_numpy(rng.uniform(0.5, 2, (1, 8, 3)).astype(np.float32))
    ratio = torch.from_numpy(rng.uniform(0, 0.5, (1, 8, 4, 3)).astype(np.float32))
    floor = torch.zeros(1, 8, 5)
    masks = torch.from_numpy(rng.uniform(0, 0.5, (1, 8, 5, 3)).astype(np.float32))
    got = segment_sdr(masks, {"live": (energy, ratio, floor)}, "live", 0)
    root = energy.sqrt()[:, :, None]
    whole = torch.cat([ratio, 1 - ratio.sum(2, keepdim=True)], 2)
    truth, guess = whole * root, masks * root
    share = SHARE * energy.sum() + 1e-6
    expected = 10 * torch.log10(
        (truth.square().sum((1, 3)) + share) / ((truth - guess).square().sum((1, 3)) + share)
    )
    assert torch.allclose(got, expected, atol=1e-3)


def test_ideal_masks_beat_any_others():
    energy, floor = torch.ones(1, 8, 3), torch.full((1, 8, 5), 0.01)
    ratio = torch.full((1, 8, 4, 3), 0.2)
    targets = {"live": (energy, ratio, floor)}
    ideal = segment_sdr(torch.full((1, 8, 5, 3), 0.2), targets, "live", 0)
    for other in (0.0, 0.15, 0.3, 1.0):
        assert (segment_sdr(torch.full((1, 8, 5, 3), other), targets, "live", 0) < ideal).all()


def test_scale_invariant_sdr_is_that_of_any_gain_and_the_gain_is_said():
    rng = np.random.default_rng(2)
    energy = torch.from_numpy(rng.uniform(0.5, 2, (1, 8, 3)).astype(np.float32))
    ratio = torch.from_numpy(rng.uniform(0, 0.5, (1, 8, 2, 3)).astype(np.float32))
    ratio[:, :, 1] = 0.0
    targets = {"live": (energy, ratio, torch.zeros(1, 8, 3))}
    masks = torch.from_numpy(rng.uniform(0, 0.5, (1, 8, 3, 3)).astype(np.float32))
    found, gain_db, sounds = segment_si_sdr(masks, targets, "live", 0)
    truth, guess = (row[:, :, 0] * energy.sqrt() for row in (ratio, masks))
    gain = (truth * guess).sum() / truth.square().sum()
    wanted = (gain * truth).square().sum() / (guess - gain * truth).square().sum()
    assert float(found[0, 0]) == pytest.approx(float(10 * torch.log10(wanted)), abs=0.3)
    assert float(gain_db[0, 0]) == pytest.approx(float(20 * torch.log10(gain)), abs=0.1)
    assert sounds.tolist() == [[True, False]]
    quiet, quiet_db, _ = segment_si_sdr(0.1 * masks, targets, "live", 0)
    assert float(quiet[0, 0]) == pytest.approx(float(found[0, 0]), abs=1e-3)
    assert float(quiet_db[0, 0]) == pytest.approx(float(gain_db[0, 0]) - 20, abs=0.2)
    silent, silent_db, _ = segment_si_sdr(0.0 * masks, targets, "live", 0)
    assert float(silent[0, 0]) < float(found[0, 0]) - 20
    assert float(silent_db[0, 0]) < -50


@pytest.mark.parametrize("head", HEADS)
def test_masks_four_frames_apart_meet_the_same_targets(head):
    """A mask that knows its frame's number is judged by the target of that frame."""
    ahead, hops = HEADS[head].lookahead // 256, HEADS[head].target == "offline"
    frames = torch.arange(96.0)
    wanted = frames[:: STRIDE if hops else 1] / 100
    energy = torch.ones(1, len(wanted), 3)
    ratio = wanted[None, :, None, None].expand(1, -1, 4, 3)
    targets = {HEADS[head].target: (energy, ratio, torch.zeros(1, len(wanted), 5))}
    mask = (frames - (2 if hops else 1) * ahead)[None, :, None, None].expand(1, -1, 5, 3) / 100
    mask = torch.cat([mask[:, :, :4], 1 - mask[:, :, :4].sum(2, keepdim=True)], 2)
    best = segment_sdr(mask[:, ::STRIDE], targets, head, 16, STRIDE)
    late = segment_sdr(mask[:, 1::STRIDE], targets, head, 16, STRIDE)
    assert (best > late).all()
    assert torch.allclose(best, segment_sdr(mask, targets, head, 16), atol=0.5)


@pytest.mark.parametrize("shape", SHAPES.values())
def test_training_lowers_the_loss_and_every_weight_learns(tiny_songs, shape):
    task = tiny_task(tiny_songs, shape)
    batch = task.mixes.draw(np.random.default_rng(0))
    task.mixes.draw = lambda _: batch
    loss, _ = task.loss(np.random.default_rng(0))
    loss.backward()
    assert all(
        p.grad is not None and float(p.grad.abs().sum()) > 0 for p in task.network.parameters()
    )
    first = float(loss.detach())
    optimiser = torch.optim.Adam(task.network.parameters(), 1e-3)
    for _ in range(12):
        optimiser.zero_grad()
        loss, _ = task.loss(np.random.default_rng(0))
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < first - 0.3


def test_transcriber_learns_and_scores(tiny_songs):
    torch.manual_seed(0)
    task = TranscriptionTask(tiny_songs, frames=64, batch=2, bfloat16=False)
    before, _ = task.loss(np.random.default_rng(0))
    optimiser = torch.optim.Adam(task.network.parameters(), 1e-3)
    for _ in range(10):
        optimiser.zero_grad()
        loss, _ = task.loss(np.random.default_rng(0))
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < float(before.detach())
    assert set(task.score(task.network)) == {"bass", "guitar", "piano", "drums", "score"}


def test_a_stopped_run_goes_on_where_it_was(tiny_songs, tmp_path):
    steps = []

    def go_on(budget_s):
        steps.clear()
        ticks = itertools.count()  # a step takes one second
        train(
            tiny_task(tiny_songs),
            Schedule(budget_s, validate_every_s=100),
            tmp_path / "run",
            lambda step, share, figures: steps.append(step),
            clock=lambda: float(next(ticks)),
        )

    go_on(3.0)
    assert steps == [1, 2, 3, 3]  # the last one again, with the validation figures
    assert (tmp_path / "run" / "model.pt").is_file()
    go_on(3.0)
    assert steps == []
    go_on(5.0)
    assert steps == [4, 5, 5]


def test_a_state_of_another_network_is_refused_and_kept(tiny_songs, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    torch.save({"network": {"x": torch.zeros(1)}}, run / "state.pt")
    before = (run / "state.pt").read_bytes()
    with pytest.raises(RtsepError, match="is not of this network"):
        train(tiny_task(tiny_songs), Schedule(1.0), run, lambda *_: None)
    assert (run / "state.pt").read_bytes() == before


def test_rolls_put_an_onset_where_the_frame_describes_it():
    start_s = 0.5
    onset, frame, velocity = rolls([("piano", 60, start_s, 0.7, 100)], 200)
    column = COLUMN["piano", 60]
    weights = onset[:, column]
    k = np.arange(200)
    described = ((k + 1) * TRANSCRIBER_HOP - LOOKAHEAD) / 48_000
    assert float((weights * described).sum() / weights.sum()) == pytest.approx(start_s, abs=2e-3)
    assert velocity[weights > 0, column] == pytest.approx(100 / 127)
    assert frame[:, column].sum() * TRANSCRIBER_HOP / 48_000 == pytest.approx(0.2, abs=0.02)
    assert np.count_nonzero(np.delete(onset, column, axis=1)) == 0
    assert onset.shape == (200, N_NOTES)


def test_every_head_has_a_lookahead_in_whole_network_frames():
    assert all(head.lookahead % 256 == 0 for head in HEADS.values())
