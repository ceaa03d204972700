"""The command line on input that it cannot use: one line, status 2, nothing left behind."""

import os
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from rtsep.cli import app
from tests.rtsep import models
from tests.rtsep.cli import RATE, CommandLine, music, write_audio, write_float_wav


def seven_channels(path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(7)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(bytes(14 * 1000))


def cut_mp3(path: Path) -> None:
    data = write_audio(path, music(2)).read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])


def spoilt(value: float) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        audio = music(2)
        audio[0, RATE] = value
        write_float_wav(path, audio)

    return write


BAD_AUDIO: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "not audio": ("a.wav", lambda path: path.write_bytes(b"hello" * 999), "is not audio"),
    "empty": ("a.mp3", lambda path: path.write_bytes(b""), "is empty"),
    "zero samples": ("a.wav", lambda path: write_float_wav(path, music(0)), "0 samples"),
    "truncated mp3": ("a.mp3", cut_mp3, "is cut short"),
    "NaN": ("a.wav", spoilt(np.nan), "a NaN at 1.000 s"),
    "infinite": ("a.wav", spoilt(-np.inf), "an infinite sample at 1.000 s"),
    "7 channels": ("a.wav", seven_channels, "7 channels; expected mono or stereo"),
    "folder": ("a.wav", lambda path: path.mkdir(), "is a folder"),
    "missing": ("a.wav", lambda path: None, "no such file"),
    "slow rate": ("a.wav", lambda path: write_float_wav(path, music(), 7_000), "7000 Hz"),
    "fast rate": ("a.wav", lambda path: write_float_wav(path, music(), 384_000), "384000 Hz"),
    "odd name": ("a\nb\x1b[1m.wav", lambda path: None, r"a\nb\x1b[1m.wav cannot be read"),
}


@pytest.mark.parametrize("command", ["separate", "transcribe"])
@pytest.mark.parametrize(("name", "make", "text"), BAD_AUDIO.values(), ids=BAD_AUDIO)
def test_bad_audio(
    rtsep: CommandLine, name: str, make: Callable[[Path], object], text: str, command: str
) -> None:
    make(rtsep.folder / name)
    assert text in rtsep.refuses(command, name, "-o", "out")
    assert rtsep.files() == set()
    assert command == "transcribe" or not (rtsep.folder / "out").exists()


def newer(manifest: dict[str, object]) -> None:
    manifest["format"] = 99


def lying(manifest: dict[str, object]) -> None:
    manifest["outputs"][0]["shape"] = [1, 5, 7]  # type: ignore[index]


def outside(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"


SEPARATOR = models.constant_masks()
BAD_BUNDLES = {
    "truncated": SEPARATOR[: len(SEPARATOR) // 2],
    "newer": models.edit_manifest(SEPARATOR, newer),
    "lying": models.edit_manifest(SEPARATOR, lying),
    "external data": models.edit(SEPARATOR, outside),
    "not ONNX": b"hello" * 999,
    "empty": b"",
    "a transcriber": models.transcriber(),
}


@pytest.mark.parametrize("data", BAD_BUNDLES.values(), ids=BAD_BUNDLES)
def test_bad_bundles(rtsep: CommandLine, data: bytes) -> None:
    write_audio(rtsep.folder / "song.wav", music())
    models.save(data, rtsep.folder / "bad.onnx")
    rtsep.refuses("separate", "song.wav", "-o", "out", "--model", "bad.onnx")
    assert not (rtsep.folder / "out").exists()
    if data != models.transcriber():
        rtsep.refuses("info", "bad.onnx")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--model", "none.onnx"), "none.onnx"),
        (("--transcriber", "live"), "one to transcribe"),
        (("--preset", "fast"), "lowest, live, relaxed, offline"),
        (("--format", "mp3"), "wav or flac"),
        (("--stems", "bass,vocals"), "--stems vocals"),
        (("--stems", ""), "some of drums,"),
    ],
)
def test_bad_options(rtsep: CommandLine, options: tuple[str, str], text: str) -> None:
    write_audio(rtsep.folder / "song.wav", music(0.2))
    assert text in rtsep.refuses("separate", "song.wav", "-o", "out", *options)
    assert not (rtsep.folder / "out").exists()


def test_two_inputs_of_one_name_are_refused_before_anything_runs(rtsep: CommandLine) -> None:
    for name in ("song.wav", "song.flac"):
        write_audio(rtsep.folder / name, music(0.2))
    line = rtsep.refuses("separate", "song.wav", "song.flac", "-o", "out")
    assert "would both be called song" in line
    assert not (rtsep.folder / "out").exists()


def test_no_models_at_all(rtsep: CommandLine) -> None:
    for path in (rtsep.folder / ".models").iterdir():
        path.unlink()
    write_audio(rtsep.folder / "song.wav", music(0.2))
    assert "transcriber" in rtsep.refuses("transcribe", "song.wav", "-o", "out")
    rtsep.refuses("separate", "song.wav", "-o", "out")
    assert "no models" in rtsep("models").err


