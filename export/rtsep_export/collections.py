"""The MIDI collections: which songs there are, their split and their licence."""

import csv
import io
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pretty_midi

from rtsep.errors import AudioError, SetupError

# Collections whose terms let them stand behind weights that ship.
OPEN_COLLECTIONS = (
    "freedoom",
    "openmsx",
    "blasphemer",
    "tannerhelland",
    "slakh-track00001",
    "arranged",
    "pop909",
    "openscore-quartets",
    "music21-chamber",
    "mutopia-ensembles",
)
# With those for experiments and tables only.
ALL_COLLECTIONS = (*OPEN_COLLECTIONS, "tegridy", "midi-archive", "miditok")


@dataclass(frozen=True)
class Song:
    """One MIDI file of a collection.

    Attributes
    ----------
    archive, member : str
        The zip file's name and the file in it.
    split : {"train", "valid", "test"}
        Fixed by the collection; versions of one song share it.
    has : frozenset of str
        Stems with at least 15 notes.
    """

    archive: str
    member: str
    collection: str
    licence: str
    split: str
    duration_s: float
    has: frozenset[str]

    @property
    def name(self) -> str:
        """A file name for the song's folder."""
        stem = Path(self.member).stem
        return f"{self.collection}-" + "".join(c if c.isalnum() else "_" for c in stem)[:60]


def data_root(path: Path | None = None) -> Path:
    """The folder with the data: `path`, or what ``RTSEP_DATA`` names.

    Raises
    ------
    SetupError
        Neither leads to a folder with ``midi/manifest.csv``.
    """
    root = path or (Path(os.environ["RTSEP_DATA"]) if "RTSEP_DATA" in os.environ else None)
    if root is None or not (root / "midi" / "manifest.csv").is_file():
        found = "no data folder" if root is None else f"no midi/manifest.csv in {root}"
        raise SetupError(found, "the MIDI collections", "set RTSEP_DATA or pass --data")
    return root


def list_songs(root: Path, collections: Sequence[str] = OPEN_COLLECTIONS) -> list[Song]:
    """All songs of `collections`, in the manifest's order."""
    songs = []
    with (root / "midi" / "manifest.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            archive, member = row["file"].split("!", 1)
            collection = archive.removesuffix(".zip")
            if collection not in collections:
                continue
            has = {
                stem for stem in ("bass", "guitar", "piano", "drums") if row[f"has_{stem}"] == "1"
            }
            songs.append(
                Song(
                    archive=archive,
                    member=member,
                    collection=collection,
                    licence=row["licence"],
                    split=row["split"],
                    duration_s=float(row["duration_s"]),
                    has=frozenset(has),
                )
            )
    return songs


def load_midi(root: Path, song: Song) -> pretty_midi.PrettyMIDI:
    """Parse one song.

    Raises
    ------
    AudioError
        The file is missing or not MIDI.
    """
    try:
        with zipfile.ZipFile(root / "midi" / song.archive) as archive:
            return pretty_midi.PrettyMIDI(io.BytesIO(archive.read(song.member)))
    except (OSError, KeyError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise AudioError(f"{song.archive}!{song.member}: {error}", "a MIDI file") from None
