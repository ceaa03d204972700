"""Training of the five models: what learns from what."""

import itertools

import numpy as np
import pytest
import torch

from rtsep_export.query.networks import MODELS
from rtsep_export.query.training import QueryTask
from rtsep_export.training import Schedule, snapshots, train

TERMS = {
    "separation": {"query", "separation"},
    "transcription": {"query", "transcription"},
    "multi-task": {"query", "separation", "transcription"},
    "msi": {"query", "separation", "transcription"},
    "msi-dis": {"query", "separation", "transcription"},
    "causal": {"query", "separation", "transcription"},
}


@pytest.mark.parametrize("name", list(MODELS))
def test_every_part_of_a_model_learns(name, tone_parts):
    torch.manual_seed(0)
    task = QueryTask(tone_parts, MODELS[name], seconds=0.3, batch=2)
    loss, terms = task.loss(np.random.default_rng(0))
    assert set(terms) == TERMS[name]
    assert loss.item() == pytest.approx(sum(terms.values()), rel=1e-5)
    loss.backward()
    still = {key for key, p in task.network.named_parameters() if p.grad is None}
    # Without a pitch to decode, the decoder never asks the transcriber, and so on.
    assert not still
    moved = {key.split(".")[0] for key, p in task.network.named_parameters() if p.grad.any()}
    assert moved == {key.split(".")[0] for key, _ in task.network.named_parameters()}


def test_timbre_is_taken_from_the_twin_while_training(tone_parts):
    torch.manual_seed(0)
    task = QueryTask(tone_parts, MODELS["msi-dis"], seconds=0.3, batch=2)
    batch = task.pairs.draw(2, np.random.default_rng(0))
    task.network.train()
    task._terms(task.network, batch)
    heard = []
    task.network.unet["encoder"].register_forward_pre_hook(lambda _, given: heard.append(given[0]))
    task._terms(task.network, batch)
    assert torch.equal(heard[0], batch.mixture)
    assert torch.equal(heard[1], batch.twin)
    task.network.eval()
    heard.clear()
    task._terms(task.network, batch)
    assert len(heard) == 1


def test_losses_fall(tone_parts, tmp_path):
    torch.manual_seed(0)
    task = QueryTask(tone_parts, MODELS["msi"], seconds=0.3, batch=2, valid_pairs=8)
    with torch.no_grad():
        before = task.score(task.network.eval())
    schedule = Schedule(12.0, learning_rate=2e-3, averaging=0.5, snapshots=2)
    seconds = itertools.count()
    train(task, schedule, tmp_path / "run", lambda *_: None, clock=lambda: float(next(seconds)))
    with torch.no_grad():
        after = task.score(task.network.eval())
    assert after["transcription"] < before["transcription"]
    assert after["score"] > before["score"]
    names = set(task.network.state_dict())
    assert [path.name for path in snapshots(tmp_path / "run")] == ["model-01.pt", "model-02.pt"]
    for path in (*snapshots(tmp_path / "run"), tmp_path / "run" / "model.pt"):
        assert set(torch.load(path, weights_only=True)) == names