@pytest.mark.parametrize("command", ["separate", "transcribe"])
def test_an_output_inside_a_file(rtsep: CommandLine, command: str) -> None:
    write_audio(rtsep.folder / "song.wav", music(0.2))
    (rtsep.folder / "file").write_bytes(b"mine")
    rtsep.refuses(command, "song.wav", "-o", "file/out")
    rtsep.refuses(command, "song.wav", "-o", "file")
    assert (rtsep.folder / "file").read_bytes() == b"mine"


@pytest.fixture
def unprivileged() -> Iterator[None]:
    """Permissions count: root, whom none binds, steps down for the test."""
    if not hasattr(os, "geteuid"):
        pytest.skip("this system has no Unix permissions")
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


def test_paths_without_permission(rtsep: CommandLine, request: pytest.FixtureRequest) -> None:
    write_audio(rtsep.folder / "song.wav", music(0.2))
    # What is imported on first use may not be readable by someone else.
    assert rtsep("separate", "song.wav", "-o", "first").status == 0
    closed = rtsep.folder / "closed"
    closed.mkdir(mode=0o555)
    write_audio(rtsep.folder / "secret.wav", music(0.2)).chmod(0)
    for folder in (rtsep.folder, *rtsep.folder.parents):
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    request.getfixturevalue("unprivileged")
    for command in ("separate", "transcribe"):
        assert "permission denied" in rtsep.refuses(command, "song.wav", "-o", "closed")
        assert "permission denied" in rtsep.refuses(command, "song.wav", "-o", "closed/in")
        assert "permission denied" in rtsep.refuses(command, "secret.wav", "-o", "closed")
    assert not list(closed.iterdir())


@pytest.fixture
def small_disk(rtsep: CommandLine) -> Iterator[Path]:
    """A file system of 256 KiB."""
    disk = rtsep.folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        done = False
    if not done:
        pytest.skip("a small file system can only be mounted as root on Linux")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("file_format", ["wav", "flac"])
def test_a_full_disk(rtsep: CommandLine, small_disk: Path, file_format: str) -> None:
    write_audio(rtsep.folder / "song.wav", music(3))
    line = rtsep.refuses("separate", "song.wav", "-o", "disk/out", "--format", file_format)
    assert "the disk is full" in line
    assert list(small_disk.iterdir()) == []
    (small_disk / "ballast").write_bytes(bytes(256 << 10))
    assert "the disk is full" in rtsep.refuses("transcribe", "song.wav", "-o", "disk")
    assert rtsep.files("disk") == {"ballast"}


def start(rtsep: CommandLine, *arguments: str) -> subprocess.Popen[str]:
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    return subprocess.Popen(
        [sys.executable, "-m", "rtsep", *arguments],
        cwd=rtsep.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A test run in the background of a shell hands down that Ctrl-C be ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.skipif(os.name == "nt", reason="signals are Unix's")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_leaves_nothing_behind(
    rtsep: CommandLine, number: signal.Signals, status: int
) -> None:
    # Ten minutes that take little room: far from done when the signal comes.
    song = np.tile(music(10, rate=8_000, channels=1), 60)
    write_audio(rtsep.folder / "song.wav", song, rate=8_000)
    models.save(models.constant_masks(), rtsep.folder / "model.onnx")
    options = ("--no-midi", "--model", "model.onnx")
    with start(rtsep, "separate", "song.wav", "-o", "out", *options) as child:
        while not any(name.endswith("bass.wav") for name in rtsep.files()):
            assert child.poll() is None, child.communicate()
            time.sleep(0.01)
        child.send_signal(number)
        out, err = child.communicate(timeout=30)
    assert child.returncode == status, err
    assert out == ""
    assert err.count("\n") <= 1
    assert "Traceback" not in err
    assert not (rtsep.folder / "out").exists()


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_the_first_progress_step_comes_within_three_seconds(rtsep: CommandLine) -> None:
    import pty
    import resource

    write_audio(rtsep.folder / "song.wav", music(30))
    models.save(models.constant_masks(), rtsep.folder / "model.onnx")
    used = []
    for attempt in range(3):  # the first may have to compile
        master, slave = pty.openpty()
        arguments = ["separate", "song.wav", "-o", f"out{attempt}", "--no-midi"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        child = subprocess.Popen(
            [sys.executable, "-m", "rtsep", *arguments, "--model", "model.onnx"],
            cwd=rtsep.folder,
            env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path), TERM="xterm"),
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        printed = b""
        while not any(f"{percent}%".encode() in printed for percent in range(1, 101)):
            printed += os.read(master, 4096)
        child.terminate()
        child.wait(60)
        os.close(master)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        # Processor time, so that a busy machine does not fail the test.
        used.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        if used[-1] <= 3:
            return
    pytest.fail(f"first progress after {used} s of processor time")


def test_a_mistake_in_rtsep_itself_is_one_line_too(
    rtsep: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("rtsep.cli.models.show_models", fail)
    monkeypatch.delenv("RTSEP_TRACEBACK", raising=False)
    outcome = rtsep("models")
    assert outcome.status == 70
    assert outcome.err.count("\n") == 1
    monkeypatch.setenv("RTSEP_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        app._run()


def test_a_library_that_cannot_be_loaded(
    rtsep: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rtsep.cli.batch", None)
    line = rtsep.refuses("separate", "song.wav", "-o", "out")
    assert "a library is missing here" in line
    assert "rtsep doctor" in line
