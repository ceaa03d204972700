"""quality.py from end to end on a rendered song and recordings of two seconds."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import common, quality
from tests.benchmarks import songs
from tests.rtsep import models

Bundles = tuple[str, ...]


@pytest.fixture
def bundles(tmp_path: Path) -> Bundles:
    """Drums hear everything: their estimate is the mix, every other stem is silent."""
    separator = models.save(models.constant_masks((1, 0, 0, 0, 0)), tmp_path / "s.onnx")
    transcriber = models.save(models.transcriber(), tmp_path / "t.onnx")
    return ("--separator", str(separator), "--transcriber", str(transcriber))


def _run(monkeypatch: pytest.MonkeyPatch, *options: object) -> None:
    for name in ("RTSEP_RENDERED", "RTSEP_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "argv", ["quality.py", *map(str, options)])
    common.run_to_the_end(quality.main)


def test_everything_is_scored_and_printed(
    tmp_path: Path,
    bundles: Bundles,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    songs.write_song(tmp_path / "rendered" / "test" / "song")
    songs.write_recordings(tmp_path / "data" / "real")
    _run(
        monkeypatch,
        *("--rendered", tmp_path / "rendered", "--data", tmp_path / "data"),
        *(*bundles, "--presets", "live"),
        *("--rivals-python", tmp_path / "nowhere", "--json", tmp_path / "report.json"),
    )
    printed = capsys.readouterr().out
    assert "1 clips, 2 s; 2 silent stems not scored" in printed
    assert "no Basic Pitch" in printed
    assert "trio: none of drums" in printed
    report = json.loads((tmp_path / "report.json").read_text())
    rows = {
        (row["dataset"], row["method"], row["side"], row["stem"]): row for row in report["rows"]
    }
    # Before the first frame of masks, 5 ms, everything is in the residual.
    ours = rows["rendered test", "rtsep live", "", "drums"]
    assert ours["si_sdr_improvement"] == pytest.approx(0.0, abs=0.6)
    assert rows["rendered test", "rtsep live", "", "bass"]["si_sdr"] == -80.0
    assert rows["rendered test", "oracle masks, live", "", "bass"]["si_sdr_improvement"] > 8.0
    assert rows["rendered test", "HPSS", "percussive", "drums"]["si_sdr_improvement"] > 3.0
    assert ("real", "rtsep live", "", "other") in rows
    assert report["targets"][0]["mean_improvement_db"] < 0
    notes = {(row["notes"], row["tolerance_s"]): row for row in report["notes"]}
    assert notes["rtsep, bass", 0.05]["reference"] == 4


def test_without_data_it_says_what_to_give(
    tmp_path: Path,
    bundles: Bundles,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _run(monkeypatch, *bundles, "--presets", "live", "--data", tmp_path)
    printed = capsys.readouterr().out
    assert "give --rendered or set RTSEP_RENDERED" in printed
    assert "real recordings left out" in printed


def test_mistakes_end_in_one_line(
    tmp_path: Path,
    bundles: Bundles,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as leaving:
        _run(monkeypatch, *bundles, "--presets", "live", "--rendered", tmp_path)
    assert leaving.value.code == 2
    assert capsys.readouterr().err.startswith("error: no rendered song")


def test_two_sided_baselines_take_the_better_side() -> None:
    rows = [
        {"method": "HPSS", "stem": "bass", "side": side, "si_sdr": value, "sdr": sdr}
        for side, value, sdr in (
            ("percussive", -3.0, 1.0),
            ("harmonic", 1.0, 2.0),
            ("harmonic", 3.0, np.nan),
        )
    ]
    assert quality.summary(rows, "HPSS", "bass", "si_sdr") == (2.0, "harmonic")
    assert quality.summary(rows, "HPSS", "bass", "sdr") == (2.0, "harmonic")
    assert np.isnan(quality.summary(rows, "HPSS", "drums", "sdr")[0])
