"""Bundles from strangers: each mistake is one clear line, and nothing outside is read."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rtsep import bundle as bundle_module
from rtsep.bundle import (
    MAX_BYTES,
    load_bundle,
    parse_bundle,
    shipped_bundles,
)
from rtsep.errors import BundleError
from rtsep.manifest import METADATA_KEY, Chunk
from rtsep.signature import feature_count, signature
from tests.rtsep import models

GOOD = {
    "constant_masks": models.constant_masks(),
    "tcn_taps": models.tcn_taps(),
    "failing_taps": models.failing_taps(),
    "constant_chunk": models.constant_chunk(),
    "tcn_chunk": models.tcn_chunk(),
    "tcn_chunk_fixed": models.tcn_chunk(free=False),
    "fir_audio": models.fir_audio(),
    "transcriber": models.transcriber(),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_bundles_load(name: str, tmp_path: Path) -> None:
    path = models.save(GOOD[name], tmp_path / "model.onnx")
    bundle = load_bundle(path)
    assert (bundle.name, bundle.path, bundle.opset) == ("test", path, 17)
    assert bundle.data == GOOD[name]
    assert bundle.size_bytes == path.stat().st_size
    assert (bundle.inputs, bundle.outputs) == signature(bundle.manifest)
    assert load_bundle(str(path)).manifest == bundle.manifest


def test_signature_of_features() -> None:
    manifest = models.bundle(GOOD["tcn_taps"]).manifest
    assert feature_count(manifest) == models.N_FEATURES
    inputs, outputs = signature(manifest)
    assert inputs == {"features": (1, models.N_FEATURES), "taps": (3, 2, 6)}
    assert outputs == {"masks": (1, 5, models.N_BANDS), "activations": (3, 6)}


def refusal(data: bytes) -> str:
    """The one line with which `data` is refused."""
    with pytest.raises(BundleError) as caught:
        parse_bundle(data, "some.onnx")
    line = str(caught.value)
    assert line.startswith("some.onnx: ")
    assert "\n" not in line
    assert len(line) < 600
    return line


# --- files ---------------------------------------------------------------------------


def test_missing_file_names_what_ships(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no bundle at .*none\.onnx.*rtsep models"):
        load_bundle(tmp_path / "none.onnx")
    with pytest.raises(BundleError, match="no bundle at nonesuch"):
        load_bundle("nonesuch")


def test_directory_pipe_and_name_with_a_zero_byte(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is a directory"):
        load_bundle(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(BundleError, match="no regular file"):
            load_bundle(tmp_path / "pipe")
    with pytest.raises(BundleError, match="cannot be read"):
        load_bundle("a\0b")
    with pytest.raises(BundleError, match="cannot be read"):
        load_bundle("x" * 5000)


def test_empty_and_huge_files(tmp_path: Path) -> None:
    empty = models.save(b"", tmp_path / "empty.onnx")
    with pytest.raises(BundleError, match=r"empty\.onnx: an empty file"):
        load_bundle(empty)
    huge = tmp_path / "huge.onnx"
    with huge.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(BundleError, match="over 256 MiB"):
        load_bundle(huge)


def test_shipped_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_module, "MODELS", tmp_path)
    path = models.save(GOOD["tcn_taps"], tmp_path / "live.onnx")
    assert shipped_bundles() == {"live": path}
    assert load_bundle("live").path == path
    with pytest.raises(BundleError, match="one of: live"):
        load_bundle("stage")


@pytest.mark.parametrize("name", ["tcn_taps", "transcriber"])
def test_every_truncation_is_refused(name: str) -> None:
    data = GOOD[name]
    for length in [*range(64), *range(64, len(data), 97), len(data) - 1]:
        refusal(data[:length])


@pytest.mark.parametrize(
    "data",
    [b"RIFF....WAVEfmt ", b"PK\x03\x04", b"\x00" * 100, b"\xff" * 100, b"not ONNX at all\n" * 9],
)
def test_not_onnx(data: bytes) -> None:
    assert "ONNX" in refusal(data)


def test_random_damage_never_escapes_as_another_error() -> None:
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(GOOD["tcn_taps"])
        for place in rng.integers(0, len(damaged), 3):
            damaged[place] = rng.integers(0, 256)
        with suppress(BundleError):
            parse_bundle(bytes(damaged))
            continue
        refused += 1
    assert 0 < refused < 300


# --- what the graph may hold -----------------------------------------------------------


def external(name: str) -> onnx.TensorProto:
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "/etc/passwd", "offset": "0", "length": "12"}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def in_initializer(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(external("secret"))


def in_constant(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=external("secret")))


def in_sparse_initializer(model: onnx.ModelProto) -> None:
    indices = numpy_helper.from_array(np.array([0, 1, 2]), "indices")
    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(external("secret"), indices, [3])
    )


def branch(initializer: onnx.TensorProto | None, node: onnx.NodeProto) -> onnx.GraphProto:
    out = helper.make_tensor_value_info("z", TensorProto.FLOAT, [3])
    return helper.make_graph([node], "branch", [], [out], [initializer] if initializer else [])


def in_subgraph(model: onnx.ModelProto) -> None:
    inner = branch(external("secret"), helper.make_node("Identity", ["secret"], ["z"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(
        helper.make_node("If", ["yes"], ["w"], then_branch=inner, else_branch=inner)
    )


def in_constant_of_a_subgraph(model: onnx.ModelProto) -> None:
    inner = branch(None, helper.make_node("Constant", [], ["z"], value=external("secret")))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(
        helper.make_node("If", ["yes"], ["w"], then_branch=inner, else_branch=inner)
    )


def by_entries_alone(model: onnx.ModelProto) -> None:
    in_initializer(model)
    model.graph.initializer[-1].data_location = TensorProto.DEFAULT


@pytest.mark.parametrize(
    "hide",
    [
        in_initializer,
        in_constant,
        in_sparse_initializer,
        in_subgraph,
        in_constant_of_a_subgraph,
        by_entries_alone,
    ],
)
def test_external_data_anywhere(hide: Callable[[onnx.ModelProto], None]) -> None:
    line = refusal(models.edit(GOOD["tcn_taps"], hide))
    assert "'secret' kept outside the file" in line
    assert "without external data" in line


def custom_node(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Run", ["features"], ["q"], domain="com.evil"))


def custom_node_in_subgraph(model: onnx.ModelProto) -> None:
    inner = branch(None, helper.make_node("Run", [], ["z"], domain="com.evil"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(
        helper.make_node("If", ["yes"], ["w"], then_branch=inner, else_branch=inner)
    )


def custom_import(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.evil", 1))


@pytest.mark.parametrize("change", [custom_node, custom_node_in_subgraph, custom_import])
def test_custom_operators(change: Callable[[onnx.ModelProto], None]) -> None:
    assert "operators of 'com.evil'" in refusal(models.edit(GOOD["tcn_taps"], change))


def test_functions() -> None:
    def change(model: onnx.ModelProto) -> None:
        body = [helper.make_node("Identity", ["x"], ["y"])]
        opsets = [helper.make_opsetid("", 17)]
        model.functions.append(helper.make_function("local", "f", ["x"], ["y"], body, opsets))

    assert "functions" in refusal(models.edit(GOOD["tcn_taps"], change))


def clear_opsets(model: onnx.ModelProto) -> None:
    del model.opset_import[:]


def unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Nonesuch", ["features"], ["q"]))


def dangling_input(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = "nowhere"


def giant_weight(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer.add(name="giant", data_type=TensorProto.FLOAT)
    tensor.dims.extend([1 << 40, 1 << 20])
    tensor.raw_data = b"1234"


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (clear_opsets, "no stated version"),
        (unknown_operator, "Nonesuch"),
        (dangling_input, "nowhere"),
        (giant_weight, "giant"),
    ],
)
def test_broken_graphs(change: Callable[[onnx.ModelProto], None], found: str) -> None:
    assert found in refusal(models.edit(GOOD["tcn_taps"], change))


# --- the manifest against the graph ------------------------------------------------------


def test_no_manifest_and_two() -> None:
    none = models.edit(GOOD["tcn_taps"], lambda model: model.metadata_props.pop())
    assert "no manifest inside" in refusal(none)
    two = models.edit(
        GOOD["tcn_taps"], lambda model: model.metadata_props.extend(list(model.metadata_props))
    )
    assert "2 manifests" in refusal(two)


def test_newer_manifest() -> None:
    data = models.edit_manifest(GOOD["tcn_taps"], lambda fields: fields.update(format=2, more=[]))
    line = refusal(data)
    assert "version 2" in line
    assert "update rtsep" in line


def test_manifest_that_is_too_long_or_no_json() -> None:
    def replace(text: str) -> bytes:
        return models.edit(
            GOOD["tcn_taps"],
            lambda model: helper.set_model_props(model, {METADATA_KEY: text}),
        )

    assert "over 1 MiB" in refusal(replace(" " * (1 << 21)))
    assert "cannot be read" in refusal(replace("{"))
    assert "cannot be read" in refusal(replace('["format"]'))
    assert "cannot be read" in refusal(replace("[" * 100_000))


def rename_in_graph(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "mask"
    model.graph.node[-1].output[0] = "mask"


def double_in_graph(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE


def sequence_in_graph(model: onnx.ModelProto) -> None:
    inner = helper.make_tensor_type_proto(TensorProto.FLOAT, [1])
    model.graph.input[0].type.CopyFrom(helper.make_sequence_type_proto(inner))


def reshape_in_graph(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[2].dim_value = 999


def scalar_in_graph(model: onnx.ModelProto) -> None:
    del model.graph.output[0].type.tensor_type.shape.dim[:]


def more_in_graph(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (rename_in_graph, "activations, mask in the graph"),
        (double_in_graph, "'features' that is no float32"),
        (sequence_in_graph, "'features' that is no float32"),
        (reshape_in_graph, "'masks' of shape [1, 5, 999] in the graph"),
        (scalar_in_graph, "'masks' of shape [] in the graph"),
        (more_in_graph, "features, more, taps in the graph"),
    ],
)
def test_graph_that_is_not_what_the_manifest_says(
    change: Callable[[onnx.ModelProto], None], found: str
) -> None:
    assert found in refusal(models.edit(GOOD["tcn_taps"], change))


def rename(fields: dict[str, Any]) -> None:
    fields["outputs"][0]["name"] = "mask"


def reshape(fields: dict[str, Any]) -> None:
    fields["outputs"][0]["shape"][1] = 4


def fewer_stems(fields: dict[str, Any]) -> None:
    fields["stems"] = fields["stems"][1:]


def other_bands(fields: dict[str, Any]) -> None:
    fields["front_ends"][0]["ratio"] = 1.1


def other_channels(fields: dict[str, Any]) -> None:
    fields["state"]["channels"] = 7


def other_layers(fields: dict[str, Any]) -> None:
    fields["state"]["dilations"] = [1, 2]


def giant_taps(fields: dict[str, Any]) -> None:
    fields["state"] |= {"channels": 1 << 20, "taps": 1 << 10}


def giant_history(fields: dict[str, Any]) -> None:
    fields["state"] |= {"channels": 1 << 10, "dilations": [1 << 15, 1, 1]}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (rename, "activations, mask in the manifest"),
        (reshape, "'masks' of shape [1, 4, 23] in the manifest"),
        (fewer_stems, "'masks' of shape [1, 5, 23]"),
        (other_bands, "'features' of shape"),
        (other_channels, "'taps' of shape [3, 2, 6]"),
        (other_layers, "'taps' of shape [3, 2, 6]"),
        (giant_taps, "'taps' of shape (3, 1024, 1048576); expected at most"),
        (giant_history, "'history' of shape (3, 65536, 1024); expected at most"),
    ],
)
def test_manifest_that_lies(change: Callable[[dict[str, Any]], None], found: str) -> None:
    assert found in refusal(models.edit_manifest(GOOD["tcn_taps"], change))


def test_giant_chunk() -> None:
    state = Chunk(chunk=1 << 19, left=1 << 18, right=0, crossfade=0)
    data = models.edit_manifest(
        GOOD["tcn_chunk"], lambda fields: fields["state"].update(chunk=state.chunk, left=state.left)
    )
    assert "at most 67108864 values" in refusal(data)


def test_messages_carry_no_control_characters() -> None:
    def change(model: onnx.ModelProto) -> None:
        model.graph.input[0].name = "a\n\x1b[31mred\x9b"
        model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT8

    line = refusal(models.edit(GOOD["tcn_taps"], change))
    assert "\x1b" not in line
    assert "\x9b" not in line
