"""A score finds its recording's time, and other music is refused."""

import numpy as np
import pretty_midi
import pytest
from pedalboard.io import AudioFile

from rtsep.errors import AudioError
from rtsep_export import alignment


def read(song):
    with AudioFile(str(song / "mix.flac")) as file:
        return file.read(file.frames), int(file.samplerate)


def onsets(midi):
    return np.array([n.start for i in midi.instruments for n in i.notes])


def stretched(song, seed):
    """The song's score, its tempo changed by up to a quarter every few seconds."""
    midi = alignment.load_score(song / "notes.mid")
    before = np.linspace(0.0, midi.get_end_time(), 6)
    factors = np.random.default_rng(seed).uniform(0.8, 1.25, 5)
    after = np.concatenate(([0.0], np.cumsum(factors * np.diff(before))))
    for instrument in midi.instruments:
        for note in instrument.notes:
            note.start, note.end = np.interp((note.start, note.end), before, after)
    return midi


def test_a_score_in_another_tempo_is_put_in_time(long_songs):
    errors = []
    for seed, song in enumerate(long_songs):
        truth = onsets(alignment.load_score(song / "notes.mid"))
        midi = stretched(song, seed)
        assert np.quantile(np.abs(onsets(midi) - truth), 0.9) > 0.3
        found = alignment.align(*read(song), midi)
        errors.append(np.abs([found.to_audio(s) for s in onsets(midi)] - truth))
        assert (np.diff(found.audio_s) >= 0).all()
    assert np.median(np.concatenate(errors)) < 0.06
    assert np.quantile(np.concatenate(errors), 0.9) < 0.25


def test_a_score_in_time_is_left_as_it_is(long_songs):
    kept = 0
    for song in long_songs:
        found = alignment.align(*read(song), alignment.load_score(song / "notes.mid"))
        assert found.match > alignment.LEAST_MATCH
        kept += found.audio_s is found.score_s
    # A riff of one note repeated leaves it to chance where the path runs.
    assert kept >= len(long_songs) - 1


def test_other_music_and_another_key_are_refused(long_songs):
    audio, rate = read(long_songs[0])
    other = alignment.load_score(long_songs[1] / "notes.mid")
    with pytest.raises(AudioError, match="do not match"):
        alignment.align(audio, rate, other)
    higher = alignment.load_score(long_songs[0] / "notes.mid")
    for instrument in higher.instruments:
        for note in instrument.notes:
            note.pitch = min(note.pitch + 1, 127)
    with pytest.raises(AudioError, match="do not match"):
        alignment.align(audio, rate, higher)


def score(*notes, drums=False):
    midi = pretty_midi.PrettyMIDI()
    part = pretty_midi.Instrument(0, is_drum=drums)
    part.notes = [pretty_midi.Note(90, *note) for note in notes]
    midi.instruments.append(part)
    return midi


@pytest.mark.parametrize(
    ("midi", "text"),
    [
        (score((60, 0.0, 30.0)), "a score of 30 s for a recording of 10 s"),
        (score((60, 0.0, 2.0)), "a score of 2 s for a recording of 10 s"),
        (score((36, 0.0, 9.0), drums=True), "drums alone"),
        (score((60, 0.0, 9.0)), "do not match"),
    ],
)
def test_scores_that_cannot_be_used(midi, text):
    noise = np.random.default_rng(0).normal(0, 0.1, (2, 480_000)).astype(np.float32)
    with pytest.raises(AudioError, match=text):
        alignment.align(noise, 48_000, midi)


def test_silence_matches_nothing():
    with pytest.raises(AudioError, match="do not match"):
        alignment.align(np.zeros((1, 480_000), np.float32), 48_000, score((60, 0.0, 9.0)))


def test_files_that_are_no_scores(tmp_path):
    with pytest.raises(AudioError, match=r"no .*missing"):
        alignment.load_score(tmp_path / "missing.mid")
    (tmp_path / "text.mid").write_text("la la la")
    with pytest.raises(AudioError, match=r"is not MIDI \(.+\)"):
        alignment.load_score(tmp_path / "text.mid")
    pretty_midi.PrettyMIDI().write(str(tmp_path / "empty.mid"))
    with pytest.raises(AudioError, match="has no notes"):
        alignment.load_score(tmp_path / "empty.mid")
