"""What works on this machine, and how to mend what does not."""

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from rtsep import probes
from rtsep.errors import BundleError, RtsepError

if TYPE_CHECKING:
    from rtsep.bundle import Bundle

Status = Literal["ok", "missing", "broken"]

#: Distributions that `pip install rtsep` brings and the modules they are known by.
PACKAGES = {
    "JACK-Client": "jack",
    "mido": "mido",
    "msgspec": "msgspec",
    "numba": "numba",
    "numpy": "numpy",
    "onnx": "onnx",
    "pedalboard": "pedalboard",
    "python-rtmidi": "rtmidi",
    "pyzmq": "zmq",
    "rich": "rich",
    "typer": "typer",
}
_REINSTALL = "install rtsep again: pip install --force-reinstall rtsep"
# A bare Debian lacks it, and pedalboard's wheel does not bring it.
_LIBATOMIC = "sudo apt-get install libatomic1 (or your system's libatomic)"
_PLAY_S, _PLAY_RATE = 2.0, 48_000
_SUM_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Check:
    """One line of the report.

    Attributes
    ----------
    name : str
    status : {"ok", "missing", "broken"}
        "missing": rtsep works on files without it.  "broken": it does not.
    found : str
    fix : str
        What to do about it; empty when `status` is "ok".
    """

    name: str
    status: Status
    found: str
    fix: str = ""


def checkup() -> Iterator[Check]:
    """Run every check, cheapest first."""
    yield _python()
    yield from _packages()
    yield _jack()
    yield _portaudio()
    yield _midi()
    yield from _realtime()
    yield _cache()
    yield from _models()


def _python() -> Check:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    system = f"{platform.system()} {platform.machine()}"
    return Check("Python", "ok", f"{platform.python_version()} on {system}, {cores} cores")


def _packages() -> Iterator[Check]:
    versions = []
    for distribution, module in PACKAGES.items():
        try:
            import_module(module)
            versions.append(f"{distribution} {_version(distribution)}")
        except Exception as error:  # a broken binary raises anything at import
            found = f"cannot be imported ({error})"
            if module == "jack" and isinstance(error, OSError):
                # The system lacks JACK's library, and files do without.
                yield Check(distribution, "missing", found, _install("jackd2", "JACK 2"))
                continue
            fix = _LIBATOMIC if "libatomic" in str(error) else _REINSTALL
            yield Check(distribution, "broken", found, fix)
    yield Check("packages", "ok", ", ".join(versions))
    yield _onnxruntime()


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def _onnxruntime() -> Check:
    builds = [name for name in ("onnxruntime", "onnxruntime-gpu") if _version(name)]
    if len(builds) == 2:
        return Check(
            "ONNX Runtime",
            "broken",
            "both onnxruntime and onnxruntime-gpu, which break each other",
            "pip uninstall onnxruntime onnxruntime-gpu, then " + _REINSTALL,
        )
    try:
        import_module("onnxruntime")
    except Exception as error:
        return Check("ONNX Runtime", "broken", f"cannot be imported ({error})", _REINSTALL)
    return Check("ONNX Runtime", "ok", ", ".join(f"{name} {_version(name)}" for name in builds))


def _jack() -> Check:
    answer = probes.ask(probes.JACK)
    if "error" in answer:
        return Check("JACK", "missing", f"{answer['error']}", "restart the JACK server")
    if not answer["library"]:
        return Check("JACK", "missing", "no JACK library", _install("jackd2", "JACK 2"))
    if not answer["server"]:
        fix = "for live audio start one: jackd -R -d alsa, or install pipewire-jack"
        return Check("JACK", "missing", "no server is running", fix)
    found = f"a server at {answer['rate']} Hz, {answer['period']} frames a period"
    if not answer["realtime"]:
        fix = "live audio will drop out: allow real-time priority and start it with jackd -R"
        return Check("JACK", "missing", f"{found}, not real-time", fix)
    return Check("JACK", "ok", f"{found}, real-time")


def _portaudio() -> Check:
    answer = probes.ask(probes.PORTAUDIO)
    if "error" in answer:
        return Check("PortAudio", "missing", f"{answer['error']}", "restart the sound system")
    if not answer["library"]:
        return Check("PortAudio", "missing", "no library", _install("libportaudio2", "PortAudio"))
    hosts = answer["hosts"]
    if not isinstance(hosts, list) or not hosts:
        fix = "for live audio connect a sound card or start a JACK server"
        return Check("PortAudio", "missing", "no audio devices", fix)
    return Check("PortAudio", "ok", f"{answer['devices']} devices by {', '.join(hosts)}")


def _midi() -> Check:
    answer = probes.ask(probes.MIDI)
    apis = answer.get("apis")
    if not isinstance(apis, dict):
        return Check("MIDI", "missing", f"{answer.get('error')}", _REINSTALL)
    working = {name: ports for name, ports in apis.items() if ports is not None}
    if not working:
        fix = "for live notes load ALSA's sequencer (modprobe snd-seq) or start a JACK server"
        return Check("MIDI", "missing", f"none of {', '.join(apis)} answers", fix)
    found = ", ".join(
        f"{name} ({ports['outputs']} outputs, "
        + (
            "ports of our own)"
            if ports["virtual"]
            else "no ports of our own: make one in loopMIDI)"
        )
        for name, ports in working.items()
    )
    return Check("MIDI", "ok", found)


