"""The networks that ``rtsep steer`` works with, from bundles and from published checkpoints."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from rtsep.bundle import Bundle, load_bundle, of_task, shipped_bundles
from rtsep.errors import BundleError, RtsepError
from rtsep.manifest import Chunk
from rtsep_export.checkpoints import UNFIT, tensors, unfit
from rtsep_export.steer.autoencoder import Autoencoder, bottom_level
from rtsep_export.steer.harmonic import Harmonic
from rtsep_export.steer.taggers import Crnn, Fcn, Musicnn, Tagger
from rtsep_export.steer.tags import ELSE, INSTRUMENTS, TAG_LISTS
from rtsep_export.to_onnx import WEIGHTS

KINDS: dict[str, type[Tagger]] = {
    "fcn": Fcn,
    "crnn": Crnn,
    "musicnn": Musicnn,
    "harmonic": Harmonic,
}
KINDS_WRITTEN = {Fcn: "FCN", Crnn: "CRNN", Musicnn: "Musicnn", Harmonic: "HCNN"}
LISTS_WRITTEN = {"mtat": "MTAT", "jamendo": "Jamendo", "msd": "MSD"}
UNCOUNTED = "num_batches_tracked"
REMEDY = "name another file, or leave the option out for what ships"


@dataclass(frozen=True)
class NamedTagger:
    """A tagger, what its outputs are called, and which of them mean an instrument.

    Attributes
    ----------
    title : str
        Network and data set, as the paper writes them, or the bundle's name.
    """

    title: str
    network: Tagger
    tags: tuple[str, ...]
    instruments: Mapping[str, tuple[str, ...]]


def tagger_kind(state: Mapping[str, object]) -> str | None:
    """Which tagger's the tensors of a checkpoint are; None for another network's."""
    if "hstft.bw_Q" in state:
        return "harmonic"
    if "spec.mel_scale.fb" not in state:
        return None
    if "layers.0.conv.weight" in state:
        return "musicnn"
    return "crnn" if "layer5.weight_ih_l0" in state else "fcn"


def load_autoencoder(source: str) -> Autoencoder:
    """An autoencoder, frozen and ready to be used.

    Parameters
    ----------
    source : str
        A shipped bundle's name, or the path of a bundle or a published checkpoint.

    Raises
    ------
    RtsepError
        Neither, or of another network.
    """
    bundle = _bundle(source, "reconstruct")
    if bundle is not None:
        network = Autoencoder()
        _fill(network, _weights(bundle), bundle)
        return network.requires_grad_(False).eval()
    path = Path(source)
    return autoencoder_of(tensors(path), path)


def autoencoder_of(state: Mapping[str, Any], path: Path) -> Autoencoder:
    """The autoencoder in a published checkpoint that was read from `path`.

    Raises
    ------
    RtsepError
        Another network's.
    """
    network = Autoencoder()
    try:
        network.load_state_dict(bottom_level(state))
    except UNFIT as error:
        raise unfit(path, error, REMEDY) from None
    return network.requires_grad_(False).eval()


def load_tagger(source: str) -> NamedTagger:
    """A tagger and its tags; `source` and errors as of `load_autoencoder`."""
    title = ""
    bundle = _bundle(source, "tag")
    if bundle is not None:
        weights = _weights(bundle)
        try:
            network = _tagger(weights)
        except KeyError:
            raise _nameless(bundle) from None
        _fill(network, weights, bundle)
        if isinstance(bundle.manifest.state, Chunk):
            network.samples = bundle.manifest.state.chunk
        tags = bundle.manifest.tags
        known = next((name for name, tags_ in TAG_LISTS.items() if tuple(tags_) == tags), None)
        title = bundle.name
    else:
        path = Path(source)
        network = tagger_of(tensors(path), path)
        known = list_of(path)
        tags = tuple(TAG_LISTS[known])
        if network.outputs != len(tags):
            raise RtsepError(f"{path} knows {network.outputs} tags", f"the {len(tags)} of {known}")
    if known:
        title = f"{KINDS_WRITTEN[type(network)]}, {LISTS_WRITTEN[known]}"
    otherwise = {name: meant for name, meant in ELSE.items() if set(meant) <= set(tags)}
    return _named(title, network, tags, INSTRUMENTS[known] if known else otherwise)


def untrained() -> tuple[Autoencoder, list[list[NamedTagger]]]:
    """Networks with weights at random, and the rows of a table of them: to try it out."""
    # The one with the shortest windows.
    named = _named("Musicnn, untrained", Musicnn(), tuple(TAG_LISTS["mtat"]), INSTRUMENTS["mtat"])
    return Autoencoder().requires_grad_(False).eval(), [[named]]


def _named(
    title: str, network: Tagger, tags: tuple[str, ...], instruments: Mapping[str, tuple[str, ...]]
) -> NamedTagger:
    return NamedTagger(title, network.requires_grad_(False).eval(), tags, instruments)


def tagger_of(state: Mapping[str, Any], path: Path) -> Tagger:
    """The tagger in a published checkpoint that was read from `path`.

    Raises
    ------
    RtsepError
        Another network's.
    """
    try:
        network = _tagger(state)
        network.load_state_dict(state)
    except UNFIT as error:
        raise unfit(path, error, REMEDY) from None
    return network


def list_of(path: Path) -> str:
    """Which data set's tags a published tagger knows; its file's name says so."""
    for name in TAG_LISTS:
        if name in path.stem.lower():
            return name
    raise RtsepError(
        f"{path.name}, which does not say whose tags it knows",
        f"one of {', '.join(TAG_LISTS)} in the file's name",
        "rename it as it was published, e.g. mtat-fcn.pth",
    )


def _tagger(state: Mapping[str, Tensor]) -> Tagger:
    """A tagger of the kind and with the outputs that some tensors are for."""
    kind = tagger_kind(state)
    if kind is None:
        raise KeyError("no tagger's tensors")
    last = state["dense2.weight" if "dense2.weight" in state else "dense.weight"]
    return KINDS[kind](len(last))


def _bundle(source: str, task: str) -> Bundle | None:
    if source in shipped_bundles() or Path(source).suffix == ".onnx":
        return of_task(load_bundle(source), task)
    return None


def _weights(bundle: Bundle) -> dict[str, Tensor]:
    """Weights by the names that the network gives them.

    The exporter stores one of several that are equal, and copies it to the others.
    """
    graph = onnx.load_from_string(bundle.data).graph
    stored = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in stored:
            stored[node.output[0]] = stored[node.input[0]]
    return {k.removeprefix(WEIGHTS): v for k, v in stored.items() if k.startswith(WEIGHTS)}


def _fill(network: nn.Module, found: Mapping[str, Tensor], bundle: Bundle) -> None:
    wanted = network.state_dict()
    state = {key: found.get(key, value) for key, value in wanted.items()}
    lost = [key for key in wanted if key not in found and not key.endswith(UNCOUNTED)]
    if lost or any(state[key].shape != value.shape for key, value in wanted.items()):
        raise _nameless(bundle)
    network.load_state_dict(state)


def _nameless(bundle: Bundle) -> BundleError:
    return BundleError(
        f"bundle {bundle.name} does not hold its weights by name",
        "one that rtsep-export wrote",
        "name the checkpoint that it was made of",
    )
