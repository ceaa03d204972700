"""Matrices in fewer bits: how an exported graph gets them, and what they stand for."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

EIGHT, SIXTEEN = "_quantized", "_half"
"""What comes after a matrix's name."""


def to_eight(graph: Path) -> None:
    """Turn a graph's matrices into ones of 8 bits, in place.

    Every column has its own step, and what a matrix multiplies is rounded as it comes, to
    255 steps from its least to its largest value.
    """
    # It advises a pass over the graph that changes nothing here.
    logging.disable(logging.WARNING)
    try:
        quantize_dynamic(
            graph,
            graph,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            # Seven bits: sums of products of eight overflow on processors without VNNI.
            reduce_range=True,
        )
    finally:
        logging.disable(logging.NOTSET)


def to_sixteen(graph: Path) -> None:
    """Keep a graph's matrices and kernels in 16 bits, in place; they are multiplied in 32."""
    model = onnx.load(graph)
    casts = []
    for tensor in model.graph.initializer:
        if len(tensor.dims) >= 2 and tensor.data_type == TensorProto.FLOAT:
            name, matrix = tensor.name, numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(matrix.astype(np.float16), name + SIXTEEN))
            casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(casts + nodes)
    onnx.save(model, graph)


def matrices(
    tensors: Mapping[str, npt.NDArray[np.generic]],
) -> dict[str, npt.NDArray[np.float32]]:
    """The numbers that matrices in fewer bits stand for, by name, as a linear layer has them.

    Parameters
    ----------
    tensors : mapping of str to array
        All that a graph holds, by name.
    """
    found = {}
    for key, tensor in tensors.items():
        if key.endswith(SIXTEEN):
            found[key.removesuffix(SIXTEEN)] = tensor.astype(np.float32)
        elif key.endswith(EIGHT):
            name = key.removesuffix(EIGHT)
            zero, scale = (tensors[f"{name}_{part}"] for part in ("zero_point", "scale"))
            steps = tensor.astype(np.float32) - zero.astype(np.float32)
            found[name] = (steps * scale.astype(np.float32)).T
    return found
