"""What is steered with as bundles: what torch says, ONNX says, and the weights come back."""

import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from typer.testing import CliRunner

from rtsep.bundle import load_bundle
from rtsep.errors import BundleError, RtsepError
from rtsep.manifest import Training
from rtsep.songs import find_separator
from rtsep_export.cli import app
from rtsep_export.steer.autoencoder import CODES, Autoencoder
from rtsep_export.steer.frozen import KINDS, load_autoencoder, load_tagger
from rtsep_export.steer.taggers import Fcn
from rtsep_export.steer.tags import MTAT
from rtsep_export.steer.to_onnx import export_autoencoder, export_tagger

DATA = Path(os.environ.get("RTSEP_DATA", ""))
needs_data = pytest.mark.skipif(
    not (DATA / "golden" / "jukebox").is_dir(), reason="needs RTSEP_DATA"
)
RECORD = (Training(data=("none",), sound_fonts=(), audio_hours=0.0, command="none"), "1.0.0", "x")


def run(path, audio):
    session = onnxruntime.InferenceSession(load_bundle(path).data)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"audio": audio}), strict=True))


def imported(checkpoint, target):
    done = CliRunner().invoke(
        app, ["import", str(checkpoint), "-o", str(target)], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return done.stdout


@needs_data
def test_the_imported_autoencoder_gives_the_public_numbers(tmp_path):
    target = tmp_path / "jukebox.onnx"
    assert "Jukebox" in imported(DATA / "golden" / "jukebox" / "vqvae.pth.tar", target)
    with np.load(DATA / "golden" / "jukebox" / "expected.npz") as file:
        expected = dict(file)
    found = run(target, expected["audio"])
    for name in ("latent", "decoded"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4)
    assert np.array_equal(found["codes"], expected["codes"])
    with pytest.raises(BundleError, match="a model to reconstruct; expected one to separate"):
        find_separator(str(target))


@needs_data
@pytest.mark.parametrize("name", ["mtat-fcn", "jamendo-crnn", "mtat-musicnn"])
def test_imported_taggers_give_the_public_numbers(name, tmp_path):
    target = tmp_path / f"{name}.onnx"
    assert f"with the tags of {name.split('-')[0]}" in imported(
        DATA / "taggers" / f"{name}.pth", target
    )
    rng, t = np.random.default_rng(0), np.arange(464_000) / 16_000
    audio = 0.05 * rng.standard_normal(464_000) + 0.2 * np.sin(2 * np.pi * 220 * t)
    audio += 0.1 * np.sin(2 * np.pi * 554.37 * t) * (np.sin(2 * np.pi * 2 * t) > 0)
    bundle = load_bundle(target)
    heard = audio.astype(np.float32)[None, : bundle.manifest.state.chunk]
    with np.load(DATA / "taggers" / "check.npz") as file:
        np.testing.assert_allclose(run(target, heard)["tags"][0], file[name], atol=1e-4)
    assert len(bundle.manifest.tags) == 50


@pytest.mark.parametrize("kind", KINDS)
def test_a_tagger_comes_back_from_its_bundle(kind, tmp_path):
    torch.manual_seed(0)
    network = KINDS[kind](3).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    if hasattr(network, "spec"):
        network.spec.mel_scale.fb.uniform_(0, 0.1)
    audio = torch.randn(1, network.samples)
    with torch.no_grad():
        expected = network(audio)
    path = tmp_path / "own.onnx"
    export_tagger(network, ("bass", "piano", "strings"), path, "own", *RECORD)
    np.testing.assert_allclose(run(path, audio.numpy())["tags"], expected, atol=1e-5)
    back = load_tagger(str(path))
    assert back.tags == ("bass", "piano", "strings")
    assert back.instruments == {}
    with torch.no_grad():
        assert torch.allclose(back.network(audio), expected, atol=1e-6)


def test_an_autoencoder_comes_back_from_its_bundle(tmp_path):
    torch.manual_seed(0)
    network = Autoencoder().eval()
    path = tmp_path / "own.onnx"
    export_autoencoder(network, path, "own", *RECORD)
    audio = 0.1 * torch.randn(1, 1, 4096)
    with torch.no_grad():
        latent, codes, decoded = network(audio)
        again = load_autoencoder(str(path))(audio)
    found = run(path, audio.numpy())
    np.testing.assert_allclose(found["latent"], latent, atol=1e-5)
    # Where two codes are nearly as near, rounding may choose.
    assert (found["codes"] == codes.numpy()).mean() > 0.99
    assert found["codes"].max() < CODES
    assert found["decoded"].shape == tuple(decoded.shape)
    assert all(torch.equal(a, b) for a, b in zip(again, (latent, codes, decoded), strict=True))


def test_bundles_for_something_else_are_refused_in_one_line(tmp_path):
    export_tagger(Fcn(), MTAT, tmp_path / "fcn.onnx", "fcn", *RECORD)
    model = onnx.load(tmp_path / "fcn.onnx")
    for values in (*(node.input for node in model.graph.node), [*model.graph.initializer]):
        for index, value in enumerate(values):
            if getattr(value, "name", value) == "network.dense.weight":
                if isinstance(value, str):
                    values[index] = "w"
                else:
                    value.name = "w"
    onnx.save(model, tmp_path / "foreign.onnx")
    assert load_tagger(str(tmp_path / "fcn.onnx")).instruments["piano"] == ("piano",)
    for load, name, words in (
        (load_autoencoder, "fcn.onnx", "a model to tag; expected one to reconstruct"),
        (load_tagger, "live", "a model to separate; expected one to tag"),
        (load_tagger, "none.onnx", "no bundle at"),
        (load_tagger, "foreign.onnx", "does not hold its weights by name"),
    ):
        source = name if name == "live" else str(tmp_path / name)
        with pytest.raises(RtsepError, match=words) as caught:
            load(source)
        assert "\n" not in str(caught.value)
