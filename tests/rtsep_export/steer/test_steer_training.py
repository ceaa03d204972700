"""The autoencoder and the tagger that are trained here: data, losses, and bundles of them."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from rtsep.bundle import load_bundle
from rtsep_export.checkpoints import save
from rtsep_export.cli import app
from rtsep_export.rendered import RenderedSongs
from rtsep_export.steer.autoencoder import CODE_SIZE, CODES, WIDTH, Autoencoder, at_scale
from rtsep_export.steer.autoencoder_training import (
    AutoencoderTask,
    Codebook,
    spectral_distance,
)
from rtsep_export.steer.frozen import load_autoencoder, load_tagger
from rtsep_export.steer.tagger_training import (
    SAMPLES,
    TAGS,
    TaggedSegments,
    TaggerTask,
    average_precision,
    tags_of,
)
from rtsep_export.steer.taggers import Fcn, mel_filters
from tests.rtsep_export.learning import steps_on_one_batch

TAGGERS = Path(os.environ.get("RTSEP_DATA", "")) / "taggers"


@pytest.mark.skipif(not TAGGERS.is_dir(), reason="needs RTSEP_DATA with taggers")
def test_mel_filters_are_those_of_the_published_taggers():
    state = torch.load(TAGGERS / "mtat-fcn.pth", weights_only=True, map_location="cpu")
    # Theirs were worked out in 32 bits.
    torch.testing.assert_close(mel_filters(), state["spec.mel_scale.fb"], rtol=0, atol=3e-5)


def test_a_codebook_follows_its_encoder_and_revives_what_nothing_uses():
    torch.manual_seed(0)
    vectors = torch.zeros(CODES, WIDTH)
    vectors[0], vectors[1] = 1.0, -1.0
    vectors[2:] = 50.0
    book = Codebook(vectors)
    near = torch.cat([torch.full((1, WIDTH, 30), 2.0), torch.full((1, WIDTH, 30), -3.0)], 2)
    codes = torch.tensor([[0] * 30 + [1] * 30])
    used = [book.follow(near, codes) for _ in range(600)]
    assert torch.allclose(vectors[0], torch.tensor(2.0), atol=0.01)
    assert torch.allclose(vectors[1], torch.tensor(-3.0), atol=0.01)
    # What was far from everything lies among what the encoder gives.
    assert vectors[2:].abs().max() < 4.0
    assert used[-1] == 2 / CODES
    first = torch.randn(1, WIDTH, 300)
    book.begin(first)
    assert vectors.std() == pytest.approx(1.0, abs=0.1)


def test_spectra_are_as_far_off_as_they_are():
    torch.manual_seed(0)
    audio = torch.randn(2, 8192)
    assert float(spectral_distance(audio, audio)) < 1e-4
    assert float(spectral_distance(torch.zeros_like(audio), audio)) == pytest.approx(1, abs=1e-3)
    assert float(spectral_distance(0.5 * audio, audio)) == pytest.approx(0.5, abs=1e-3)
    # Silence is no more than quiet.
    assert float(spectral_distance(audio * 1e-6, torch.zeros_like(audio))) < 0.1


def test_the_autoencoder_learns(tiny_songs):
    torch.manual_seed(0)
    task = AutoencoderTask(tiny_songs, samples=4096, batch=2)
    batch = task.mixes.draw(np.random.default_rng(0))
    assert batch["audio"].shape == (2, 1, 4096)
    assert batch["audio"].abs().max() > 0.01
    losses, figures = steps_on_one_batch(task, 8, 5e-4)
    assert losses[-1] < 0.9 * losses[0]
    assert set(figures) == {"wave", "spectra", "commitment", "used"}
    with torch.no_grad():
        assert set(task.score(task.network.eval())) == {"score", "spectra"}


def test_segments_say_what_sounds_in_them(tiny_songs):
    songs, rng = RenderedSongs(tiny_songs / "train"), np.random.default_rng(0)
    make = TaggedSegments(16_000)
    seen = torch.zeros(len(TAGS))
    for _ in range(30):
        segment = make(songs, rng)
        assert segment["audio"].shape == (16_000,)
        seen += segment["tags"]
        if segment["tags"].any():
            assert segment["audio"].abs().max() > 1e-3
    for index in range(len(songs)):
        for stem in ("drums", "bass"):
            assert tags_of(songs, index, stem).tolist() == [float(t == stem) for t in TAGS]
    assert 0 < seen.max() < 30
    assert (seen > 0).sum() >= 3


def test_the_tagger_learns(tiny_songs):
    torch.manual_seed(0)
    task = TaggerTask(tiny_songs, samples=SAMPLES, batch=2)
    losses, _ = steps_on_one_batch(task, 6, 1e-3)
    assert losses[-1] < 0.9 * losses[0]
    task.valid = task.valid[:4]
    with torch.no_grad():
        figures = task.score(task.network.eval())
    assert figures["score"] == pytest.approx(
        np.mean([v for k, v in figures.items() if k != "score"] or [0.0])
    )


def test_precision_is_that_of_the_ranks():
    wanted = torch.tensor([True, False, True, False])
    assert average_precision(wanted, torch.tensor([0.9, 0.1, 0.8, 0.2])) == 1.0
    assert average_precision(wanted, torch.tensor([0.1, 0.9, 0.2, 0.8])) == pytest.approx(5 / 12)


@pytest.mark.parametrize("name", ["autoencoder", "tagger"])
def test_what_was_trained_becomes_a_bundle_to_steer_with(name, tiny_songs, tmp_path):
    def command(*words):
        done = CliRunner().invoke(app, [*map(str, words)], catch_exceptions=False)
        assert done.exit_code == 0, done.output

    run, out = tmp_path / "run", tmp_path / "out"
    for path in (tiny_songs / "train").glob("*/recipe.json"):
        origin = {"song": f"arranged-{path.parent.name}", "licence": "ours", "font": "fluidr3"}
        path.write_text(json.dumps(json.loads(path.read_text()) | origin))
    if name == "autoencoder":
        command("train", name, tiny_songs, "-o", run, "--minutes", "0.05", "--workers", "1")
    else:
        run.mkdir()
        save(Fcn(len(TAGS)).state_dict(), run / "model.pt")
        save({"elapsed": 60.0, "step": 3, "device": "a CPU"}, run / "state.pt")
    command("bundle", name, run, "--rendered", tiny_songs, "-o", out, "--version", "0.3.0")
    bundle = load_bundle(out / f"{name}.onnx")
    assert bundle.manifest.version == "0.3.0"
    assert f"rtsep-export train {name}" in bundle.manifest.training.command
    if name == "autoencoder":
        assert float(load_autoencoder(str(out / f"{name}.onnx")).codebook.std()) > 0
    else:
        found = load_tagger(str(out / f"{name}.onnx"))
        assert found.tags == TAGS
        assert found.network.samples == SAMPLES


@torch.no_grad()
def test_codes_of_any_size_are_brought_to_one():
    torch.manual_seed(1)
    network = Autoencoder().eval()
    last = network.get_submodule("encoders.0.level_blocks.0.model")[-1]
    last.weight.mul_(3e4)
    network.codebook.mul_(3e4)
    audio = torch.randn(1, 1, 2048)
    latent, codes, decoded = network(audio)
    scaled_latent, scaled_codes, same = at_scale(network)(audio)
    assert float(network.codebook.square().mean(1).sqrt().median()) == pytest.approx(CODE_SIZE)
    assert torch.equal(codes, scaled_codes)
    assert torch.allclose(same, decoded, rtol=1e-4, atol=1e-5 * float(decoded.abs().max()))
    assert float(scaled_latent.std()) < 1e-2 * float(latent.std())
