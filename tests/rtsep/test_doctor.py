"""The checks of this machine: what each says when all is well and when it is not."""

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtsep import doctor, probes
from rtsep.errors import BundleError
from tests.rtsep import models


def answering(monkeypatch: pytest.MonkeyPatch, answer: dict[str, object]) -> None:
    monkeypatch.setattr(probes, "ask", lambda code: answer)


def test_a_probe_answers_from_a_child_process() -> None:
    assert probes.ask("import json, os; print('noise'); print(json.dumps({'a': 1}))") == {"a": 1}


def test_a_probe_that_crashes_hangs_or_babbles_gives_an_error() -> None:
    assert probes.ask("import os; os.abort()") == {"error": "the probe ended with status -6"}
    assert "no answer" in str(probes.ask("import time; time.sleep(60)", 0.5)["error"])
    assert probes.ask("raise SystemExit('no luck')") == {"error": "no luck"}
    assert "error" in probes.ask("print([1, 2])")


@pytest.mark.parametrize("code", [probes.JACK, probes.PORTAUDIO, probes.MIDI, probes.REALTIME])
def test_every_probe_answers_on_this_machine(code: str) -> None:
    assert "error" not in probes.ask(code)


@pytest.mark.parametrize(
    ("check", "answer", "status", "text"),
    [
        (doctor._jack, {"library": False}, "missing", "install"),
        (doctor._jack, {"library": True, "server": False}, "missing", "jackd"),
        (
            doctor._jack,
            {"library": True, "server": True, "rate": 48_000, "period": 64, "realtime": True},
            "ok",
            "48000 Hz",
        ),
        (
            doctor._jack,
            {"library": True, "server": True, "rate": 48_000, "period": 64, "realtime": False},
            "missing",
            "real-time priority",
        ),
        (doctor._jack, {"error": "no answer within 15 s"}, "missing", "no answer"),
        (doctor._portaudio, {"library": False}, "missing", "PortAudio"),
        (doctor._portaudio, {"library": True, "hosts": [], "devices": 0}, "missing", "sound card"),
        (doctor._portaudio, {"library": True, "hosts": ["ALSA"], "devices": 2}, "ok", "2 devices"),
        (doctor._portaudio, {"error": "it crashed"}, "missing", "it crashed"),
        (doctor._midi, {"apis": {"ALSA": None}}, "missing", "none of ALSA"),
        (
            doctor._midi,
            {"apis": {"ALSA": None, "JACK": {"outputs": 3, "virtual": True}}},
            "ok",
            "JACK (3 outputs, ports of our own)",
        ),
        (
            doctor._midi,
            {"apis": {"Windows": {"outputs": 1, "virtual": False}}},
            "ok",
            "Windows (1 outputs, no ports of our own: make one in loopMIDI)",
        ),
        (doctor._midi, {"error": "it crashed"}, "missing", "it crashed"),
    ],
)
def test_sound_and_midi(
    monkeypatch: pytest.MonkeyPatch, check: Any, answer: dict[str, object], status: str, text: str
) -> None:
    answering(monkeypatch, answer)
    result = check()
    assert result.status == status
    assert text in f"{result.found} {result.fix}"
    assert bool(result.fix) == (status != "ok")


def grant(granted: bool, reason: str = "", remedy: str = "") -> dict[str, object]:
    return {"granted": granted, "found": "this much", "reason": reason, "remedy": remedy}


def test_what_real_time_work_is_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    refused, partial = grant(False, "no right", "ask root"), grant(True, "no more", "ask root")
    answering(monkeypatch, {"priority": grant(True), "memory": refused})
    priority, memory = doctor._realtime()
    assert (priority.status, priority.found, priority.fix) == ("ok", "this much", "")
    assert (memory.status, memory.found, memory.fix) == (
        "missing",
        "this much (no right)",
        "ask root",
    )
    answering(monkeypatch, {"priority": partial, "memory": grant(False, "no right")})
    priority, memory = doctor._realtime()
    assert (priority.status, priority.fix) == ("missing", "ask root")
    assert "more misses" in memory.fix
    answering(monkeypatch, {"error": "it crashed"})
    assert [check.found for check in doctor._realtime()] == ["it crashed", "it crashed"]


def test_a_missing_jack_library_does_not_break_rtsep(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(module: str) -> None:
        if module == "jack":
            raise OSError("JACK library not found")

    monkeypatch.setattr(doctor, "import_module", refuse)
    missing = [check for check in doctor._packages() if check.status != "ok"]
    assert [(check.name, check.status) for check in missing] == [("JACK-Client", "missing")]
    assert "install" in missing[0].fix


def test_both_builds_of_onnxruntime_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._onnxruntime().status == "ok"
    monkeypatch.setattr(doctor, "_version", lambda name: "1.0")
    result = doctor._onnxruntime()
    assert result.status == "broken"
    assert "pip uninstall" in result.fix


def test_a_package_that_cannot_be_imported_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {check.status for check in doctor._packages()} == {"ok"}
    monkeypatch.setitem(sys.modules, "mido", None)
    broken = [check for check in doctor._packages() if check.status == "broken"]
    assert [check.name for check in broken] == ["mido"]
    assert "pip install" in broken[0].fix


def test_a_cache_that_cannot_be_written_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._cache().status == "ok"

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", refuse)
    result = doctor._cache()
    assert result.status == "missing"
    assert "NUMBA_CACHE_DIR" in result.fix


def test_a_model_is_played(tmp_path: Path) -> None:
    path = models.save(models.constant_masks([0.5, 0.2, 0.1, 0.1, 0]), tmp_path / "a.onnx")
    found, device = doctor.play_model(str(path))
    assert "5 stems that sum to the mix" in found
    assert device in ("cpu", "cuda")
    path = models.save(models.transcriber(), tmp_path / "b.onnx")
    found, _ = doctor.play_model(str(path))
    assert int(found.split()[0]) > 0


def test_models_that_never_play_alone_are_asked_once(tmp_path: Path) -> None:
    for name, data in {"live": models.live_query(), **models.query_model()}.items():
        found, _ = doctor.play_model(str(models.save(data, tmp_path / f"{name}.onnx")))
        assert re.fullmatch(r"answers in [\d.]+ ms, on (CPU|CUDA)", found)


def test_a_model_whose_output_is_not_usable_is_refused(tmp_path: Path) -> None:
    path = models.save(models.constant_masks([np.nan, 0, 0, 0, 0]), tmp_path / "a.onnx")
    with pytest.raises(BundleError):
        doctor.play_model(str(path))


def test_a_shipped_model_that_does_not_load_is_broken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    monkeypatch.setattr("rtsep.bundle.MODELS", tmp_path)
    checks = {check.name: check for check in doctor._models()}
    assert checks["model bad"].status == "broken"
    (tmp_path / "bad.onnx").unlink()
    assert [check.status for check in doctor._models()] == ["broken"]


def test_a_missing_system_library_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(module: str) -> None:
        if module == "pedalboard":
            raise ImportError("libatomic.so.1: cannot open shared object file")

    monkeypatch.setattr(doctor, "import_module", refuse)
    broken = [check for check in doctor._packages() if check.status == "broken"]
    assert [check.name for check in broken] == ["pedalboard"]
    assert "libatomic1" in broken[0].fix
