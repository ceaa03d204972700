"""Every setting: its losses fall, gradients reach what learns, and the rest stays frozen."""

import json

import numpy as np
import pytest
import torch

from rtsep.errors import RtsepError, SetupError
from rtsep_export.scores.clips import Clips
from rtsep_export.scores.settings import SETTINGS
from rtsep_export.scores.songs import SAMPLE_RATE, load_songs, store_song
from rtsep_export.scores.training import Run, Schedule

CHANNELS = 8
PITCHES = (40, 64, 76)


def tones(seed):
    """Twelve seconds of three instruments that play scales of harmonics."""
    rng = np.random.default_rng(seed)
    t = np.arange(12 * SAMPLE_RATE) / SAMPLE_RATE
    stems, notes = np.zeros((3, len(t)), np.float32), []
    for instrument, base in enumerate(PITCHES):
        for beat in range(24):
            pitch = int(base + rng.integers(8))
            on, off = beat / 2, beat / 2 + 0.45
            span = (t >= on) & (t < off)
            f0 = 440 * 2 ** ((pitch - 69) / 12)
            for harmonic in range(1, 2 + 3 * (instrument + 1)):
                wave = np.sin(2 * np.pi * f0 * harmonic * t[span]) * 0.1 / harmonic
                stems[instrument, span] += wave.astype(np.float32)
            notes.append((instrument, pitch, on, off))
    return stems, notes


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("songs")
    for split, seed in (("train", 0), ("valid", 1)):
        store_song(folder / split, "a", *tones(seed), {})
    return {split: Clips(load_songs(folder / split)) for split in ("train", "valid")}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


def make(name, runs, clips, seconds=1.5, **schedule):
    plan = Schedule(seconds, batch=3, **schedule)
    return Run(name, runs, clips["train"], clips["valid"], plan, CHANNELS)


def silent(*_):
    pass


@pytest.mark.parametrize("name", SETTINGS)
def test_losses_fall_and_what_is_frozen_stays_so(name, runs, clips):
    """In the order of the settings, as later ones start from earlier ones."""
    run = make(name, runs, clips)
    setting = SETTINGS[name]
    before = {
        key: {k: v.clone() for k, v in net.state_dict().items()}
        for key, net in run.learner.networks.items()
    }
    at_first = run.validate()["loss"]
    run.go(silent)
    for key, net in run.learner.networks.items():
        moved = [k for k, v in net.state_dict().items() if not torch.equal(v, before[key][k])]
        if key in setting.learns:
            assert len(moved) == len(before[key]), set(before[key]) - set(moved)
        else:
            assert moved == []
            assert all(not p.requires_grad for p in net.parameters())
    # Joint settings start from trained networks; they must not get lost.
    limit = at_first if len(setting.learns) == 1 else 1.2 * at_first
    assert run.progress.best < limit


def test_each_loss_reaches_its_own_network_only(runs, clips):
    run = make("joint-atl", runs, clips)
    totals, terms = run.learner.losses(clips["train"].batch([0, 1]), np.random.default_rng(0))
    assert set(totals) == {"separator", "transcriber"}
    assert {"score", "c-mix", "h-mix", "atl"} <= set(terms)
    separator = list(run.learner.networks["separator"].parameters())
    reached = torch.autograd.grad(totals["transcriber"], separator, allow_unused=True)
    assert all(gradient is None for gradient in reached)


def test_a_killed_run_goes_on(tmp_path, clips):
    def kill(where, share, figures):
        if share > 0.4:
            raise KeyboardInterrupt

    run = make("transcriber", tmp_path, clips)
    with pytest.raises(KeyboardInterrupt):
        run.go(kill)
    weights = run.learner.networks["transcriber"].state_dict()
    again = make("transcriber", tmp_path, clips)
    assert again.progress.elapsed_s == run.progress.elapsed_s > 0
    for key, value in again.learner.networks["transcriber"].state_dict().items():
        assert torch.equal(value, weights[key])
    again.go(silent)
    assert again.progress.elapsed_s >= 1.5
    finished = make("transcriber", tmp_path, clips)
    finished.go(lambda *_: pytest.fail("trained on after its end"))


def test_the_papers_rule_halves_and_stops(tmp_path, clips, monkeypatch):
    run = Run("transcriber", tmp_path, clips["train"], clips["valid"], Schedule(None, batch=3), 8)
    losses = iter([5.0, 4.0, 4.5, 4.5, 4.5, 4.5, *[4.5] * 20])
    monkeypatch.setattr(run, "validate", lambda: {"loss": next(losses)})
    run.go(silent)
    assert run.progress.validated[:3] == [5.0, 4.0, 4.5]
    assert run.progress.epoch == 12  # two that improved, ten that did not
    assert run.progress.rate == 0.5**5


def test_a_checkpoint_of_another_network_is_refused(tmp_path, clips):
    make("transcriber", tmp_path, clips, 0.3).go(silent)
    before = (tmp_path / "transcriber" / "state.pt").read_bytes()
    plan = Schedule(1.0, batch=3)
    with pytest.raises(RtsepError, match=r"state\.pt is not of this network"):
        Run("transcriber", tmp_path, clips["train"], clips["valid"], plan, 12)
    assert (tmp_path / "transcriber" / "state.pt").read_bytes() == before
    (tmp_path / "classifier").mkdir()
    (tmp_path / "classifier" / "state.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(RtsepError, match=r"state\.pt"):
        make("classifier", tmp_path, clips)


def test_a_setting_without_its_critic_says_what_to_train_first(tmp_path, clips):
    with pytest.raises(SetupError, match="train the setting transcriber first"):
        make("isolated-both", tmp_path, clips)


def test_songs_come_back_and_damage_is_refused(tmp_path):
    stems, notes = tones(2)
    store_song(tmp_path, "song", stems, notes, {"font": "none"})
    (song,) = load_songs(tmp_path)
    back, own = song.clip(1)
    np.testing.assert_allclose(back, stems[:, 64_000:128_000], atol=1 / 32768)
    assert all(0 <= on < off <= 4.0 for _, _, on, off in own)
    assert len(own) == 3 * 8
    (tmp_path / "song.json").write_text(json.dumps({}))
    with pytest.raises(SetupError, match=r"song\.npy"):
        load_songs(tmp_path)
    with pytest.raises(SetupError, match="no songs"):
        load_songs(tmp_path / "none")
