"""The five models: the public implementation's numbers, shapes, and what may reach what."""

import os
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch

from rtsep.errors import RtsepError
from rtsep_export.query.checkpoints import is_query_model, load_query_model
from rtsep_export.query.networks import (
    BINS,
    CLASSES,
    HOP,
    MODELS,
    N_FFT,
    QUERY,
    QueryModel,
    spectrogram,
)

GOLDEN = Path(os.environ.get("RTSEP_DATA", "")) / "golden" / "msi"


@pytest.fixture(scope="module")
def expected():
    if not GOLDEN.is_dir():
        pytest.skip("needs RTSEP_DATA with golden/msi")
    with np.load(GOLDEN / "expected.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file}


def wrapped(folder):
    """The golden weights as the public training stores them."""
    state = torch.load(GOLDEN / "msi.pth", weights_only=True)
    path = folder / "wrapped.pth"
    front_end = {"stft.conv_real.weight": torch.zeros(3)}
    torch.save({f"network.{k}": v for k, v in state.items()} | front_end, path)
    return path


@pytest.mark.parametrize("prefixed", [False, True])
@torch.no_grad()
def test_published_weights_give_the_published_numbers(expected, prefixed, tmp_path):
    network = load_query_model(wrapped(tmp_path) if prefixed else GOLDEN / "msi.pth")
    query = network.query(expected["query_spectrogram"])
    separated, logits = network(expected["mixture"], expected["query"])
    synthesised = network.synthesise(expected["mixture"], expected["score"], expected["query"])
    for found, name in (
        (query, "query"),
        (separated, "separated"),
        (logits, "logits"),
        (synthesised, "synthesised"),
    ):
        torch.testing.assert_close(found, expected[name], rtol=0, atol=1e-5)
        assert expected[name].std() > 1e-3


@pytest.mark.parametrize("name", ["separation", "transcription", "multi-task", "msi"])
@torch.no_grad()
def test_models_are_told_by_their_tensors(name, tmp_path):
    network = QueryModel(MODELS[name]).eval()
    torch.save(network.state_dict(), tmp_path / "model.pt")
    assert is_query_model(network.state_dict())
    back = load_query_model(tmp_path / "model.pt")
    assert back.model == MODELS[name]
    mixture, query = torch.rand(1, 1, 5, BINS), torch.rand(1, QUERY)
    ours, theirs = back(mixture, query), network(mixture, query)
    for one, other, has in zip(
        ours, theirs, (MODELS[name].separates, MODELS[name].transcribes), strict=True
    ):
        assert (one is not None) is has
        assert one is None or torch.equal(one, other)


def test_other_checkpoints_are_refused_in_one_line(tmp_path):
    state = QueryModel(MODELS["msi"]).state_dict()
    wrong = state | {"queryNet.bottom.conv.bias": torch.zeros(5)}
    del state["timbreFilter.layers.0.conv.weight"]
    (tmp_path / "text.pt").write_text("not weights")
    for number, content in enumerate((state, wrong, {"encoder": torch.zeros(1)}, {})):
        path = tmp_path / f"{number}.pt"
        torch.save(content, path)
        with pytest.raises(RtsepError, match="not of this network") as caught:
            load_query_model(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(RtsepError, match="not of this network"):
        load_query_model(tmp_path / "text.pt")
    assert not is_query_model({"encoder": torch.zeros(1)})


@torch.no_grad()
def test_spectrogram_is_the_short_time_transform_without_its_top_bin():
    audio = np.random.default_rng(0).normal(size=(2, 8000)).astype(np.float32)
    found = spectrogram(torch.from_numpy(audio))
    expected = np.abs(librosa.stft(audio, n_fft=N_FFT, hop_length=HOP, pad_mode="reflect"))
    assert found.shape == (2, 8000 // HOP + 1, BINS)
    np.testing.assert_allclose(found.mT, expected[:, :-1], atol=2e-4)


@pytest.mark.parametrize("name", ["msi", "causal"])
def test_what_comes_later_reaches_the_causal_network_never_and_the_other_at_once(name):
    torch.manual_seed(0)
    network = QueryModel(MODELS[name]).eval()
    mixture = torch.rand(1, 1, 90, BINS, requires_grad=True)
    separated, logits = network(mixture, torch.rand(1, QUERY))
    for output in (separated[:, :, 60], logits[:, :, 60]):
        (slope,) = torch.autograd.grad(output.square().sum(), mixture, retain_graph=True)
        reached = slope[0, 0].abs().sum(-1) > 0
        assert reached[60]
        assert reached[61:].any() != MODELS[name].causal
        assert reached[:60].any()


def test_causal_weights_are_the_same_weights():
    state = QueryModel(MODELS["msi"]).state_dict()
    QueryModel(MODELS["causal"]).load_state_dict(state)


def test_a_query_is_bounded_and_of_six_numbers():
    example = 50 * torch.rand(3, 1, 20, BINS)
    query = QueryModel(MODELS["separation"]).query(example)
    assert query.shape == (3, QUERY)
    assert query.abs().max() <= 1
    assert CLASSES == 89
