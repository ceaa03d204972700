"""At which probabilities a transcriber's notes start and end: a search on validation songs.

The network runs once over every song, through the runtime's own front end and backend;
then the runtime's own tracker is tried at every combination of levels, stem by stem.
"""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import mir_eval
import numpy as np
import numpy.typing as npt
from pedalboard.io import AudioFile

from rtsep.bundle import Bundle, load_bundle
from rtsep.errors import SetupError
from rtsep.features import FeatureExtractor
from rtsep.manifest import Levels, Notes
from rtsep.networks import open_network
from rtsep.note_events import collect_notes
from rtsep.note_tracker import NoteTracker
from rtsep_export.rendered import read_notes
from rtsep_export.stems import DRUM_CLASS_OF_KEY
from rtsep_export.to_onnx import restate

Array = npt.NDArray[np.float32]

ONSETS = (0.04, 0.06, 0.08, 0.12, 0.16, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7)
FRAMES_ON = (0.05, 0.15, 0.25, 0.35, 0.5, 0.65)
FRAME_OFF_SHARE = 0.6
TOLERANCE_S = 0.05


def tune(path: Path, rendered: Path) -> Iterator[tuple[int, int, str, float]]:
    """Search the levels of every stem, and state the best in the bundle.

    Parameters
    ----------
    path : Path
        A transcriber's bundle, changed at the end.
    rendered : Path
        Rendered songs that training did not see, not those of the test split.

    Yields
    ------
    done, total, stem, f1
        After every stem.
    """
    bundle = load_bundle(path)
    folders = sorted(p.parent for p in rendered.glob("*/mix.flac"))
    if not folders:
        raise SetupError(f"no songs in {rendered}", "rendered songs", "run rtsep-export render")
    heard = [_probabilities(bundle, folder / "mix.flac") for folder in folders]
    truth = [read_notes(folder) for folder in folders]
    tuned, column = [], 0
    for done, part in enumerate(bundle.manifest.notes, 1):
        span = slice(column, column + len(part.pitches))
        column = span.stop
        reference = [_reference(notes, part) for notes in truth]
        grid = product(ONSETS, (0.0,) if part.drums else FRAMES_ON)
        best, best_f1 = part, -1.0
        for onset, frame_on in grid:
            levels = Levels(onset=onset, frame_on=frame_on, frame_off=FRAME_OFF_SHARE * frame_on)
            candidate = Notes(stem=part.stem, pitches=part.pitches, drums=part.drums, levels=levels)
            f1 = _score(bundle, candidate, [h[:, :, span] for h in heard], reference)
            if f1 > best_f1:
                best, best_f1 = candidate, f1
        tuned.append(best)
        yield done, len(bundle.manifest.notes), part.stem, best_f1
    restate(path, notes=tuple(tuned))


def _probabilities(bundle: Bundle, mix: Path) -> Array:
    """Onset, frame and velocity of every network frame, ``[frames, 3, n_notes]``."""
    manifest = bundle.manifest
    with AudioFile(str(mix)) as file:
        rate, audio = int(file.samplerate), file.read(file.frames)
    if rate != manifest.sample_rate:
        raise SetupError(f"{mix} at {rate} Hz", f"{manifest.sample_rate} Hz")
    front = FeatureExtractor(
        manifest.front_ends, sample_rate=rate, channels=audio.shape[0], hop=manifest.hop
    )
    network = open_network(bundle, device="cpu")
    row = np.zeros(front.n_features, np.float32)
    frames = []
    for start in range(0, audio.shape[1] - manifest.hop + 1, manifest.hop):
        front.process(np.ascontiguousarray(audio[:, start : start + manifest.hop]), row)
        for i in range(network.push(row)):
            frames.append([network.outputs[n][i].copy() for n in ("onset", "frame", "velocity")])
    return np.asarray(frames, np.float32)


def _reference(
    notes: list[tuple[str, int, float, float, int]], part: Notes
) -> list[tuple[float, int]]:
    """Onset in seconds and pitch of a stem's notes, drums by class."""
    mine = [(start, pitch) for stem, pitch, start, _, _ in notes if stem == part.stem]
    if part.drums:
        mine = [(start, DRUM_CLASS_OF_KEY.get(key, -1)) for start, key in mine]
    return [(start, pitch) for start, pitch in mine if pitch in part.pitches]


def _score(
    bundle: Bundle, part: Notes, heard: list[Array], reference: list[list[tuple[float, int]]]
) -> float:
    """F-measure of onsets with pitch, hits and misses summed over the songs."""
    manifest = bundle.manifest
    hits = found = true = 0
    for frames, wanted in zip(heard, reference, strict=True):
        tracker = NoteTracker(
            (part,),
            hop=manifest.hop,
            lookahead=manifest.lookahead,
            sample_rate=manifest.sample_rate,
        )
        columns = np.ascontiguousarray(frames)
        events = [event for frame in columns for event in tracker.push(*frame)]
        notes = collect_notes(events + tracker.flush(len(frames) * manifest.hop))
        estimated = [(note.onset / manifest.sample_rate, note.pitch) for note in notes]
        true, found = true + len(wanted), found + len(estimated)
        if wanted and estimated:
            hits += len(
                mir_eval.transcription.match_notes(
                    *_arrays(wanted), *_arrays(estimated), TOLERANCE_S, offset_ratio=None
                )
            )
    return 2 * hits / max(true + found, 1)


def _arrays(
    notes: list[tuple[float, int]],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Intervals and pitches in Hz as mir_eval wants them; offsets do not count."""
    onset = np.array([start for start, _ in notes])
    hz = 440.0 * 2 ** ((np.array([pitch for _, pitch in notes]) - 69) / 12)
    return np.stack([onset, onset + 0.1], axis=1), hz
