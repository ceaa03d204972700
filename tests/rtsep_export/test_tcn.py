"""Whole-file, streamed and exported networks agree."""

import numpy as np
import pytest
import torch

from rtsep.bundle import load_bundle
from rtsep.manifest import Training, band_count
from rtsep.networks import open_network
from rtsep_export.from_onnx import load_separator
from rtsep_export.separation import SHAPES, Shape, make_separator
from rtsep_export.tcn import TAPS
from rtsep_export.to_onnx import export_separator, export_transcriber
from rtsep_export.transcription import make_transcriber

TRAINING = Training(data=("none",), sound_fonts=(), audio_hours=0.0, command="a test")


@pytest.fixture(scope="module")
def separator():
    torch.manual_seed(0)
    return make_separator(Shape(("live", "relaxed", "offline"), 64, 1)).eval()


@pytest.fixture(scope="module")
def transcriber():
    torch.manual_seed(0)
    # Of numbers that 16 bits hold, as its bundles do.
    return make_transcriber().half().float().eval()


def random_features(network, frames):
    width = network.trunk.input.in_features
    return torch.from_numpy(
        np.random.default_rng(1).normal(-0.5, 1.0, (1, frames, width)).astype(np.float32)
    )


def test_no_output_depends_on_the_future(separator):
    features = random_features(separator, 60)
    changed = features.clone()
    changed[:, 40:] += 1.0
    with torch.no_grad():
        before, after = separator(features)["live"], separator(changed)["live"]
    assert torch.equal(before[:, :40], after[:, :40])
    assert not torch.allclose(before[:, 40:], after[:, 40:], atol=1e-4)


def test_context_frames_is_how_far_the_past_reaches(transcriber):
    reach = transcriber.trunk.context_frames
    features = random_features(transcriber, reach + 2)
    changed = features.clone()
    changed[:, 0] += 1.0
    with torch.no_grad():
        difference = (transcriber(features)[0] - transcriber(changed)[0]).abs().amax((0, 2))
    assert difference[reach] > 0
    assert difference[reach + 1] == 0


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_fewer_frames_cost_no_difference(shape):
    torch.manual_seed(0)
    network = make_separator(shape).eval()
    features = random_features(network, 31)
    with torch.no_grad():
        every, fourth = network(features), network(features, 4)
    for head, masks in every.items():
        assert torch.allclose(fourth[head], masks[:, ::4], atol=1e-6)


def test_masks_of_a_frame_sum_to_one(separator):
    with torch.no_grad():
        for masks in separator(random_features(separator, 5)).values():
            assert torch.allclose(masks.sum(2), torch.ones(()), atol=1e-5)


@pytest.mark.parametrize("head", ["live", "relaxed"])
def test_streamed_bundle_equals_the_whole_file(separator, head, tmp_path):
    export_separator(separator, head, tmp_path / "m.onnx", TRAINING, "0.0.1", int8=False)
    network = open_network(load_bundle(tmp_path / "m.onnx"), device="cpu")
    features = random_features(separator, 300)
    with torch.no_grad():
        whole = separator(features)[head][0].numpy()
    for k in range(300):
        assert network.push(features[0, k].numpy()) == 1
        np.testing.assert_allclose(network.outputs["masks"][0], whole[k], atol=1e-5)


def test_chunked_bundle_equals_the_whole_file_after_its_start(separator, tmp_path):
    manifest = export_separator(separator, "offline", tmp_path / "m.onnx", TRAINING, "0.0.1")
    assert manifest.state.left == separator.trunk.context_frames == TAPS * 255
    network = open_network(load_bundle(tmp_path / "m.onnx"), device="cpu")
    frames = 3 * manifest.state.chunk
    features = random_features(separator, frames)
    # Before the start the chunk runner feeds zeros; so does this whole-file pass.
    lead = torch.zeros(1, manifest.state.left, features.shape[2])
    with torch.no_grad():
        whole = separator(torch.cat([lead, features], 1))["offline"][0, manifest.state.left :]
    got = []
    for k in range(frames):
        ready = network.push(features[0, k].numpy())
        got += [row.copy() for row in network.outputs["masks"][:ready]]
    assert len(got) >= manifest.state.chunk
    np.testing.assert_allclose(np.stack(got), whole[: len(got)].numpy(), atol=1e-4)


def test_streamed_transcriber_equals_the_whole_file(transcriber, tmp_path):
    export_transcriber(transcriber, tmp_path / "n.onnx", TRAINING, "0.0.1")
    network = open_network(load_bundle(tmp_path / "n.onnx"), device="cpu")
    features = random_features(transcriber, 100)
    with torch.no_grad():
        whole = [torch.sigmoid(x)[0].numpy() for x in transcriber(features)]
    for k in range(100):
        network.push(features[0, k].numpy())
        for name, expected in zip(("onset", "frame", "velocity"), whole, strict=True):
            np.testing.assert_allclose(network.outputs[name][0], expected[k], atol=1e-5)


def test_eight_bits_say_nearly_what_they_stand_for(tmp_path):
    torch.manual_seed(2)
    separator = make_separator().eval()
    with torch.no_grad():
        # The exporter stores equal tensors once; trained ones are never equal.
        for weights in separator.parameters():
            weights += 0.01 * torch.randn_like(weights)
    paths = {bits: tmp_path / f"{bits}.onnx" for bits in (8, 32)}
    for bits, path in paths.items():
        export_separator(separator, "live", path, TRAINING, "0.0.1", int8=bits == 8)
    assert paths[8].stat().st_size < 0.4 * paths[32].stat().st_size
    bundle = load_bundle(paths[8])
    read = load_separator(bundle).eval()
    exact = separator.state_dict()
    for name, weights in read.state_dict().items():
        # Half a step of seven bits, which every output has of its own.
        off = (weights - exact[name]).abs()
        if weights.ndim == 2:
            off -= exact[name].abs().amax(1, keepdim=True) / 63 / 2
        assert float(off.max()) <= 1e-6, name
    network = open_network(bundle, device="cpu")
    features = random_features(separator, 300)
    with torch.no_grad():
        whole = read(features)["live"][0].numpy()
    errors = []
    for k in range(300):
        network.push(features[0, k].numpy())
        errors.append(np.abs(network.outputs["masks"][0] - whole[k]))
    assert np.mean(errors) < 3e-3
    assert np.max(errors) < 5e-2


@pytest.mark.parametrize("shape", SHAPES.values())
def test_separators_stay_under_twelve_megabytes_and_come_back(shape, tmp_path):
    separator = make_separator(shape).eval()
    with torch.no_grad():
        for weights in separator.parameters():
            weights += 0.01 * torch.randn_like(weights)
    for head in shape.heads:
        path = tmp_path / f"{head}.onnx"
        export_separator(separator, head, path, TRAINING, "0.0.1")
        assert path.stat().st_size < 12e6
        bundle = load_bundle(path)
        assert separator.n_bands == band_count(bundle.manifest.front_ends[0])
        trunk = load_separator(bundle).trunk
        assert (trunk.channels, trunk.dilations) == (shape.channels, separator.trunk.dilations)


def test_the_transcriber_stays_under_four_megabytes(transcriber, tmp_path):
    export_transcriber(transcriber, tmp_path / "b.onnx", TRAINING, "0.0.1")
    assert (tmp_path / "b.onnx").stat().st_size < 4e6
