"""Whole files: the stem that a query names, what is left, its notes, a new score in it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from time import perf_counter

import numpy as np
import numpy.typing as npt

from rtsep.audio_files import AudioReader, AudioWriter, Format
from rtsep.midi_files import write_midi
from rtsep.note_events import Note
from rtsep.output_folder import OutputFolder
from rtsep.query.examples import Query
from rtsep.query.live_model import AnyQueryModel
from rtsep.query.model import QueryModel, Stem
from rtsep.query.score import play_score

Floats = npt.NDArray[np.float32]
OnProgress = Callable[[int, int], None]

REST = "rest"
LEAST_NOTE_FRAMES = 4
RANGE_DB = 50.0


@dataclass(frozen=True)
class Score:
    """A MIDI file to be played, and the example's vector for what plays it.

    Attributes
    ----------
    notes : list of (pitch, onset, offset)
        From `rtsep.query.score.read_score`.
    player : QueryModel
        That plays it.
    vector : float32 [query]
        From its `score_embedder`.
    """

    path: Path
    notes: list[tuple[int, float, float]]
    player: QueryModel
    vector: Floats


@dataclass(frozen=True)
class Queried:
    """What became of one file.

    Attributes
    ----------
    folder : Path
    files : list of str
        Written to it.
    notes : list of Note
        In samples of the file.
    """

    folder: Path
    files: list[str]
    notes: list[Note]
    frames: int
    sample_rate: int
    wall_s: float
    remarks: list[str] = field(default_factory=list)

    @property
    def speed(self) -> float:
        """Seconds of audio done in a second."""
        return self.frames / self.sample_rate / max(self.wall_s, 1e-9)


def query_song(
    query: Query,
    source: Path,
    folder: Path,
    *,
    score: Score | None = None,
    file_format: Format = "wav",
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
) -> Queried:
    """Write ``<name>`` and ``rest``; of a model that hears notes, ``<folder>.mid`` too.

    Parameters
    ----------
    score : Score, optional
        Its notes become ``<name>-<score>``, in the stem's timbre.

    Raises
    ------
    RtsepError
        Something in it cannot be used; nothing is written.
    """
    started = perf_counter()
    with AudioReader(source) as reader, OutputFolder(folder, overwrite=overwrite) as out:
        mix = np.concatenate(list(reader.blocks()), axis=1)
        rate = reader.sample_rate
        remarks: list[str] = []
        name = query.name
        found = query.stem(mix, rate, on_progress)
        notes = notes_of(found, name, query.parts[0].model, rate)
        stem = found.audio
        files = {f"{name}.{file_format}": (stem, rate), f"{REST}.{file_format}": (mix - stem, rate)}
        if notes is not None:
            write_midi(out.path / f"{folder.name}.mid", notes, rate, [name], drums=())
        if score is not None:
            player = score.player
            heard, gain = player.heard(mix, rate)
            audio, octaves = play_score(player, heard, score.vector, score.notes, notes or [])
            played = audio[None] / np.float32(gain)
            files[f"{name}-{score.path.stem}.{file_format}"] = (played, player.sample_rate)
            if octaves:
                remarks.append(
                    f"{score.path.name} is moved by {octaves:+d} octaves, to the stem's range"
                )
        for file, (audio, file_rate) in files.items():
            writer = AudioWriter(out.path / file, file_rate, audio.shape[0], file_format)
            try:
                writer.write(audio)
                writer.close()
            finally:
                writer.abandon()
        written = sorted(path.name for path in out.path.iterdir())
    wall_s = perf_counter() - started
    return Queried(folder, written, notes or [], mix.shape[1], rate, wall_s, remarks)


def notes_of(stem: Stem, name: str, model: AnyQueryModel, rate: int) -> list[Note] | None:
    """Runs of frames in which one pitch sounds, as notes in samples at `rate`.

    None where the model hears no notes.
    """
    if stem.logits is None or stem.magnitude is None:
        return None
    classes = stem.logits.argmax(1)
    pitches = model.manifest.notes[0].pitches
    level = np.sqrt((stem.magnitude**2).sum(1))
    reference = max(float(level.max()), 1e-9)
    frame = rate * model.manifest.hop / model.manifest.sample_rate
    edges = [0, *(np.flatnonzero(np.diff(classes)) + 1).tolist(), len(classes)]
    notes = []
    for start, stop in pairwise(edges):
        if classes[start] < len(pitches) and stop - start >= LEAST_NOTE_FRAMES:
            loudness_db = 20 * np.log10(max(float(level[start:stop].max()) / reference, 1e-6))
            velocity = int(np.clip(127 * (1 + loudness_db / RANGE_DB), 1, 127))
            onset, offset = round(start * frame), round(stop * frame)
            notes.append(Note(name, pitches[int(classes[start])], velocity, onset, offset))
    return notes
