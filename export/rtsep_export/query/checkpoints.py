"""Weights as the paper's public implementation stores them."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from rtsep_export.checkpoints import UNFIT, unfit
from rtsep_export.query.networks import MODELS, Model, QueryModel

# The public training wraps the network, and keeps its front end's tensors beside it.
WRAPPER = "network."


def load_query_model(path: Path, model: Model | None = None) -> QueryModel:
    """A model from a published checkpoint or from ours, ready to be used.

    Parameters
    ----------
    model : Model, optional
        Which one, where that is known.  Tensors alone do not tell MSI from MSI-DIS or from
        the causal model: such a network comes back as MSI.

    Raises
    ------
    RtsepError
        Not an archive of tensors alone, or another network's.
    """
    try:
        state = unwrapped(torch.load(path, weights_only=True, map_location="cpu"))
        network = QueryModel(model or _model(state))
        network.load_state_dict(state)
    except UNFIT as error:
        raise unfit(path, error) from None
    return network.eval()


def unwrapped(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The network's own tensors, under its own names."""
    wrapped = {k.removeprefix(WRAPPER): v for k, v in found.items() if k.startswith(WRAPPER)}
    return wrapped or dict(found)


def is_query_model(state: Mapping[str, Tensor]) -> bool:
    """Whether tensors are those of one of the five models, wrapped or not."""
    return "queryNet.bottom.conv.weight" in unwrapped(state)


def _model(state: Mapping[str, Tensor]) -> Model:
    parts = {key.split(".")[0] for key in state} | {".".join(key.split(".")[:2]) for key in state}
    has = ("unet.decoder" in parts, "transcriptor" in parts, "pitchExtractor" in parts)
    for model in MODELS.values():
        if (model.separates, model.transcribes, model.disentangles) == has:
            return model
    raise KeyError("neither decoder nor transcriber")
