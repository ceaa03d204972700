"""``rtsep bench latency``: what it refuses, prints and leaves with."""

import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from rtsep.bench import loopback
from rtsep.bench.latency import Cell, Row
from rtsep.bench.listener import Heard
from rtsep.bench.results import Soak, Spread, Trace
from rtsep.bench.server import Server
from rtsep.cli import bench_run
from rtsep.errors import SetupError
from rtsep.live.status import Latency, Status, StemStatus
from tests.rtsep.cli import CommandLine

LATENCY = ("bench", "latency")
SOAK = (*LATENCY, "--soak", "1000")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Cell]:
    """Rows without a server, and which cells were asked for; one preset is wrong."""
    asked: list[Cell] = []

    def measure(wanted: Sequence[Cell], there: Server | None) -> Iterator[Row]:
        for cell in wanted:
            asked.append(cell)
            measured = 257 if cell.preset == "relaxed" else 256
            yield Row(
                cell.preset,
                cell.sample_rate,
                cell.block,
                stated_samples=256,
                stated_ms=5.333,
                reported_samples=256,
                measured_samples=measured,
                difference=measured - 256,
                measurements=18,
                error=0.0,
                load=0.1234,
                callbacks=12_345,
            )

    monkeypatch.setattr(bench_run, "measure", measure)
    monkeypatch.setattr(bench_run, "running_server", lambda: None)
    return asked


def status() -> Status:
    level = StemStatus("x", None, None)
    return Status(
        time=0.0,
        state="playing",
        host="portaudio",
        sample_rate=48_000,
        block=128,
        preset="live",
        model="live",
        frames=1,
        latency=Latency(256, 5.333, None),
        load=0.1,
        load_max=0.2,
        callbacks=10,
        misses=0,
        xruns=0,
        restarts=0,
        callback_us_p50=1.0,
        callback_us_p999=1.0,
        callback_us_max=1.0,
        engine_misses=0,
        bad_samples=0,
        stems=[level],
        monitor=level,
        mix=level,
        notes=0,
        last_miss=None,
        message="",
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--host", "alsa"), "jack or portaudio"),
        (("--preset", "offline"), "lowest, live, relaxed"),
        (("--rate", "22050"), "44100"),
        (("--block", "8"), "16 to 8192"),
        (("--load", "python"), "--soak"),
        (("--soak", "0"), "--soak 0"),
        (("--soak", "10", "--load", "fire"), "none, python, process, gc, memory"),
        (("--soak", "10", "--preset", "live", "--preset", "lowest"), "one of each"),
        (("--soak", "10", "--host", "portaudio", "--input", "a", "--output", "b"), "--host jack"),
        (("--host", "portaudio", "--input", "a"), "two cables"),
        (("--input", "a"), "--host portaudio"),
    ],
)
def test_what_means_nothing_is_refused(
    rtsep: CommandLine, options: tuple[str, ...], words: str
) -> None:
    assert words in rtsep.refuses(*LATENCY, *options)


def test_the_table_shows_every_cell_and_what_others_publish(
    rtsep: CommandLine, measured: list[Cell]
) -> None:
    options = ("--preset", "live", "--preset", "lowest", "--rate", "48000")
    outcome = rtsep(*LATENCY, *options)
    assert outcome.status == 0
    assert len(measured) == 8
    assert {cell.preset for cell in measured} == {"live", "lowest"}
    for text in ("StemgenRT *", "HS-TasNet *", "as published, not measured here", "14.6", "12,345"):
        assert text in outcome.out


def test_a_difference_leaves_with_status_1(rtsep: CommandLine, measured: list[Cell]) -> None:
    assert rtsep(*LATENCY, "--rate", "48000", "--block", "64").status == 1
    assert len(measured) == 3


def test_json_is_an_array_of_rows(rtsep: CommandLine, measured: list[Cell]) -> None:
    outcome = rtsep(*LATENCY, "--json", "--preset", "relaxed", "--rate", "96000", "--block", "64")
    assert outcome.status == 1
    (row,) = json.loads(outcome.out)
    assert row["preset"] == "relaxed"
    assert row["sample_rate"] == 96_000
    assert (row["stated_samples"], row["measured_samples"], row["difference"]) == (256, 257, 1)
    assert (row["misses"], row["callbacks"], row["block"]) == (0, 12_345, 64)


