"""What tells several instruments from one: its clips, its learning, its bundle."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from rtsep.bundle import load_bundle
from rtsep.query.several import likely_several
from rtsep_export.checkpoints import save
from rtsep_export.cli import app
from rtsep_export.query.several import (
    MANY,
    SAMPLE_RATE,
    SHORT,
    Several,
    SeveralTask,
    draw,
    excerpts,
    in_rooms,
    ranked,
)
from rtsep_export.query.solos import Solos
from rtsep_export.rendered import RenderedSongs

HERTZ = {"flute": 500.0, "oboe": 1200.0, "tuba": 2500.0, MANY: 4000.0}


@pytest.fixture
def pool():
    """A steady sine for every voice."""
    time = torch.arange(SHORT) / SAMPLE_RATE
    return {
        name: 2**0.5 * torch.sin(2 * torch.pi * hertz * time)[None] for name, hertz in HERTZ.items()
    }


def sounding(clip):
    """Which voices are in a clip."""
    spectrum = torch.fft.rfft(clip * torch.hann_window(SHORT)).abs()
    seconds = SHORT // SAMPLE_RATE
    return [name for name, hertz in HERTZ.items() if spectrum[round(hertz * seconds)] > 1000.0]


def test_several_are_several_and_one_is_one_that_is_never_a_band(pool):
    audio, several = draw(pool, 200, np.random.default_rng(0), vary=False)
    counts = [len(sounding(clip)) for clip in audio]
    assert [count > 1 for count in counts] == several[:, 0].bool().tolist()
    assert set(counts) == {1, 2, 3, 4}
    assert 70 < several.sum() < 130
    alone = {sounding(clip)[0] for clip, count in zip(audio, counts, strict=True) if count == 1}
    assert alone == set(HERTZ) - {MANY}
    varied, again = draw(pool, 200, np.random.default_rng(0))
    assert varied.shape == audio.shape
    assert 0 < float(again.mean()) < 1
    assert varied.isfinite().all()


def test_a_room_rings_on_and_an_equaliser_keeps_time():
    click = torch.zeros(40, SHORT)
    click[:, 1000] = 1.0
    heard = in_rooms(click, np.random.default_rng(1))
    before = heard[:, :900].abs().amax(1)
    assert (heard.abs().argmax(1) - 1000).abs().max() <= 2
    assert before.max() < 0.1
    late = heard[:, 2000:].square().sum(1) / heard.square().sum(1)
    assert 10 < int((late > 1e-4).sum()) < 36


def test_voices_of_songs_and_solos_are_kept_at_one_level(tiny_solos):
    rng = np.random.default_rng(0)
    solos = Solos(tiny_solos, "train")
    found = excerpts(RenderedSongs(tiny_solos / "train"), solos, 3, 2, rng)
    assert set(found) > set(solos.having)
    for name, audio in found.items():
        assert audio.shape == ((2 if name in solos.having else 3), SHORT)
        rms = audio.square().mean(1).sqrt()
        assert torch.allclose(rms, torch.ones(len(rms)), atol=1e-2)


@torch.no_grad()
def test_it_hears_any_level_alike():
    torch.manual_seed(0)
    network = Several().eval()
    audio = torch.randn(2, SHORT)
    heard = network(audio)
    assert torch.allclose(network(0.01 * audio), heard, atol=1e-3)
    assert network(0 * audio).isfinite().all()


def test_it_learns_and_is_scored_by_its_ranks(tiny_solos):
    torch.manual_seed(0)
    task = SeveralTask(tiny_solos, batch=8, per_stem=4, per_solo=2)
    optimiser, losses = torch.optim.Adam(task.network.parameters(), 2e-3), []
    for _ in range(12):
        optimiser.zero_grad()
        loss, _ = task.loss(np.random.default_rng(0))
        loss.backward()
        assert all(p.grad is not None for p in task.network.parameters())
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    with torch.no_grad():
        assert 0.0 <= task.score(task.network.eval())["score"] <= 1.0
    assert ranked([0.9, 0.4], [0.1, 0.5]) == 0.75


def test_what_was_trained_becomes_the_bundle_that_is_asked(tiny_solos, tmp_path, monkeypatch):
    run, out = tmp_path / "run", tmp_path / "out"
    for path in (tiny_solos / "train").glob("*/recipe.json"):
        origin = {"song": f"arranged-{path.parent.name}", "licence": "ours", "font": "fluidr3"}
        path.write_text(json.dumps(json.loads(path.read_text()) | origin))
    for path in (tiny_solos / "solos" / "train").glob("*/*.flac"):
        path.with_suffix(".json").write_text(json.dumps(origin))
    torch.manual_seed(0)
    network = Several().eval()
    run.mkdir()
    save(network.state_dict(), run / "model.pt")
    save({"elapsed": 60.0, "step": 3, "device": "a CPU"}, run / "state.pt")
    words = ["bundle", "several", str(run), "--rendered", str(tiny_solos), "-o", str(out)]
    done = CliRunner().invoke(app, [*words, "--version", "0.1.0"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    manifest = load_bundle(out / "several.onnx").manifest
    assert (manifest.task, manifest.tags) == ("tag", ("several",))
    assert "several instruments" in manifest.description
    monkeypatch.setattr("rtsep.bundle.MODELS", out)
    audio = 0.1 * np.random.default_rng(0).standard_normal((1, SHORT)).astype(np.float32)
    with torch.no_grad():
        expected = float(network(torch.from_numpy(audio))[0, 0])
    assert likely_several(audio, SAMPLE_RATE) == pytest.approx(expected, abs=1e-3)
