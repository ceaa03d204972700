"""Slakh2100 in its own layout, for those who have it.

``ROOT/{train,validation,test}/TrackNNNNN/`` with ``metadata.yaml``, ``stems/S00.flac`` (or
wav) and ``MIDI/S00.mid`` (Manilow et al., WASPAA 2019).  What is kept of a track is the
paper's condition: its acoustic pianos, distorted electric guitars and electric basses.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pretty_midi
import yaml

from rtsep.errors import AudioError, SetupError
from rtsep_export.recordings import read_mono
from rtsep_export.scores.songs import INSTRUMENTS, SAMPLE_RATE, Note, Stems, store_song

SPLITS = {"train": "train", "valid": "validation", "test": "test"}
# General MIDI programs from 0, as Slakh's metadata gives them.
PROGRAMS = {"bass": range(33, 38), "guitar": (29, 30), "piano": (0, 1)}


def convert_slakh(root: Path, folder: Path, split: str) -> Iterator[tuple[int, int, str]]:
    """Store a split of Slakh2100 in ``folder/<split>``; songs already there are kept.

    Yields
    ------
    done, total, name
        After every track.

    Raises
    ------
    SetupError
        No tracks where Slakh has them.
    AudioError
        A track with a missing stem, another rate or no readable score.
    """
    place = root / SPLITS[split]
    tracks = sorted(p.parent for p in place.glob("Track*/metadata.yaml"))
    if not tracks:
        raise SetupError(
            f"no tracks in {place}", "Track00001/metadata.yaml and so on", "name Slakh's own folder"
        )
    for done, track in enumerate(tracks, 1):
        if not (folder / split / f"{track.name}.npy").exists():
            read = read_track(track)
            if read is not None:
                store_song(folder / split, track.name, *read, {"licence": "CC BY 4.0"})
        yield done, len(tracks), track.name


def read_track(track: Path) -> tuple[Stems, list[Note]] | None:
    """Stems, shape (3, frames) at 16 kHz, and notes; None with fewer than two instruments.

    Raises
    ------
    AudioError
        As for `convert_slakh`.
    """
    try:
        stated = yaml.safe_load((track / "metadata.yaml").read_text())
        sources: dict[str, Any] = dict(stated["stems"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise AudioError(f"{track / 'metadata.yaml'}: {error}", "Slakh's metadata") from None
    parts: dict[int, list[Stems]] = {}
    notes: list[Note] = []
    for name, source in sorted(sources.items()):
        index = _instrument(source)
        if index is None or not source.get("audio_rendered", True):
            continue
        parts.setdefault(index, []).append(_read_audio(track, name))
        notes += [(index, n.pitch, n.start, n.end) for n in _read_notes(track, name)]
    if len(parts) < 2:
        return None
    frames = min(len(audio) for group in parts.values() for audio in group)
    stems = np.zeros((len(INSTRUMENTS), frames), np.float32)
    for index, group in parts.items():
        stems[index] = np.sum([audio[:frames] for audio in group], axis=0)
    seconds = frames / SAMPLE_RATE
    return stems, [note for note in notes if note[2] < seconds]


def _instrument(source: dict[str, Any]) -> int | None:
    if source.get("is_drum"):
        return None
    for index, instrument in enumerate(INSTRUMENTS):
        if source.get("program_num") in PROGRAMS[instrument]:
            return index
    return None


def _read_audio(track: Path, name: str) -> Stems:
    for suffix in (".flac", ".wav"):
        path = track / "stems" / f"{name}{suffix}"
        if path.is_file():
            break
    else:
        raise AudioError(
            f"no stem {track / 'stems' / name}.flac",
            "every stem that metadata.yaml names",
            "download the track again",
        )
    return read_mono(path, SAMPLE_RATE)


def _read_notes(track: Path, name: str) -> list[pretty_midi.Note]:
    path = track / "MIDI" / f"{name}.mid"
    try:
        midi = pretty_midi.PrettyMIDI(str(path))
    except (OSError, EOFError, ValueError, KeyError, IndexError) as error:
        raise AudioError(f"{path}: {error}", "the stem's score") from None
    return [n for i in midi.instruments for n in i.notes if 21 <= n.pitch <= 108]
