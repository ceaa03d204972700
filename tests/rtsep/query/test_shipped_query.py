"""The query models that ship, on recordings: what an example names comes out, and what not."""

import subprocess
import sys

import mido
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


def rtsep_query(*words):
    """Run the command, which must succeed."""
    command = [sys.executable, "-m", "rtsep", "query", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "mixture: " in done.stdout


@pytest.mark.skipif(LIVE not in shipped_bundles(), reason=f"no {LIVE} ships")
def test_drums_by_an_example_of_them_and_no_drums_by_one_of_something_else(data_dir, tmp_path):
    song = data_dir / "real" / SONG
    middle = 4 * RATE
    true = read_audio(song / "drums.flac")[:, middle:]
    mix = read_audio(song / "mixture.flac")[:, middle:]
    better = {}
    for name in ("drums", "vocals"):
        write_audio(tmp_path / f"{name}.wav", read_audio(song / f"{name}.flac")[:, :middle], RATE)
        words = [song / "mixture.flac", "--example", tmp_path / f"{name}.wav", "--model", LIVE]
        rtsep_query(*words, "-o", tmp_path / "out" / name)
        found = read_audio(tmp_path / "out" / name / "mixture" / f"{name}.wav")
        better[name] = si_sdr(true, found[:, middle:]) - si_sdr(true, mix)
    assert better["drums"] > 3.0
    assert better["vocals"] < 0.0


@pytest.mark.skipif("query" not in shipped_bundles(), reason="no model for files ships")
def test_either_player_of_a_duet_and_what_they_play(data_dir, tmp_path):
    song, rate, middle = data_dir / "real" / "urmp_01", 48_000, 9 * 48_000
    mix = read_audio(song / "mixture.flac")[:, :middle]
    write_audio(tmp_path / "mixture.wav", mix, rate)
    for name in ("violin", "cello"):
        true = read_audio(song / f"{name}.flac")
        write_audio(tmp_path / f"{name}.wav", true[:, middle:], rate)
        example = tmp_path / f"{name}.wav"
        rtsep_query(tmp_path / "mixture.wav", "--example", example, "-o", tmp_path / name)
        found = read_audio(tmp_path / name / "mixture" / f"{name}.wav")
        true = true[:, :middle]
        assert si_sdr(true, found) - si_sdr(true, mix) > 2.0
        notes = mido.MidiFile(tmp_path / name / "mixture" / "mixture.mid").tracks[1]
        assert sum(message.type == "note_on" for message in notes) > 5
