"""Bundles: one ONNX file each, read from bytes and checked before anything runs it.

A bundle comes from a stranger.  It is parsed with onnx, which opens no other file,
and ONNX Runtime later gets the same bytes, never a path.  Refused are: external
data anywhere in it, operators outside the ONNX standard, functions and training
graphs, and a graph or manifest whose tensors are not those of its task (see
`rtsep.signature`).
"""

import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError, Message

from rtsep.errors import BundleError
from rtsep.manifest import METADATA_KEY, Manifest, Taps, Tensor
from rtsep.manifest_checks import decode
from rtsep.signature import Shapes, signature

MAX_BYTES = 256 << 20
MAX_MANIFEST_BYTES = 1 << 20
MAX_ELEMENTS = 1 << 26
MODELS = Path(__file__).parent / "models"


@dataclass(frozen=True)
class Bundle:
    """A bundle that has passed every check.

    Attributes
    ----------
    name : str
        The manifest's name.
    path : Path or None
        Where it was read from.
    data : bytes
        The ONNX file.
    opset : int
        Version of the ONNX operator set it uses.
    inputs, outputs : dict of str to tuple of int
        Tensors of one inference and their shapes, from `signature`.
    """

    name: str
    path: Path | None
    manifest: Manifest
    data: bytes = field(repr=False)
    opset: int
    inputs: Shapes
    outputs: Shapes

    @property
    def size_bytes(self) -> int:
        """Size of the file."""
        return len(self.data)


def shipped_bundles() -> dict[str, Path]:
    """Name and path of every bundle that comes with the package, by name."""
    return {path.stem: path for path in sorted(MODELS.glob("*.onnx"))}


def load_bundle(name_or_path: str | Path) -> Bundle:
    """Read and check a bundle.

    Parameters
    ----------
    name_or_path : str or Path
        A shipped bundle's name, or the path of a bundle.  A string that is a shipped
        name means the shipped one.

    Raises
    ------
    BundleError
        Anything that keeps the bundle from being read or trusted, in one line.
    """
    shipped = shipped_bundles()
    path = shipped.get(name_or_path) if isinstance(name_or_path, str) else None
    path = path or Path(name_or_path)
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            kind = "a directory" if stat.S_ISDIR(mode) else "no regular file"
            raise BundleError(f"{_shown(path)} is {kind}", "a bundle (an .onnx file)")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise BundleError(
            f"no bundle at {_shown(path)}",
            "a path, or one of: " + (", ".join(shipped) or "(none shipped)"),
            "'rtsep models' lists those that ship",
        ) from None
    except (OSError, ValueError) as error:
        if isinstance(error, BundleError):
            raise
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BundleError(f"{_shown(path)} cannot be read ({reason})") from None
    return parse_bundle(data, str(path), path)


def of_task(bundle: Bundle, task: str) -> Bundle:
    """The bundle, if it is for a task.

    Raises
    ------
    BundleError
        It is for another one.
    """
    if bundle.manifest.task != task:
        raise BundleError(
            f"bundle {bundle.name}, a model to {bundle.manifest.task}",
            f"one to {task}",
            "'rtsep models' lists what each bundle is for",
        )
    return bundle


def parse_bundle(data: bytes, label: str = "bundle", path: Path | None = None) -> Bundle:
    """Check a bundle's bytes.

    Parameters
    ----------
    data : bytes
        The ONNX file.
    label : str
        What error messages call it.
    path : Path, optional
        Where it was read from, for the record.

    Raises
    ------
    BundleError
        The first reason not to trust it.
    """
    try:
        return _parse(data, path)
    except BundleError as error:
        raise BundleError(
            f"{_shown(label)}: {_line(error.found)}", error.expected, error.remedy
        ) from None


