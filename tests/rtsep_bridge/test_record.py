"""Recording from a bridge: aligned to the sample, whatever gets lost, breaks or fills up."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mido
import numpy as np
import pytest

from rtsep.audio_files import AudioReader
from rtsep.errors import RtsepError
from rtsep.note_events import NoteEvent
from rtsep_bridge.listener import Listener
from rtsep_bridge.record import KINDS, Recorder
from rtsep_bridge.take import MOST_GAP_S, Take
from tests.rtsep.cli import CommandLine, read_audio
from tests.rtsep_bridge.doubles import NAMES, RATE, Double, double, free_address, ramp

ROOT = Path(__file__).parents[2]


class Session:
    """A recorder that hears a double."""

    def __init__(self, bridge: Double, folder: Path, **options: object) -> None:
        self.bridge, self.folder = bridge, folder
        self.said: list[str] = []
        self.listener = Listener(bridge.address, kinds=KINDS)
        self.recorder = Recorder(self.listener, folder, say=self.said.append, **options)  # type: ignore[arg-type]
        bridge.await_listener(len(KINDS))

    def run(self) -> None:
        """Record all that has been said."""
        while not self.recorder.done:
            if not self.recorder.step(0.2):
                return

    def stem(self, take: int, name: str) -> np.ndarray:
        return read_audio(self.folder / f"take-{take}" / f"{name}.wav")


@contextmanager
def recording(folder: Path, **options: object) -> Iterator[Session]:
    with double() as bridge:
        session = Session(bridge, folder, **options)
        with session.listener:
            yield session


def expected(number: int, start: int, frames: int) -> np.ndarray:
    return ramp(start, frames)[2 * number : 2 * number + 2]


def test_stems_and_notes_are_where_they_were_said(tmp_path: Path) -> None:
    with recording(tmp_path / "out") as session:
        bridge = session.bridge
        bridge.at = 1000
        for number in range(200):
            bridge.stems()
            if number == 30:
                bridge.notes(
                    NoteEvent(500, 1000, "bass", 30, 80),  # from before the start
                    NoteEvent(2000, 2100, "drums", 36, 100),
                    NoteEvent(2100, 2100, "bass", 99, 0),  # never switched on
                )
            if number == 60:
                bridge.notes(
                    NoteEvent(4000, 4100, "drums", 36, 0),
                    NoteEvent(5000, 5100, "bass", 40, 90),
                    NoteEvent(6000, 6100, "bass", 40, 70),  # its note-off was lost
                )
        session.run()
        assert not list((tmp_path / "out").glob("[!.]*"))  # as long as it is not done
        session.recorder.finish()
        for number, name in enumerate(NAMES):
            np.testing.assert_array_equal(session.stem(1, name), expected(number, 1000, 200 * 128))
        notes = []
        for track in mido.MidiFile(tmp_path / "out/take-1/take-1.mid").tracks[1:]:
            now = 0
            for message in track:
                now += message.time
                if message.type.startswith("note"):
                    notes.append((track.name, message.note, message.velocity, now))
        assert [track.name for track in mido.MidiFile(tmp_path / "out/take-1/take-1.mid").tracks][
            1:
        ] == list(NAMES)
        end = 200 * 128 // 25
        assert notes == [
            ("drums", 36, 100, 40),
            ("drums", 36, 0, 120),
            ("bass", 30, 80, 0),
            ("bass", 40, 90, 160),
            ("bass", 40, 0, 200),
            ("bass", 40, 70, 200),
            ("bass", 30, 0, end),
            ("bass", 40, 0, end),
        ]
        assert session.recorder.recorded.notes == 4


def test_lost_blocks_are_silent_and_all_stays_aligned(tmp_path: Path) -> None:
    with recording(tmp_path) as session:
        lost = [*range(10, 20), 57, *range(90, 93)]
        for number in range(120):
            if number in lost:
                session.bridge.at += 128
            else:
                session.bridge.stems()
        session.run()
        session.recorder.finish()
        wanted = expected(0, 0, 120 * 128).copy()
        for number in lost:
            wanted[:, 128 * number : 128 * (number + 1)] = 0
        np.testing.assert_array_equal(session.stem(1, "drums"), wanted)
        missing = len(lost) * 128 / RATE
        assert session.recorder.recorded.missing_s == pytest.approx(missing)
        assert any(f"{missing:.2f} s never came" in line for line in session.said)


def test_another_stream_is_another_take(tmp_path: Path) -> None:
    with recording(tmp_path) as session:
        bridge = session.bridge
        bridge.stems()
        bridge.stems(names=("voice", "other"))
        bridge.stems(at=0)  # a step back
        bridge.stems(at=round(MOST_GAP_S * RATE) + 1000)
        bridge.sender.sample_rate = 44_100
        bridge.stems()
        bridge.new_session()
        session.run()
        time.sleep(3.1)  # the first must be silent before another is followed
        bridge.stems()
        session.run()
        session.recorder.finish()
        takes = sorted(path.name for path in tmp_path.iterdir())
        assert takes == [f"take-{number}" for number in range(1, 7)]
        assert {path.stem for path in (tmp_path / "take-2").glob("*.wav")} == {"voice", "other"}
        with AudioReader(tmp_path / "take-5/drums.wav") as reader:
            assert (reader.sample_rate, reader.frames) == (44_100, 128)
        assert session.recorder.recorded.takes == 6


def test_takes_that_are_there_stay(tmp_path: Path) -> None:
    (tmp_path / "take-1").mkdir()
    (tmp_path / "take-1/mine").touch()
    (tmp_path / "take-3").touch()
    with recording(tmp_path, stems=["bass"], file_format="flac") as session:
        for number in range(2):
            session.bridge.stems(at=9 - number)
        session.run()
        session.recorder.finish()
    assert (tmp_path / "take-1/mine").exists()
    assert {path.name for path in (tmp_path / "take-2").iterdir()} == {"bass.flac", "take-2.mid"}
    assert (tmp_path / "take-4").is_dir()


def test_it_is_enough_to_the_sample(tmp_path: Path) -> None:
    with recording(tmp_path, seconds=0.1) as session:
        for number in range(40):
            session.bridge.at += 128 * (number == 30)
            session.bridge.stems()
        session.run()
        assert session.recorder.done
        session.recorder.finish()
        assert session.stem(1, "bass").shape == (2, 4800)
        np.testing.assert_array_equal(session.stem(1, "bass")[:, :3840], expected(1, 0, 3840))
        assert not session.stem(1, "bass")[:, 3840:3968].any()


def test_a_stem_that_there_is_not_is_said(tmp_path: Path) -> None:
    with recording(tmp_path, stems=["bass", "voice"]) as session:
        session.bridge.stems()
        with pytest.raises(RtsepError, match="--stems voice; expected some of drums, bass, other"):
            session.run()
        session.recorder.finish()
    assert not list(tmp_path.iterdir())


def test_a_bridge_that_goes_is_waited_for(tmp_path: Path) -> None:
    with recording(tmp_path) as session:
        session.bridge.stems()
        session.run()
        session.bridge.close()
        deadline = time.monotonic() + 10
        while not any("waiting for a bridge" in line for line in session.said):
            assert time.monotonic() < deadline
            session.recorder.step(0.1)
        with double(session.bridge.address) as again:
            again.await_listener(len(KINDS))
            again.stems()
            while session.recorder.recorded.takes < 1:
                assert time.monotonic() < deadline + 10
                session.recorder.step(0.1)
            assert any("is there" in line for line in session.said)
        session.recorder.finish()
        assert session.recorder.recorded.takes == 2


def test_long_takes_do_not_grow_in_memory(tmp_path: Path) -> None:
    psutil = pytest.importorskip("psutil")
    process = psutil.Process()
    with recording(tmp_path) as session:
        sizes = []
        for _ in range(4):
            for _ in range(60):  # a minute
                for _ in range(10):
                    session.bridge.stems(4800)
                while session.recorder.seconds * RATE < session.bridge.at:
                    session.recorder.step(1.0)
            sizes.append(process.memory_info().rss)
        session.recorder.finish()
        assert session.recorder.recorded.seconds == 240
    assert sizes[-1] - sizes[0] < 4 << 20


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join(str(path) for path in (ROOT, ROOT / "bridge"))
    return subprocess.Popen(
        [sys.executable, "-m", "rtsep", "bridge", "record", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.skipif(os.name == "nt", reason="signals are Unix's")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_whole_files(tmp_path: Path, number: signal.Signals) -> None:
    with double() as bridge:
        child = start(tmp_path, "--address", bridge.address, "-o", "out", "--format", "flac")
        bridge.await_listener(3)
        for _ in range(500):
            bridge.stems()
        bridge.notes(NoteEvent(0, 100, "bass", 40, 90))
        time.sleep(0.7)
        child.send_signal(number)
        out, said = child.communicate(timeout=20)
        assert (child.returncode, out) == (0, "")
        assert "Traceback" not in said
        assert "take-1: 1.33 s, 1 notes" in said
    with AudioReader(tmp_path / "out/take-1/other.flac") as reader:
        assert reader.frames == 500 * 128
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["take-1"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        done = False
    if not done:
        pytest.skip("a small file system can only be mounted as root on Linux")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("file_format", ["wav", "flac"])
def test_a_full_disk_keeps_what_was_recorded(
    rtsep: CommandLine, small_disk: Path, file_format: str
) -> None:
    noise = np.random.default_rng(1).uniform(-1, 1, (6, 2000 * 128)).astype(np.float32)
    with double() as bridge:

        def say() -> None:
            bridge.await_listener(3)
            for number in range(2000):
                bridge.stems(samples=noise[:, 128 * number : 128 * (number + 1)])
                if number == 0:
                    bridge.notes(NoteEvent(0, 100, "bass", 40, 90))

        talking = threading.Thread(target=say)
        talking.start()
        line = rtsep(
            "bridge", "record", "--address", bridge.address, "-o", "disk", "--format", file_format
        )
        talking.join()
    assert line.status == 2
    assert "Traceback" not in line.err
    last = line.err.splitlines()[-1]
    assert "the disk is full while writing disk/take-1; expected more room; kept: 1 take" in last
    take = small_disk / "take-1"
    frames = set()
    for number, name in enumerate(NAMES):
        with AudioReader(take / f"{name}.{file_format}") as reader:  # refuses what is cut short
            audio = np.concatenate(list(reader.blocks()), axis=1)
        frames.add(audio.shape[1])
        wanted = noise[2 * number : 2 * number + 2, : audio.shape[1]]
        np.testing.assert_allclose(audio, wanted, atol=0 if file_format == "wav" else 2**-23)
    assert len(frames) == 1
    assert frames.pop() > RATE // 2
    assert mido.MidiFile(take / "take-1.mid").length > 0.5
    assert [path.name for path in small_disk.iterdir()] == ["take-1"]


def test_a_disk_that_another_fills_at_once(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The look at the free space comes too early to see it.
    monkeypatch.setattr(Take, "_need", lambda self, size: None)
    with recording(small_disk) as session:
        for _ in range(2000):
            session.bridge.stems()
        with pytest.raises(RtsepError, match="the disk is full"):
            session.run()
        with pytest.raises(RtsepError, match="the disk is full"):
            session.recorder.finish()
    assert {path.name for path in small_disk.iterdir()} == {"take-1"}
    for name in NAMES:
        with AudioReader(small_disk / f"take-1/{name}.wav") as reader:
            assert reader.frames > RATE // 2


def test_what_cannot_be_is_said(rtsep: CommandLine) -> None:
    (rtsep.folder / "file").touch()
    assert "wav or flac" in rtsep.refuses("bridge", "record", "--format", "mp3")
    assert "more than 0" in rtsep.refuses("bridge", "record", "--seconds", "0")
    assert "no port" in rtsep.refuses("bridge", "record", "--address", "tcp://x")
    assert "without a key" in rtsep.refuses("bridge", "record", "--address", "tcp://x:1")
    assert "cannot be written" in rtsep.refuses(
        "bridge", "record", "--address", free_address(), "-o", "file"
    )
