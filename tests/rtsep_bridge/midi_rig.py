"""``rtsep live --midi-out`` on a JACK server, and a client that hears its port to the frame."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.midi_listener import MidiListener, end_in_order
from rtsep.bench.probe import Probe
from rtsep.manifest import Notes
from tests.rtsep import models
from tests.rtsep.live.servers import Server, jack_server

ROOT = Path(__file__).parents[2]
RATE = 48_000
NAME = "notes"

#: So far from each other that a tone is heard as one of them.
BASS, GUITAR, PIANO, DRUM = 40, 64, 88, 108
NOTES = tuple(
    Notes(stem=stem, pitches=(pitch,), drums=stem == "drums")
    for stem, pitch in (("bass", BASS), ("guitar", GUITAR), ("piano", PIANO), ("drums", DRUM))
)


def until(condition: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.01)


class Player:
    """``rtsep live`` in a process of its own, with tiny models, and something to hear."""

    def __init__(self, server: Server, folder: Path, session: str = "", *more: str) -> None:
        self.server = server
        separator = models.constant_masks((0.5, 0.2, 0.1, 0.1, 0.0))
        transcriber = models.transcriber(NOTES, threshold_db=-25.0)
        self._head = (
            f'model = "{models.save(separator, folder / "masks.onnx")}"\n'
            f'transcriber = "{models.save(transcriber, folder / "notes.onnx")}"\n'
        )
        self.session = folder / "set.toml"
        self.edit(session)
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "rtsep", "live", "--status", "--midi-out", NAME),
                *("--session", str(self.session), *more),
            ],
            env={
                **os.environ,
                "JACK_DEFAULT_SERVER": server.name,
                "PYTHONPATH": f"{ROOT}:{ROOT / 'bridge'}",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.said: list[str] = []
        self.rows: list[str] = []
        self._threads = [
            threading.Thread(target=self._read, args=(stream, lines), daemon=True)
            for stream, lines in (
                (self.process.stdout, self.rows),
                (self.process.stderr, self.said),
            )
        ]
        for thread in self._threads:
            thread.start()

    @staticmethod
    def _read(stream: object, lines: list[str]) -> None:
        for line in stream:  # type: ignore[attr-defined]
            lines.append(line)

    def edit(self, session: str) -> None:
        self.session.write_text(self._head + session)

    def until_playing(self) -> None:
        def playing() -> bool:
            assert self.process.poll() is None, self.said
            return any('"state":"playing"' in row for row in self.rows[-1:])

        until(playing, "stems")

    def children(self) -> list[int]:
        """Processes that it started."""
        task = Path(f"/proc/{self.process.pid}/task")
        if self.process.poll() is not None:
            return []
        return [
            int(word)
            for thread in task.iterdir()
            for word in (thread / "children").read_text().split()
        ]

    def guard(self) -> int:
        """The process that owns its MIDI port."""
        for pid in self.children():
            if b"midi_guard" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        return 0

    def close(self) -> None:
        guard = self.guard()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        end_in_order(self.process)
        until(lambda: not Path(f"/proc/{guard}").is_dir() or not guard, "the end of the guard")
        for thread in self._threads:
            thread.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


class MidiRig(NamedTuple):
    player: Player
    listener: MidiListener
    probe: Probe


@contextmanager
def midi_rig(
    folder: Path,
    signal: npt.NDArray[np.float32],
    session: str = "",
    *more: str,
    period: int = 128,
    channels: tuple[str, ...] = ("monitor_L",),
) -> Iterator[MidiRig]:
    """All of it, playing and connected, before the first sound."""
    with jack_server(period, RATE) as server:
        player = Player(server, folder, session, *more)
        listener = MidiListener(server.name, f"rtsep-midi:{NAME}")
        try:
            player.until_playing()
            until(lambda: listener.connections > 0, "the MIDI port")
            with Probe(server.name, channels, signal, 1 << 19) as probe:
                probe.connect("rtsep")
                yield MidiRig(player, listener, probe)
        finally:
            listener.close()
            player.close()


def hertz(pitch: int) -> float:
    return float(440.0 * 2 ** ((pitch - 69) / 12))


def beeps(
    pitches: tuple[int, ...], length_s: float = 0.2, gap_s: float = 0.1, lead_s: float = 0.2
) -> npt.NDArray[np.float32]:
    """One note after the other, each with soft ends: [2, frames]."""
    t = np.arange(int(length_s * RATE)) / RATE
    loudness = 0.5 * np.clip(np.minimum(t, t[::-1]) / 0.02, 0.0, 1.0)
    parts = [np.zeros(int(lead_s * RATE))]
    for pitch in pitches:
        parts += [loudness * np.sin(2 * np.pi * hertz(pitch) * t), np.zeros(int(gap_s * RATE))]
    return np.tile(np.concatenate(parts), (2, 1)).astype(np.float32)


def held(pitch: int, seconds: float) -> npt.NDArray[np.float32]:
    """One long note, after a moment of silence."""
    return beeps((pitch,), seconds)
