"""What ``rtsep live`` costs while it plays a song, with effects on two stems and notes on.

Starts a JACK server without a sound card, the real ``rtsep live`` with a session file,
and plays the clip that comes with rtsep through its ports, over and over::

    python benchmarks/live.py [--seconds 60] [--json FILE]
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import common
from rtsep.bench.child import Child
from rtsep.bench.probe import Probe
from rtsep.bench.processes import family, resident_bytes
from rtsep.bench.server import dummy_server
from rtsep.live.status import Status

RATE, BLOCK = 48_000, 128
STEMS = ("drums", "bass", "guitar", "piano", "other")
PORTS = tuple(f"{name}_{side}" for name in (*STEMS, "monitor") for side in "LR")
EFFECTS = """
[[stems.drums.effects]]
type = "Compressor"
parameters = { threshold_db = -18.0, ratio = 4.0 }
[[stems.piano.effects]]
type = "Reverb"
parameters = { room_size = 0.4 }
"""
SESSIONS = {
    "stems only": 'preset = "live"\ntranscriber = "none"\n',
    "stems and notes": 'preset = "live"\n',
    "stems, notes, effects on two": 'preset = "live"\n' + EFFECTS,
    "the same, lowest": 'preset = "lowest"\n' + EFFECTS,
}


def clip() -> np.ndarray:
    from pedalboard.io import AudioFile

    path = common.ROOT / "rtsep" / "demo" / "clip.flac"
    with AudioFile(str(path)).resampled_to(RATE) as file:
        audio = file.read(file.frames)
    return np.ascontiguousarray(np.broadcast_to(audio, (2, audio.shape[1])), np.float32)


def processor_seconds(pid: int) -> float:
    """Of a process and its children, all threads."""
    times = (psutil.Process(member).cpu_times() for member in family(pid))
    return sum(spent.user + spent.system for spent in times)


def measure(session: str, seconds: int) -> dict[str, Any]:
    """Play for a while; the figures of all seconds but the first two."""
    with tempfile.TemporaryDirectory() as folder, dummy_server(RATE, BLOCK) as server:
        path = Path(folder) / "session.toml"
        path.write_text(session)
        options = ["--host", "jack", "--name", "rtsep-load", "--session", str(path), "--status"]
        with Child(["rtsep", "live", *options], server.environment) as child:

            def status() -> Status:
                return msgspec.json.decode(child.next_line(), type=Status)

            while status().state != "playing":
                pass
            with Probe(server.name, PORTS, clip(), 1 << 16) as probe:
                probe.connect("rtsep-load")
                probe.play(loop=True)
                status(), status()
                first, started = status(), time.monotonic()
                spent = processor_seconds(child.pid)
                heard = [status() for _ in range(seconds)]
                spent = processor_seconds(child.pid) - spent
                took = time.monotonic() - started
            memory = sum(resident_bytes(pid) for pid in family(child.pid))
    loads = np.array([line.load for line in heard])
    last = heard[-1]
    return {
        "core_of_all": spent / took,
        "load_p50": float(np.median(loads)),
        "load_max": float(loads.max()),
        "worst_block_p50": float(np.median([line.load_max for line in heard])),
        "callback_us_p50": last.callback_us_p50,
        "callback_us_p999": last.callback_us_p999,
        "callbacks": last.callbacks - first.callbacks,
        "misses": last.misses - first.misses,
        "xruns": last.xruns - first.xruns,
        "notes": last.notes - first.notes,
        "stated_samples": last.latency.stated_samples,
        "resident_mb": memory / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="of playing a session")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    facts = common.machine()
    common.print_machine(facts)
    rows = {}
    with common.progress() as bar:
        task = bar.add_task("sessions", total=len(SESSIONS))
        for name, session in SESSIONS.items():
            rows[name] = measure(session, options.seconds)
            bar.advance(task)
    common.print_table(
        f"rtsep live at {RATE} Hz with blocks of {BLOCK}, five stems, {options.seconds} s each",
        (
            "session",
            "engine's core",
            "its worst second",
            "core of all processes",
            "latency",
            "callback p50, p99.9 (µs)",
            "misses of callbacks",
            "xruns",
            "note-ons",
        ),
        [
            (
                name,
                f"{row['load_p50']:.2f}",
                f"{row['load_max']:.2f}",
                f"{row['core_of_all']:.2f}",
                f"{row['stated_samples']}",
                f"{row['callback_us_p50']:.0f}, {row['callback_us_p999']:.0f}",
                f"{row['misses']} of {row['callbacks']}",
                f"{row['xruns']}",
                f"{row['notes']}",
            )
            for name, row in rows.items()
        ],
        "engine's core: share of one core that the engine is at work, median of the seconds; core "
        "of all processes: processor time of host and engine, callback included, JACK's server not",
    )
    common.write_json(options.json, {"machine": facts, "sessions": rows})


if __name__ == "__main__":
    main()
