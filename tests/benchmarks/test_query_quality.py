"""quality.py --task query from end to end, on tones that a tiny model can tell apart."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import common, quality
from benchmarks.query_clips import DUOS
from benchmarks.query_quality import pitch_agreement
from rtsep_export.measures import loudest
from rtsep_export.query.parts import store_part
from rtsep_export.query.voices import Note
from tests.benchmarks import songs
from tests.rtsep import models
from tests.rtsep.cli import write_audio

RATE = 16_000
# On either side of 1 kHz, which is what the model tells by.
PITCHES = {"violin": (65, 70, 74), "flute": (90, 93, 95)}


def tune(instrument: str, seconds: float, rate: int = RATE) -> tuple[np.ndarray, list[Note]]:
    time = np.arange(round(seconds * rate)) / rate
    audio, notes = np.zeros(len(time), np.float32), []
    for k in range(round(seconds / 0.5)):
        note = Note(PITCHES[instrument][k % 3], 0.5 * k, 0.5 * k + 0.5)
        part = (time >= note.onset) & (time < note.offset)
        hz = 440.0 * 2 ** ((note.pitch - 69) / 12)
        audio[part] = 0.3 * np.sin(2 * np.pi * hz * time[part])
        notes.append(note)
    return audio, notes


def write_duo(folder: Path, seconds: float) -> None:
    """Both players, alone and together."""
    folder.mkdir(parents=True)
    parts = {name: tune(name, seconds, 44_100)[0][None] for name in PITCHES}
    for name, audio in {**parts, "mixture": sum(parts.values())}.items():
        write_audio(folder / f"{name}.flac", audio, 44_100)


def test_pairs_players_and_scales_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_duo(tmp_path / "data" / "real" / "duo", 9.0)
    for name in PITCHES:
        audio, notes = tune(name, 9.0)
        store_part(tmp_path / "parts" / "test" / name, "000", audio[None], [notes], {})
    model = models.save_query_model(tmp_path)
    options = ("--task", "query", "--model", model, "--pairs", "1", "--parts", tmp_path / "parts")
    options += ("--data", tmp_path / "data", "--json", tmp_path / "report.json")
    monkeypatch.setattr(sys, "argv", ["quality.py", *map(str, options)])
    common.run_to_the_end(quality.main)
    printed = capsys.readouterr().out
    assert "rendered test parts, unseen font, 2 pairs of 4 s" in printed
    assert "real players, 2 pairs of 4 s" in printed
    report = json.loads((tmp_path / "report.json").read_text())
    assert len(report["rows"]) == 4
    for row in report["rows"]:
        assert row["mixture_sdr"] == pytest.approx(0.0, abs=2.0)
        assert row["sdr"] > 15.0
        assert row["masked_sdr"] > 15.0
        if row["dataset"] == "real players":
            assert row["precision"] is None
        else:
            assert row["precision"] > 0.9
    assert [row["stem"] for row in report["clips"]] == sorted(PITCHES)
    assert [row["queried"] > 10.0 for row in report["clips"]] == [True, True]
    for row in report["pitches"]:
        assert row["on_pitch"] > 0.9
        assert row["voiced"] > 0.5


def test_both_models_that_ship_are_measured_where_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rtsep.bundle.MODELS", tmp_path)
    for path in models.save_query_model(tmp_path).parent.glob("test*.onnx"):
        path.rename(tmp_path / path.name.replace("test", "query"))
    models.save(models.several(), tmp_path / "several.onnx")
    models.save(models.live_query(), tmp_path / "query-live.onnx")
    models.save(models.query_model()["embed"], tmp_path / "query-live-embed.onnx")
    separator = models.save(
        models.constant_masks((0.6, 0.1, 0.1, 0.1, 0.1)), tmp_path / "live.onnx"
    )
    write_duo(tmp_path / "data" / "real" / "duo", 9.0)
    options = ("--task", "query", "--data", tmp_path / "data", "--json", tmp_path / "report.json")
    options += ("--separator", separator)
    monkeypatch.setattr(sys, "argv", ["quality.py", *map(str, options)])
    common.run_to_the_end(quality.main)
    printed = capsys.readouterr().out
    assert "real players, 2 pairs of 4 s" in printed
    assert "Examples of several instruments told from those of one" in printed
    report = json.loads((tmp_path / "report.json").read_text())
    assert len(report["models"]) == 2
    told = {row["clip"]: row["likely"] > 0.5 for row in report["examples"]}
    assert told == {"duo flute": False, "duo violin": False, "duo flute and violin": True}
    assert [row["sdr"] for row in report["rows"]] == [None, None]
    assert min(row["masked_sdr"] for row in report["rows"]) > 10.0
    assert min(row["queried"] for row in report["clips"]) > 10.0


def test_a_model_that_plays_live_is_measured_as_it_plays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    songs.write_song(tmp_path / "rendered" / "test" / "song")
    write_duo(tmp_path / "data" / "real" / "duo", 6.0)
    for name in PITCHES:
        solo = tmp_path / "rendered" / "solos" / "test" / name / "000.flac"
        solo.parent.mkdir(parents=True)
        write_audio(solo, np.repeat(tune(name, 20.0, 48_000)[0][None], 2, axis=0), 48_000)
    models.save(models.query_model()["embed"], tmp_path / "asked-embed.onnx")
    models.save(models.live_query(), tmp_path / "asked.onnx")
    options = ("--task", "query", "--model", tmp_path / "asked.onnx", "--data", tmp_path / "data")
    options += ("--rendered", tmp_path / "rendered", "--json", tmp_path / "report.json")
    separator = models.save(models.constant_masks((0.6, 0.1, 0.1, 0.1, 0.1)), tmp_path / "s.onnx")
    options += ("--separator", separator)
    monkeypatch.setattr(sys, "argv", ["quality.py", *map(str, options)])
    common.run_to_the_end(quality.main)
    printed = capsys.readouterr().out
    assert "rendered test split, second half of every clip, 3 stems" in printed
    assert "real recordings, second half of every clip, 2 stems" in printed
    assert "duos of rendered solos, second half of every clip, 8 stems" in printed
    assert "heard in training" in printed
    report = json.loads((tmp_path / "report.json").read_text())
    without, asked = report["cost"]
    assert without["latency_samples"] == asked["latency_samples"] > 0
    assert (without["query"], asked["query"]) == (False, True)
    solos = [row for row in report["rows"] if row["dataset"] == DUOS]
    assert [row["queried"] > 10.0 for row in solos] == 8 * [True]
    assert [row["level"] > -1.0 for row in solos] == 8 * [True]
    assert [row["rest"] < -20.0 for row in solos] == 8 * [True]
    rows = {row["stem"]: row for row in report["rows"] if row["dataset"] != DUOS}
    assert set(rows) == {"drums", "bass", "piano", *PITCHES}
    for name in PITCHES:
        assert rows[name]["mixture"] == pytest.approx(0.0, abs=2.0)
        assert rows[name]["queried"] > 10.0
        assert rows[name]["separated"] is None
    assert rows["drums"]["queried"] > 5.0
    # Every stem of this separator is the mix, but for its level.
    assert rows["bass"]["separated"] == pytest.approx(0.0, abs=0.1)


def test_the_loudest_seconds_are_the_example() -> None:
    audio = np.zeros(100, np.float32)
    audio[40:50] = 1.0
    assert audio[loudest(audio, 10)].tolist() == [1.0] * 10
    assert len(audio[loudest(audio, 200)]) == 100


def test_a_wrong_pitch_is_no_agreement() -> None:
    audio, notes = tune("violin", 1.5)
    score = [(note.pitch, note.onset, note.offset) for note in notes]
    assert pitch_agreement(audio, RATE, score)["on_pitch"] > 0.95
    moved = [(pitch + 1, onset, offset) for pitch, onset, offset in score]
    assert pitch_agreement(audio, RATE, moved)["on_pitch"] < 0.05
    assert pitch_agreement(0 * audio, RATE, score) == {"on_pitch": 0.0, "voiced": 0.0}
