"""The features and targets that training sees are those of the runtime."""

import numpy as np
import pytest
import torch

from rtsep.bands import band_matrix
from rtsep.features import FeatureExtractor
from rtsep.presets import PRESETS
from rtsep.stft import MaskingStft
from rtsep_export.features import (
    SEPARATOR_FRONT_ENDS,
    SEPARATOR_HOP,
    TRANSCRIBER_FRONT_ENDS,
    TRANSCRIBER_HOP,
    edges,
    features,
    mask_targets,
    n_features,
)

FRONT_ENDS = {
    "separator": (SEPARATOR_FRONT_ENDS, SEPARATOR_HOP),
    "transcriber": (TRANSCRIBER_FRONT_ENDS, TRANSCRIBER_HOP),
}


def noise(*shape, seed=3):
    return np.random.default_rng(seed).normal(0, 0.1, shape).astype(np.float32)


@pytest.mark.parametrize("network", FRONT_ENDS)
def test_training_features_are_the_runtimes(network):
    front_ends, hop = FRONT_ENDS[network]
    audio = noise(2, 40 * hop)
    audio[1] *= np.linspace(0, 2, audio.shape[1], dtype=np.float32)
    whole = features(torch.from_numpy(audio), front_ends, hop).numpy()
    stream = FeatureExtractor(front_ends, sample_rate=48_000, channels=2, hop=hop)
    assert stream.n_features == n_features(front_ends) == whole.shape[1]
    row = np.zeros(stream.n_features, np.float32)
    for k in range(40):
        stream.process(np.ascontiguousarray(audio[:, k * hop : (k + 1) * hop]), row)
        np.testing.assert_allclose(row, whole[k], atol=2e-3)


def test_targets_state_the_error_of_the_real_masking_chain():
    """Ex (m - R)² + floor, summed, is the energy of (masked - stem) out of MaskingStft."""
    preset = PRESETS["offline"]
    n, hop = 40 * preset.hop, preset.hop
    stems = noise(3, 2, n)
    stems[0] = np.cumsum(stems[0], axis=-1) * 0.05
    matrix = band_matrix(edges(SEPARATOR_FRONT_ENDS[0]), preset.n_fft, 48_000, cover=True)
    energy, ratio, floor = (
        x.numpy() for x in mask_targets(torch.from_numpy(stems), "offline", hop, hop, 1.0)
    )
    chain = MaskingStft(
        n_fft=preset.n_fft,
        synthesis=preset.synthesis,
        hop=hop,
        n_stems=3,
        channels=2,
        mask_matrix=matrix,
    )
    masks = np.zeros((3, len(matrix)), np.float32)
    best = np.zeros((3, 2, n), np.float32)
    mix = stems.sum(0)
    for k in range(n // hop):
        masks[:2] = ratio[k]
        chain.process(
            np.ascontiguousarray(mix[:, k * hop : (k + 1) * hop]),
            masks,
            out := np.zeros((3, 2, hop), np.float32),
        )
        best[:, :, k * hop : (k + 1) * hop] = out
    delay = preset.synthesis - hop
    error = ((best[1, :, delay:] - stems[1, :, :-delay]) ** 2).sum()
    signal = (stems[1] ** 2).sum()
    # Overlapping windows agree on less than each alone would like, so the signal
    # comes out a little better or worse than frame by frame; a dB or so apart.
    stated = 10 * np.log10((energy * ratio[:, 1] ** 2).sum() / floor[:, 1].sum() + 1)
    measured = 10 * np.log10(signal / error)
    assert measured == pytest.approx(stated, abs=1.5)
    assert measured > 1


def test_one_stem_alone_has_mask_one():
    stems = np.zeros((2, 2, 8192), np.float32)
    stems[0] = noise(2, 8192)
    energy, ratio, floor = mask_targets(torch.from_numpy(stems), "live", 256, 2048, 1.0)
    loud = energy > 1e-3
    assert torch.allclose(ratio[:, 0][loud], torch.ones(()), atol=1e-3)
    assert float(floor.sum()) < 1e-4 * float(energy.sum())
