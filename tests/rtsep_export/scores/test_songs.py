"""The songs of the paper's condition: instruments that rest."""

import numpy as np

from rtsep_export.scores.songs import (
    CLIP_S,
    INSTRUMENTS,
    PLAYS,
    SAMPLE_RATE,
    StoredSong,
    with_rests,
)

LENGTH = round(CLIP_S * SAMPLE_RATE)


def test_instruments_rest_for_whole_clips_in_sound_and_score():
    clips = 200
    stems = np.ones((len(INSTRUMENTS), clips * LENGTH), np.float32)
    notes = [(i, 40 + i, 0.5 + 3.0 * k, 3.4 + 3.0 * k) for i in range(3) for k in range(266)]
    rested, kept = with_rests("a song", stems, notes)
    blocks = rested.reshape(3, clips, LENGTH)
    plays = blocks[:, :, 0] > 0
    assert (blocks == plays[:, :, None]).all()
    assert plays.any(axis=0).all()
    # At least one plays, so each plays a little more often than its chance.
    chances = np.array([PLAYS[name] for name in INSTRUMENTS])
    assert (np.abs(plays.mean(axis=1) - chances) < 0.1).all()
    song = StoredSong("a song", (rested * 32767).astype(np.int16), kept)
    for clip in range(clips):
        sounding = {note[0] for note in song.clip_notes(clip)}
        assert sounding == set(np.flatnonzero(plays[:, clip]))
    # What sounds in a clip that is played is all there, cut at its edges alone.
    whole = StoredSong("a song", song.stems, notes)
    for clip in np.flatnonzero(plays.all(axis=0)):
        assert sorted(song.clip_notes(clip)) == sorted(whole.clip_notes(clip))


def test_rests_depend_on_the_name_alone():
    stems = np.ones((3, 12 * LENGTH), np.float32)
    first, again, other = (with_rests(name, stems, [])[0] for name in ("a", "a", "b"))
    assert (first == again).all()
    assert (first != other).any()
