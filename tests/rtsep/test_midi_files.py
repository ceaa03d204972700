"""MIDI files: what a reader finds in them, and what is left when writing fails."""

import errno
from pathlib import Path

import mido
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsep.errors import OutputError
from rtsep.midi_files import TICKS_PER_SECOND, write_midi
from rtsep.note_events import Note
from rtsep.output_file import replacing, unwritable

STEMS = ("drums", "bass", "guitar", "piano")
NOTES = [
    Note("piano", 60, 80, 48_000, 72_000),
    Note("piano", 60, 90, 72_000, 96_000),
    Note("drums", 36, 127, 0, 2_400),
    Note("bass", 33, 1, 12_345, 4_812_345),
]


def read_notes(path, sample_rate=48_000):
    """(track name, pitch, velocity, onset in s, offset in s, channel) of every note."""
    file = mido.MidiFile(path, charset="utf-8")
    found = []
    for track in file.tracks[1:]:
        now, sounding = 0, {}
        for message in track:
            now += message.time
            if message.type == "note_on":
                assert message.note not in sounding
                sounding[message.note] = (message.velocity, now)
            elif message.type == "note_off":
                velocity, onset = sounding.pop(message.note)
                times = onset / TICKS_PER_SECOND, now / TICKS_PER_SECOND
                found.append((track.name, message.note, velocity, *times, message.channel))
        assert not sounding
    return found


@settings(deadline=None, max_examples=20)
@given(
    rate=st.sampled_from([44_100, 48_000, 88_200, 96_000]),
    gaps=st.lists(st.tuples(st.integers(0, 500_000), st.integers(100, 500_000)), max_size=30),
)
def test_times_are_exact_to_a_tick(tmp_path_factory, rate, gaps):
    notes, now = [], 0
    for gap, length in gaps:
        notes.append(Note("piano", 64, 77, now + gap, now + gap + length))
        now += gap + length
    path = tmp_path_factory.mktemp("midi") / "notes.mid"
    write_midi(path, notes, rate, STEMS)
    found = read_notes(path)
    assert len(found) == len(notes)
    half_a_tick = 0.5 / TICKS_PER_SECOND + 1e-9
    for note, (stem, pitch, velocity, onset, offset, _) in zip(notes, found, strict=True):
        assert (stem, pitch, velocity) == ("piano", 64, 77)
        assert onset == pytest.approx(note.onset / rate, abs=half_a_tick)
        assert offset == pytest.approx(note.offset / rate, abs=half_a_tick)


def test_real_seconds_are_kept_by_the_tempo_in_the_file(tmp_path):
    write_midi(tmp_path / "a.mid", NOTES, 48_000, STEMS)
    file = mido.MidiFile(tmp_path / "a.mid")
    assert file.length == pytest.approx(4_812_345 / 48_000, abs=1e-3)


def test_tracks_channels_and_programs(tmp_path):
    write_midi(tmp_path / "a.mid", NOTES, 48_000, STEMS)
    file = mido.MidiFile(tmp_path / "a.mid")
    assert file.type == 1
    assert [track.name for track in file.tracks[1:]] == list(STEMS)
    programs = {
        track.name: (message.channel, message.program)
        for track in file.tracks
        for message in track
        if message.type == "program_change"
    }
    assert programs == {"bass": (0, 33), "guitar": (1, 27), "piano": (2, 0)}
    assert {(name, channel) for name, *_, channel in read_notes(tmp_path / "a.mid")} == {
        ("drums", 9),
        ("bass", 0),
        ("piano", 2),
    }


def test_a_note_shorter_than_a_tick_lasts_one(tmp_path):
    write_midi(tmp_path / "a.mid", [Note("piano", 60, 80, 100, 101)], 48_000, STEMS)
    ((*_, onset, offset, _),) = read_notes(tmp_path / "a.mid")
    assert offset - onset == pytest.approx(1 / TICKS_PER_SECOND)


def test_fifteen_pitched_stems_and_no_more(tmp_path):
    names = [f"stem{i}" for i in range(15)]
    notes = [Note(name, 60, 80, 0, 48_000) for name in names]
    write_midi(tmp_path / "a.mid", notes, 48_000, [*names, "drums"])
    channels = {channel for *_, channel in read_notes(tmp_path / "a.mid")}
    assert channels == set(range(16)) - {9}
    with pytest.raises(ValueError, match="at most 15"):
        write_midi(tmp_path / "b.mid", notes, 48_000, [*names, "one-more"])
    with pytest.raises(ValueError, match="stem14"):
        write_midi(tmp_path / "b.mid", notes, 48_000, names[:14])
    assert not (tmp_path / "b.mid").exists()


def test_a_file_that_is_there_is_replaced_and_has_ordinary_rights(tmp_path):
    path = tmp_path / "a.mid"
    path.write_text("old")
    plain = tmp_path / "plain"
    plain.touch()
    write_midi(path, NOTES, 48_000, STEMS)
    assert len(read_notes(path)) == len(NOTES)
    assert path.stat().st_mode == plain.stat().st_mode
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mid", "plain"]


@pytest.mark.parametrize("where", ["missing/a.mid", "file/a.mid", "folder"])
def test_a_path_that_cannot_be_written_gets_one_line(tmp_path, where):
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="cannot be written") as caught:
        write_midi(tmp_path / where, NOTES, 48_000, STEMS)
    assert "\n" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_a_disk_that_fills_up_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.mid"
    path.write_text("old")

    def fill(self, target):
        Path(target).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(mido.MidiFile, "save", fill)
    with pytest.raises(OutputError, match="disk is full"):
        write_midi(path, NOTES, 48_000, STEMS)
    assert [p.name for p in tmp_path.iterdir()] == ["a.mid"]
    assert path.read_text() == "old"


def test_an_interrupt_leaves_nothing_behind(tmp_path):
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "a.mid"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_the_refusal_names_the_path_and_the_reason():
    error = unwritable(Path("x.mid"), PermissionError(errno.EACCES, "Permission denied"))
    assert "x.mid" in str(error)
    assert "permission denied" in str(error)
