"""Write trained networks as bundles: ONNX graph, manifest, one file."""

import datetime
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec
import onnx
import torch
from torch import Tensor, nn

from rtsep.bundle import parse_bundle
from rtsep.manifest import (
    FORMAT_VERSION,
    METADATA_KEY,
    Chunk,
    FrontEnd,
    Manifest,
    Taps,
    Training,
)
from rtsep.manifest import Tensor as TensorInfo
from rtsep.manifest_checks import encode
from rtsep.output_file import replacing
from rtsep.rates import REFERENCE_RATE
from rtsep.signature import signature
from rtsep_export.features import (
    HEADS,
    SEPARATOR_FRONT_ENDS,
    SEPARATOR_HOP,
    TRANSCRIBER_FRONT_ENDS,
    TRANSCRIBER_HOP,
)
from rtsep_export.fewer_bits import to_eight, to_sixteen
from rtsep_export.note_rolls import LOOKAHEAD, NOTES
from rtsep_export.stems import STEMS
from rtsep_export.tcn import TAPS, Separator, Transcriber, Trunk

OPSET = 20
CHUNK_FRAMES = 1536
LICENCE = "GPL-3.0-or-later"
WEIGHTS = "network."
"""What comes before a weight's name where a module holds the network under that name."""


class _SeparatorStep(nn.Module):
    """One frame of the separator, its history outside."""

    def __init__(self, network: Separator, head: str) -> None:
        super().__init__()
        self.network, self.head = network, head

    def forward(self, features: Tensor, taps: Tensor) -> tuple[Tensor, Tensor]:
        hidden, activations = self.network.trunk.step(features, taps)
        return self.network.masks(hidden, self.head), activations


class _SeparatorChunk(nn.Module):
    """Many frames of the separator at once."""

    def __init__(self, network: Separator, head: str) -> None:
        super().__init__()
        self.network, self.head = network, head

    def forward(self, features: Tensor) -> Tensor:
        return self.network.masks(self.network.trunk(features), self.head)


class _TranscriberStep(nn.Module):
    """One frame of the transcriber, its history outside."""

    def __init__(self, network: Transcriber) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor, taps: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        hidden, activations = self.network.trunk.step(features, taps)
        onset, frame, velocity = self.network.logits(hidden)
        return torch.sigmoid(onset), torch.sigmoid(frame), torch.sigmoid(velocity), activations


def export_separator(
    network: Separator,
    head: str,
    path: Path,
    training: Training,
    version: str,
    *,
    name: str | None = None,
    front_ends: tuple[FrontEnd, ...] = SEPARATOR_FRONT_ENDS,
    int8: bool = True,
) -> Manifest:
    """Write one head of the separator as a bundle, called like the head unless named.

    The offline head becomes a chunk bundle; the others run frame by frame on taps, their
    matrices in 8 bits and scaled by the frame, unless `int8` is false.
    """
    offline = head == "offline"
    trunk = network.trunk
    state: Taps | Chunk = _taps(trunk)
    module: nn.Module = _SeparatorStep(network, head)
    if offline:
        # A causal network needs no right context, and no cross-fade to be exact.
        state = Chunk(chunk=CHUNK_FRAMES, left=trunk.context_frames, right=0, crossfade=0)
        module = _SeparatorChunk(network, head)
    manifest = Manifest(
        format=FORMAT_VERSION,
        name=name or head,
        version=version,
        description=_DESCRIPTIONS[head],
        licence=LICENCE,
        task="separate",
        domain="mask",
        stems=STEMS,
        sample_rate=REFERENCE_RATE,
        hop=SEPARATOR_HOP,
        lookahead=HEADS[head].lookahead,
        front_ends=front_ends,
        state=state,
        inputs=(),
        outputs=(),
        training=training,
    )
    return write_bundle(module, manifest, path, bits=8 if int8 and not offline else 32)


