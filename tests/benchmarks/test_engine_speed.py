"""engine.py's parts on tiny models: what is timed, and what fresh processes answer."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import common, engine
from rtsep.presets import PRESETS
from tests.benchmarks import songs
from tests.rtsep import models


def test_every_hop_is_timed_against_its_deadline() -> None:
    separator = models.bundle(models.constant_masks())
    transcriber = models.bundle(models.transcriber())
    row = engine.time_hops(separator, transcriber, PRESETS["live"], 48_000, 1.0)
    assert row["count"] == 375
    assert row["deadline_us"] == pytest.approx(2666.7, abs=0.1)
    assert row["latency_samples"] == 256
    assert row["median_us"] <= row["p99_us"] <= row["p999_us"] <= row["max_us"]
    assert row["real_time_factor"] >= row["median_us"] / row["deadline_us"] / 2
    assert row["note_events"] > 0
    assert row["misses"] == 0


def test_hop_statistics() -> None:
    figures = common.hop_statistics(np.arange(1001))
    assert list(figures.values()) == pytest.approx([1001, 500, 990, 999, 1000])


def test_fresh_processes_answer(tmp_path: Path) -> None:
    separator = str(models.save(models.constant_masks(), tmp_path / "s.onnx"))
    transcriber = str(models.save(models.transcriber(), tmp_path / "t.onnx"))
    options = ("--separator", separator, "--transcriber", transcriber)
    assert 0 < engine.ask("import")["import_s"] < 5
    assert all(value > 0 for value in engine.ask("construct", *options).values())
    memory = engine.ask("memory", *options, "--seconds", "0.1")
    assert 20 < memory["rss_at_start_mb"] <= memory["rss_mb"] < 2000


def test_the_command_is_timed_to_its_first_progress(tmp_path: Path) -> None:
    pytest.importorskip("pty", reason="a terminal is needed to see the progress bar")
    separator = models.save(models.constant_masks(), tmp_path / "s.onnx")
    songs.write(tmp_path / "mix.flac", common.speed_mix(30.0, songs.RATE))
    places = ("--audio", str(tmp_path / "mix.flac"), "--output", str(tmp_path / "out"))
    answer = engine.ask("separate", *places, "--", "--model", str(separator), "--no-midi")
    assert 0 < answer["first_progress_s"] <= answer["total_s"]
    assert (tmp_path / "out" / "mix" / "drums.wav").is_file()


def test_targets_have_a_side(capsys: pytest.CaptureFixture[str]) -> None:
    rows = engine.print_targets(
        {"import rtsep, s": 0.6, "rtsep separate, whole command on a song: × real time": 16.0}
    )
    assert [(row["limit"], row["reached"]) for row in rows] == [(-15.0, True), (0.5, False)]
    assert "at least 15" in capsys.readouterr().out


def test_the_speed_mix_is_what_it_says() -> None:
    mix = common.speed_mix(1.5, 44_100)
    assert mix.shape == (2, 66_150)
    assert mix.dtype == np.float32
    assert 0.1 < np.abs(mix).max() < 2.0
