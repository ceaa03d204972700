from pathlib import Path

import numpy as np
import pytest

from benchmarks.clips import Clip, read_notes, real_clips, rendered_clip, song_folders
from rtsep.errors import AudioError
from tests.benchmarks import songs


def test_songs_are_spread_over_the_split(tmp_path: Path) -> None:
    for number in range(6):
        songs.write_song(tmp_path / "test" / f"song{number}")
    found = song_folders(tmp_path, "test", 3)
    assert [folder.name for folder in found] == ["song0", "song2", "song4"]
    assert len(song_folders(tmp_path, "test", 100)) == 6


def test_a_split_without_songs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="rtsep-export render"):
        song_folders(tmp_path, "test", 3)


def test_a_rendered_clip_is_cut_and_leaves_silent_stems_out(tmp_path: Path) -> None:
    songs.write_song(tmp_path / "song")
    clip = rendered_clip(tmp_path / "song", 1.2)
    assert set(clip.stems) == {"drums", "bass", "piano"}
    assert clip.silent == 2
    assert clip.seconds == pytest.approx(1.2)
    np.testing.assert_allclose(sum(clip.stems.values()), clip.mix, atol=1e-4)
    assert sorted(n.onset_s for n in clip.notes if n.stem == "bass") == [0.0, 0.5, 1.0]


def test_notes_are_named_after_their_tracks_and_timed_by_the_tempo(tmp_path: Path) -> None:
    songs.write_song(tmp_path / "song")
    notes = [note for note in read_notes(tmp_path / "song" / "notes.mid") if note.stem == "piano"]
    assert [note.onset_s for note in notes] == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0])
    assert notes[1].offset_s == pytest.approx(1.0)
    assert {note.pitch for note in notes} == {81}


def test_recordings_map_to_our_stems(tmp_path: Path) -> None:
    songs.write_recordings(tmp_path)
    found = list(real_clips(tmp_path))
    clip, reason = found
    assert isinstance(clip, Clip)
    assert clip.sample_rate == 48_000
    # Bass is itself, vocals are other; bass and drums in one file are neither.
    assert set(clip.stems) == {"bass", "other"}
    assert clip.mix.shape[0] == 2
    assert clip.seconds == pytest.approx(songs.SECONDS, abs=0.01)
    assert isinstance(reason, str)
    assert reason.startswith("trio: none of drums")
