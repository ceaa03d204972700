"""Tiny bundles for the tests, built with onnx.helper.

Every factory returns the bytes of a bundle: `save` writes them to a file, and
`bundle` opens them as a `rtsep.bundle.Bundle`.  Masks come in the bands of
`FRONT_END`; `N_BANDS` and `N_FEATURES` count them.

=====================  ======================================================
`constant_masks`       taps separator, the same masks whatever it hears
`tcn_taps`             taps separator with random weights; `Tcn.masks` is its
                       whole-file reference in NumPy
`constant_chunk`       chunk separator, the same masks whatever it hears
`tcn_chunk`            the `Tcn` as one convolution over chunks
`fir_audio`            audio-domain non-causal FIR; `fir_stems` is its reference
`transcriber`          taps transcriber that hears the level of a note's band
`failing_taps`         constant masks, but the run fails on loud input
`live_query`           taps query model: low bands by the first value of the query,
                       high ones by the second
`query_model`          three bundles: examples of low or high sound name the low or
                       high half of a mix; sines are heard and played as notes
=====================  ======================================================
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from rtsep import manifest as mf
from rtsep.bands import band_edges
from rtsep.bundle import Bundle, parse_bundle
from rtsep.manifest_checks import encode
from rtsep.signature import signature

Array = npt.NDArray[np.float32]

STEMS = ("drums", "bass", "guitar", "piano", "other")
FRONT_END = mf.FrontEnd(
    n_fft=1024,
    synthesis=256,
    min_hz=30.0,
    max_hz=16_000.0,
    min_width_hz=60.0,
    ratio=1.25,
    values=("level", "pan"),
)
EDGES_HZ = band_edges(FRONT_END.min_hz, FRONT_END.max_hz, FRONT_END.min_width_hz, FRONT_END.ratio)
N_BANDS = len(EDGES_HZ) - 1
N_FEATURES = 2 * N_BANDS
NOTES = (
    mf.Notes(stem="bass", pitches=(33, 40, 45), drums=False),
    mf.Notes(stem="guitar", pitches=(52, 60, 64), drums=False),
    mf.Notes(stem="piano", pitches=(69, 76, 81, 88), drums=False),
    mf.Notes(stem="drums", pitches=(36, 42), drums=True),
)
TRAINING = mf.Training(
    data=("none",), sound_fonts=(), audio_hours=0.0, command="onnx.helper", remarks="a test double"
)


def save(data: bytes, path: Path) -> Path:
    """Write a bundle's bytes to `path`."""
    path.write_bytes(data)
    return path


def bundle(data: bytes, name: str = "test") -> Bundle:
    """Open a bundle's bytes."""
    return parse_bundle(data, name)


# --- graphs and manifests -------------------------------------------------------


