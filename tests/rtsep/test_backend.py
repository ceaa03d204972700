"""Sessions: bound buffers, quiet, bounded, and on the device that is really there."""

import platform
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper

from rtsep import backend
from rtsep.backend import Session, cuda_works
from rtsep.errors import BundleError, SetupError
from tests.rtsep import models


def open_session(data: bytes) -> Session:
    return Session(models.bundle(data), device="cpu")


def run_alone(code: str, *arguments: str) -> tuple[str, str]:
    """What `code` prints, on stdout and on stderr, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_buffers_stay_and_results_are_those_of_a_plain_run() -> None:
    data = models.tcn_taps()
    session = open_session(data)
    inputs, outputs = dict(session.inputs), dict(session.outputs)
    plain = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    assert not any(array.any() for array in [*inputs.values(), *outputs.values()])
    rng = np.random.default_rng(0)
    for _ in range(3):
        for array in session.inputs.values():
            array[:] = rng.standard_normal(array.shape)
        session.run()
        reference = plain.run(list(outputs), inputs)
        for array, expected in zip(session.outputs.values(), reference, strict=True):
            np.testing.assert_allclose(array, expected, atol=1e-6)
    assert all(session.inputs[name] is array for name, array in inputs.items())
    assert all(session.outputs[name] is array for name, array in outputs.items())


def test_a_failed_run_leaves_no_old_output() -> None:
    session = open_session(models.failing_taps(threshold=9.0))
    session.run()
    assert session.outputs["masks"][0, 0, 0] == 1.0
    session.inputs["features"].fill(10.0)
    with pytest.raises(BundleError, match=r"'test' failed to run \(.*Gather"):
        session.run()
    assert all(np.isnan(array).all() for array in session.outputs.values())


def test_a_model_that_always_fails_is_refused_at_once() -> None:
    with pytest.raises(BundleError, match="failed to run") as caught:
        open_session(models.failing_taps(threshold=-1.0))
    assert "\n" not in str(caught.value)


def replace_masks(make: Callable[[onnx.GraphProto], None]) -> bytes:
    """The identity separator with the node that makes the masks replaced."""

    def change(model: onnx.ModelProto) -> None:
        del model.graph.node[-1]
        make(model.graph)

    return models.edit(models.constant_masks(), change)


def add(graph: onnx.GraphProto, name: str, value: Any) -> None:
    graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))


def explode(graph: onnx.GraphProto) -> None:
    """Masks that need 4.8 GB on the way."""
    add(graph, "shape", [60_000, 20_000])
    add(graph, "nothing", np.float32(0))
    add(graph, "first", [1])
    graph.node.extend(
        [
            helper.make_node("Slice", ["features", "zero", "first", "axis"], ["one"]),
            helper.make_node("Expand", ["one", "shape"], ["giant"]),
            helper.make_node("ReduceMax", ["giant"], ["top"], keepdims=0),
            helper.make_node("Mul", ["top", "nothing"], ["little"]),
            helper.make_node("Add", ["constant", "little"], ["masks"]),
        ]
    )


def explode_while_loading(graph: onnx.GraphProto) -> None:
    """The same from constants, which the optimiser may fold."""
    explode(graph)
    del graph.node[-5:-3]
    graph.node.insert(0, helper.make_node("ConstantOfShape", ["shape"], ["giant"]))


@pytest.mark.parametrize("bomb", [explode, explode_while_loading])
def test_memory_is_bounded(bomb: Callable[[onnx.GraphProto], None]) -> None:
    before = psutil.Process().memory_info().rss
    with pytest.raises(BundleError, match="needs over 2 GiB"):
        open_session(replace_masks(bomb))
    assert psutil.Process().memory_info().rss - before < 1 << 29


def run_for_ever(graph: onnx.GraphProto) -> None:
    add(graph, "times", np.int64(1 << 60))
    add(graph, "yes", np.array(True))
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Identity", ["state"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    graph.node.append(helper.make_node("Loop", ["times", "yes", "constant"], ["masks"], body=body))


def test_time_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "WARM_UP_TIMEOUT_S", 0.3)
    with pytest.raises(BundleError, match=r"did not end within 0\.3 s"):
        open_session(replace_masks(run_for_ever))


def test_outputs_of_another_shape_than_stated() -> None:
    """A graph may leave a dimension free; the first run tells the truth."""

    def make(graph: onnx.GraphProto) -> None:
        add(graph, "twice", [1, 1, 2])
        graph.node.append(helper.make_node("Tile", ["constant", "twice"], ["masks"]))
        graph.output[0].type.tensor_type.shape.dim[2].dim_param = "free"

    with pytest.raises(BundleError, match="failed to run"):
        open_session(replace_masks(make))


def test_only_onnx_is_read_as_onnx() -> None:
    """Bytes that also carry the mark of ONNX Runtime's own format, at offset 4."""

    def change(model: onnx.ModelProto) -> None:
        model.producer_name = "ORTM"

    data = models.edit(models.constant_masks(), change)
    assert data[4:8] == b"ORTM"
    session = open_session(data)
    session.run()
    assert session.outputs["masks"][0, 0, 0] == 1.0


