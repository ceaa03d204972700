"""Run one rival in this interpreter and print what it measured as one line of JSON.

`engine.py` and `quality.py` start this file with the interpreter named by
``--rivals-python`` so that neither torch nor a rival's dependencies enter their own
process.  Rivals carry random weights (speed does not depend on them), except Basic
Pitch, whose wheel brings its trained network.

Some rivals import packages that they need only to read files, resample or train
(torchaudio has no CPU-only wheel on PyPI).  Where such a package is missing an inert
module stands in for it, and the result names it under ``stand_ins``.
"""

import argparse
import importlib
import importlib.util
import json
import platform
import sys
import time
import types
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

# What may be replaced: never anything that the measured computation runs through.
OPTIONAL = {
    "hs-tasnet": (
        "accelerate",
        "ema_pytorch",
        "librosa",
        "log_depth_recurrent_modeling",
        "loguru",
        "matplotlib",
        "minGRU_pytorch",
        "musdb",
        "sounddevice",
        "torchaudio",
        "torchcodec",
    ),
    "demucs": ("julius", "torchaudio", "yaml"),
    "openunmix": ("torchaudio",),
    "basic-pitch": ("resampy",),
}
SAMPLE_RATE = 44_100
# A rival that streams hears at most so much hop by hop.
STREAM_S = 10.0


class _Anything:
    """An inert class: accepts any call, hands back itself."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __call__(self, *args: object, **kwargs: object) -> "_Anything":
        return self

    def __getattr__(self, name: str) -> "_Anything":
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything()


class _StandIn(types.ModuleType):
    """A module whose every attribute is an inert class."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (_Anything,), {})


class _Finder:
    """Imports `_StandIn` for the submodules of the packages that are replaced."""

    def __init__(self, roots: set[str]) -> None:
        self.roots = roots

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name.split(".")[0] not in self.roots:
            return None
        return ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def install_stand_ins(rival: str) -> list[str]:
    """Put inert modules in place of the optional packages that cannot be imported."""
    missing = []
    for name in OPTIONAL[rival]:
        try:
            importlib.import_module(name)
        except (ImportError, OSError, RuntimeError):
            missing.append(name)
    for name in list(sys.modules):
        if name.split(".")[0] in missing:
            del sys.modules[name]
    sys.meta_path.insert(0, _Finder(set(missing)))  # type: ignore[arg-type]
    return missing


def _torch() -> Any:
    import torch

    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    return torch


def hs_tasnet(mix: np.ndarray) -> dict[str, Any]:
    """HS-TasNet by lucidrains: its streaming method hop by hop, and whole files at once.

    Streaming runs without oneDNN, which would repack the LSTMs' weights at every hop
    (twice the time here); whole files run with it, where it is the faster way.
    """
    torch = _torch()
    from hs_tasnet.hs_tasnet import HSTasNet

    model = HSTasNet().eval()
    stream = model.init_stateful_transform_fn()
    hop = model.overlap_len
    count = min(mix.shape[1], round(STREAM_S * SAMPLE_RATE)) // hop
    chunks = torch.from_numpy(mix)[:, : count * hop].split(hop, dim=-1)
    torch.backends.mkldnn.set_flags(False)
    for chunk in chunks[:20]:
        stream(chunk)
    hops_us = []
    for chunk in chunks:
        start = time.perf_counter_ns()
        stream(chunk)
        hops_us.append((time.perf_counter_ns() - start) / 1000)

    torch.backends.mkldnn.set_flags(True)
    audio = torch.from_numpy(mix)[None]
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "hop": hop,
        "latency_samples": model.segment_len,
        "hops_us": hops_us,
        "file_s": _timed(torch, lambda: model(audio)),
    }


def demucs(mix: np.ndarray) -> dict[str, Any]:
    """Hybrid Transformer Demucs with the sizes of the published ``htdemucs``."""
    torch = _torch()
    from demucs.apply import apply_model
    from demucs.htdemucs import HTDemucs

    sources = ["drums", "bass", "other", "vocals"]
    model = HTDemucs(sources, bottom_channels=512, segment=7.8).eval()
    audio = torch.from_numpy(mix)[None]
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "file_s": _timed(torch, lambda: apply_model(model, audio, shifts=0, overlap=0.25)),
    }


def openunmix(mix: np.ndarray) -> dict[str, Any]:
    """Open-Unmix ``umxhq``, four targets, one Wiener iteration as by default."""
    torch = _torch()
    from openunmix import umxhq

    model = umxhq(pretrained=False).eval()
    audio = torch.from_numpy(mix)[None]
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "file_s": _timed(torch, lambda: model(audio)),
    }


def _timed(torch: Any, run: Any) -> float:
    start = time.perf_counter()
    with torch.inference_mode():
        run()
    return time.perf_counter() - start


def basic_pitch(files: list[Path]) -> dict[str, Any]:
    """Notes of audio files by Basic Pitch's own `predict` with its ONNX network.

    Returns ``notes``: for every file a list of (onset_s, offset_s, midi_pitch, amplitude).
    """
    import logging
    import warnings

    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    import basic_pitch
    from basic_pitch.inference import Model, predict

    path = basic_pitch.build_icassp_2022_model_path(basic_pitch.FilenameSuffix.onnx)
    model = Model(path)
    notes = []
    stdout, sys.stdout = sys.stdout, sys.stderr
    try:
        for file in files:
            _, _, events = predict(file, model)
            notes.append([[float(a), float(b), int(p), float(v)] for a, b, p, v, _ in events])
    finally:
        sys.stdout = stdout
    return {"notes": notes}


def main() -> None:
    """Run the rival named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rival", choices=sorted(OPTIONAL))
    parser.add_argument("input", type=Path, nargs="*", help="one .npy mix, or audio files")
    args = parser.parse_args()
    try:
        stand_ins = install_stand_ins(args.rival)
        if args.rival == "basic-pitch":
            result = basic_pitch(args.input)
        else:
            run = {"hs-tasnet": hs_tasnet, "demucs": demucs, "openunmix": openunmix}[args.rival]
            result = run(np.load(args.input[0]))
        result |= {"version": version(args.rival), "stand_ins": stand_ins}
        if "torch" in sys.modules:
            result["torch"] = sys.modules["torch"].__version__
    except ImportError as error:
        result = {"missing": error.name or str(error)}
    print(json.dumps(result | {"python": platform.python_version()}))


if __name__ == "__main__":
    main()
