"""Put a score on a recording's time: dynamic time warping, then a closer look at onsets.

What the paper leaves as future work (section 4, with its [25]: Müller, Fundamentals of
Music Processing, 2015, chapter 3).  Both sides are reduced to the levels and the onsets
of 84 semitones; the path through their distances is `librosa.sequence.dtw`'s.  It is good
to 0.1 s; a second look compares the onsets of a few seconds at a time.
"""

from dataclasses import dataclass
from pathlib import Path

import librosa
import numpy as np
import numpy.typing as npt
import pretty_midi
from scipy.ndimage import median_filter

from rtsep.errors import AudioError

RATE = 22_050
LOWEST, SEMITONES = 21, 84
HARMONICS = 6
LEVEL_HOP = 512
MAX_COLUMNS = 6_000
ONSET_WEIGHT = 0.5
# A path takes at most two columns of the one for a column of the other, and pays for each
# column that it skips: repeated notes would otherwise lead it astray.
STEPS = np.array([[1, 1], [1, 2], [2, 1]])
STEP_FACTORS = np.array([1.0, 1.5, 1.5])
STEP_COSTS = np.array([0.0, 0.2, 0.2])
# How much more of a score is in its recording than of the same score in the best other key:
# 0.08 to 0.31 for rendered songs and their own scores, 0.03 and less for others' scores.
LEAST_MATCH = 0.05
OTHER_KEYS = (-5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6)
MATCH_S = 0.5
FINE_HOP = 256
FINE_S = FINE_HOP / RATE
FINE_BANDS, BAND_SEMITONES = 24, 3.5
LAGS = 17  # fine columns to either side
WINDOW_S, WINDOW_STEP_S = 3.0, 0.5
# A score this close to its recording was made with it and is left as it is.
IN_TIME_S = 0.1

Floats = npt.NDArray[np.float64]
Features = tuple[Floats, Floats]  # levels and onsets, shape (SEMITONES, columns)


@dataclass(frozen=True)
class Alignment:
    """Where moments of a score lie in a recording.

    Attributes
    ----------
    score_s, audio_s : float arrays of the same length
        Seconds, both rising.
    match : float
        Mean level at the score's notes, less that at the same notes in the best of the
        other keys, over the mean in all other keys; 0 or less for other music.
    """

    score_s: Floats
    audio_s: Floats
    match: float

    def to_audio(self, seconds: float) -> float:
        """Where a moment of the score lies in the recording."""
        return float(np.interp(seconds, self.score_s, self.audio_s))


def load_score(path: Path) -> pretty_midi.PrettyMIDI:
    """Read a MIDI file with notes in it.

    Raises
    ------
    AudioError
        Missing, not MIDI, or empty.
    """
    try:
        midi = pretty_midi.PrettyMIDI(str(path))
    except FileNotFoundError:
        raise AudioError(f"no {path}", "a MIDI file") from None
    except (OSError, EOFError, ValueError, KeyError, IndexError) as error:
        reason = str(error) or "it ends early"
        raise AudioError(f"{path} is not MIDI ({reason})", "a MIDI file") from None
    if not any(instrument.notes for instrument in midi.instruments):
        raise AudioError(f"{path} has no notes", "the score of the recording")
    return midi


