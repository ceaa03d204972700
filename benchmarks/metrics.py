"""Measures of notes for `quality.py`, with their conventions.

Note F1
    mir_eval's matching: an onset within the tolerance and a pitch within 50 cents,
    offsets ignored.  Counts are summed over the clips before precision, recall and F1
    are taken, so that a clip without notes of a stem weighs nothing.
Drum F1
    Onsets of any drum within the tolerance.  Strokes of one stem less than 20 ms apart
    count once, in reference and estimate.
"""

from dataclasses import dataclass

import mir_eval
import numpy as np
import numpy.typing as npt

SAME_STROKE_S = 0.02


@dataclass
class Counts:
    """How many notes matched, of how many in the reference and in the estimate."""

    matched: int = 0
    reference: int = 0
    estimated: int = 0

    def __iadd__(self, other: "Counts") -> "Counts":
        self.matched += other.matched
        self.reference += other.reference
        self.estimated += other.estimated
        return self

    @property
    def precision(self) -> float:
        """Share of the estimated notes that are right; NaN without any."""
        return self.matched / self.estimated if self.estimated else float("nan")

    @property
    def recall(self) -> float:
        """Share of the reference's notes that were found; NaN without any."""
        return self.matched / self.reference if self.reference else float("nan")

    @property
    def f1(self) -> float:
        """Harmonic mean of both; NaN where there is nothing to find or to be found."""
        total = self.reference + self.estimated
        return 2 * self.matched / total if total else float("nan")


@dataclass(frozen=True)
class TimedNote:
    """A note of a reference or an estimate, in seconds from the start of the clip."""

    stem: str
    pitch: int
    onset_s: float
    offset_s: float


def note_counts(
    reference: list[TimedNote], estimated: list[TimedNote], tolerance_s: float
) -> Counts:
    """Match notes by onset and pitch."""
    counts = Counts(0, len(reference), len(estimated))
    if reference and estimated:
        matching = mir_eval.transcription.match_notes(
            *_intervals_and_pitches(reference),
            *_intervals_and_pitches(estimated),
            onset_tolerance=tolerance_s,
            pitch_tolerance=50.0,
            offset_ratio=None,
        )
        counts.matched = len(matching)
    return counts


def onset_counts(
    reference: list[TimedNote], estimated: list[TimedNote], tolerance_s: float
) -> Counts:
    """Match strokes by onset alone."""
    true, heard = _strokes(reference), _strokes(estimated)
    counts = Counts(0, true.size, heard.size)
    if true.size and heard.size:
        counts.matched = len(mir_eval.util.match_events(true, heard, tolerance_s))
    return counts


def pooled(notes: list[TimedNote], tolerance_s: float = 0.05) -> list[TimedNote]:
    """Notes as one part: the same pitch struck again within `tolerance_s` counts once.

    For several stems taken together, and for the doubled tracks of one stem, which no
    listener could count apart.
    """
    kept: list[TimedNote] = []
    last: dict[int, float] = {}
    for note in sorted(notes, key=lambda note: note.onset_s):
        if note.onset_s - last.get(note.pitch, -np.inf) >= tolerance_s:
            kept.append(note)
            last[note.pitch] = note.onset_s
    return kept


def _intervals_and_pitches(
    notes: list[TimedNote],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    # mir_eval refuses empty intervals; offsets are ignored anyway.
    intervals = [[note.onset_s, max(note.offset_s, note.onset_s + 0.001)] for note in notes]
    pitches = mir_eval.util.midi_to_hz(np.asarray([note.pitch for note in notes], np.float64))
    return np.asarray(intervals), pitches


def _strokes(notes: list[TimedNote]) -> npt.NDArray[np.float64]:
    onsets: list[float] = []
    for onset in sorted(note.onset_s for note in notes):
        if not onsets or onset - onsets[-1] >= SAME_STROKE_S:
            onsets.append(onset)
    return np.asarray(onsets)
