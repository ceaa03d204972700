"""Rendering: real songs through FluidSynth, and refusals."""

import sys
from dataclasses import replace

import numpy as np
import pretty_midi
import pytest
from pedalboard.io import AudioFile

from rtsep.errors import SetupError
from rtsep_export.cli import main
from rtsep_export.collections import OPEN_COLLECTIONS, data_root, list_songs
from rtsep_export.dataset import PLANS, plan_songs
from rtsep_export.render import FONTS, TEST_FONTS, TRAIN_FONTS, check_tools, render_song, synthesise
from rtsep_export.rendered import read_notes
from rtsep_export.stems import STEMS
from tests.rtsep_export.reading import read_stems

FONT = TEST_FONTS[0]


def test_the_mix_is_the_sum_of_its_stems(rendered):
    folder, song = rendered
    stems = read_stems(folder / song.name)
    with AudioFile(str(folder / song.name / "mix.flac")) as file:
        mix = file.read(file.frames)
    assert stems.shape == (len(STEMS), 2, 4 * 48_000)
    assert np.abs(stems.sum(0) - mix).max() <= 1.01 / 32768
    assert np.abs(mix).max() > 0.05


def test_notes_sound_where_they_are_written(rendered):
    """Each stem with notes has sound, each without has none."""
    folder, song = rendered
    stems = read_stems(folder / song.name)
    with_notes = {note[0] for note in read_notes(folder / song.name)}
    for stem, audio in zip(STEMS, stems, strict=True):
        assert (np.abs(audio).max() > 1e-3) == (stem in with_notes)


def test_a_take_is_the_same_every_time(rendered, data_dir, tmp_path):
    folder, song = rendered
    render_song(data_dir, song, tmp_path, seconds=4.0, fonts=(FONT,))
    assert np.array_equal(read_stems(folder / song.name), read_stems(tmp_path / song.name))


@pytest.mark.parametrize("timbre", [-5, 5])
def test_another_timbre_keeps_pitch_and_time(timbre):
    check_tools((FONT,))
    part = pretty_midi.Instrument(0)
    part.notes = [pretty_midi.Note(90, 69, 0.5, 1.5)]
    font = FONTS[FONT][0]
    plain, moved = (synthesise([part], font, 2.0, timbre=t).mean(axis=0) for t in (0, timbre))
    for audio in (plain, moved):
        spectrum = np.abs(np.fft.rfft(audio[28_800:52_800] * np.hanning(24_000)))
        assert abs(spectrum.argmax() * 2.0 - 440.0) < 4.0
        assert np.abs(audio[:24_000]).max() < 1e-3 < np.abs(audio[24_000:25_000]).max()
    assert len(plain) == len(moved)
    assert np.abs(moved - plain).max() > 0.1 * np.abs(plain).max()


def test_splits_share_no_song_and_no_font(data_dir):
    names = {s: {x.name for x in plan_songs(data_dir, s, p)} for s, p in PLANS.items()}
    assert not names["train"] & names["test"]
    assert not names["train"] & names["valid"]
    assert not set(TRAIN_FONTS) & set(TEST_FONTS)
    assert {s.collection for s in list_songs(data_dir)} == set(OPEN_COLLECTIONS)


def test_a_wrong_data_folder_is_refused(tmp_path):
    with pytest.raises(SetupError, match=r"no midi/manifest\.csv"):
        data_root(tmp_path)


def test_command_line_refuses_in_one_line(tmp_path, monkeypatch, capsys):
    words = ["rtsep-export", "train", "separator", str(tmp_path), "-o", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    printed = capsys.readouterr().err.strip()
    assert "\n" not in printed
    assert "run rtsep-export render first" in printed


def test_a_plan_can_be_cut_short(data_dir):
    plan = replace(PLANS["train"], bands=3, pianos=0, others=0)
    assert len(plan_songs(data_dir, "train", plan)) == 3