def graph_bytes(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[mf.Tensor],
    outputs: Sequence[mf.Tensor],
    weights: dict[str, npt.NDArray[Any]],
    manifest: mf.Manifest | None,
) -> bytes:
    """Put a model together; `manifest` goes into its metadata."""

    def values(tensors: Sequence[mf.Tensor]) -> list[onnx.ValueInfoProto]:
        return [
            helper.make_tensor_value_info(
                t.name,
                TensorProto.FLOAT,
                [d if d > 0 else f"{t.name}_{i}" for i, d in enumerate(t.shape)],
            )
            for t in tensors
        ]

    initializers = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(list(nodes), "tiny", values(inputs), values(outputs), initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if manifest is not None:
        helper.set_model_props(model, {mf.METADATA_KEY: encode(manifest)})
    return model.SerializeToString()


def make_manifest(**changes: Any) -> mf.Manifest:
    """A manifest of a taps separator, with `changes`; inputs and outputs are needed."""
    fields: dict[str, Any] = {
        "format": mf.FORMAT_VERSION,
        "name": "test",
        "version": "1.0.0",
        "description": "a test double",
        "licence": "GPL-3.0-or-later",
        "task": "separate",
        "domain": "mask",
        "stems": STEMS,
        "sample_rate": 48_000,
        "hop": 256,
        "lookahead": 0,
        "front_ends": (FRONT_END,),
        "training": TRAINING,
    }
    return mf.Manifest(**(fields | changes))


def with_tensors(manifest: mf.Manifest) -> mf.Manifest:
    """The manifest with the tensors that its task asks for."""
    inputs, outputs = (
        tuple(mf.Tensor(name=name, shape=shape) for name, shape in shapes.items())
        for shapes in signature(manifest)
    )
    return msgspec.structs.replace(manifest, inputs=inputs, outputs=outputs)


def edit(data: bytes, change: Callable[[onnx.ModelProto], None]) -> bytes:
    """The same model after `change` has had its way with the parsed ONNX."""
    model = onnx.load_model_from_string(data)
    change(model)
    return model.SerializeToString()


def edit_manifest(data: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """The same model after `change` has had its way with the manifest's JSON."""

    def rewrite(model: onnx.ModelProto) -> None:
        for entry in model.metadata_props:
            if entry.key == mf.METADATA_KEY:
                fields = msgspec.json.decode(entry.value)
                change(fields)
                entry.value = msgspec.json.encode(fields).decode()

    return edit(data, rewrite)


def _taps_signature(
    layers: int, taps: int, channels: int
) -> tuple[tuple[mf.Tensor, ...], mf.Tensor]:
    features = mf.Tensor(name="features", shape=(1, N_FEATURES))
    history = mf.Tensor(name="taps", shape=(layers, taps, channels))
    return (features, history), mf.Tensor(name="activations", shape=(layers, channels))


def _mask_values(values: npt.ArrayLike, n_stems: int) -> Array:
    """`values` a stem or a stem and band, spread to [n_stems, N_BANDS]."""
    masks = np.asarray(values, np.float32)
    masks = masks[:, None] if masks.ndim == 1 else masks
    return np.broadcast_to(masks, (n_stems, N_BANDS)).copy()


# --- separators by taps -----------------------------------------------------------


def constant_masks(
    values: npt.ArrayLike = (1, 0, 0, 0, 0),
    *,
    stems: tuple[str, ...] = STEMS,
    hop: int = 256,
    lookahead: int = 0,
    name: str = "test",
) -> bytes:
    """A taps separator whose masks are `values`, [S] or [S, N_BANDS], at every frame.

    The default is the identity: the whole mix in the first stem.
    """
    inputs, activations = _taps_signature(1, 1, 2)
    masks = mf.Tensor(name="masks", shape=(1, len(stems), N_BANDS))
    nodes = [
        helper.make_node("Slice", ["features", "zero", "two", "axis"], ["activations"]),
        helper.make_node("Identity", ["constant"], ["masks"]),
    ]
    weights: dict[str, npt.NDArray[Any]] = {
        "constant": _mask_values(values, len(stems))[None],
        "zero": np.array([0]),
        "two": np.array([2]),
        "axis": np.array([1]),
    }
    manifest = make_manifest(
        name=name,
        stems=stems,
        hop=hop,
        lookahead=lookahead,
        state=mf.Taps(channels=2, taps=1, dilations=(1,)),
        inputs=inputs,
        outputs=(masks, activations),
    )
    return graph_bytes(nodes, inputs, (masks, activations), weights, manifest)


def failing_taps(*, threshold: float = 1.0) -> bytes:
    """Identity masks, but the run fails where the first feature is over `threshold`.

    A Gather whose index runs out of range when it is asked to.
    """
    data = constant_masks()

    def change(model: onnx.ModelProto) -> None:
        graph = model.graph
        del graph.node[-1]
        graph.initializer.extend(
            [
                numpy_helper.from_array(np.float32(threshold), "threshold"),
                numpy_helper.from_array(np.array([1]), "one"),
                numpy_helper.from_array(np.int64(9), "far"),
            ]
        )
        graph.node.extend(
            [
                helper.make_node("Slice", ["features", "zero", "one", "axis"], ["first"]),
                helper.make_node("Greater", ["first", "threshold"], ["loud"]),
                helper.make_node("Cast", ["loud"], ["asked"], to=TensorProto.INT64),
                helper.make_node("Reshape", ["asked", "one"], ["flat"]),
                helper.make_node("Mul", ["flat", "far"], ["index"]),
                helper.make_node("Gather", ["constant", "index"], ["masks"], axis=0),
            ]
        )

    return edit(data, change)


@dataclass(frozen=True)
class Tcn:
    """Random weights of a small causal dilated TCN, and its whole-file reference.

    Layer l: ``h += tanh(b_l + W_l0 h[t] + Σ_k W_lk h[t - k d_l])``.
    """

    inlet: Array
    inlet_bias: Array
    kernels: Array  # [layers, taps + 1, in, out], the oldest tap first, the present last
    biases: Array  # [layers, channels]
    outlet: Array
    outlet_bias: Array
    dilations: tuple[int, ...]

    @classmethod
    def random(
        cls,
        seed: int = 0,
        *,
        dilations: tuple[int, ...] = (1, 2, 4),
        taps: int = 2,
        channels: int = 6,
        n_stems: int = len(STEMS),
    ) -> "Tcn":
        rng = np.random.default_rng(seed)

        def draw(*shape: int, scale: float) -> Array:
            return (scale * rng.standard_normal(shape)).astype(np.float32)

        layers = len(dilations)
        return cls(
            draw(N_FEATURES, channels, scale=N_FEATURES**-0.5),
            draw(channels, scale=0.3),
            draw(layers, taps + 1, channels, channels, scale=((taps + 1) * channels) ** -0.5),
            draw(layers, channels, scale=0.3),
            draw(channels, n_stems * N_BANDS, scale=1.0),
            draw(n_stems * N_BANDS, scale=0.3),
            dilations,
        )

    @property
    def receptive_field(self) -> int:
        """Past frames that one output depends on."""
        return (self.kernels.shape[1] - 1) * sum(self.dilations)

    @property
    def n_stems(self) -> int:
        return len(self.outlet_bias) // N_BANDS

    def masks(self, features: Array, *, silent_start: bool = True) -> Array:
        """Masks [T, S, N_BANDS] of a whole file of features [T, N_FEATURES].

        Parameters
        ----------
        silent_start : bool
            True: activations before the start are zero, as with taps.  False: the
            features before the start are zero, as with chunks.
        """
        ahead = 0 if silent_start else self.receptive_field
        x = np.pad(features.astype(np.float64), ((ahead, 0), (0, 0)))
        h = x @ self.inlet + self.inlet_bias
        taps = self.kernels.shape[1] - 1
        for kernel, bias, dilation in zip(self.kernels, self.biases, self.dilations, strict=True):
            past = np.pad(h, ((taps * dilation, 0), (0, 0)))
            spans = [past[k * dilation : k * dilation + len(h)] for k in range(taps + 1)]
            h = h + np.tanh(bias + sum(s @ w for s, w in zip(spans, kernel, strict=True)))
        out = 1 / (1 + np.exp(-(h @ self.outlet + self.outlet_bias)))
        return out[ahead:].reshape(len(features), -1, N_BANDS).astype(np.float32)


def tcn_taps(tcn: Tcn | None = None, *, hop: int = 256, lookahead: int = 0) -> bytes:
    """`tcn` as a taps separator (five stems where none is given)."""
    tcn = tcn or Tcn.random()
    layers, width, channels, _ = tcn.kernels.shape
    taps = width - 1
    inputs, activations = _taps_signature(layers, taps, channels)
    masks = mf.Tensor(name="masks", shape=(1, tcn.n_stems, N_BANDS))
    weights: dict[str, npt.NDArray[Any]] = {
        "inlet": tcn.inlet,
        "inlet_bias": tcn.inlet_bias,
        "outlet": tcn.outlet,
        "outlet_bias": tcn.outlet_bias,
        "row": np.array([1, taps * channels]),
        "shape": np.array([1, tcn.n_stems, N_BANDS]),
    }
    nodes = [
        helper.make_node("Gemm", ["features", "inlet", "inlet_bias"], ["h0"]),
        helper.make_node("Split", ["taps"], [f"past{i}" for i in range(layers)], axis=0),
    ]
    for i in range(layers):
        weights[f"kernel{i}"] = tcn.kernels[i].reshape(width * channels, channels)
        weights[f"bias{i}"] = tcn.biases[i]
        nodes += [
            helper.make_node("Reshape", [f"past{i}", "row"], [f"flat{i}"]),
            helper.make_node("Concat", [f"flat{i}", f"h{i}"], [f"all{i}"], axis=1),
            helper.make_node("Gemm", [f"all{i}", f"kernel{i}", f"bias{i}"], [f"y{i}"]),
            helper.make_node("Tanh", [f"y{i}"], [f"z{i}"]),
            helper.make_node("Add", [f"h{i}", f"z{i}"], [f"h{i + 1}"]),
        ]
    nodes += [
        helper.make_node("Concat", [f"h{i}" for i in range(layers)], ["activations"], axis=0),
        helper.make_node("Gemm", [f"h{layers}", "outlet", "outlet_bias"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["flat_masks"]),
        helper.make_node("Reshape", ["flat_masks", "shape"], ["masks"]),
    ]
    manifest = make_manifest(
        stems=STEMS[-tcn.n_stems :],
        hop=hop,
        lookahead=lookahead,
        state=mf.Taps(channels=channels, taps=taps, dilations=tcn.dilations),
        inputs=inputs,
        outputs=(masks, activations),
    )
    return graph_bytes(nodes, inputs, (masks, activations), weights, manifest)


# --- separators by chunks -----------------------------------------------------------


def constant_chunk(
    values: npt.ArrayLike = (1, 0, 0, 0, 0),
    *,
    stems: tuple[str, ...] = STEMS,
    hop: int = 256,
    lookahead: int = 0,
    state: mf.Chunk | None = None,
) -> bytes:
    """A chunk separator whose masks are `values`, [S] or [S, N_BANDS], at every frame."""
    state = state or mf.Chunk(chunk=8, left=4, right=2, crossfade=2)
    length = state.left + state.chunk + state.right
    features = mf.Tensor(name="features", shape=(1, length, N_FEATURES))
    masks = mf.Tensor(name="masks", shape=(1, length, len(stems), N_BANDS))
    tiled = np.broadcast_to(_mask_values(values, len(stems)), masks.shape).copy()
    manifest = make_manifest(
        stems=stems, hop=hop, lookahead=lookahead, state=state, inputs=(features,), outputs=(masks,)
    )
    nodes = [helper.make_node("Identity", ["constant"], ["masks"])]
    return graph_bytes(nodes, (features,), (masks,), {"constant": tiled}, manifest)


def tcn_chunk(
    tcn: Tcn | None = None, *, state: mf.Chunk | None = None, hop: int = 256, free: bool = True
) -> bytes:
    """`tcn` as a chunk separator; by default its left context covers what it needs.

    With ``state.right`` > 0 the masks of frame t are the causal network's of frame
    t + right: a network that looks ahead.
    """
    tcn = tcn or Tcn.random()
    state = state or mf.Chunk(chunk=10, left=tcn.receptive_field, right=0, crossfade=3)
    layers, width = tcn.kernels.shape[:2]
    length = -1 if free else state.left + state.chunk + state.right
    features = mf.Tensor(name="features", shape=(1, length, N_FEATURES))
    masks = mf.Tensor(name="masks", shape=(1, length, tcn.n_stems, N_BANDS))
    weights: dict[str, npt.NDArray[Any]] = {
        "inlet": tcn.inlet,
        "inlet_bias": tcn.inlet_bias,
        "outlet": tcn.outlet,
        "outlet_bias": tcn.outlet_bias,
        "pads": np.array([0, 0, 0, 0, state.right, 0]),
        "starts": np.array([state.right]),
        "ends": np.array([1 << 30]),
        "axis": np.array([1]),
        "shape": np.array([1, -1, tcn.n_stems, N_BANDS]),
    }
    nodes = [
        helper.make_node("Pad", ["features", "pads"], ["padded"]),
        helper.make_node("Slice", ["padded", "starts", "ends", "axis"], ["shifted"]),
        helper.make_node("MatMul", ["shifted", "inlet"], ["projected"]),
        helper.make_node("Add", ["projected", "inlet_bias"], ["biased"]),
        helper.make_node("Transpose", ["biased"], ["h0"], perm=[0, 2, 1]),
    ]
    for i, dilation in enumerate(tcn.dilations):
        weights[f"kernel{i}"] = np.ascontiguousarray(tcn.kernels[i].transpose(2, 1, 0))
        weights[f"bias{i}"] = tcn.biases[i]
        nodes += [
            helper.make_node(
                "Conv",
                [f"h{i}", f"kernel{i}", f"bias{i}"],
                [f"y{i}"],
                dilations=[dilation],
                pads=[(width - 1) * dilation, 0],
            ),
            helper.make_node("Tanh", [f"y{i}"], [f"z{i}"]),
            helper.make_node("Add", [f"h{i}", f"z{i}"], [f"h{i + 1}"]),
        ]
    nodes += [
        helper.make_node("Transpose", [f"h{layers}"], ["rows"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["rows", "outlet"], ["logits"]),
        helper.make_node("Add", ["logits", "outlet_bias"], ["biased_logits"]),
        helper.make_node("Sigmoid", ["biased_logits"], ["flat_masks"]),
        helper.make_node("Reshape", ["flat_masks", "shape"], ["masks"]),
    ]
    manifest = make_manifest(
        stems=STEMS[-tcn.n_stems :], hop=hop, state=state, inputs=(features,), outputs=(masks,)
    )
    return graph_bytes(nodes, (features,), (masks,), weights, manifest)


# --- audio in, stems out ---------------------------------------------------------------


def fir_kernels(n_stems: int = 3, reach: int = 5, seed: int = 1) -> Array:
    """Kernels [n_stems, 2 * reach + 1] that sum to a unit impulse in the middle."""
    rng = np.random.default_rng(seed)
    kernels = 0.3 * rng.standard_normal((n_stems, 2 * reach + 1))
    kernels[-1] = -kernels[:-1].sum(axis=0)
    kernels[-1, reach] += 1
    return kernels.astype(np.float32)


def fir_stems(audio: Array, kernels: Array) -> Array:
    """Reference: stems [S, channels, n] of a whole file [channels, n]."""
    reach = kernels.shape[1] // 2
    padded = np.pad(audio, ((0, 0), (reach, reach)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernels.shape[1], axis=1)
    return np.einsum("cnk,sk->scn", windows, kernels).astype(np.float32)


def fir_audio(kernels: Array | None = None, *, state: mf.Chunk | None = None) -> bytes:
    """Stereo in, stems out by non-causal FIR filters that sum to the mix."""
    kernels = fir_kernels() if kernels is None else kernels
    n_stems, width = kernels.shape
    state = state or mf.Chunk(chunk=96, left=width // 2, right=width // 2, crossfade=16)
    length = state.left + state.chunk + state.right
    audio = mf.Tensor(name="audio", shape=(1, 2, length))
    stems = mf.Tensor(name="stems", shape=(1, n_stems, 2, length))
    nodes = [
        helper.make_node("Transpose", ["audio"], ["batch"], perm=[1, 0, 2]),
        helper.make_node("Conv", ["batch", "kernels"], ["y"], pads=[width // 2, width // 2]),
        helper.make_node("Transpose", ["y"], ["z"], perm=[1, 0, 2]),
        helper.make_node("Unsqueeze", ["z", "axis"], ["stems"]),
    ]
    manifest = make_manifest(
        domain="audio",
        stems=STEMS[-n_stems:],
        hop=1,
        front_ends=(),
        state=state,
        inputs=(audio,),
        outputs=(stems,),
    )
    weights: dict[str, npt.NDArray[Any]] = {"kernels": kernels[:, None], "axis": np.array([0])}
    return graph_bytes(nodes, (audio,), (stems,), weights, manifest)


# --- transcriber -----------------------------------------------------------------------


def transcriber(
    notes: tuple[mf.Notes, ...] = NOTES,
    *,
    hop: int = 512,
    lookahead: int = 0,
    threshold_db: float = -60.0,
) -> bytes:
    """A taps transcriber that takes a loud band for a note.

    A note sounds while the level of the band around its fundamental (drums: of the
    same pitch number) is over `threshold_db`; its onset is the frame at which the
    level has risen by 10 dB or more since the frame before; its velocity is the
    level between -80 and 0 dB.
    """
    hertz = [440.0 * 2 ** ((pitch - 69) / 12) for note in notes for pitch in note.pitches]
    bands = np.clip(np.searchsorted(EDGES_HZ, hertz, side="right") - 1, 0, N_BANDS - 1)
    n = len(bands)
    inputs, activations = _taps_signature(1, 1, n)
    outputs = tuple(mf.Tensor(name=k, shape=(1, n)) for k in ("onset", "frame", "velocity"))

    def scalar(value: float) -> Array:
        return np.array(value, np.float32)

    def level(decibels: float) -> Array:
        return scalar((decibels + 50) / 20)

    weights: dict[str, npt.NDArray[Any]] = {
        "bands": bands,
        "threshold": level(threshold_db),
        "steep": scalar(40.0),
        "rise": scalar(0.5),
        "quiet": level(-80.0),
        "range": level(0.0) - level(-80.0),
        "low": scalar(0.0),
        "high": scalar(1.0),
        "row": np.array([1, n]),
    }
    nodes = [
        helper.make_node("Gather", ["features", "bands"], ["activations"], axis=1),
        helper.make_node("Reshape", ["taps", "row"], ["before"]),
        helper.make_node("Sub", ["activations", "threshold"], ["over"]),
        helper.make_node("Mul", ["over", "steep"], ["over_steep"]),
        helper.make_node("Sigmoid", ["over_steep"], ["frame"]),
        helper.make_node("Max", ["before", "quiet"], ["floor"]),
        helper.make_node("Sub", ["activations", "floor"], ["change"]),
        helper.make_node("Sub", ["change", "rise"], ["rising"]),
        helper.make_node("Mul", ["rising", "steep"], ["rising_steep"]),
        helper.make_node("Sigmoid", ["rising_steep"], ["attack"]),
        helper.make_node("Mul", ["attack", "frame"], ["onset"]),
        helper.make_node("Sub", ["activations", "quiet"], ["loud"]),
        helper.make_node("Div", ["loud", "range"], ["share"]),
        helper.make_node("Clip", ["share", "low", "high"], ["velocity"]),
    ]
    manifest = make_manifest(
        task="transcribe",
        domain="notes",
        stems=(),
        notes=notes,
        hop=hop,
        lookahead=lookahead,
        state=mf.Taps(channels=n, taps=1, dilations=(1,)),
        inputs=inputs,
        outputs=(*outputs, activations),
    )
    return graph_bytes(nodes, inputs, (*outputs, activations), weights, manifest)


QUERY_SPECTROGRAM = mf.Spectrogram(n_fft=2048, bins=1024)
QUERY_RATE, QUERY_HOP, QUERY_SPLIT = 16_000, 160, 128  # the split lies at 1 kHz
QUERY_SPACE = "0123456789abcdef" * 2
QUERY_NOTES = mf.Notes(stem="query", pitches=tuple(range(60, 100)), drums=False)


def query_model() -> dict[str, bytes]:
    """Bundles by task, "query", "embed" and "synthesise"."""
    bins, n_notes = QUERY_SPECTROGRAM.bins, len(QUERY_NOTES.pitches)
    halves = np.zeros((bins, 2), np.float32)
    halves[:QUERY_SPLIT, 0] = halves[QUERY_SPLIT:, 1] = 1.0
    combs = np.zeros((n_notes, bins), np.float32)
    for row, pitch in enumerate(QUERY_NOTES.pitches):
        combs[row, round(440.0 * 2 ** ((pitch - 69) / 12) * 2048 / QUERY_RATE)] = 1.0
    silence = np.zeros((1, 1, 1, n_notes + 1), np.float32)
    silence[..., -1] = 5.0
    hears = np.concatenate([combs, np.zeros((1, bins), np.float32)]).T
    weights: dict[str, npt.NDArray[Any]] = {
        "halves": halves,
        "halves_T": np.ascontiguousarray(halves.T),
        "hears": np.ascontiguousarray(hears),
        "plays": np.concatenate([100.0 * combs, np.zeros((1, bins), np.float32)]),
        "silence": silence,
        "one": np.array([1], np.int64),
        "two": np.array([2], np.int64),
        "little": np.array(1e-9, np.float32),
        "nothing": np.array(0.0, np.float32),
        "query_shape": np.array([1, 1, 1, bins], np.int64),
    }
    node = helper.make_node
    parts = {
        "query": [
            node("MatMul", ["query", "halves_T"], ["shares"]),
            node("Reshape", ["shares", "query_shape"], ["mask"]),
            node("Mul", ["mixture", "mask"], ["separated"]),
            node("MatMul", ["separated", "hears"], ["heard"]),
            node("Add", ["heard", "silence"], ["classes"]),
            node("Squeeze", ["classes", "one"], ["rows"]),
            node("Transpose", ["rows"], ["logits"], perm=[0, 2, 1]),
        ],
        "embed": [
            node("MatMul", ["query_spectrogram", "halves"], ["both"]),
            node("ReduceMean", ["both"], ["mean"], axes=[1, 2], keepdims=0),
            node("ReduceSum", ["mean", "one"], ["sum"], keepdims=1),
            node("Add", ["sum", "little"], ["whole"]),
            node("Div", ["mean", "whole"], ["query"]),
        ],
        "synthesise": [
            node("Transpose", ["score"], ["frames"], perm=[0, 2, 1]),
            node("MatMul", ["frames", "plays"], ["sines"]),
            node("Unsqueeze", ["sines", "one"], ["played"]),
            node("Mul", ["mixture", "nothing"], ["none"]),
            node("Add", ["played", "none"], ["synthesised"]),
        ],
    }
    found = {}
    for task, nodes in parts.items():
        manifest = make_manifest(
            name="test" if task == "query" else f"test-{task}",
            task=task,
            domain="spectrogram",
            stems=(),
            notes=() if task == "embed" else (QUERY_NOTES,),
            sample_rate=QUERY_RATE,
            hop=QUERY_HOP,
            front_ends=(),
            spectrogram=QUERY_SPECTROGRAM,
            query=2,
            query_space=QUERY_SPACE,
            state=mf.Chunk(chunk=100, left=3, right=3, crossfade=0),
            inputs=(),
            outputs=(),
        )
        manifest = with_tensors(manifest)
        used = {name for n in nodes for name in n.input}
        own = {name: value for name, value in weights.items() if name in used}
        found[task] = graph_bytes(nodes, manifest.inputs, manifest.outputs, own, manifest)
    return found


def save_query_model(folder: Path) -> Path:
    """Write `query_model` to a folder; the path of the bundle that separates."""
    for task, data in query_model().items():
        save(data, folder / ("test.onnx" if task == "query" else f"test-{task}.onnx"))
    return folder / "test.onnx"


def live_query(*, hop: int = 256) -> bytes:
    """A mask that is the query's first value below 1 kHz and its second one above."""
    state = mf.Taps(channels=1, taps=1, dilations=(1,))
    low = (EDGES_HZ[:-1] < 1000.0).astype(np.float32)
    manifest = make_manifest(
        task="query",
        stems=(),
        hop=hop,
        query=2,
        query_space=QUERY_SPACE,
        state=state,
        inputs=(),
        outputs=(),
    )
    manifest = with_tensors(manifest)
    node = helper.make_node
    nodes = [
        node("MatMul", ["query", "halves"], ["row"]),
        node("Reshape", ["row", "shape"], ["shaped"]),
        # The features and the history count for nothing, but are read.
        node("ReduceSum", ["features"], ["sum"], keepdims=0),
        node("Mul", ["sum", "nothing"], ["none"]),
        node("Add", ["shaped", "none"], ["masks"]),
        node("Squeeze", ["taps", "one"], ["activations"]),
    ]
    weights: dict[str, npt.NDArray[Any]] = {
        "halves": np.stack([low, 1 - low]),
        "shape": np.array([1, 1, N_BANDS], np.int64),
        "nothing": np.array(0.0, np.float32),
        "one": np.array([1], np.int64),
    }
    return graph_bytes(nodes, manifest.inputs, manifest.outputs, weights, manifest)


def several(threshold: float = 0.37) -> bytes:
    """A tagger of three seconds: clips with a peak above the threshold hold several."""
    samples = 3 * 16_000
    manifest = make_manifest(
        name="several",
        task="tag",
        domain="audio",
        stems=(),
        hop=1,
        sample_rate=16_000,
        front_ends=(),
        tags=("several",),
        state=mf.Chunk(chunk=samples, left=0, right=0, crossfade=0),
        inputs=(),
        outputs=(),
    )
    manifest = with_tensors(manifest)
    node = helper.make_node
    nodes = [
        node("Abs", ["audio"], ["size"]),
        node("ReduceMax", ["size"], ["peak"], axes=[1], keepdims=1),
        node("Sub", ["peak", "threshold"], ["above"]),
        node("Mul", ["above", "steep"], ["logit"]),
        node("Sigmoid", ["logit"], ["tags"]),
    ]
    weights: dict[str, npt.NDArray[Any]] = {
        "threshold": np.array(threshold, np.float32),
        "steep": np.array(40.0, np.float32),
    }
    return graph_bytes(nodes, manifest.inputs, manifest.outputs, weights, manifest)