def test_random_damage_never_escapes_as_another_error() -> None:
    rng = np.random.default_rng(1)
    opened = 0
    for _ in range(60):
        damaged = bytearray(models.tcn_taps())
        for place in rng.integers(0, len(damaged), 2):
            damaged[place] = rng.integers(0, 256)
        with suppress(BundleError):
            open_session(bytes(damaged))
            opened += 1
    assert 0 < opened < 60


DENORMALS = """
import threading
import numpy as np
from rtsep.backend import Session
from rtsep.manifest import Chunk
from tests.rtsep import models

kernels = np.array([[0, 1e-2, 0], [0, 0, 0]], np.float32)
state = Chunk(chunk=8, left=1, right=1, crossfade=0)
bundle = models.bundle(models.fir_audio(kernels, state=state))
sessions = []
maker = threading.Thread(target=lambda: sessions.append(Session(bundle, device="cpu")))
maker.start()
maker.join()
assert np.float32(1e-37) * np.float32(1e-2) > 0, "this thread has denormals until it runs one"
sessions[0].inputs["audio"].fill(1e-37)
sessions[0].run()
print(sessions[0].outputs["stems"].any())
"""


@pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="only x86 is slowed by denormals"
)
def test_denormals_are_zero_in_a_thread_that_made_no_session() -> None:
    """In a process of its own: threads inherit the setting from the one that starts them."""
    assert run_alone(DENORMALS) == ("False\n", "")


# --- devices ----------------------------------------------------------------------------


def test_cpu_when_asked_for() -> None:
    assert open_session(models.tcn_taps()).device == "cpu"


def test_auto_takes_what_is_there() -> None:
    session = Session(models.bundle(models.tcn_taps()))
    assert session.device == ("cuda" if cuda_works() else "cpu")


def test_cuda_that_is_not_there_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_driver_devices", lambda: 0)
    with pytest.raises(SetupError, match="onnxruntime-gpu"):
        Session(models.bundle(models.tcn_taps()), device="cuda")


def test_no_driver_no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(backend, "_driver_devices", lambda: 0)
    assert not cuda_works()
    monkeypatch.setattr(backend, "_driver_devices", lambda: 1)
    assert cuda_works()
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert not cuda_works()


QUIET = """
import sys
from rtsep import backend
from rtsep.errors import BundleError
from rtsep.networks import open_network
from tests.rtsep import models

if sys.argv[1] == "driver":
    backend._driver_devices = lambda: 1
network = open_network(models.bundle(models.failing_taps(threshold=9.0)))
network.push(network.outputs["masks"][0, 0, :1].repeat(models.N_FEATURES) + 10)
assert network.error is not None
try:
    open_network(models.bundle(models.failing_taps(threshold=-1.0)))
except BundleError:
    print(network.device)
"""


@pytest.mark.parametrize("pretend", ["nothing", "driver"])
def test_nothing_is_printed(pretend: str) -> None:
    """Neither where CUDA is missing altogether, nor with a driver but no libraries."""
    assert run_alone(QUIET, pretend) in [("cpu\n", ""), ("cuda\n", "")]
