"""The data set: monophonic parts of thirteen instruments, one at a time, at 16 kHz.

The paper takes its parts from URMP (section 4.1): eight instruments to learn from, five
more that only the test hears.  Here they are voices of the chamber collections, each
played by any instrument whose range it fits, as flutes, horns or tubas are rare there;
test parts sound in a font that training never hears.  Every part is stored as it is and
moved in pitch, with its notes: the twins of equation 17.
"""

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pretty_midi

from rtsep.errors import SetupError
from rtsep.output_file import replacing
from rtsep_export.collections import Song
from rtsep_export.dataset import at_work
from rtsep_export.query.networks import HOP, LOWEST_NOTE, NOTES, SAMPLE_RATE, SILENCE
from rtsep_export.query.voices import INSTRUMENTS, Note, dealt, first_voice, moved
from rtsep_export.render import (
    FONTS,
    TEST_FONTS,
    TRAIN_FONTS,
    active_rms,
    check_tools,
    synthesise,
)

LEVEL_DB, LEVEL_SPREAD_DB = -24.0, 2.5
LARGEST_SHIFT = 4  # semitones
# Of the samples under the notes while training, as of `rtsep_export.render.synthesise`.
TIMBRE = 3

Samples = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Plan:
    """How many parts of each instrument, and how long.

    Attributes
    ----------
    shifts : int
        Copies of a part that are moved in pitch.
    """

    parts: int
    seconds: float
    fonts: tuple[str, ...]
    unseen: bool
    shifts: int = 0
    timbre: int = 0


PLANS = {
    "train": Plan(60, 30.0, TRAIN_FONTS, unseen=False, shifts=2, timbre=TIMBRE),
    "valid": Plan(6, 16.0, TRAIN_FONTS, unseen=False),
    "test": Plan(10, 16.0, TEST_FONTS, unseen=True),
}


@dataclass(frozen=True)
class Part:
    """A stored part.

    Attributes
    ----------
    samples : int16 array, shape (1 + shifts, frames)
        As it is, then moved in pitch.
    notes : list of list of Note
        Of each row, in time, never two at once.
    """

    name: str
    instrument: str
    samples: Samples
    notes: list[list[Note]]


def draw_shifts(count: int, rng: np.random.Generator) -> list[int]:
    """By how many semitones the twins of a part are moved, none of them by nothing."""
    choices = [s for s in range(-LARGEST_SHIFT, LARGEST_SHIFT + 1) if s]
    return [int(s) for s in rng.choice(choices, count, replace=False)]


def render_parts(
    root: Path, folder: Path, split: str, plan: Plan, *, workers: int = 1
) -> Iterator[tuple[int, int, str]]:
    """Render a split into ``folder/<split>/<instrument>``; parts already there are kept.

    Yields
    ------
    done, total, name
        After every part, in the order they finish.
    """
    check_tools(plan.fonts)
    counts = {
        name: plan.parts if instrument.seen or plan.unseen else 0
        for name, instrument in INSTRUMENTS.items()
    }
    jobs = [
        (root, songs, name, number, folder / split / name, plan)
        for name, number, songs in dealt(root, split, counts)
    ]
    yield from at_work(_job, jobs, workers)


def _job(job: tuple[Path, list[Song], str, int, Path, Plan]) -> str:
    root, songs, instrument, number, folder, plan = job
    render_part(root, songs, instrument, f"{number:03}", folder, plan)
    return f"{instrument} {number}"


def render_part(
    root: Path, songs: Sequence[Song], instrument: str, name: str, folder: Path, plan: Plan
) -> bool:
    """Render the first voice of some songs that fits; False where it is there, or none fits."""
    if (folder / f"{name}.npy").exists():
        return False
    rng = np.random.default_rng([zlib.crc32(f"{instrument} {name}".encode()), 18])
    found = first_voice(root, songs, INSTRUMENTS[instrument], plan.seconds, rng)
    if found is None:
        return False
    song, voice = found
    font = plan.fonts[int(rng.integers(len(plan.fonts)))]
    timbre = int(rng.integers(-plan.timbre, plan.timbre + 1))
    shifts = draw_shifts(plan.shifts, rng)
    level_db = LEVEL_DB + float(rng.normal(0.0, LEVEL_SPREAD_DB))
    strengths = rng.integers(55, 115, len(voice))
    rows, notes = [], []
    for shift in (0, *shifts):
        twin = moved(voice, shift)
        track = pretty_midi.Instrument(INSTRUMENTS[instrument].program)
        track.notes = [
            pretty_midi.Note(int(s), n.pitch, n.onset, n.offset)
            for n, s in zip(twin, strengths, strict=True)
        ]
        audio = synthesise([track], FONTS[font][0], plan.seconds, SAMPLE_RATE, timbre).mean(0)
        gain = 10 ** (level_db / 20) / active_rms(audio[None], SAMPLE_RATE)
        rows.append(gain * audio)
        notes.append(twin)
    about: dict[str, object] = {
        "song": song.name,
        "licence": song.licence,
        "font": font,
        "shifts": shifts,
    }
    store_part(folder, name, np.stack(rows), notes, about)
    return True


def store_part(
    folder: Path,
    name: str,
    audio: npt.NDArray[np.float32],
    notes: Sequence[Sequence[Note]],
    about: Mapping[str, object],
) -> None:
    """Write a part; `audio` has shape (rows, frames) and is scaled down where it would clip."""
    folder.mkdir(parents=True, exist_ok=True)
    scale = min(1.0, 0.98 / max(float(np.abs(audio).max()), 1e-9))
    samples = np.round(audio * scale * 32768).clip(-32768, 32767).astype(np.int16)
    stated = {"notes": [[asdict(note) for note in row] for row in notes], **about}
    (folder / f"{name}.json").write_text(json.dumps(stated))
    # The array last: a part counts from when it is there.
    with replacing(folder / f"{name}.npy") as scratch:
        np.save(scratch, samples)


def load_parts(folder: Path) -> dict[str, list[Part]]:
    """The parts of a split by instrument, in the order of their names.

    Raises
    ------
    SetupError
        There is none, or one is damaged.
    """
    parts: dict[str, list[Part]] = {}
    for path in sorted(folder.glob("*/[!.]*.npy")):
        instrument = path.parent.name
        try:
            samples = np.load(path, mmap_mode="r")
            stated = json.loads(path.with_suffix(".json").read_text())["notes"]
            notes = [[Note(**note) for note in row] for row in stated]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SetupError(f"{path}: {error}", "a stored part", "delete it, run again") from None
        if samples.ndim != 2 or len(samples) != len(notes) or samples.dtype != np.int16:
            raise SetupError(f"{path}: {samples.dtype} {samples.shape}", "int16 (rows, frames)")
        parts.setdefault(instrument, []).append(Part(path.stem, instrument, samples, notes))
    if not parts:
        raise SetupError(
            f"no parts in {folder}", "what 'rtsep-export parts' writes", "run it first"
        )
    return parts


def labels(notes: Sequence[Note], start_s: float, frames: int) -> npt.NDArray[np.int64]:
    """The class that sounds at each frame's middle, silence where none does, ``[frames]``."""
    found = np.full(frames, SILENCE, np.int64)
    times = start_s + np.arange(frames) * HOP / SAMPLE_RATE
    for note in notes:
        sounding = (times >= note.onset) & (times < note.offset)
        if 0 <= note.pitch - LOWEST_NOTE < NOTES:
            found[sounding] = note.pitch - LOWEST_NOTE
    return found
