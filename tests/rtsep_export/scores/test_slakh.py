"""A small tree in Slakh2100's own layout."""

import numpy as np
import pretty_midi
import pytest
import yaml
from pedalboard.io import AudioFile

from rtsep.errors import AudioError, SetupError
from rtsep_export.scores.slakh import convert_slakh
from rtsep_export.scores.songs import load_songs

RATE = 44_100
SOURCES = {
    "S00": {"program_num": 0, "inst_class": "Piano", "is_drum": False, "audio_rendered": True},
    "S01": {"program_num": 33, "inst_class": "Bass", "is_drum": False, "audio_rendered": True},
    "S02": {"program_num": 30, "inst_class": "Guitar", "is_drum": False, "audio_rendered": True},
    "S03": {"program_num": 30, "inst_class": "Guitar", "is_drum": False, "audio_rendered": False},
    "S04": {"program_num": 0, "inst_class": "Drums", "is_drum": True, "audio_rendered": True},
    "S05": {"program_num": 4, "inst_class": "Piano", "is_drum": False, "audio_rendered": True},
    "S06": {"program_num": 1, "inst_class": "Piano", "is_drum": False, "audio_rendered": True},
}


def make_track(folder, *, rate=RATE, seconds=5.0):
    """Every source a tone of its own and one note."""
    (folder / "stems").mkdir(parents=True)
    (folder / "MIDI").mkdir()
    (folder / "metadata.yaml").write_text(yaml.safe_dump({"stems": SOURCES, "UUID": "x"}))
    t = np.arange(round(seconds * rate)) / rate
    for number, (name, source) in enumerate(SOURCES.items()):
        if not source["audio_rendered"]:
            continue
        wave = (0.1 * np.sin(2 * np.pi * (200 + 100 * number) * t)).astype(np.float32)
        with AudioFile(str(folder / "stems" / f"{name}.flac"), "w", rate, 1, bit_depth=16) as file:
            file.write(wave)
        midi = pretty_midi.PrettyMIDI()
        part = pretty_midi.Instrument(source["program_num"], is_drum=source["is_drum"])
        part.notes.append(pretty_midi.Note(100, 50 + number, 1.0, 2.0))
        midi.instruments.append(part)
        midi.write(str(folder / "MIDI" / f"{name}.mid"))
    return folder


def level_at(audio, hertz):
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio)))) * 4 / len(audio)
    return spectrum[round(hertz * len(audio) / 16_000)]


def test_a_split_becomes_songs_of_the_papers_instruments(tmp_path):
    make_track(tmp_path / "slakh" / "validation" / "Track01501")
    done = list(convert_slakh(tmp_path / "slakh", tmp_path / "songs", "valid"))
    assert done == [(1, 1, "Track01501")]
    (song,) = load_songs(tmp_path / "songs" / "valid")
    assert song.stems.shape == (3, 80_000)
    stems = song.stems / 32768
    for stem, own in zip(stems, ((300,), (400,), (200, 800)), strict=True):
        for hertz in (200, 300, 400, 600, 700, 800):
            assert level_at(stem, hertz) == pytest.approx(0.1 if hertz in own else 0.0, abs=0.01)
    assert sorted((i, pitch) for i, pitch, _, _ in song.notes) == [
        (0, 51),
        (1, 52),
        (2, 50),
        (2, 56),
    ]
    assert list(convert_slakh(tmp_path / "slakh", tmp_path / "songs", "valid"))  # kept as it is


def test_a_missing_stem_is_named(tmp_path):
    track = make_track(tmp_path / "train" / "Track00001")
    (track / "stems" / "S01.flac").unlink()
    with pytest.raises(AudioError, match=r"no stem .*S01"):
        list(convert_slakh(tmp_path, tmp_path / "songs", "train"))
    assert not (tmp_path / "songs" / "train").exists()


def test_a_rate_too_low_is_refused(tmp_path):
    make_track(tmp_path / "train" / "Track00001", rate=8_000)
    with pytest.raises(AudioError, match="8000 Hz"):
        list(convert_slakh(tmp_path, tmp_path / "songs", "train"))


@pytest.mark.parametrize("text", ["stems: 3", "- a\n- b", "stems: {S00: [", "UUID: x"])
def test_broken_metadata_is_refused(tmp_path, text):
    track = make_track(tmp_path / "train" / "Track00001")
    (track / "metadata.yaml").write_text(text)
    with pytest.raises(AudioError, match=r"metadata\.yaml"):
        list(convert_slakh(tmp_path, tmp_path / "songs", "train"))


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(SetupError, match="no tracks"):
        list(convert_slakh(tmp_path, tmp_path / "songs", "train"))
