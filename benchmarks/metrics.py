"""The measures of `quality.py`, with their conventions.

SI-SDR
    Le Roux et al., "SDR: half-baked or well done?", ICASSP 2019, eq. 5.  Both channels
    are laid end to end and count as one signal, made zero-mean; one scale for both.
    Held within ±80 dB, so that one silent estimate does not make every mean infinite.
SDR
    BSSEval v4 as museval reports it: windows of one second without overlap, the median
    over the windows of a clip; a window in which any reference or any estimate is
    silent counts for no stem.  In the image version, which museval uses, the filters
    only share the error out between ISR, SIR and SAR: SDR is the plain ratio of the
    reference's power to the error's, so none need be computed.  The tests hold this
    against values that museval 0.4.1 and mir_eval gave.
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

Audio = npt.NDArray[np.float32]

SILENCE_DB = -60.0
LIMIT_DB = 80.0
SAME_STROKE_S = 0.02


def is_silent(audio: Audio) -> bool:
    """Whether a reference lies below `SILENCE_DB` (RMS, full scale) and is not scored."""
    return float(np.mean(np.square(audio, dtype=np.float64))) < 10 ** (SILENCE_DB / 10)


def si_sdr(reference: Audio, estimate: Audio) -> float:
    """Scale-invariant signal-to-distortion ratio in dB.

    Parameters
    ----------
    reference, estimate : float arrays of the same shape, (channels, frames)

    Returns
    -------
    float
        Within ±`LIMIT_DB`; the lower end for an estimate that holds nothing of the
        reference.
    """
    target = reference.astype(np.float64).ravel()
    heard = estimate.astype(np.float64).ravel()
    target -= target.mean()
    heard -= heard.mean()
    projection = target * (heard @ target / (target @ target))
    error = heard - projection
    power = float(projection @ projection)
    if power == 0.0:
        return -LIMIT_DB
    return float(np.clip(_ratio_db(power, float(error @ error)), -LIMIT_DB, LIMIT_DB))


def museval_sdr(references: Audio, estimates: Audio, sample_rate: int) -> npt.NDArray[np.float64]:
    """SDR of every stem as museval gives it, see the module's docstring.

    Parameters
    ----------
    references, estimates : float arrays, shape (stems, channels, frames)

    Returns
    -------
    float64 array, shape (stems,)
        In dB; NaN where no window counts.
    """
    n_stems, _, n = references.shape
    # The last window reaches its full second, or it is not taken, as in museval.
    n_windows = max(n // sample_rate, 1)
    scores = np.full((n_stems, n_windows), np.nan)
    for window in range(n_windows):
        part = slice(window * sample_rate, (window + 1) * sample_rate)
        true = references[..., part].astype(np.float64)
        heard = estimates[..., part].astype(np.float64)
        if _any_silent(true) or _any_silent(heard):
            continue
        error = heard - true
        for stem in range(n_stems):
            power, distortion = np.sum(true[stem] ** 2), np.sum(error[stem] ** 2)
            scores[stem, window] = _ratio_db(power, distortion)
    counted = ~np.isnan(scores).all(axis=1)
    medians = np.full(n_stems, np.nan)
    medians[counted] = np.nanmedian(scores[counted], axis=1)
    return medians


def _any_silent(sources: npt.NDArray[np.float64]) -> bool:
    return bool(np.any(np.all(sources.sum(axis=1) == 0.0, axis=-1)))


def _ratio_db(power: float, distortion: float) -> float:
    with np.errstate(divide="ignore"):
        return float(10 * (np.log10(power) - np.log10(distortion)))


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
