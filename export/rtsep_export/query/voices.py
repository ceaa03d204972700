"""Voices of the chamber collections, and who plays them: for the parts and the solos."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pretty_midi

from rtsep_export.collections import Song, list_songs, load_midi

CHAMBER = ("openscore-quartets", "music21-chamber", "mutopia-ensembles")
LEAST_NOTES = 20


@dataclass(frozen=True)
class Note:
    """MIDI pitch, onset and offset in seconds."""

    pitch: int
    onset: float
    offset: float


@dataclass(frozen=True)
class Instrument:
    """One of the paper's instruments.

    Attributes
    ----------
    program : int
        Of General MIDI, from 0.
    lowest, highest : int
        Range in MIDI pitches.
    seen : bool
        Whether training hears it.
    """

    program: int
    lowest: int
    highest: int
    seen: bool = True


INSTRUMENTS = {
    "violin": Instrument(40, 55, 98),
    "viola": Instrument(41, 48, 86),
    "cello": Instrument(42, 36, 76),
    "flute": Instrument(73, 60, 96),
    "clarinet": Instrument(71, 50, 91),
    "saxophone": Instrument(65, 49, 80),
    "trumpet": Instrument(56, 54, 84),
    "trombone": Instrument(57, 40, 72),
    "double-bass": Instrument(43, 28, 60, seen=False),
    "oboe": Instrument(68, 58, 91, seen=False),
    "bassoon": Instrument(70, 34, 72, seen=False),
    "horn": Instrument(60, 35, 77, seen=False),
    "tuba": Instrument(58, 28, 58, seen=False),
}


def monophonic(notes: Sequence[pretty_midi.Note]) -> list[Note]:
    """A voice: of what begins together the highest, each note until the next begins."""
    voice: list[Note] = []
    for note in sorted(notes, key=lambda n: (n.start, -n.pitch)):
        if voice and note.start - voice[-1].onset < 0.03:
            continue
        if voice and voice[-1].offset > note.start:
            voice[-1] = Note(voice[-1].pitch, voice[-1].onset, note.start)
        voice.append(Note(note.pitch, note.start, note.end))
    return [note for note in voice if note.offset - note.onset > 0.02]


def moved(notes: Sequence[Note], semitones: int) -> list[Note]:
    """The voice, higher or lower."""
    return [Note(note.pitch + semitones, note.onset, note.offset) for note in notes]


def into_range(notes: Sequence[Note], instrument: Instrument) -> list[Note] | None:
    """The voice an octave or more away where that fits; None where nothing does."""
    pitches = [note.pitch for note in notes]
    for octaves in (0, -1, 1, -2, 2):
        low, high = min(pitches) + 12 * octaves, max(pitches) + 12 * octaves
        if instrument.lowest <= low and high <= instrument.highest:
            return moved(notes, 12 * octaves)
    return None


def dealt(root: Path, split: str, counts: Mapping[str, int]) -> list[tuple[str, int, list[Song]]]:
    """The songs of a split, shuffled, dealt out to so many players of each instrument.

    Returns
    -------
    list of (instrument, number, songs)
        Of which the player takes the first that fits.
    """
    songs = [s for s in list_songs(root, CHAMBER) if s.split == split]
    songs = [songs[i] for i in np.random.default_rng(12).permutation(len(songs))]
    found = []
    for number, (name, count) in enumerate(counts.items()):
        order = songs[number * 7 % len(songs) :] + songs[: number * 7 % len(songs)]
        found += [(name, i, order[i::count]) for i in range(count)]
    return found


def first_voice(
    root: Path,
    songs: Sequence[Song],
    instrument: Instrument,
    seconds: float,
    rng: np.random.Generator,
) -> tuple[Song, list[Note]] | None:
    """Some seconds of the first voice of some songs that fits, and its song; else None."""
    for song in songs:
        with warnings.catch_warnings():
            # pretty_midi warns of tempo events outside the first track; harmless here.
            warnings.simplefilter("ignore")
            midi = load_midi(root, song)
        if (voice := _excerpt(midi, instrument, seconds, rng)) is not None:
            return song, voice
    return None


def _excerpt(
    midi: pretty_midi.PrettyMIDI,
    instrument: Instrument,
    seconds: float,
    rng: np.random.Generator,
) -> list[Note] | None:
    """Some seconds of a voice that fits an instrument, or None."""
    for index in rng.permutation(len(midi.instruments)):
        track = midi.instruments[int(index)]
        voice = [] if track.is_drum else monophonic(track.notes)
        if len(voice) < LEAST_NOTES:
            continue
        start = float(rng.uniform(0.0, max(voice[-1].offset - seconds, 0.0)))
        cut = [
            Note(n.pitch, n.onset - start, min(n.offset - start, seconds))
            for n in voice
            if start <= n.onset < start + seconds - 0.1
        ]
        if len(cut) >= LEAST_NOTES / 2 and (fitting := into_range(cut, instrument)) is not None:
            return fitting
    return None
