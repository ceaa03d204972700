"""A shipped separator's weights, back from its bundle, to train on."""

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from rtsep.bundle import Bundle
from rtsep.errors import BundleError
from rtsep_export.features import HEADS, SEPARATOR_HOP
from rtsep_export.separation import make_separator
from rtsep_export.tcn import Separator

PREFIX = "network."


def load_separator(bundle: Bundle) -> Separator:
    """The network behind a bundle that `rtsep_export.to_onnx` wrote, its own head only.

    Raises
    ------
    BundleError
        A bundle of another make: other tensors, front ends or stems.
    """
    manifest = bundle.manifest
    found = _weights(onnx.load_from_string(bundle.data))
    heads = [key.split(".")[1] for key in found if key.startswith("heads.") and "bias" in key]
    network = make_separator(heads, manifest.front_ends)
    wanted = network.state_dict()
    alike = {k for k, v in wanted.items() if k in found and found[k].shape == v.shape}
    ours = len(heads) == 1 and heads[0] in HEADS and manifest.hop == SEPARATOR_HOP
    if not ours or alike != set(wanted):
        raise BundleError(
            f"bundle {bundle.name} is no separator of rtsep's own making",
            "one that comes with rtsep, or was adapted from it",
        )
    network.load_state_dict({key: found[key] for key in wanted})
    return network


def _weights(model: onnx.ModelProto) -> dict[str, Tensor]:
    """Weights by the names that the network gives them.

    The exporter keeps names, but for matrices that it turns around: those are told by the
    node that they serve, and the past's, stacked where the graph runs frame by frame.
    """
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    found = {
        name.removeprefix(PREFIX): torch.from_numpy(value.copy())
        for name, value in tensors.items()
        if name.startswith(PREFIX)
    }
    for node in model.graph.node:
        if node.op_type != "MatMul" or node.input[1] not in tensors:
            continue
        weight = tensors[node.input[1]]
        if weight.ndim == 3:
            for index, past in enumerate(weight):
                found[f"trunk.blocks.{index}.past.weight"] = torch.from_numpy(past.T.copy())
            continue
        place = node.name.removesuffix("/MatMul").strip("/").replace("/", ".")
        key = f"{place}.weight" if "." in place else f"heads.{place}.weight"
        found[key] = torch.from_numpy(weight.T.copy())
    return found
