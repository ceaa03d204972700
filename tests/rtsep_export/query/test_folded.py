"""The folded layout computes what the networks do, and learns the same."""

import copy

import pytest
import torch

from rtsep_export.query.folded import Folded, convolve
from rtsep_export.query.networks import BINS, MODELS, QueryModel


def outputs(network, model, example, mixture):
    query = network.query(example)
    levels = network.encode(mixture, query)
    found = [query]
    notes = None
    if model.transcribes:
        found.append(network.transcribe(levels))
        notes = found[-1].softmax(1)
    if model.separates:
        found.append(network.decode(levels, notes))
    return found


@pytest.mark.parametrize("name", ["separation", "transcription", "multi-task", "msi", "causal"])
def test_results_gradients_and_statistics_are_those_of_the_networks(name):
    torch.manual_seed(0)
    model = MODELS[name]
    plain = QueryModel(model).double().train()
    with torch.no_grad():
        for weights in plain.parameters():
            weights += 0.1 * torch.randn_like(weights)
    twin = copy.deepcopy(plain)
    # Seven frames: what the query network pools in pairs leaves one over.
    example, mixture = torch.rand(2, 2, 1, 7, BINS).double() ** 3
    wanted = outputs(plain, model, example, mixture)
    found = outputs(Folded(twin), model, example, mixture)
    for one, other in zip(wanted, found, strict=True):
        torch.testing.assert_close(other, one)
    for results in (wanted, found):
        sum(result.square().sum() for result in results).backward()
    for (key, one), other in zip(plain.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(
            other.grad, one.grad, rtol=1e-6, atol=1e-8 * float(one.grad.abs().max()), msg=key
        )
    for (key, one), other in zip(plain.named_buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(other, one, msg=key)


@pytest.mark.parametrize("bins", [8, 32, 64])
@pytest.mark.parametrize("causal", [False, True])
def test_a_frame_is_heard_by_its_neighbours_alone(bins, causal):
    torch.manual_seed(0)
    x = torch.randn(1, 9, bins, 2)
    other = x.clone()
    other[:, 4, bins // 2] += 1.0
    weight = torch.randn(3, 2, 3, 3)
    moved = (convolve(x, weight, causal=causal) - convolve(other, weight, causal=causal)).abs()
    frames, found = moved.sum((0, 2, 3)).nonzero()[:, 0], moved.sum((0, 1, 3)).nonzero()[:, 0]
    assert frames.tolist() == ([4, 5, 6] if causal else [3, 4, 5])
    assert found.tolist() == [bins // 2 - 1, bins // 2, bins // 2 + 1]
