"""The whole of it from the command line: tables in little time, and two processes at once."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rtsep_export.cli import app
from rtsep_export.scores.settings import SETTINGS
from rtsep_export.scores.songs import store_song
from tests.rtsep_export.scores.test_settings import tones

ROOT = Path(__file__).parents[3]


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("test_font")
def test_quick_tables(data_dir, tmp_path):
    """Songs are rendered, every setting trains a moment, and both tables are printed."""
    words = ["tables", "transcription", "--quick", "--runs", str(tmp_path / "runs")]
    words += ["--data", str(data_dir), "--json", str(tmp_path / "tables.json")]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    for setting in SETTINGS:
        assert (tmp_path / "runs" / setting / "model.pt").is_file()
    for title in ("Table 1", "Table 2", "supervised", "fine-tune, AML", "input mixture"):
        assert title in done.stdout
    kept = json.loads((tmp_path / "tables.json").read_text())
    assert set(kept["settings"]) == {"mixture", *SETTINGS} - {"classifier"}
    assert kept["clips"] > 0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_two_processes_learn_the_same_weights(tmp_path):
    for split, seed in (("train", 0), ("valid", 1), ("test", 2)):
        store_song(tmp_path / "songs" / split, "a", *tones(seed), {})
    words = ["-m", "rtsep_export", "learn", "transcriber", tmp_path / "songs"]
    words += ["--runs", tmp_path / "runs", "--minutes", "0.1", "--batch", "2", "--threads", "1"]
    path = os.pathsep.join((str(ROOT), str(ROOT / "export")))
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    launch += ["--master-addr", "127.0.0.1", "--master-port", str(free_port())]
    done = subprocess.run(
        [*launch, *map(str, words)],
        env=os.environ | {"PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "runs" / "transcriber" / "model.pt").is_file()
    # Printed by the first process only.
    assert done.stdout.count("epoch 1 validated") == 1


def test_an_unknown_setting_is_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "rtsep_export", "learn", "magic", tmp_path, "--runs", tmp_path],
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "export")))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "one of transcriber, classifier" in done.stderr