def _parse(data: bytes, path: Path | None) -> Bundle:
    if not data:
        raise BundleError("an empty file", "a bundle (an .onnx file)")
    if len(data) > MAX_BYTES:
        raise BundleError("a file of over 256 MiB", "a bundle of at most 256 MiB")
    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError:
        raise BundleError("no ONNX model, or one cut short", "a bundle (an .onnx file)") from None
    if not model.HasField("graph") or not model.graph.output:
        raise BundleError("an ONNX file without a graph, or one cut short", "a whole bundle")
    _refuse_foreign_parts(model)
    manifest = decode(_manifest_text(model))
    inputs, outputs = signature(manifest)
    sizes = inputs | outputs
    if isinstance(state := manifest.state, Taps):
        reach = state.taps * max(state.dilations)
        sizes["history"] = (len(state.dilations), reach, state.channels)
    for name, shape in sizes.items():
        if prod(shape) > MAX_ELEMENTS:
            raise BundleError(f"tensor '{name}' of shape {shape}", f"at most {MAX_ELEMENTS} values")
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    given = [value for value in graph.input if value.name not in weights]
    _check_tensors("input", given, manifest.inputs, inputs)
    _check_tensors("output", graph.output, manifest.outputs, outputs)
    try:
        onnx.checker.check_model(data)
    except Exception as error:  # the checker's C++ side throws more than its own type
        raise BundleError(
            f"a graph that does not hold ({_line(str(error))})", "valid ONNX", "export it again"
        ) from None
    opset = max(entry.version for entry in model.opset_import)
    return Bundle(manifest.name, path, manifest, data, opset, inputs, outputs)


def _manifest_text(model: onnx.ModelProto) -> str:
    texts = [entry.value for entry in model.metadata_props if entry.key == METADATA_KEY]
    if len(texts) != 1:
        raise BundleError(
            f"an ONNX file with {len(texts) or 'no'} manifests" if texts else "no manifest inside",
            f"one in the metadata entry '{METADATA_KEY}'",
            "only bundles exported for rtsep can be loaded",
        )
    if len(texts[0]) > MAX_MANIFEST_BYTES:
        raise BundleError("a manifest of over 1 MiB", "a few kilobytes")
    return _text(texts[0])


def _refuse_foreign_parts(model: onnx.ModelProto) -> None:
    """Refuse what a bundle may not hold, wherever in the model it stands."""
    if model.functions or model.training_info:
        raise BundleError("an ONNX file with functions or training parts", "a plain graph")
    domains = {_text(entry.domain) for entry in model.opset_import}
    for message in _messages(model):
        if isinstance(message, onnx.TensorProto):
            if message.data_location == onnx.TensorProto.EXTERNAL or message.external_data:
                raise BundleError(
                    f"tensor '{_text(message.name)}' kept outside the file",
                    "all weights inside it",
                    "export the bundle without external data",
                )
        elif isinstance(message, onnx.NodeProto):
            domains.add(_text(message.domain))
    foreign = sorted(domains - {"", "ai.onnx"})
    if foreign or not model.opset_import:
        raise BundleError(
            f"operators of {', '.join(map(repr, foreign)) or 'no stated version'}",
            "the standard ONNX operators only",
        )


def _messages(message: Any) -> Iterator[Any]:
    """Every message inside a message, so that no corner of a model goes unseen."""
    yield message
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            for inner in [value] if isinstance(value, Message) else value:
                yield from _messages(inner)


def _check_tensors(
    role: str,
    values: Sequence[onnx.ValueInfoProto],
    stated: Sequence[Tensor],
    needed: Shapes,
) -> None:
    """Hold a graph's inputs or outputs, and what the manifest says, against the task."""
    in_graph: dict[str, tuple[int, ...]] = {}
    for value in values:
        tensor = value.type.tensor_type
        if tensor.elem_type != onnx.TensorProto.FLOAT:
            raise BundleError(f"{role} '{_text(value.name)}' that is no float32 tensor", "float32")
        in_graph[_text(value.name)] = tuple(
            dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim
        )
    sources = {"the manifest": {t.name: t.shape for t in stated}, "the graph": in_graph}
    for source, shapes in sources.items():
        if set(shapes) != set(needed):
            raise BundleError(
                f"{role}s {', '.join(sorted(shapes)) or '(none)'} in {source}",
                ", ".join(sorted(needed)),
            )
        for name, shape in shapes.items():
            if not _fits(shape, needed[name]):
                raise BundleError(
                    f"{role} '{name}' of shape {list(shape)} in {source}",
                    f"{list(needed[name])} for what the manifest says of the model",
                )


def _fits(shape: Sequence[int], needed: Sequence[int]) -> bool:
    return len(shape) == len(needed) and all(
        a in (-1, b) for a, b in zip(shape, needed, strict=True)
    )


def _text(value: str | bytes) -> str:
    """A string of the model; protobuf gives those that are no UTF-8 as bytes."""
    return value if isinstance(value, str) else value.decode(errors="replace")


def _line(text: str) -> str:
    """`text` on one short line, without control characters."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= 300 else text[:297] + "..."


def _shown(path: str | Path) -> str:
    """A path's end, short enough to leave room for what is wrong with it."""
    text = _line(str(path)[-160:])
    return text if len(str(path)) <= 160 else "..." + text
