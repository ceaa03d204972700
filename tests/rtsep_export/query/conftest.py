"""Parts and solos made of tones: every instrument another set of harmonics."""

import numpy as np
import pretty_midi
import pytest

from rtsep.rates import REFERENCE_RATE
from rtsep_export.query.networks import SAMPLE_RATE
from rtsep_export.query.parts import store_part
from rtsep_export.query.voices import Note, moved
from rtsep_export.render import write_flac

HARMONICS = {"violin": (1.0, 0.5, 0.3), "flute": (1.0,), "trumpet": (0.2, 0.3, 1.0, 0.6)}
SHIFTS = (0, -2, 3)


def tone(instrument, notes, seconds, sample_rate=SAMPLE_RATE):
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    audio = np.zeros(len(time), np.float32)
    for note in notes:
        sounding = (time >= note.onset) & (time < note.offset)
        hz = pretty_midi.note_number_to_hz(note.pitch)
        for number, level in enumerate(HARMONICS[instrument], 1):
            audio[sounding] += 0.1 * level * np.sin(2 * np.pi * number * hz * time[sounding])
    return audio


@pytest.fixture
def tone_parts(tmp_path):
    """Two parts each of three instruments, six seconds long, to train, validate and test."""
    rng = np.random.default_rng(0)
    for split in ("train", "valid", "test"):
        for instrument in HARMONICS:
            for name in ("000", "001"):
                pitches = rng.integers(55, 80, 12)
                notes = [Note(int(p), 0.5 * k, 0.5 * k + 0.4) for k, p in enumerate(pitches)]
                rows = [moved(notes, shift) for shift in SHIFTS]
                audio = np.stack([tone(instrument, row, 6.0) for row in rows])
                store_part(tmp_path / split / instrument, name, audio, rows, {})
    return tmp_path


@pytest.fixture
def tiny_solos(tiny_songs):
    """Beside the tiny songs two solos each of three instruments, four seconds long."""
    rng = np.random.default_rng(0)
    for split in ("train", "valid"):
        for instrument in HARMONICS:
            folder = tiny_songs / "solos" / split / instrument
            folder.mkdir(parents=True)
            for name in ("000", "001"):
                pitches = rng.integers(55, 80, 8)
                notes = [Note(int(p), 0.5 * k, 0.5 * k + 0.4) for k, p in enumerate(pitches)]
                audio = tone(instrument, notes, 4.0, REFERENCE_RATE)
                write_flac(folder / f"{name}.flac", np.stack([audio, 0.5 * audio]))
    return tiny_songs