def export_transcriber(
    network: Transcriber, path: Path, training: Training, version: str
) -> Manifest:
    """Write the transcriber as a bundle that runs frame by frame.

    Its matrices are kept in 16 bits.  In 8, its probabilities would come out as much as a
    tenth beside what it says, so fast do they change.
    """
    manifest = Manifest(
        format=FORMAT_VERSION,
        name="notes",
        version=version,
        description=_DESCRIPTIONS["notes"],
        licence=LICENCE,
        task="transcribe",
        domain="notes",
        notes=NOTES,
        sample_rate=REFERENCE_RATE,
        hop=TRANSCRIBER_HOP,
        lookahead=LOOKAHEAD,
        front_ends=TRANSCRIBER_FRONT_ENDS,
        state=_taps(network.trunk),
        inputs=(),
        outputs=(),
        training=training,
    )
    return write_bundle(_TranscriberStep(network), manifest, path, bits=16)


def restate(path: Path, **changes: object) -> None:
    """Replace fields of a bundle's manifest, such as its measured figures."""
    bundle = parse_bundle(path.read_bytes(), str(path))
    manifest = msgspec.structs.replace(bundle.manifest, **changes)
    _store(onnx.load_from_string(bundle.data), manifest, path)


_DESCRIPTIONS = {
    "live": "causal separator, no lookahead: for the presets lowest and live",
    "relaxed": "causal separator that hears 512 samples more before it decides",
    "offline": "separator for files: longer windows, hears 8192 samples more",
    "notes": "causal transcriber: bass, guitar and piano notes and drum strokes",
}


def _taps(trunk: Trunk) -> Taps:
    return Taps(channels=trunk.channels, taps=TAPS, dilations=trunk.dilations)


def write_bundle(
    module: nn.Module,
    manifest: Manifest,
    path: Path,
    *,
    bits: Literal[8, 16, 32] = 32,
    timed: Mapping[str, int] | None = None,
    as_it_is: bool = False,
) -> Manifest:
    """Export a module as the bundle of a manifest, to which it adds the tensors.

    Parameters
    ----------
    module : nn.Module
        Takes and gives what `rtsep.signature.signature` says, in that order.
    bits : int
        Of the matrices' numbers.
    timed : mapping of str to int
        Axis on which a tensor may be of any length.
    as_it_is : bool
        Fold nothing, so that every weight keeps its name, after `WEIGHTS`.
    """
    inputs, outputs = signature(manifest)
    named = inputs | outputs
    axes = {name: {axis: f"{name}_time"} for name, axis in (timed or {}).items() if name in named}
    whole = torch.onnx.TrainingMode.PRESERVE if as_it_is else torch.onnx.TrainingMode.EVAL

    def tensors(shapes: dict[str, tuple[int, ...]]) -> tuple[TensorInfo, ...]:
        return tuple(TensorInfo(name=n, shape=s) for n, s in shapes.items())

    manifest = msgspec.structs.replace(manifest, inputs=tensors(inputs), outputs=tensors(outputs))
    module.eval()
    arguments = tuple(torch.zeros(shape) for shape in inputs.values())
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The tracing exporter is deprecated, but needs no further package and leaves a
        # graph of plain operators.
        warnings.simplefilter("ignore")
        graph = Path(folder) / "graph.onnx"
        torch.onnx.export(
            module,
            arguments,
            str(graph),
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            dynamic_axes=axes,
            training=whole,
            do_constant_folding=not as_it_is,
            dynamo=False,
        )
        if bits != 32:
            {8: to_eight, 16: to_sixteen}[bits](graph)
        model = onnx.load(graph)
    _store(model, manifest, path)
    return manifest


def _store(model: onnx.ModelProto, manifest: Manifest, path: Path) -> None:
    """Write model and manifest as one checked file."""
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, encode(manifest)
    model.producer_name = "rtsep-export"
    model.doc_string = f"{manifest.description} ({datetime.date.today():%Y-%m-%d})"
    data = model.SerializeToString()
    parse_bundle(data, str(path))
    with replacing(path) as scratch:
        scratch.write_bytes(data)