def test_what_failed_is_said(
    rtsep: CommandLine, measured: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Row("live", 48_000, 64, failure="it has ended")
    monkeypatch.setattr(bench_run, "measure", lambda wanted, there: iter([row]))
    outcome = rtsep(*LATENCY, "--preset", "live", "--rate", "48000", "--block", "64")
    assert outcome.status == 1
    assert "it has ended" in outcome.err


def soaked(**changed: Any) -> Soak:
    values: dict[str, Any] = {
        "preset": "live",
        "sample_rate": 48_000,
        "block": 128,
        "loads": ["python"],
        "realtime": True,
        "callbacks": 1_000,
        "misses": 2,
        "xruns": 1,
        "restarts": 0,
        "stated_samples": 256,
        "measured_samples": 256,
        "difference": 0,
        "error": 1e-8,
        "inexact_frames": 0,
        "skipped_frames": 0,
        "listened_frames": 128_000,
        "clicks": 0,
        "first_clicks": [],
        "interval_us": Spread(2666.0, 2700.0, 3000.0, 9000.0),
        "callback_us": Spread(15.0, 30.0, 60.0, 200.0),
        "minor_faults": 0,
        "major_faults": 0,
        "resident_start_bytes": 900_000_000,
        "resident_end_bytes": 900_000_000,
        "load": 0.16,
        "load_max": 0.9,
        "miss_frames": [128, 256],
    }
    return Soak(**{**values, **changed})


TRACE = Trace(
    np.arange(1_000) * 2_666_667,
    np.full(1_000, 15_000),
    np.array([[128, 5, 1], [256, 6, 2]]),
    np.array(["miss", "miss"]),
)


@pytest.fixture
def soaking(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A soak that is over at once; what it was asked for, and what it is to give."""
    asked: dict[str, Any] = {"gives": soaked()}

    def run(
        server: Server, preset: str, callbacks: int, loads: Sequence[str], on_progress: Any
    ) -> tuple[Soak, Trace]:
        asked.update(server=server, preset=preset, callbacks=callbacks, loads=list(loads))
        on_progress(callbacks, Heard())
        return asked["gives"], TRACE

    there = Server("there", 48_000, 128, realtime=True, ours=False)
    monkeypatch.setattr(bench_run, "run_soak", run)
    monkeypatch.setattr(bench_run, "running_server", lambda: there)
    return asked


def test_a_soak_leaves_summary_trace_and_picture(
    rtsep: CommandLine, soaking: dict[str, Any]
) -> None:
    outcome = rtsep(*SOAK, "--load", "python", "--load", "gc", "--preset", "lowest", "--to", "soak")
    assert outcome.status == 0, outcome
    assert rtsep.files("soak") == {"summary.json", "trace.npz", "histogram.png"}
    assert (soaking["preset"], soaking["callbacks"]) == ("lowest", 1_000)
    assert soaking["loads"] == ["python", "gc"]
    assert "20.00 in 10,000" in outcome.out
    assert "p99.9 60" in outcome.out
    assert "soak is there already" in rtsep.refuses(*SOAK, "--to", "soak")
    again = rtsep(*SOAK, "--to", "soak", "--overwrite", "--json")
    assert again.status == 0
    (row,) = json.loads(again.out)
    assert (row["misses"], row["callbacks"], row["stated_samples"]) == (2, 1_000, 256)


@pytest.mark.parametrize(
    "wrong", [{"difference": 1}, {"difference": None}, {"error": 0.1}, {"clicks": 1}]
)
def test_a_soak_that_proves_nothing_leaves_with_status_1(
    rtsep: CommandLine, soaking: dict[str, Any], wrong: dict[str, Any]
) -> None:
    soaking["gives"] = soaked(**wrong)
    assert rtsep(*SOAK).status == 1


def test_without_matplotlib_the_figures_are_written_all_the_same(
    rtsep: CommandLine, soaking: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    outcome = rtsep(*SOAK, "--to", "soak")
    assert outcome.status == 0
    assert "rtsep[bench]" in outcome.err
    assert rtsep.files("soak") == {"summary.json", "trace.npz"}


class FakeLive:
    """In place of ``rtsep live`` between two cables."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __enter__(self) -> "FakeLive":
        return self

    def __exit__(self, *error: object) -> None: ...

    def playing(self) -> Status:
        return status()

    newest_status = playing


@pytest.fixture
def cables(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], int]:
    """Delays of the ways from cable to cable, and a live process in between."""
    delays = {("a", "a"): 1_000, ("a", "b"): 1_400}

    def play(signal: Any, play_to: str, record_from: str, sample_rate: int) -> Any:
        heard = np.zeros_like(signal)
        delay = delays[play_to, record_from]
        if delay:
            heard[:, delay:] = signal[:, :-delay]
        return heard

    monkeypatch.setattr(loopback, "play_and_record", play)
    monkeypatch.setattr(loopback, "LiveProcess", FakeLive)
    return delays


def test_between_cables_the_way_through_rtsep_is_compared(
    rtsep: CommandLine, cables: dict[tuple[str, str], int]
) -> None:
    options = ("--host", "portaudio", "--input", "a", "--output", "b", "--json")
    outcome = rtsep(*LATENCY, *options, "--preset", "live", "--rate", "48000", "--block", "128")
    assert outcome.status == 0
    (row,) = json.loads(outcome.out)
    assert (row["measured_samples"], row["stated_samples"]) == (400, 256)
    assert row["jitter_samples"] == 0


def test_cables_that_are_none_are_said(
    rtsep: CommandLine, cables: dict[tuple[str, str], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(signal: Any, *where: Any) -> Any:
        return np.zeros_like(signal)

    monkeypatch.setattr(loopback, "play_and_record", silent)
    options = ("--host", "portaudio", "--input", "a", "--output", "b", "--rate", "48000")
    outcome = rtsep(*LATENCY, *options, "--block", "128", "--preset", "live")
    assert outcome.status == 1
    assert "a cable between them" in outcome.err


class FakeSounddevice:
    """A card with five inputs, of which four are used: the signal, and twice it."""

    class PortAudioError(Exception):
        pass

    def query_devices(self, name: str, kind: str) -> dict[str, int]:
        if name == "none":
            raise ValueError("no such device")
        return {"max_input_channels": 5}

    def playrec(self, played: Any, rate: int, channels: int, **options: Any) -> Any:
        assert options == {"device": ("b", "a"), "blocking": True}
        return np.concatenate((played, 2 * played), axis=1)[:, :channels]


def test_all_pairs_of_a_card_are_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", FakeSounddevice())
    signal = np.arange(128, dtype=np.float32).reshape(2, 64)
    np.testing.assert_array_equal(loopback.play_and_record(signal, "a", "b", 48_000), 3 * signal)
    with pytest.raises(SetupError, match="no such device"):
        loopback.play_and_record(signal, "a", "none", 48_000)
