"""The table, and a soak, of the real rtsep live through a real JACK server."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from rtsep.bench import latency
from rtsep.bench.histogram import draw_histogram
from rtsep.bench.latency import Cell, Row, cells
from rtsep.bench.processes import family
from rtsep.bench.results import Soak, write_results
from rtsep.bench.server import Server, dummy_server
from rtsep.bench.signals import EXACT, Delays
from rtsep.bench.soak import run_soak
from rtsep.errors import SetupError

needs_jackd = pytest.mark.skipif(shutil.which("jackd") is None, reason="jackd is not installed")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with dummy_server(48_000, 128) as running:
        yield running


def delays(*lags: int | None, error: float = 0.0) -> Delays:
    return Delays(lags[:-1], lags[-1], error)


def test_the_cells_are_all_that_is_asked_for() -> None:
    assert len(cells([], [], [], None)) == 3 * 4 * 4
    assert cells(["live"], [44_100], [], None) == [
        Cell("live", 44_100, block) for block in (64, 128, 256, 512)
    ]


def test_a_server_that_runs_decides_rate_and_block() -> None:
    there = Server("there", 48_000, 256, realtime=True, ours=False)
    assert cells(["live"], [], [256, 64], there) == [Cell("live", 48_000, 256)]
    with pytest.raises(SetupError, match="--rate 48000"):
        cells([], [44_100], [], there)
    with pytest.raises(SetupError, match="--block 256"):
        cells([], [], [64, 128], there)


def test_one_measurement_that_differs_decides() -> None:
    row = Row("live", 48_000, 128, stated_samples=256, reported_samples=256)
    latency._add_delays(row, [delays(256, 256, 256), delays(256, 254, 256)])
    assert (row.measured_samples, row.difference, row.jitter_samples) == (256, -2, 2)
    assert row.measurements == 6
    assert not row.proved
    right = Row("live", 48_000, 128, stated_samples=256, reported_samples=256)
    latency._add_delays(right, [delays(256, 256)])
    assert right.proved
    right.reported_samples = 255
    assert not right.proved


@pytest.mark.parametrize("wrong", [delays(256, None), delays(256, 256, error=0.1)])
def test_what_did_not_come_back_whole_proves_nothing(wrong: Delays) -> None:
    row = Row("live", 48_000, 128, stated_samples=256, reported_samples=256)
    latency._add_delays(row, [delays(256, 256), wrong])
    assert row.measured_samples is None
    assert row.difference is None
    assert not row.proved


@needs_jackd
@pytest.mark.parametrize("preset", ["lowest", "live"])
def test_stated_is_measured_in_the_real_thing(
    server: Server, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "STARTS", 1)
    (row,) = latency.measure([Cell(preset, 48_000, 128)], server)
    assert row.failure == ""
    assert row.difference == 0
    assert row.measured_samples == row.stated_samples == row.reported_samples
    assert row.stated_samples <= 384
    assert row.error is not None
    assert row.error <= EXACT
    assert row.callbacks > 0
    assert row.proved


@needs_jackd
def test_a_preset_that_does_not_play_says_why(server: Server) -> None:
    (row,) = latency.measure([Cell("offline", 48_000, 128)], server)
    assert "offline" in row.failure
    assert not row.proved


@needs_jackd
def test_a_soak_hears_every_sample_and_writes_what_it_found(server: Server, tmp_path: Path) -> None:
    done = []
    came, trace = run_soak(
        server, "live", 1_500, ["python", "gc"], lambda callbacks, heard: done.append(callbacks)
    )
    assert came.proved, came
    assert came.difference == 0
    assert came.callbacks >= 1_500
    assert done[-1] == 1_500
    assert came.listened_frames >= 1_500 * 128
    assert trace.started_ns.size == trace.spent_ns.size == came.callbacks
    assert (trace.spent_ns > 0).all()
    if came.realtime:
        assert (came.minor_faults, came.major_faults) == (0, 0)
    paths = write_results(came, trace, tmp_path)
    draw_histogram(tmp_path / "histogram.png", came, trace)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert msgspec.convert(summary, Soak) == came
    with np.load(tmp_path / "trace.npz") as raw:
        np.testing.assert_array_equal(raw["callback_spent_ns"], trace.spent_ns)
        assert raw["event_frame"].shape == raw["event_kind"].shape
    assert {path.name for path in paths} == {"summary.json", "trace.npz"}
    with Image.open(tmp_path / "histogram.png") as picture:
        assert picture.size[0] > 1_000


@needs_jackd
@pytest.mark.skipif(sys.platform != "linux", reason="looks for what is left in /proc")
@pytest.mark.parametrize("seconds", [1.5, 4.0])
def test_an_interrupt_leaves_nothing_behind(tmp_path: Path, seconds: float) -> None:
    command = [sys.executable, "-m", "rtsep", "bench", "latency", "--soak", "100000"]
    paths = f"{Path(__file__).parents[3]}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    environment = {**os.environ, "PYTHONPATH": paths, "JACK_DEFAULT_SERVER": "rtsep-no-such"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        time.sleep(seconds)
        started = set(family(process.pid)) - {process.pid}
        process.send_signal(signal.SIGINT)
        said, complaint = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == b""
    assert complaint.decode().count("\n") == 1, complaint
    assert "interrupted" in complaint.decode()
    assert list(tmp_path.iterdir()) == []
    deadline = time.monotonic() + 5
    while any(map(_runs, started)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(_runs, started))


def _runs(pid: int) -> bool:
    """Whether a process is there, and not only waits for its parent to notice its end."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
