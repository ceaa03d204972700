"""Every network that ships, on real music: torch, its export, its bundle in the engine."""

import numpy as np
import onnx
import pytest
import torch
from pedalboard.io import AudioFile

from rtsep.bundle import load_bundle
from rtsep.errors import BundleError
from rtsep.features import FeatureExtractor
from rtsep.networks import open_network
from rtsep_export import features as training_features
from rtsep_export.fewer_bits import EIGHT
from rtsep_export.from_onnx import load_separator, load_transcriber, start_from
from rtsep_export.query.live import LiveQuery
from rtsep_export.separation import Shape, make_separator
from rtsep_export.tcn import CYCLE
from rtsep_export.to_onnx import OPSET, export_separator, export_transcriber
from rtsep_export.transcription import make_transcriber


@pytest.fixture(scope="module")
def music(data_dir):
    """Seven seconds of a band, twice, stereo at 48 kHz."""
    path = data_dir / "real" / "wfp_a" / "mixture.flac"
    with AudioFile(str(path)) as file, file.resampled_to(48_000) as resampled:
        audio = resampled.read(resampled.frames)
    stereo = np.broadcast_to(audio, (2, audio.shape[1]))
    return np.tile(stereo, 2).astype(np.float32)


@pytest.fixture(scope="module", params=["live", "relaxed", "offline", "notes"])
def shipped(request, music):
    """A bundle that ships, the network of its weights, and what that says of the music."""
    bundle = load_bundle(request.param)
    manifest = bundle.manifest
    heard = training_features.features(torch.from_numpy(music), manifest.front_ends, manifest.hop)[
        None
    ]
    with torch.no_grad():
        if manifest.task == "separate":
            network = load_separator(bundle).eval()
            (head,) = network.heads
            return bundle, network, {"masks": network(heard)[head][0].numpy()}
        network = load_transcriber(bundle).eval()
        names = ("onset", "frame", "velocity")
        logits = zip(names, network(heard), strict=True)
        return bundle, network, {name: torch.sigmoid(x)[0].numpy() for name, x in logits}


def streamed(bundle, music):
    """What the engine's runner says, hop by hop, of the music."""
    manifest = bundle.manifest
    hop = manifest.hop
    extractor = FeatureExtractor(manifest.front_ends, sample_rate=48_000, channels=2, hop=hop)
    runner = open_network(bundle, device="cpu")
    frame = np.zeros(extractor.n_features, np.float32)
    found = {key: [] for key in runner.outputs}
    for start in range(0, music.shape[1] - hop + 1, hop):
        extractor.process(np.ascontiguousarray(music[:, start : start + hop]), frame)
        ready = runner.push(frame)
        for key, rows in found.items():
            rows.extend(runner.outputs[key][:ready].copy())
    return {key: np.array(rows) for key, rows in found.items()}


def test_torch_and_its_export_agree(shipped, music, tmp_path):
    bundle, network, whole = shipped
    manifest, path = bundle.manifest, tmp_path / "exact.onnx"
    if manifest.task == "separate":
        (head,) = network.heads
        ends = manifest.front_ends
        export_separator(
            network, head, path, manifest.training, manifest.version, front_ends=ends, int8=False
        )
    else:
        export_transcriber(network, path, manifest.training, manifest.version)
    found = streamed(load_bundle(str(path)), music)
    assert set(found) == set(whole)
    # What a chunk knows of the time before the start is silence, not nothing.
    first = manifest.state.left if manifest.name == "offline" else 0
    for key, rows in found.items():
        np.testing.assert_allclose(rows[first:], whole[key][first : len(rows)], atol=1e-4)
    # The offline network waits for whole chunks of eight seconds.
    frames = len(next(iter(whole.values())))
    assert len(rows) > 1000 if manifest.name == "offline" else len(rows) == frames


def in_eight_bits(bundle):
    """Whether a bundle's matrices are of 8 bits: its activations then are too."""
    weights = onnx.load_from_string(bundle.data).graph.initializer
    return any(tensor.name.endswith(EIGHT) for tensor in weights)


def test_what_ships_says_what_its_weights_say(shipped, music):
    bundle, _, whole = shipped
    first = bundle.manifest.state.left if bundle.manifest.name == "offline" else 0
    found = streamed(bundle, music)
    assert set(found) == set(whole)
    for key, rows in found.items():
        off = np.abs(rows[first:] - whole[key][first : len(rows)])
        if in_eight_bits(bundle):
            # Rounded to a frame's largest activation: masks differ by a thousandth.
            assert off.mean() < 3e-3
            assert off.max() < 0.06
        else:
            assert off.max() < 1e-4
    frames = len(next(iter(whole.values())))
    assert len(rows) > 1000 if bundle.manifest.name == "offline" else len(rows) == frames
    (opset,) = [entry.version for entry in onnx.load_from_string(bundle.data).opset_import]
    assert opset == OPSET


@pytest.mark.parametrize("name", ["live", "notes"])
def test_training_goes_on_from_what_ships(name):
    bundle = load_bundle(name)
    if name == "notes":
        known, network = load_transcriber(bundle), make_transcriber()
    else:
        known = load_separator(bundle)
        shape = Shape(
            ("live", "relaxed"), known.trunk.channels, len(known.trunk.blocks) // len(CYCLE)
        )
        network = make_separator(shape, bundle.manifest.front_ends)
    start_from(network, bundle)
    heard = torch.randn(1, 40, network.trunk.input.in_features)
    with torch.no_grad():
        theirs, ours = known.eval()(heard), network.eval()(heard)
    if name == "notes":
        assert all(torch.equal(a, b) for a, b in zip(theirs, ours, strict=True))
    else:
        assert torch.equal(theirs["live"], ours["live"])
        assert torch.equal(theirs["live"], ours["relaxed"])


def test_the_live_query_model_starts_with_a_separators_trunk():
    asked, known = LiveQuery(), load_separator(load_bundle("live"))
    start_from(asked, load_bundle("live"))
    wanted = known.trunk.state_dict()
    assert all(torch.equal(value, wanted[key]) for key, value in asked.trunk.state_dict().items())
    with pytest.raises(BundleError, match="expected a separator of 48 channels"):
        start_from(LiveQuery(channels=48), load_bundle("live"))


def test_training_does_not_start_from_another_network():
    other = make_separator(Shape(("live",), 32, 1))
    with pytest.raises(BundleError, match="expected a separator of 32 channels"):
        start_from(other, load_bundle("live"))
    with pytest.raises(BundleError, match="no transcriber"):
        start_from(make_transcriber(), load_bundle("live"))
