"""A new score in the timbre of a stem (section 3.3 of the query paper)."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from mido import MidiFile

from rtsep.errors import AudioError, BundleError
from rtsep.note_events import Note
from rtsep.query.model import QueryModel
from rtsep.query.spectra import invert

Floats = npt.NDArray[np.float32]

ITERATIONS, MOMENTUM = 60, 0.99


def read_score(path: Path) -> list[tuple[int, float, float]]:
    """Pitch, onset and offset in seconds of a MIDI file's notes, drums left out.

    Raises
    ------
    AudioError
        No MIDI file, or one without notes.
    """
    try:
        file = MidiFile(str(path))
        now, notes = 0.0, []
        sounding: dict[tuple[int, int], float] = {}
        for message in file:
            now += message.time
            if message.type not in ("note_on", "note_off") or message.channel == 9:
                continue
            begun = sounding.pop((message.channel, message.note), None)
            if begun is not None and now > begun:
                notes.append((int(message.note), begun, now))
            if message.type == "note_on" and message.velocity:
                sounding[message.channel, message.note] = now
    except (OSError, EOFError, ValueError, KeyError, IndexError, TypeError) as error:
        reason = str(error) or "it ends early"
        raise AudioError(f"{path} is no score ({reason})", "a MIDI file") from None
    if not notes:
        raise AudioError(f"{path} holds no notes", "a melody for one instrument")
    return sorted(notes, key=lambda note: (note[1], note[0]))


def play_score(
    model: QueryModel,
    heard: Floats,
    vector: Floats,
    score: list[tuple[int, float, float]],
    notes: list[Note],
) -> tuple[Floats, int]:
    """Audio at the model's rate of a score, and by how many octaves it was moved.

    The octaves are those that bring its middle closest to the middle of the stem's own
    notes; where two notes sound at once the higher one does.

    Raises
    ------
    AudioError
        A pitch that the model cannot play.
    BundleError
        The model plays no scores.
    """
    if not model.manifest.notes:
        raise BundleError(f"bundle {model.name} hears no notes", "one that does")
    pitches = model.manifest.notes[0].pitches
    octaves = 0
    if notes:
        middle = np.median([note.pitch for note in notes])
        octaves = round(float(middle - np.median([pitch for pitch, _, _ in score])) / 12)
    outside = [p for p, _, _ in score if p + 12 * octaves not in pitches]
    if outside:
        raise AudioError(
            f"a score with note {outside[0]}, moved by {octaves} octaves",
            f"notes from {pitches[0]} to {pitches[-1]}",
            "transpose it",
        )
    frame_s = model.manifest.hop / model.sample_rate
    frames = int(np.ceil(max(off for _, _, off in score) / frame_s)) + 10
    roll = np.zeros((frames, len(pitches) + 1), np.float32)
    roll[:, -1] = 1.0
    for pitch, on, off in score:
        part = slice(round(on / frame_s), max(round(off / frame_s), round(on / frame_s) + 1))
        roll[part] = 0.0
        roll[part, pitches.index(pitch + 12 * octaves)] = 1.0
    timbre = np.resize(heard, (frames, heard.shape[1]))
    magnitude = model.synthesise(timbre, roll, vector)
    return invert(magnitude, model.n_fft, model.manifest.hop, ITERATIONS, MOMENTUM), octaves
