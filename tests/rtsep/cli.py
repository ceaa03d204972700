"""Running the command line inside the test's own process, and sounds to run it on."""

import struct
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pedalboard.io import AudioFile

from rtsep.cli import app
from tests.rtsep import models

Audio = npt.NDArray[np.float32]

RATE = 48_000
MASKS = (0.5, 0.2, 0.1, 0.1, 0.0)


@dataclass(frozen=True)
class Outcome:
    """Exit status and what was printed."""

    status: int
    out: str
    err: str


class CommandLine:
    """``rtsep`` in a folder of its own, with tiny models in place of the shipped ones."""

    def __init__(
        self,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        self.folder, self._monkeypatch, self._capsys = folder, monkeypatch, capsys
        monkeypatch.chdir(folder)
        shipped = folder / ".models"
        shipped.mkdir()
        for name in ("live", "relaxed", "offline"):
            models.save(models.constant_masks(MASKS, name=name), shipped / f"{name}.onnx")
        models.save(models.transcriber(), shipped / "notes.onnx")
        monkeypatch.setattr("rtsep.bundle.MODELS", shipped)
        monkeypatch.setenv("RTSEP_BRIDGE_KEYS", str(folder / ".keys"))

    def __call__(self, *arguments: str | Path) -> Outcome:
        self._monkeypatch.setattr(sys, "argv", ["rtsep", *map(str, arguments)])
        self._capsys.readouterr()
        status = app._run()
        printed = self._capsys.readouterr()
        return Outcome(status, printed.out, printed.err)

    def refuses(self, *arguments: str | Path) -> str:
        """Run what must be refused with one line, and give the line."""
        outcome = self(*arguments)
        assert outcome.status == 2, outcome
        assert outcome.out == ""
        assert outcome.err.startswith("rtsep: ")
        assert outcome.err.count("\n") == 1, outcome.err
        return outcome.err

    def files(self, folder: str = "out") -> set[str]:
        """Everything below a folder, hidden or not."""
        root = self.folder / folder
        return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def music(seconds: float = 1.0, rate: int = RATE, channels: int = 2) -> Audio:
    """A struck A minor chord with noise in it."""
    time = np.arange(int(seconds * rate)) / rate
    tones = sum(np.sin(2 * np.pi * hertz * time) for hertz in (110.0, 261.6, 329.6, 440.0))
    noise = np.random.default_rng(2).standard_normal((channels, time.size))
    return (np.exp(-3 * (time % 0.5)) * 0.15 * tones + 0.01 * noise).astype(np.float32)


def write_audio(path: Path, audio: Audio, rate: int = RATE) -> Path:
    """`audio` in the format of the path's extension."""
    bits = {"bit_depth": 32} if path.suffix == ".wav" else {}
    with AudioFile(str(path), "w", rate, audio.shape[0], **bits) as file:
        file.write(audio)
    return path


def read_audio(path: Path) -> Audio:
    """The whole file, [channels, frames]."""
    with AudioFile(str(path)) as file:
        return file.read(file.frames)


def write_float_wav(path: Path, audio: Audio, rate: int = RATE) -> Path:
    """A float WAV made byte by byte, for what no careful writer would write."""
    channels = audio.shape[0]
    body = audio.T.astype("<f4").tobytes()
    form = struct.pack("<HHIIHH", 3, channels, rate, rate * 4 * channels, 4 * channels, 32)
    chunks = b"fmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(body)) + body
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    return path
