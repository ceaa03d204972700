"""Turn rendered songs into stored training mixes: features, targets and notes.

A mix is a folder of float16 arrays.  Besides a song's own mix, remixes take each
stem from a random song at a random level, at a random speed, left and right swapped.
"""

import json
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pretty_midi
import torch
from pedalboard.io import AudioFile

from rtsep.rates import REFERENCE_RATE
from rtsep_export.dataset import worker_pool
from rtsep_export.features import (
    SEPARATOR_FRONT_ENDS,
    SEPARATOR_HOP,
    TRANSCRIBER_FRONT_ENDS,
    TRANSCRIBER_HOP,
    features,
    mask_targets,
    target_frames,
)
from rtsep_export.stems import STEMS

Notes = list[tuple[str, int, float, float, int]]


def read_stems(folder: Path) -> npt.NDArray[np.float32]:
    """The stems of a rendered song, ``[n_stems, 2, samples]``."""
    parts = []
    for stem in STEMS:
        with AudioFile(str(folder / f"{stem}.flac")) as file:
            parts.append(file.read(file.frames))
    return np.stack(parts)


def read_notes(folder: Path) -> Notes:
    """Stem, pitch, onset and offset in seconds, and velocity of every note."""
    midi = pretty_midi.PrettyMIDI(str(folder / "notes.mid"))
    return [
        (part.name, note.pitch, note.start, note.end, note.velocity)
        for part in midi.instruments
        for note in part.notes
    ]


def make_mixes(
    rendered: Path, folder: Path, takes: int, *, workers: int = 1
) -> Iterator[tuple[int, int, str]]:
    """Make `takes` mixes of every rendered song; mixes already there are kept.

    Yields
    ------
    done, total, name
        After every mix.
    """
    songs = sorted(p for p in rendered.iterdir() if not p.name.startswith("."))
    jobs = [(songs, index, take, folder) for take in range(takes) for index in range(len(songs))]
    with worker_pool(workers) as pool:
        for done, name in enumerate(pool.imap_unordered(_job, jobs), 1):
            yield done, len(jobs), name


def _job(job: tuple[list[Path], int, int, Path]) -> str:
    songs, index, take, folder = job
    torch.set_num_threads(1)
    make_mix(songs, index, take, folder)
    return songs[index].name


def make_mix(songs: list[Path], index: int, take: int, folder: Path) -> bool:
    """Store take number `take` of song ``songs[index]`` as a training mix.

    Take 0 is the song as rendered; later takes are remixes.  Returns False where the
    mix is there already.
    """
    target = folder / f"{songs[index].name}-{take}"
    if target.exists():
        return False
    rng = np.random.default_rng([zlib.crc32(songs[index].name.encode()), take])
    stems = read_stems(songs[index])
    notes = read_notes(songs[index])
    speed = 1.0
    if take:
        stems, notes = _remix(songs, stems, notes, rng)
        speed = float(rng.choice([1.0, 0.91875, rng.uniform(0.9, 1.1)]))
    elif not np.abs(stems).max(axis=(1, 2)).all():
        # A solo song teaches more with others around it.
        stems, notes = _remix(songs, stems, notes, rng)
    audio = torch.from_numpy(stems)
    arrays = {}
    mix = audio.sum(0)
    arrays["features"] = features(
        mix, SEPARATOR_FRONT_ENDS, SEPARATOR_HOP, REFERENCE_RATE * speed
    ).numpy()
    energy, ratio, floor = mask_targets(audio, "live", *target_frames("live"), speed)
    arrays |= {"energy": _log(energy), "ratio": ratio.numpy(), "floor": floor.numpy()}
    energy, ratio, floor = mask_targets(audio, "offline", *target_frames("offline"), speed)
    arrays |= {"energy4": _log(energy), "ratio4": ratio.numpy(), "floor4": floor.numpy()}
    if speed == 1.0:
        arrays["notefeatures"] = features(mix, TRANSCRIBER_FRONT_ENDS, TRANSCRIBER_HOP).numpy()
    scratch = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    for name, array in arrays.items():
        kind = np.float32 if name.startswith("floor") else np.float16
        np.save(scratch / f"{name}.npy", array.astype(kind))
    (scratch / "notes.json").write_text(json.dumps(notes))
    scratch.rename(target)
    return True


def _log(energy: torch.Tensor) -> npt.NDArray[np.float32]:
    result: npt.NDArray[np.float32] = torch.log10(energy + 1e-7).numpy()
    return result


def _remix(
    songs: list[Path],
    stems: npt.NDArray[np.float32],
    notes: Notes,
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.float32], Notes]:
    """Replace and re-level stems; swap channels."""
    stems, frames = stems.copy(), stems.shape[-1]
    for i, stem in enumerate(STEMS):
        silent = not np.abs(stems[i]).max() > 0
        if silent or rng.random() < 0.5:
            for _ in range(6):
                donor = songs[rng.integers(len(songs))]
                with AudioFile(str(donor / f"{stem}.flac")) as file:
                    audio = file.read(file.frames)[:, :frames]
                if np.abs(audio).max() > 0:
                    break
            stems[i] = 0
            if rng.random() < 0.9:
                stems[i, :, : audio.shape[1]] = audio
                notes = [n for n in notes if n[0] != stem]
                notes += [n for n in read_notes(donor) if n[0] == stem]
            else:
                notes = [n for n in notes if n[0] != stem]
        stems[i] *= 10 ** (rng.normal(0, 3.0) / 20)
        if rng.random() < 0.5:
            stems[i] = stems[i, ::-1]
    if rng.random() < 0.1:
        stems[:] = stems.mean(axis=1, keepdims=True)
    return stems, notes
