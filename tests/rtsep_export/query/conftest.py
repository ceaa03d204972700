"""Parts made of tones: every instrument another set of harmonics."""

import numpy as np
import pretty_midi
import pytest

from rtsep_export.query.networks import SAMPLE_RATE
from rtsep_export.query.parts import Note, moved, store_part

HARMONICS = {"violin": (1.0, 0.5, 0.3), "flute": (1.0,), "trumpet": (0.2, 0.3, 1.0, 0.6)}
SHIFTS = (0, -2, 3)


def tone(instrument, notes, seconds):
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
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