def align(
    audio: npt.NDArray[np.float32], sample_rate: int, midi: pretty_midi.PrettyMIDI
) -> Alignment:
    """Find where a score's moments lie in a recording.

    Parameters
    ----------
    audio : float32, shape (channels, frames)

    Raises
    ------
    AudioError
        The score is more than twice, or less than half, as long as the recording, has no
        pitched notes, or is of other music.
    """
    mono = librosa.resample(audio.mean(axis=0), orig_sr=sample_rate, target_sr=RATE)
    seconds, score_s = len(mono) / RATE, midi.get_end_time()
    if not 0.5 <= score_s / max(seconds, 1e-9) <= 2.0:
        raise AudioError(
            f"a score of {score_s:.0f} s for a recording of {seconds:.0f} s",
            "a score of the whole recording and nothing else",
            "cut the longer one",
        )
    notes = [n for i in midi.instruments if not i.is_drum for n in i.notes]
    if not notes:
        raise AudioError("a score of drums alone", "one with pitched notes to align by")
    hop = 1024
    while max(seconds, score_s) * RATE / hop > MAX_COLUMNS:
        hop *= 2
    levels = _levels(mono)
    path = _path(_written(notes, score_s, RATE / hop), _heard(levels, hop))
    columns = np.unique(path[:, 0])
    own = np.array([path[path[:, 0] == c, 1].mean() for c in columns])
    score_times, audio_times = columns * hop / RATE, own * hop / RATE
    moved = _refined(score_times, audio_times, mono, notes)
    match = _match(levels, score_times, moved, notes)
    if not match >= LEAST_MATCH:
        raise AudioError(
            f"the score and the recording do not match (by {match:.2f})",
            f"a match of {LEAST_MATCH} at least, where 0 is other music",
            "give the score of this recording, in its key",
        )
    if np.quantile(np.abs(moved - score_times), 0.9) < IN_TIME_S:
        moved = score_times
    return Alignment(score_times, moved, match)


def _match(
    levels: Floats, score_s: Floats, audio_s: Floats, notes: list[pretty_midi.Note]
) -> float:
    """`Alignment.match`, from the levels of `_levels`."""
    rows = []
    for note in notes:
        span = np.interp((note.start, min(note.end, note.start + MATCH_S)), score_s, audio_s)
        first, last = (int(t * RATE / LEVEL_HOP) for t in span)
        heard = levels[:, first : max(last, first + 1)]
        places = note.pitch - LOWEST + np.array((0, *OTHER_KEYS))
        if heard.size and 0 <= places[0] < SEMITONES:
            inside = (places >= 0) & (places < SEMITONES)
            found = heard.mean(axis=1)[places.clip(0, SEMITONES - 1)]
            rows.append(np.where(inside, found, np.nan))
    if not rows:
        return 0.0
    table = np.array(rows)
    # A key in which a note is out of range is compared by the other notes.
    more = [float(np.nanmean(table[:, 0] - other)) for other in table.T[1:]]
    return min(more) / (float(np.nanmean(table[:, 1:])) + 1e-9)


def _levels(mono: npt.NDArray[np.float32]) -> Floats:
    """Logarithmic levels of the semitones, a column every `LEVEL_HOP` samples."""
    first = librosa.midi_to_hz(LOWEST)
    bands = np.abs(
        librosa.cqt(mono, sr=RATE, hop_length=LEVEL_HOP, fmin=first, n_bins=SEMITONES, tuning=0.0)
    )
    levels: Floats = np.log1p(10.0 * bands / max(float(np.quantile(bands, 0.9)), 1e-6))
    return levels


def _heard(levels: Floats, hop: int) -> Features:
    """Levels and onsets of a recording, a column every `hop` samples."""
    onsets = np.diff(levels, axis=1, prepend=levels[:, :1]).clip(0.0)
    onsets = np.maximum(onsets, np.roll(onsets, 1, axis=1))
    group = hop // LEVEL_HOP
    count = levels.shape[1] // group
    shape = (SEMITONES, count, group)
    levels = levels[:, : count * group].reshape(shape).mean(axis=2)
    return _peaks(levels), _peaks(onsets[:, : count * group].reshape(shape).max(axis=2))


def _written(notes: list[pretty_midi.Note], seconds: float, columns_s: float) -> Features:
    """What a score should sound like, in the same terms."""
    count = int(seconds * columns_s) + 2
    levels, onsets = np.zeros((SEMITONES, count)), np.zeros((SEMITONES, count))
    for note in notes:
        first = int(note.start * columns_s)
        decay = np.exp(-np.arange(max(int(note.end * columns_s) - first, 1)) / columns_s)
        for harmonic in range(1, HARMONICS + 1):
            row = round(note.pitch + 12 * np.log2(harmonic)) - LOWEST
            if 0 <= row < SEMITONES:
                strength = note.velocity / 127 / harmonic**0.7
                span = levels[row, first : first + len(decay)]
                np.maximum(span, strength * decay[: len(span)], out=span)
                onsets[row, first] += strength
    return _peaks(np.log1p(10 * levels)), _peaks(np.log1p(10 * onsets))


