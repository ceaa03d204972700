"""Networks fed frame by frame against their whole-file references."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsep.kernels.history import advance
from rtsep.manifest import Chunk
from rtsep.networks import Array, Network, TapsNetwork, open_audio, open_network
from tests.rtsep import models


def features_of(n_frames: int, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n_frames, models.N_FEATURES)).astype(np.float32)


def stream(network: Network, features: Array, output: str = "masks") -> Array:
    """All frames of an output, those that are still inside pushed out with zeros."""
    tail = np.zeros((network.delay_frames, features.shape[1]), np.float32)
    rows = []
    for frame in np.concatenate([features, tail]):
        count = network.push(frame)
        rows.append(network.outputs[output][:count].copy())
    return np.concatenate(rows)[: len(features)]


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 99),
    dilations=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    taps=st.integers(1, 4),
    channels=st.integers(1, 9),
)
def test_taps_streamed_equal_the_whole_file(
    seed: int, dilations: list[int], taps: int, channels: int
) -> None:
    tcn = models.Tcn.random(seed, dilations=tuple(dilations), taps=taps, channels=channels)
    network = open_network(models.bundle(models.tcn_taps(tcn)), device="cpu")
    features = features_of(80, seed)
    assert network.delay_frames == 0
    np.testing.assert_allclose(stream(network, features), tcn.masks(features), atol=1e-5)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 99),
    chunk=st.integers(1, 12),
    right=st.integers(0, 5),
    spare=st.integers(0, 4),
    data=st.data(),
)
def test_chunks_with_enough_context_equal_the_whole_file(
    seed: int, chunk: int, right: int, spare: int, data: st.DataObject
) -> None:
    tcn = models.Tcn.random(seed)
    state = Chunk(
        chunk=chunk,
        left=tcn.receptive_field + spare,
        right=right,
        crossfade=data.draw(st.integers(0, chunk // 2)),
    )
    network = open_network(models.bundle(models.tcn_chunk(tcn, state=state)), device="cpu")
    features = features_of(70, seed)
    # The model of the tests answers `right` frames ahead: the causal network's t + right.
    ahead = np.concatenate([features, np.zeros((right, features.shape[1]), np.float32)])
    reference = tcn.masks(ahead, silent_start=False)[right:]
    np.testing.assert_allclose(stream(network, features), reference, atol=1e-5)


def test_too_little_context_shows() -> None:
    tcn = models.Tcn.random()
    state = Chunk(chunk=4, left=tcn.receptive_field - 8, right=0, crossfade=0)
    network = open_network(models.bundle(models.tcn_chunk(tcn, state=state)), device="cpu")
    features = features_of(60)
    reference = tcn.masks(features, silent_start=False)
    assert np.abs(stream(network, features) - reference).max() > 1e-3


@pytest.mark.parametrize("data", [models.tcn_taps(), models.tcn_chunk()], ids=["taps", "chunk"])
def test_reset_starts_over(data: bytes) -> None:
    network = open_network(models.bundle(data), device="cpu")
    features = features_of(40)
    first = stream(network, features)
    network.reset()
    np.testing.assert_array_equal(stream(network, features), first)


def test_transcriber_hears_an_onset() -> None:
    network = open_network(models.bundle(models.transcriber()), device="cpu")
    quiet = np.full(models.N_FEATURES, -2.0, np.float32)
    loud = quiet.copy()
    loud[: models.N_BANDS] = 1.0
    assert set(network.outputs) == {"onset", "frame", "velocity"}
    onsets, frames = [], []
    for features in (quiet, quiet, loud, loud):
        assert network.push(features) == 1
        onsets.append(network.outputs["onset"][0].min())
        frames.append(network.outputs["frame"][0].min())
    assert np.round(onsets).tolist() == [0, 0, 1, 0]
    assert np.round(frames).tolist() == [0, 0, 1, 1]


def test_a_failed_frame_is_nan_and_the_stream_goes_on() -> None:
    network = open_network(models.bundle(models.failing_taps(threshold=9.0)), device="cpu")
    quiet, loud = np.zeros(models.N_FEATURES, np.float32), np.full(models.N_FEATURES, 10.0)
    network.push(quiet)
    assert network.error is None
    assert network.outputs["masks"][0, 0, 0] == 1.0
    assert network.push(loud) == 1
    assert np.isnan(network.outputs["masks"]).all()
    assert "failed to run" in str(network.error)
    network.push(quiet)
    assert np.isfinite(network.outputs["masks"]).all()
    network.reset()
    assert network.error is None


def test_a_nan_frame_does_not_poison_the_history() -> None:
    network = open_network(models.bundle(models.tcn_taps()), device="cpu")
    assert isinstance(network, TapsNetwork)
    network.push(np.full(models.N_FEATURES, np.nan, np.float32))
    assert np.isnan(network.outputs["masks"]).all()
    network.push(np.zeros(models.N_FEATURES, np.float32))
    assert np.isfinite(network.outputs["masks"]).all()


def test_each_domain_has_its_own_door() -> None:
    with pytest.raises(ValueError, match="open_audio"):
        open_network(models.bundle(models.fir_audio()))
    with pytest.raises(ValueError, match="takes features"):
        open_audio(models.bundle(models.tcn_chunk()), max_push=1)


@pytest.mark.parametrize("n_taps", [1, 2, 5])
def test_ring_against_a_list(n_taps: int) -> None:
    dilations = np.array([1, 3, 7])
    n_ring = 1 << (n_taps * 7 - 1).bit_length()
    ring = np.zeros((3, n_ring, 2), np.float32)
    taps = np.zeros((3, n_taps, 2), np.float32)
    history: list[Array] = []
    for frame in range(3 * n_ring):
        activations = np.random.default_rng(frame).standard_normal((3, 2)).astype(np.float32)
        advance(ring, frame, activations, dilations, taps)
        history.append(activations)
        for layer, dilation in enumerate(dilations):
            for tap in range(n_taps):
                past = frame + 1 - (n_taps - tap) * int(dilation)
                expected = history[past][layer] if past >= 0 else np.zeros(2)
                np.testing.assert_array_equal(taps[layer, tap], expected)
