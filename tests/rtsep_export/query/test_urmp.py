"""A small tree in URMP's own layout."""

import numpy as np
import pytest
from pedalboard.io import AudioFile

from rtsep.errors import AudioError, SetupError
from rtsep_export.query.networks import SAMPLE_RATE
from rtsep_export.query.parts import load_parts
from rtsep_export.query.urmp import convert_urmp

RATE = 48_000
PIECES = ("01_Jupiter_vn_vc", "02_Sonata_vn_vn", "03_Dance_fl_cl", "04_Allegro_fl_db")


@pytest.fixture
def urmp(tmp_path):
    """Every player one tone of A, from half a second to two seconds."""
    time = np.arange(3 * RATE) / RATE
    wave = (0.2 * np.sin(2 * np.pi * 440.0 * time) * ((time > 0.5) & (time < 2.0))).astype("f4")
    for piece in PIECES:
        number, title, *players = piece.split("_")
        folder = tmp_path / "urmp" / piece
        folder.mkdir(parents=True)
        for place, player in enumerate(players, 1):
            name = f"{place}_{player}_{number}_{title}"
            with AudioFile(str(folder / f"AuSep_{name}.wav"), "w", RATE, 1) as file:
                file.write(wave)
            (folder / f"Notes_{name}.txt").write_text("0.500\t441.3\t1.500\n\n")
        (folder / f"AuMix_{number}_{title}.wav").write_bytes(b"")
    return tmp_path / "urmp"


def peak_hz(row):
    spectrum = np.abs(np.fft.rfft(row[SAMPLE_RATE : 2 * SAMPLE_RATE] * np.hanning(SAMPLE_RATE)))
    return int(spectrum.argmax())


def test_pieces_with_unseen_players_and_every_third_other_are_for_the_test(urmp, tmp_path):
    for split in ("train", "valid", "test"):
        done = list(convert_urmp(urmp, tmp_path / "parts", split))
        assert done[-1][0] == done[-1][1] == 4
    train, test = (load_parts(tmp_path / "parts" / split) for split in ("train", "test"))
    assert {name: len(found) for name, found in train.items()} == {
        "violin": 2,
        "flute": 1,
        "clarinet": 1,
    }
    assert set(test) == {"violin", "cello", "flute", "double-bass"}
    assert test["violin"][0].notes == [[test["violin"][0].notes[0][0]]]
    assert test["violin"][0].notes[0][0].pitch == 69


def test_twins_are_moved_in_sound_and_score(urmp, tmp_path):
    list(convert_urmp(urmp, tmp_path / "parts", "train"))
    (part,) = load_parts(tmp_path / "parts" / "train")["flute"]
    assert part.samples.shape == (3, 3 * SAMPLE_RATE)
    for row, notes in zip(part.samples, part.notes, strict=True):
        hz = 440.0 * 2 ** ((notes[0].pitch - 69) / 12)
        assert abs(peak_hz(row.astype(float)) - hz) < 0.01 * hz
    assert len({notes[0].pitch for notes in part.notes}) == 3


def test_parts_that_are_there_are_kept(urmp, tmp_path):
    list(convert_urmp(urmp, tmp_path / "parts", "test"))
    stored = tmp_path / "parts" / "test" / "double-bass" / "04_Allegro-2.npy"
    before = stored.stat().st_mtime_ns
    list(convert_urmp(urmp, tmp_path / "parts", "test"))
    assert stored.stat().st_mtime_ns == before


def test_what_is_missing_or_wrong_is_named(urmp, tmp_path):
    with pytest.raises(SetupError, match="no pieces in"):
        list(convert_urmp(tmp_path / "nowhere", tmp_path / "parts", "test"))
    notes = urmp / PIECES[0] / "Notes_2_vc_01_Jupiter.txt"
    notes.write_text("0.5 high\n")
    with pytest.raises(AudioError, match="onset, frequency and duration"):
        list(convert_urmp(urmp, tmp_path / "parts", "test"))
    notes.unlink()
    with pytest.raises(AudioError, match="Notes_2_vc_01_Jupiter"):
        list(convert_urmp(urmp, tmp_path / "parts", "test"))
    track = urmp / PIECES[0] / "AuSep_1_vn_01_Jupiter.wav"
    with AudioFile(str(track), "w", 8_000, 1) as file:
        file.write(np.zeros(8000, np.float32))
    with pytest.raises(AudioError, match="8000 Hz"):
        list(convert_urmp(urmp, tmp_path / "other", "test"))