def _peaks(rows: Floats) -> Floats:
    """What stands out of its column."""
    peaks: Floats = (rows - rows.mean(axis=0)).clip(0.0)
    return peaks


def _path(written: Features, heard: Features) -> npt.NDArray[np.int64]:
    """The cheapest path, rows of (score column, recording column)."""
    (levels, onsets), (own_levels, own_onsets) = _scaled(written), _scaled(heard)
    distance = 1.0 - levels.T @ own_levels
    size, own_size = (onsets**2).sum(axis=0), (own_onsets**2).sum(axis=0)
    apart = size[:, None] + own_size[None] - 2.0 * onsets.T @ own_onsets
    distance += ONSET_WEIGHT / 2 * apart.clip(0.0)
    _, path = librosa.sequence.dtw(
        C=distance,
        step_sizes_sigma=STEPS,
        weights_mul=STEP_FACTORS,
        weights_add=STEP_COSTS,
    )
    rising: npt.NDArray[np.int64] = path[::-1]
    return rising


def _scaled(features: Features) -> Features:
    """Levels as directions; onsets as directions no longer than one."""
    levels, onsets = features
    length = np.linalg.norm(onsets, axis=0)
    strength = (length / max(float(np.quantile(length, 0.95)), 1e-6)).clip(max=1.0)
    floor = levels + 1e-3
    return floor / np.linalg.norm(floor, axis=0), onsets * strength / (length + 1e-6)


def _refined(
    score_s: Floats,
    audio_s: Floats,
    mono: npt.NDArray[np.float32],
    notes: list[pretty_midi.Note],
) -> Floats:
    """Move each part of the path by the lag at which its onsets agree best."""
    heard = _fine_onsets(mono)
    count = heard.shape[1]
    written = np.zeros_like(heard)
    for note in notes:
        column = round(float(np.interp(note.start, score_s, audio_s)) / FINE_S)
        for harmonic in range(1, HARMONICS + 1):
            band = int((note.pitch + 12 * np.log2(harmonic) - LOWEST) / BAND_SEMITONES)
            if 0 <= band < FINE_BANDS and 0 <= column < count:
                written[band, column] += note.velocity / 127 / harmonic**0.5
    smooth = np.hanning(5)
    written = np.apply_along_axis(np.convolve, 1, written, smooth, "same")
    middles, lags = [], []
    half = round(WINDOW_S / 2 / FINE_S)
    for middle in range(half, count - half, round(WINDOW_STEP_S / FINE_S)):
        first, last = max(middle - half, LAGS), min(middle + half, count - LAGS)
        part = written[:, first:last]
        if last - first < half or not part.any():
            continue
        agreement = [
            float((part * heard[:, first + lag : last + lag]).sum())
            for lag in range(-LAGS, LAGS + 1)
        ]
        middles.append(middle * FINE_S)
        lags.append((int(np.argmax(agreement)) - LAGS) * FINE_S)
    if not middles:
        return audio_s
    shift = np.interp(audio_s, middles, median_filter(np.array(lags), 5, mode="nearest"))
    moved: Floats = np.maximum.accumulate((audio_s + shift).clip(0.0))
    return moved


def _fine_onsets(mono: npt.NDArray[np.float32]) -> Floats:
    """Rises of the level in `FINE_BANDS` bands, a column every `FINE_HOP` samples."""
    spectrum = np.abs(librosa.stft(mono, n_fft=1024, hop_length=FINE_HOP))
    pitch = librosa.hz_to_midi(librosa.fft_frequencies(sr=RATE, n_fft=1024).clip(1.0))
    band = np.floor((pitch - LOWEST) / BAND_SEMITONES)
    bands = (band == np.arange(FINE_BANDS)[:, None]).astype(np.float64)
    levels = np.log1p(20.0 * (bands @ spectrum))
    rises: Floats = np.diff(levels, axis=1, prepend=levels[:, :1]).clip(0.0)
    return rises