def _realtime() -> Iterator[Check]:
    """Say what live audio's engine is granted."""
    answer = probes.ask(probes.REALTIME)
    for name, key in (("real-time priority", "priority"), ("locked memory", "memory")):
        grant = answer.get(key)
        if not isinstance(grant, dict):
            yield Check(name, "missing", f"{answer.get('error')}", _REINSTALL)
        elif grant["granted"] and not grant["reason"]:
            yield Check(name, "ok", grant["found"])
        else:
            fix = grant["remedy"] or "live audio goes on without it, with more misses"
            yield Check(name, "missing", f"{grant['found']} ({grant['reason']})", fix)


def _install(package: str, name: str) -> str:
    """How to get a library, in the words of this operating system."""
    system = platform.system()
    if system == "Linux":
        return f"for live audio: sudo apt-get install {package} (or your system's {name})"
    return f"for live audio install {name}: {'brew' if system == 'Darwin' else 'winget'}"


def _cache() -> Check:
    """Look at the folder where Numba keeps what it has compiled."""
    from rtsep.kernels import streams

    kernel: Any = streams.take
    folder = Path(kernel._cache.cache_path)
    probe = folder / f".rtsep-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        return Check(
            "Numba cache",
            "missing",
            f"{folder} cannot be written ({error.strerror}), so every start compiles",
            "set NUMBA_CACHE_DIR to a folder that can",
        )
    kept = len(list(folder.glob("*.nbc")))
    state = f"warm ({kept} kernels)" if kept else "cold; the models below warm it"
    return Check("Numba cache", "ok", f"{folder} is writable and {state}")


def _models() -> Iterator[Check]:
    """Load and play every model that ships, and say what it plays on."""
    from rtsep.bundle import shipped_bundles

    names = shipped_bundles()
    if not names:
        yield Check("models", "broken", "none comes with this rtsep", _REINSTALL)
        return
    device = "cpu"
    for name in names:
        try:
            found, device = play_model(name)
            yield Check(f"model {name}", "ok", found)
        except RtsepError as error:
            yield Check(f"model {name}", "broken", str(error), _REINSTALL)
    yield _gpu(device)


def play_model(name_or_path: str) -> tuple[str, str]:
    """Run a bundle on two seconds of music-like sound and look at what comes out.

    Returns
    -------
    found, device : str
        How it went, and what it ran on.

    Raises
    ------
    BundleError
        It cannot be loaded or run, or its output is not what such a model gives.
    """
    from rtsep.bundle import load_bundle
    from rtsep.engine import Engine
    from rtsep.presets import PRESETS
    from rtsep.separate import separate_audio

    bundle = load_bundle(name_or_path)
    if bundle.manifest.task not in ("separate", "transcribe"):
        return _run_once(bundle)
    separates = bundle.manifest.task == "separate"
    preset = next((p for p in PRESETS.values() if p.bundle == bundle.name), PRESETS["live"])
    engine = Engine(
        bundle if separates else None, None if separates else bundle, preset, device="auto"
    )
    rate = engine.native_rates[-1] if len(engine.native_rates) == 1 else _PLAY_RATE
    mix = _music(rate)
    warm = mix[:, : rate // 10]
    for _ in separate_audio(engine, [warm], rate, 2):
        pass
    started = perf_counter()
    blocks = list(separate_audio(engine, [mix], rate, 2))
    speed = mix.shape[1] / rate / (perf_counter() - started)
    where = f"on {engine.device.upper()}, {speed:.0f}x real time"
    if engine.misses:
        raise BundleError(f"{bundle.name} gave {engine.misses} outputs that are not usable")
    if not separates:
        notes = sum(event.velocity > 0 for block in blocks for event in block.notes)
        return f"{notes} notes heard in the test sound, {where}", engine.device
    stems = np.concatenate([block.stems for block in blocks], axis=2)
    error = float(np.max(np.abs(stems.sum(axis=0) - mix)))
    if not error < _SUM_TOLERANCE:
        raise BundleError(f"{bundle.name}'s stems miss the mix by {error:.2g}", "at most 1e-5")
    return f"{len(engine.stems)} stems that sum to the mix, {where}", engine.device


def _run_once(bundle: "Bundle") -> tuple[str, str]:
    """Run a network that never plays alone, on the samples of the test sound."""
    from rtsep.backend import Session

    session = Session(bundle, device="auto")
    sound = _music(_PLAY_RATE)[0]
    for array in session.inputs.values():
        # Magnitudes are not below zero, and a waveform may be so too.
        array[...] = np.abs(np.resize(sound, array.shape))
    started = perf_counter()
    session.run()
    took_s = perf_counter() - started
    if not all(np.isfinite(array).all() for array in session.outputs.values()):
        raise BundleError(f"{bundle.name} gave outputs that are not usable")
    return f"answers in {1000 * took_s:.1f} ms, on {session.device.upper()}", session.device


def _music(rate: int) -> NDArray[np.float32]:
    """Two seconds of chords over a bass and noise bursts, stereo."""
    time = np.arange(int(_PLAY_S * rate)) / rate
    decay = np.exp(-6.0 * (time % 0.5))
    tones = sum(np.sin(2 * np.pi * hertz * time) for hertz in (55.0, 220.0, 277.2, 329.6))
    noise = np.random.default_rng(0).standard_normal(time.shape) * np.exp(-40.0 * (time % 0.25))
    left, right = 0.1 * decay * tones + 0.05 * noise, 0.08 * decay * tones - 0.05 * noise
    return np.stack([left, right]).astype(np.float32)


def _gpu(device: str) -> Check:
    if device == "cuda":
        return Check("GPU", "ok", "models run on CUDA")
    fix = "only if this machine has an NVIDIA GPU: pip install 'onnxruntime-gpu[cuda,cudnn]'"
    return Check("GPU", "missing", "models run on the CPU, which is fast enough", fix)
