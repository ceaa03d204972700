"""Songs that `rtsep_export.render` wrote, read back in parts."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pretty_midi
from pedalboard.io import AudioFile

from rtsep.errors import SetupError
from rtsep.rates import REFERENCE_RATE
from rtsep_export.stems import STEMS

Notes = list[tuple[str, int, float, float, int]]
Audio = npt.NDArray[np.float32]


def read_notes(folder: Path) -> Notes:
    """Stem, pitch, onset and offset in seconds, and velocity of every note."""
    midi = pretty_midi.PrettyMIDI(str(folder / "notes.mid"))
    return [
        (part.name, note.pitch, note.start, note.end, note.velocity)
        for part in midi.instruments
        for note in part.notes
    ]


def moved(notes: Notes, start: int) -> Notes:
    """Notes with their times from sample `start` on."""
    offset_s = start / REFERENCE_RATE
    return [(s, p, on - offset_s, off - offset_s, v) for s, p, on, off, v in notes]


class RenderedSongs:
    """The songs of a folder.

    Attributes
    ----------
    having : dict of str to list of int
        Numbers of the songs in which a stem plays.

    Raises
    ------
    SetupError
        The folder holds none, or one lacks a file or is not at the reference rate.
    """

    def __init__(self, folder: Path) -> None:
        self.folders = sorted(p.parent for p in folder.glob("[!.]*/mix.flac"))
        if not self.folders:
            raise SetupError(
                f"no songs in {folder}", "rendered songs", "run rtsep-export render first"
            )
        played = [_played(folder) for folder in self.folders]
        self.having = {
            stem: [index for index, parts in enumerate(played) if stem in parts] for stem in STEMS
        }

    def __len__(self) -> int:
        return len(self.folders)

    @cache  # noqa: B019  (they live as long as the training)
    def length(self, index: int) -> int:
        """Samples of song number `index`."""
        with AudioFile(str(self.folders[index] / "mix.flac")) as file:
            return int(file.frames)

    @cache  # noqa: B019
    def notes(self, index: int) -> Notes:
        """The notes of song number `index`, as of `read_notes`."""
        return read_notes(self.folders[index])

    def part(self, index: int, stem: str, start: int, samples: int) -> Audio:
        """A part of a stem, ``[2, samples]``; silence before its start and past its end."""
        return read_part(self.folders[index] / f"{stem}.flac", start, samples)


def read_part(path: Path, start: int, samples: int) -> Audio:
    """A part of a stereo file, ``[2, samples]``; silence before its start and past its end."""
    audio = np.zeros((2, samples), np.float32)
    with AudioFile(str(path)) as file:
        first = max(start, 0)
        file.seek(min(first, file.frames))
        found = file.read(start + samples - first)
    audio[:, first - start : first - start + found.shape[1]] = found
    return audio


def _played(folder: Path) -> list[str]:
    """The stems that play in a song whose files are all there."""
    for name in ("mix", *STEMS):
        path = folder / f"{name}.flac"
        if not path.is_file():
            raise SetupError(f"no {path}", "a mix and every stem", "render this song again")
        with AudioFile(str(path)) as file:
            if (file.samplerate, file.num_channels) != (REFERENCE_RATE, 2):
                raise SetupError(
                    f"{path} at {file.samplerate:.0f} Hz with {file.num_channels} channels",
                    f"{REFERENCE_RATE} Hz, stereo",
                    "render this song again",
                )
    try:
        return [*json.loads((folder / "recipe.json").read_text())["programs"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SetupError(
            f"{folder / 'recipe.json'}: {type(error).__name__}",
            "what was drawn for the song",
            "render this song again",
        ) from None
