"""The parts: one voice, in range, and sounding as written."""

from dataclasses import replace

import librosa
import numpy as np
import pretty_midi
import pytest

from rtsep.errors import SetupError
from rtsep_export.collections import list_songs
from rtsep_export.query import parts
from rtsep_export.query.networks import HOP, LOWEST_NOTE, SAMPLE_RATE, SILENCE
from rtsep_export.query.parts import PLANS, labels
from rtsep_export.query.voices import CHAMBER, INSTRUMENTS, Note, into_range, monophonic


def midi(*notes):
    return [pretty_midi.Note(80, pitch, start, end) for pitch, start, end in notes]


def test_a_voice_is_the_highest_note_until_the_next():
    chords = midi((60, 0.0, 1.0), (64, 0.01, 2.0), (67, 0.0, 1.0), (62, 0.5, 0.9), (70, 0.9, 0.91))
    assert monophonic(chords) == [Note(67, 0.0, 0.5), Note(62, 0.5, 0.9)]
    assert monophonic([]) == []


def test_a_voice_moves_by_octaves_until_an_instrument_can_play_it():
    voice = [Note(40, 0.0, 1.0), Note(52, 1.0, 2.0)]
    assert into_range(voice, INSTRUMENTS["cello"]) == voice
    assert [n.pitch for n in into_range(voice, INSTRUMENTS["flute"])] == [64, 76]
    assert into_range([Note(30, 0, 1), Note(90, 1, 2)], INSTRUMENTS["violin"]) is None


def test_the_papers_instruments():
    seen = {name for name, instrument in INSTRUMENTS.items() if instrument.seen}
    assert seen == {
        *("violin", "viola", "cello", "flute"),
        *("clarinet", "saxophone", "trumpet", "trombone"),
    }
    assert len(INSTRUMENTS) == 13


def test_labels_hold_the_note_of_each_frame():
    found = labels([Note(60, 1.0, 1.5), Note(20, 1.5, 1.7)], 0.9, 100)
    expected = np.full(100, SILENCE)
    expected[10:60] = 60 - LOWEST_NOTE
    assert (found == expected).all()


@pytest.fixture(scope="module")
def rendered(data_dir, test_font, tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    plan = replace(PLANS["train"], parts=1, seconds=8.0, fonts=(test_font,), timbre=0)
    for split in ("train", "test"):
        plan = replace(plan, unseen=PLANS[split].unseen)
        last = list(parts.render_parts(data_dir, folder, split, plan))[-1]
        assert last[0] == last[1] == (13 if plan.unseen else 8)
    return folder, plan


def test_training_hears_the_seen_instruments_and_the_test_all(rendered):
    folder, _ = rendered
    train, test = (parts.load_parts(folder / split) for split in ("train", "test"))
    assert set(train) == {name for name, i in INSTRUMENTS.items() if i.seen}
    assert set(test) == set(INSTRUMENTS)


@pytest.mark.parametrize("instrument", ["flute", "trombone"])
def test_a_part_and_its_twins_sound_as_written(rendered, instrument):
    folder, _ = rendered
    (part,) = parts.load_parts(folder / "test")[instrument]
    assert part.samples.shape == (3, 8 * SAMPLE_RATE)
    for samples, notes in zip(part.samples, part.notes, strict=True):
        hz, voiced, _ = librosa.pyin(
            samples / 32768.0,
            fmin=50.0,
            fmax=2100.0,
            sr=SAMPLE_RATE,
            frame_length=2048,
            hop_length=HOP,
        )
        written = labels(notes, 0.0, len(hz)) + LOWEST_NOTE
        heard = voiced & (written < SILENCE + LOWEST_NOTE)
        assert heard.mean() > 0.3
        off = np.abs(pretty_midi.hz_to_note_number(hz[heard]) - written[heard])
        assert np.mean(off < 0.5) > 0.85
    shifts = {row[0].pitch - part.notes[0][0].pitch for row in part.notes[1:]}
    assert len(shifts) == 2
    assert all(0 < abs(shift) <= 4 for shift in shifts)


@pytest.mark.filterwarnings("ignore:Tempo, Key")
def test_parts_are_kept_and_the_same_every_time(rendered, data_dir, tmp_path):
    _, plan = rendered
    songs = [s for s in list_songs(data_dir, CHAMBER) if s.split == "test"]
    found = []
    for place in ("one", "other"):
        folder = tmp_path / place / "tuba"
        assert parts.render_part(data_dir, songs, "tuba", "000", folder, plan)
        assert not parts.render_part(data_dir, songs, "tuba", "000", folder, plan)
        found += parts.load_parts(tmp_path / place)["tuba"]
    assert np.array_equal(found[0].samples, found[1].samples)
    assert found[0].notes == found[1].notes


def test_folders_without_parts_and_damaged_parts_are_named(tone_parts):
    with pytest.raises(SetupError, match="no parts in"):
        parts.load_parts(tone_parts / "none")
    damaged = tone_parts / "train" / "flute" / "000.npy"
    np.save(damaged, np.zeros((2, 100), np.int16))
    with pytest.raises(SetupError, match=r"000\.npy: int16 \(2, 100\)"):
        parts.load_parts(tone_parts / "train")
    damaged.write_bytes(b"no array")
    with pytest.raises(SetupError, match=r"000\.npy"):
        parts.load_parts(tone_parts / "train")
