"""The query model that ships, on a recording: what an example names comes out, and what not."""

import subprocess
import sys

import numpy as np
import pytest

from rtsep.bundle import shipped_bundles
from rtsep.query.model import LIVE
from tests.rtsep.cli import read_audio, write_audio

SONG, RATE = "eif_francium", 44_100


def si_sdr(truth, found):
    """Scale-invariant, in dB."""
    scaled = (truth * found).sum() / (truth**2).sum() * truth
    return 10 * np.log10((scaled**2).sum() / ((found - scaled) ** 2).sum())


@pytest.mark.skipif(LIVE not in shipped_bundles(), reason=f"no {LIVE} ships")
def test_drums_by_an_example_of_them_and_no_drums_by_one_of_something_else(data_dir, tmp_path):
    song = data_dir / "real" / SONG
    middle = 4 * RATE
    true = read_audio(song / "drums.flac")[:, middle:]
    mix = read_audio(song / "mixture.flac")[:, middle:]
    better = {}
    for name in ("drums", "vocals"):
        write_audio(tmp_path / f"{name}.wav", read_audio(song / f"{name}.flac")[:, :middle], RATE)
        words = ["query", song / "mixture.flac", "--example", tmp_path / f"{name}.wav"]
        command = [sys.executable, "-m", "rtsep", *words, "-o", tmp_path / "out" / name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "mixture: " in done.stdout
        found = read_audio(tmp_path / "out" / name / "mixture" / f"{name}.wav")
        better[name] = si_sdr(true, found[:, middle:]) - si_sdr(true, mix)
    assert better["drums"] > 3.0
    assert better["vocals"] < 0.0
