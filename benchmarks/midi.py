"""How exactly notes leave the MIDI port of ``rtsep live --midi-out``.

Strokes are played into live audio on a JACK server of its own, and another JACK client
stamps each note-on with the frame at which it arrives.  Printed is how far that is from
the note's sample, as the tracker stamped it.  python-rtmidi hands its messages to JACK
once a block, so a spread of one block is the least there can be.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mode

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bridge")]

from benchmarks import common
from benchmarks.midi_listener import MidiListener
from rtsep.bench.probe import Probe
from rtsep.bench.server import dummy_server
from rtsep.errors import SetupError
from rtsep.live.jack_host import JackHost
from rtsep.live.listeners import Listeners
from rtsep.live.player import Live
from rtsep.live.session import Midi, Session
from rtsep.note_events import NoteEvent
from rtsep_bridge.midi_out import MidiOut

RATE = 48_000
BLOCKS = (64, 128, 512)
ROWS = (
    *(("steady", block, 0) for block in BLOCKS),
    ("steady", 128, 2),
    ("earliest", 128, 0),
)


class Stamps(MidiOut):
    """A MIDI port that remembers the notes it was given."""

    def hear(self, notes: list[NoteEvent]) -> None:
        if not hasattr(self, "stamps"):
            self.stamps: list[NoteEvent] = []
        self.stamps += [note for note in notes if note.velocity]
        super().hear(notes)


def strokes(seconds: float) -> np.ndarray:
    """Struck tones at uneven times, so that no block boundary is favoured."""
    rng = np.random.default_rng(7)
    n = int(seconds * RATE)
    audio = np.zeros(n)
    at = RATE // 2
    while at < n - RATE // 2:
        t = np.arange(min(RATE // 3, n - at)) / RATE
        for pitch in rng.choice([40, 52, 60, 64, 67, 72], 2, replace=False):
            hertz = 440.0 * 2 ** ((pitch - 69) / 12)
            tone = sum(np.sin(2 * np.pi * k * hertz * t) / k for k in range(1, 6))
            audio[at : at + t.size] += 0.15 * np.exp(-6 * t) * tone
        audio[at : at + 400] += 0.2 * rng.standard_normal(400) * np.exp(-np.arange(400) / 80)
        at += int(rng.uniform(0.15, 0.35) * RATE)
    return np.tile(audio, (2, 1)).astype(np.float32)


def measure(server: str, timing: str, seconds: float) -> tuple[np.ndarray, int, int, int]:
    """Frames from sample to arrival of every note-on, the intended delay, notes late, and how
    often JACK left out a cycle.
    """
    os.environ["JACK_DEFAULT_SERVER"] = server
    live = Live(JackHost(name="rtsep", server=server), Session(midi=Midi(timing)))
    out = Stamps("notes")
    listener = MidiListener(server, "rtsep-midi:notes")
    try:
        with Listeners() as listeners:
            listeners.add(out)
            live.start()
            listeners.start(live)
            live.wait()
            listeners.poll()
            while not listener.connections:
                time.sleep(0.01)
            with Probe(server, ("monitor_L",), strokes(seconds), 1 << 16) as probe:
                probe.connect("rtsep")
                offsets: list[tuple[int, int]] = []
                stop = probe.play() + int(seconds * RATE)
                while probe.clock < stop:
                    live.poll()
                    listeners.poll()
                    # Both clocks count the same frames, from different starts, which
                    # drift apart where JACK leaves out a cycle.
                    offset = mode(probe.clock - live.handover.frames for _ in range(100))
                    offsets.append((probe.clock, offset))
                    time.sleep(0.05)
                gaps = len(probe.gaps)
            time.sleep(0.5)
            arrived = [m.frame for m in list(listener.heard) if m.kind == 0x90]
            samples = [note.sample for note in sorted(out.stamps)]
            delay = out.delay_samples
    finally:
        listener.close()
        live.stop()
    if len(arrived) != len(samples):
        raise SetupError(f"{len(samples)} notes were given, {len(arrived)} arrived")
    known = np.array(offsets)
    at = np.searchsorted(known[:, 0], sorted(arrived)).clip(0, len(known) - 1)
    return np.array(sorted(arrived)) - known[at, 1] - np.array(samples), delay, out.late, gaps


@contextmanager
def load(busy: int) -> Iterator[None]:
    """Other programs at work."""
    workers = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(busy)]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        for worker in workers:
            worker.kill()
            worker.join()


def _spin() -> None:
    while True:
        sum(range(10_000))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="of music a row (20)")
    seconds = parser.parse_args().seconds
    common.print_machine(common.machine())
    rows = []
    for timing, block, busy in ROWS:
        with dummy_server(RATE, block) as server, load(busy):
            lags, delay, late, _ = measure(server.name, timing, seconds)
        ms = 1000.0 * lags / RATE
        figures = (1000.0 * delay / RATE, np.median(ms), *np.percentile(ms, [5, 95]))
        rows.append(
            [
                f"{timing}, block of {block}" + (f", {busy} other programs" if busy else ""),
                *(str(count) for count in (ms.size, late)),
                *(f"{figure:.1f}" for figure in (*figures, ms.min(), ms.max())),
            ]
        )
    common.print_table(
        "Notes at the MIDI port, ms from a note's sample to its arrival at another client",
        ["", "notes", "late", "intended", "median", "5%", "95%", "first", "last"],
        rows,
        f"JACK's dummy driver at {RATE} Hz; JACK takes MIDI from a port once a block: "
        f"{', '.join(f'{1000 * b / RATE:.1f} ms' for b in BLOCKS)} at {BLOCKS}",
    )


if __name__ == "__main__":
    common.run_to_the_end(main)
