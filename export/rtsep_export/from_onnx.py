"""Shipped networks' weights, back from their bundles: to train on, and to check against."""

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from rtsep.bundle import Bundle
from rtsep.errors import BundleError
from rtsep_export.features import HEADS, SEPARATOR_HOP
from rtsep_export.fewer_bits import matrices
from rtsep_export.query.live import LiveQuery
from rtsep_export.separation import Shape, make_separator
from rtsep_export.tcn import CYCLE, Separator, Transcriber, Trunk
from rtsep_export.to_onnx import WEIGHTS
from rtsep_export.transcription import make_transcriber


def load_separator(bundle: Bundle) -> Separator:
    """The network behind a bundle that `rtsep_export.to_onnx` wrote, its own head only.

    Raises
    ------
    BundleError
        A bundle of another make: other tensors or stems.
    """
    found = _weights(onnx.load_from_string(bundle.data))
    heads = [key.split(".")[1] for key in found if key.startswith("heads.") and "bias" in key]
    size = found.get("trunk.input.bias")
    blocks = sum(key.endswith("taps.bias") for key in found)
    if (
        len(heads) != 1
        or heads[0] not in HEADS
        or bundle.manifest.hop != SEPARATOR_HOP
        or size is None
        or not blocks
        or blocks % len(CYCLE)
    ):
        raise _foreign(bundle, "separator")
    shape = Shape((heads[0],), len(size), blocks // len(CYCLE))
    network = make_separator(shape, bundle.manifest.front_ends)
    _fill(network, found, bundle, "separator")
    return network


def load_transcriber(bundle: Bundle) -> Transcriber:
    """The network behind a transcriber's bundle; errors as for `load_separator`."""
    network = make_transcriber()
    _fill(network, _weights(onnx.load_from_string(bundle.data)), bundle, "transcriber")
    return network


def start_from(network: nn.Module, bundle: Bundle) -> None:
    """Give a network the weights of a bundle; all heads of a separator get its only one's.

    The live query model takes a separator's trunk.

    Raises
    ------
    BundleError
        A bundle of another network, or of one of another size.
    """
    if isinstance(network, Transcriber):
        network.load_state_dict(load_transcriber(bundle).state_dict())
        return
    if not isinstance(network, Separator | LiveQuery):
        raise _foreign(bundle, "network of this kind")
    known = load_separator(bundle)
    (head,) = known.heads.values()
    try:
        network.trunk.load_state_dict(known.trunk.state_dict())
        for own in network.heads.values() if isinstance(network, Separator) else ():
            own.load_state_dict(head.state_dict())
    except RuntimeError:
        raise BundleError(
            f"bundle {bundle.name}, {_size(known.trunk)}",
            f"a separator of {_size(network.trunk)}",
        ) from None


def _size(trunk: Trunk) -> str:
    features = trunk.input.in_features
    return f"{trunk.channels} channels, {len(trunk.blocks)} blocks and {features} features"


def _fill(network: nn.Module, found: dict[str, Tensor], bundle: Bundle, kind: str) -> None:
    wanted = network.state_dict()
    if any(key not in found or found[key].shape != value.shape for key, value in wanted.items()):
        raise _foreign(bundle, kind)
    network.load_state_dict({key: found[key] for key in wanted})


def _foreign(bundle: Bundle, kind: str) -> BundleError:
    return BundleError(
        f"bundle {bundle.name} is no {kind} of rtsep's own making",
        "one that comes with rtsep, or was adapted from it",
    )


def _weights(model: onnx.ModelProto) -> dict[str, Tensor]:
    """Weights by the names that the network gives them.

    The exporter keeps names, but for matrices that it turns around: those of a graph of
    many frames are told by the node that they serve.  Matrices in fewer bits come back as
    the numbers that they stand for.
    """
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    found = {
        name.removeprefix(WEIGHTS): torch.from_numpy(value.copy())
        for name, value in (tensors | matrices(tensors)).items()
        if name.startswith(WEIGHTS)
    }
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] in tensors:
            place = node.name.removesuffix("/MatMul").strip("/").replace("/", ".")
            key = f"{place}.weight" if "." in place else f"heads.{place}.weight"
            found[key] = torch.from_numpy(tensors[node.input[1]].T.copy())
    return found
