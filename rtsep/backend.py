"""One network in ONNX Runtime: buffers bound once, one thread, nothing printed.

Measured with ONNX Runtime 1.31 on an empty graph: 3 µs a call with buffers bound once,
6 µs with a dictionary of arrays, and 31 µs with bound buffers and run options.
"""

import ctypes
import io
import re
import sys
import threading
from contextlib import redirect_stdout
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from rtsep.bundle import Bundle
from rtsep.errors import BundleError, SetupError
from rtsep.kernels.denormals import flush_denormals

Array = npt.NDArray[np.float32]
Device = Literal["auto", "cpu", "cuda"]

# All networks of a process share one arena on the CPU, so that a model whose
# intermediate results explode is refused instead of exhausting the machine.
ARENA_BYTES = 2 << 30
WARM_UP_RUNS = 3
WARM_UP_TIMEOUT_S = 60.0

_FATAL, _ERROR = 4, 3


class Session:
    """A loaded network with preallocated inputs and outputs.

    Parameters
    ----------
    bundle : Bundle
        From `rtsep.bundle.load_bundle`; its bytes are what is loaded.
    device : {"auto", "cpu", "cuda"}
        "auto" takes CUDA where it works and the CPU elsewhere.

    Attributes
    ----------
    inputs, outputs : dict of str to float32 array
        Write the ones, `run`, read the others.  They stay the same arrays.
    device : {"cpu", "cuda"}
        What the network runs on.

    Raises
    ------
    BundleError
        ONNX Runtime cannot load the model, or a first run on silence or on noise
        fails, exceeds the memory it may use, does not end in time, or ends with
        outputs of other shapes than the manifest's.
    SetupError
        `device` is "cuda" and CUDA does not work here.
    """

    def __init__(self, bundle: Bundle, *, device: Device = "auto") -> None:
        self.device, self._session = _open(bundle, device)
        self.inputs = {name: np.zeros(shape, np.float32) for name, shape in bundle.inputs.items()}
        self.outputs = {name: np.zeros(shape, np.float32) for name, shape in bundle.outputs.items()}
        self._name = bundle.name
        self._binding = self._session.io_binding()
        for name, array in self.inputs.items():
            self._binding.bind_input(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        for name, array in self.outputs.items():
            self._binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        self._run = self._session.run_with_iobinding
        self._warm_up()

    def run(self) -> None:
        """Compute `outputs` from `inputs`, with denormals as zero.

        The calling thread keeps treating denormals as zero.

        Raises
        ------
        BundleError
            The model failed.  All outputs are then NaN, never those of an earlier run.
        """
        flush_denormals()
        try:
            self._run(self._binding)
        except Exception as error:  # ONNX Runtime's exceptions have no common base
            raise self._failure(error) from None

    def _failure(self, error: Exception) -> BundleError:
        for array in self.outputs.values():
            array.fill(np.nan)
        return BundleError(
            f"the model '{self._name}' failed to run ({_reason(error)})",
            "a model that runs on any audio",
            "choose another bundle",
        )

    def _warm_up(self) -> None:
        """Run on silence and on noise, with a limit on the time it may take."""
        options = ort.RunOptions()
        timer = threading.Timer(WARM_UP_TIMEOUT_S, setattr, (options, "terminate", True))
        timer.daemon = True
        timer.start()
        noise = np.random.default_rng(0)
        try:
            for run in range(WARM_UP_RUNS):
                self._run(self._binding, options)
                for array in self.inputs.values():
                    if run + 1 < WARM_UP_RUNS:
                        noise.standard_normal(dtype=np.float32, out=array)
                    else:
                        array.fill(0.0)
        except Exception as error:
            raise self._failure(error) from None
        finally:
            timer.cancel()
        for array in self.outputs.values():
            array.fill(0.0)


def cuda_works() -> bool:
    """Whether ONNX Runtime has CUDA and this machine has a driver with a device.

    The list of providers says what was built, not what is there.  To ask for CUDA
    where its libraries are missing prints a stack of warnings; so the driver is asked
    first, and a session tells the rest (see `Session.device`).
    """
    return "CUDAExecutionProvider" in ort.get_available_providers() and _driver_devices() > 0


@cache
def _driver_devices() -> int:
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    count = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL(name)
        if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
            return 0
    except (OSError, AttributeError):
        return 0
    return count.value


@cache
def _share_arena() -> None:
    memory = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    same_as_requested, first_bytes, dead_bytes = 1, 1 << 16, 1 << 16
    ort.create_and_register_allocator(
        memory, ort.OrtArenaCfg(ARENA_BYTES, same_as_requested, first_bytes, dead_bytes)
    )


def _options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # Errors reach the caller as exceptions; printed ones would only double them.
    options.log_severity_level = _FATAL
    for key, value in {
        "session.intra_op.allow_spinning": "0",
        "session.inter_op.allow_spinning": "0",
        # For pools of threads; `flush_denormals` does it for the calling thread.
        "session.set_denormal_as_zero": "1",
        "session.use_env_allocators": "1",
        # Never guess the format: what was checked as ONNX is read as ONNX.
        "session.load_model_format": "ONNX",
    }.items():
        options.add_session_config_entry(key, value)
    return options


def _open(bundle: Bundle, device: Device) -> tuple[Literal["cpu", "cuda"], Any]:
    _share_arena()
    if device != "cpu" and cuda_works():
        ort.set_default_logger_severity(_FATAL)
        try:
            with redirect_stdout(io.StringIO()):
                ort.preload_dlls()
            session = _create(bundle, ["CUDAExecutionProvider", "CPUExecutionProvider"])
            if "CUDAExecutionProvider" in session.get_providers():
                return "cuda", session
        except Exception:  # whatever CUDA's trouble is, the CPU may still do
            pass
        finally:
            ort.set_default_logger_severity(_ERROR)
    if device == "cuda":
        raise SetupError(
            "CUDA does not work here",
            "an NVIDIA driver, CUDA 13 and cuDNN 9",
            "install 'onnxruntime-gpu[cuda,cudnn]', or use the CPU",
        )
    try:
        return "cpu", _create(bundle, ["CPUExecutionProvider"])
    except Exception as error:
        raise BundleError(
            f"the model '{bundle.name}' cannot be loaded ({_reason(error)})",
            "a model that ONNX Runtime accepts",
            "export it again",
        ) from None


def _create(bundle: Bundle, providers: list[str]) -> Any:
    return ort.InferenceSession(
        bundle.data,
        _options(),
        providers=providers,
        # Its fallback prints; and settings inside a model are not the model's to make.
        enable_fallback=0,
        read_config_from_model=0,
    )


def _reason(error: Exception) -> str:
    """What ONNX Runtime says, short, without the places in its source."""
    text = " ".join(str(error).split())
    if "Available memory of" in text:
        return f"it needs over {ARENA_BYTES >> 30} GiB of memory"
    if "terminate flag" in text:
        return f"it did not end within {WARM_UP_TIMEOUT_S:g} s"
    text = re.sub(r"/onnxruntime_src/\S+ ", "", text)
    return text if len(text) <= 240 else text[:237] + "..."
