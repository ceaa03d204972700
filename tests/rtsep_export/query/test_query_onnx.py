"""Query models as bundles: what torch says, ONNX says, and checkpoints become bundles."""

import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from typer.testing import CliRunner

from rtsep.bundle import load_bundle
from rtsep.errors import BundleError, RtsepError
from rtsep.manifest import Training
from rtsep.query.model import QueryModel as RuntimeModel
from rtsep.query.model import find_query_model, part_path
from rtsep.songs import find_separator
from rtsep_export.cli import app
from rtsep_export.imports import import_checkpoint
from rtsep_export.query.checkpoints import load_query_model
from rtsep_export.query.networks import BINS, MODELS, QUERY, QueryModel
from rtsep_export.query.parts import store_part
from rtsep_export.query.to_onnx import REACH, export_query_model

GOLDEN = Path(os.environ.get("RTSEP_DATA", "")) / "golden" / "msi"
TRAINING = Training(data=("none",), sound_fonts=(), audio_hours=0.0, command="none")


def run(path, **inputs):
    session = onnxruntime.InferenceSession(load_bundle(path).data)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="needs RTSEP_DATA with golden/msi")
def test_an_imported_checkpoint_gives_the_published_numbers(tmp_path):
    target = tmp_path / "Public MSI.onnx"
    done = CliRunner().invoke(
        app, ["import", str(GOLDEN / "msi.pth"), "-o", str(target)], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    assert "MSI, opset" in done.stdout
    with np.load(GOLDEN / "expected.npz") as file:
        expected = dict(file)
    found = run(target, mixture=expected["mixture"], query=expected["query"])
    found |= run(part_path(target, "embed"), query_spectrogram=expected["query_spectrogram"])
    found |= run(
        part_path(target, "synthesise"),
        **{name: expected[name] for name in ("mixture", "score", "query")},
    )
    for name in ("separated", "logits", "query", "synthesised"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4)
    assert load_bundle(target).name == "public-msi"


@pytest.mark.parametrize("name", ["separation", "multi-task", "msi", "causal"])
def test_every_model_that_separates_becomes_bundles(name, tmp_path):
    torch.manual_seed(0)
    network = QueryModel(MODELS[name]).eval()
    path = tmp_path / "model.onnx"
    written = export_query_model(network, path, "model", TRAINING, "1.0.0", "none")
    assert len(written) == (3 if MODELS[name].disentangles else 2)
    mixture, query = torch.rand(1, 1, 70, BINS), torch.rand(1, QUERY)
    found = run(path, mixture=mixture.numpy(), query=query.numpy())
    with torch.no_grad():
        separated, logits = network(mixture, query)
    np.testing.assert_allclose(found["separated"], separated, atol=1e-4)
    assert ("logits" in found) is MODELS[name].transcribes
    if logits is not None:
        np.testing.assert_allclose(found["logits"], logits, atol=1e-4)
    state = load_bundle(path).manifest.state
    assert (state.left, state.right) == ((2 * REACH, 0) if name == "causal" else (REACH, REACH))


@pytest.fixture
def runs(tmp_path):
    """Folders of two trained models, and of the part they learnt from."""
    torch.manual_seed(0)
    for name in ("msi", "msi-dis"):
        (tmp_path / name).mkdir()
        torch.save(QueryModel(MODELS[name]).state_dict(), tmp_path / name / "model.pt")
        state = {"elapsed": 60.0, "step": 5, "device": "a CPU"}
        torch.save(state, tmp_path / name / "state.pt")
    recipe = {"song": "openscore-quartets-two", "licence": "CC0", "font": "musescore"}
    silence = np.zeros((1, 1600), np.float32)
    store_part(tmp_path / "parts" / "train" / "flute", "000", silence, [[]], recipe)
    return tmp_path


def bundle_query(runs, model, *words):
    target = runs / "asked.onnx"
    places = [str(runs / model), str(runs / "parts"), "-o", str(target)]
    done = CliRunner().invoke(app, ["bundle-query", *places, *map(str, words)])
    if done.exception is not None:
        raise done.exception
    return target


def test_a_trained_run_becomes_bundles_of_16_bits(runs):
    target = bundle_query(runs, "msi", "--version", "0.2.0")
    network = load_query_model(runs / "msi" / "model.pt", MODELS["msi"])
    bundle = load_bundle(target)
    assert (bundle.name, bundle.manifest.version) == ("asked", "0.2.0")
    assert bundle.manifest.training.data == ("openscore-quartets: 1 parts, CC0",)
    whole = sum(weights.numel() for weights in network.parameters())
    assert bundle.size_bytes < 2.2 * whole
    mixture, query = torch.rand(1, 1, 70, BINS), torch.rand(1, QUERY)
    found = run(target, mixture=mixture.numpy(), query=query.numpy())
    with torch.no_grad():
        for weights in network.parameters():
            if weights.ndim > 1:
                weights.copy_(weights.half())
        separated, logits = network(mixture, query)
    np.testing.assert_allclose(found["separated"], separated, atol=2e-3)
    np.testing.assert_allclose(found["logits"], logits, atol=2e-3)
    for model, words in {"transcription": (), "msi": ("--player", runs / "multi-task")}.items():
        with pytest.raises(RtsepError, match=r"a run called (transcription|multi-task)"):
            bundle_query(runs, model, *words)


def test_another_runs_model_plays_scores_by_queries_of_its_own(runs):
    target = bundle_query(runs, "msi", "--player", runs / "msi-dis")
    model = RuntimeModel(find_query_model(target), device="cpu")
    assert model.plays_scores
    assert model.score_embedder is not model.embedder
    assert load_bundle(part_path(target, "synthesise")).name == "asked-synthesise"
    assert model.score_embedder.manifest.training.command.startswith(
        "rtsep-export learn-query msi-dis "
    )
    network = load_query_model(runs / "msi-dis" / "model.pt", MODELS["msi-dis"])
    example = torch.rand(300, BINS)
    with torch.no_grad():
        wanted = network.query(example[None, None])[0]
    query = model.score_embedder.embed(example.numpy())
    np.testing.assert_allclose(query, wanted, atol=2e-3)
    score = np.zeros((40, 89), np.float32)
    score[:, 40] = 1.0
    assert model.synthesise(example[:40].numpy(), score, query).shape == (40, BINS)
    alone = bundle_query(runs, "msi")
    assert RuntimeModel(find_query_model(alone), device="cpu").plays_scores


@pytest.mark.parametrize("name", ["msi", "causal"])
def test_context_is_as_long_as_what_reaches_a_frame(name):
    torch.manual_seed(0)
    network = QueryModel(MODELS[name]).eval()
    mixture = torch.rand(1, 1, 4 * REACH + 1, BINS, requires_grad=True)
    middle = 2 * REACH
    separated, _ = network(mixture, torch.rand(1, QUERY))
    separated[:, :, middle].square().sum().backward()
    reached = torch.nonzero(mixture.grad[0, 0].abs().sum(-1))[:, 0] - middle
    before, after = (2 * REACH, 0) if name == "causal" else (REACH, REACH)
    assert (int(reached.min()), int(reached.max())) == (-before, after)


def test_a_query_model_is_no_separator_for_songs(tmp_path):
    network = QueryModel(MODELS["separation"]).eval()
    path = tmp_path / "model.onnx"
    export_query_model(network, path, "model", TRAINING, "1.0.0", "none")
    with pytest.raises(BundleError, match="a model to query; expected one to separate"):
        find_separator(str(path))


def test_what_is_no_known_checkpoint_is_refused_in_one_line(tmp_path):
    target = tmp_path / "out.onnx"
    text = tmp_path / "text.pth"
    text.write_text("hello")
    torch.save({"encoder.weight": torch.zeros(2)}, tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"model": Path("code")}, tmp_path / "code.pth")
    torch.save(QueryModel(MODELS["transcription"]).state_dict(), tmp_path / "amt.pth")
    for name, words in {
        "none.pth": "no checkpoint at",
        "text.pth": "no archive of tensors alone",
        "code.pth": "no archive of tensors alone",
        "list.pth": "holds no named tensors",
        "other.pth": "a network that is not known",
        "amt.pth": "only transcribes",
    }.items():
        with pytest.raises(RtsepError, match=words) as caught:
            import_checkpoint(tmp_path / name, target, licence="none")
        assert "\n" not in str(caught.value)
    assert not target.exists()
