"""Every network that ships: torch, and its bundle through the engine's runner, on real music."""

import numpy as np
import onnx
import pytest
import torch
from pedalboard.io import AudioFile

from rtsep.bundle import load_bundle
from rtsep.features import FeatureExtractor
from rtsep.networks import open_network
from rtsep_export import features as training_features
from rtsep_export.from_onnx import load_separator, load_transcriber
from rtsep_export.to_onnx import OPSET


@pytest.fixture(scope="module")
def music(data_dir):
    """Seven seconds of a band, twice, stereo at 48 kHz."""
    path = data_dir / "real" / "wfp_a" / "mixture.flac"
    with AudioFile(str(path)) as file, file.resampled_to(48_000) as resampled:
        audio = resampled.read(resampled.frames)
    stereo = np.broadcast_to(audio, (2, audio.shape[1]))
    return np.tile(stereo, 2).astype(np.float32)


@pytest.mark.parametrize("name", ["live", "relaxed", "offline", "notes"])
def test_torch_and_the_bundle_agree(name, music):
    bundle = load_bundle(name)
    manifest = bundle.manifest
    hop = manifest.hop
    heard = training_features.features(torch.from_numpy(music), manifest.front_ends, hop)[None]
    with torch.no_grad():
        if manifest.task == "separate":
            network = load_separator(bundle).eval()
            (head,) = network.heads
            whole = {"masks": network(heard)[head][0].numpy()}
        else:
            logits = load_transcriber(bundle).eval()(heard)
            names = ("onset", "frame", "velocity")
            whole = dict(zip(names, (torch.sigmoid(x)[0].numpy() for x in logits), strict=True))
    extractor = FeatureExtractor(manifest.front_ends, sample_rate=48_000, channels=2, hop=hop)
    streamed = open_network(bundle, device="cpu")
    frame = np.zeros(extractor.n_features, np.float32)
    found = {key: [] for key in whole}
    for start in range(0, music.shape[1] - hop + 1, hop):
        extractor.process(np.ascontiguousarray(music[:, start : start + hop]), frame)
        ready = streamed.push(frame)
        for key, rows in found.items():
            rows.extend(streamed.outputs[key][:ready].copy())
    assert set(streamed.outputs) == set(whole)
    # What a chunk knows of the time before the start is silence, not nothing.
    first = manifest.state.left if name == "offline" else 0
    for key, rows in found.items():
        np.testing.assert_allclose(rows[first:], whole[key][first : len(rows)], atol=1e-4)
    # The offline network waits for whole chunks of eight seconds.
    assert len(rows) > 1000 if name == "offline" else len(rows) == len(heard[0])
    (opset,) = [entry.version for entry in onnx.load_from_string(bundle.data).opset_import]
    assert opset == OPSET
