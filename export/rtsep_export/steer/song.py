"""A whole song: segment by segment, tag by tag, kept as it goes, to a mask file."""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from pedalboard.io import AudioFile

from rtsep.audio_files import AudioReader
from rtsep.errors import AudioError
from rtsep.fingerprint import fingerprint
from rtsep.mask_file import write_masks
from rtsep.output_file import replacing
from rtsep_export.devices import best_device
from rtsep_export.steer.autoencoder import SAMPLE_RATE, Autoencoder
from rtsep_export.steer.steering import Settings, Target, steer

SEGMENT_S, FADE_S = 10.0, 1.0
SILENT = 1e-4

Floats = npt.NDArray[np.float32]
OnProgress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Segment:
    """A part of a song, in frames of the masks' transform and samples."""

    first: int
    frames: int
    start: int
    samples: int


def read_song(path: Path) -> Floats:
    """All of a song ``[channels, samples]`` at the autoencoder's rate.

    Raises
    ------
    AudioError
        It cannot be used, or is silent.
    """
    with AudioReader(path):
        pass  # all that can be wrong with it is said here
    with AudioFile(str(path)) as file, file.resampled_to(SAMPLE_RATE) as resampled:
        audio: Floats = np.asarray(resampled.read(resampled.frames), np.float32)
    if np.sqrt(np.mean(audio**2)) < SILENT:
        raise AudioError(f"{path} is silent", "a song")
    return audio


def segments(samples: int, hop: int) -> Iterator[Segment]:
    """Parts of `SEGMENT_S` that overlap by `FADE_S`; the last one ends with the song."""
    total = samples // hop + 1
    length, stride = (round(s * SAMPLE_RATE / hop) for s in (SEGMENT_S, SEGMENT_S - FADE_S))
    first = 0
    while True:
        last = first + length >= total
        first = max(total - length, 0) if last else first
        frames = min(length, total)
        yield Segment(first, frames, first * hop, min(frames * hop, samples - first * hop))
        if last:
            return
        first += stride


def join(parts: Sequence[Floats], places: Sequence[Segment], fade: int) -> Floats:
    """Masks ``[frames, bins]`` of a song from those of its segments, cross-faded over `fade`."""
    total = places[-1].first + places[-1].frames
    out = np.zeros((total, parts[0].shape[1]), np.float32)
    weight = np.zeros((total, 1), np.float32)
    for part, place in zip(parts, places, strict=True):
        ramp = np.full((len(part), 1), fade, np.float32)
        rise = np.arange(1, min(fade, len(part)) + 1, dtype=np.float32)[:, None]
        if place.first:
            ramp[: len(rise)] = rise
        if place.first + place.frames < total:
            ramp[-len(rise) :] = rise[::-1]
        out[place.first : place.first + len(part)] += ramp * part
        weight[place.first : place.first + len(part)] += ramp
    return out / weight


def steer_song(
    source: Path,
    output: Path,
    wanted: Mapping[str, Sequence[Target]],
    autoencoder: Autoencoder,
    settings: Settings,
    *,
    removed: bool,
    about: Mapping[str, str],
    on_progress: OnProgress,
) -> int:
    """Write the masks of a song's tags.

    What is done is kept beside `output` until all is, so that a run that was ended goes on
    where it was.

    Parameters
    ----------
    wanted : mapping of str to sequence of Target
        What each mask is to be of.
    removed : bool
        The paper's reading: the mask says what to take away, and what is left is the
        estimate.
    about : mapping of str to str
        Goes into the file.
    on_progress : callable
        Given how many segments are done, of how many, and the tag.

    Returns
    -------
    int
        Bytes written.

    Raises
    ------
    AudioError, OutputError
    """
    audio = read_song(source)
    device = best_device()
    n_fft = settings.n_ffts[0]
    hop = n_fft // 2
    mono = torch.from_numpy(audio.mean(axis=0))
    places = list(segments(audio.shape[1], hop))
    known = fingerprint(audio, SAMPLE_RATE)
    kept = output.with_name(f".{output.name}.{_key(known.tobytes(), settings, about)}")
    kept.mkdir(parents=True, exist_ok=True)
    masks, done = {}, 0
    for tag, targets in wanted.items():
        parts = []
        for number, place in enumerate(places):
            path = kept / f"{tag}-{number:04}.npy"
            if not path.is_file():
                piece = mono[place.start : place.start + place.samples].to(device)
                found = _masks(piece, autoencoder, targets, settings, place)
                with replacing(path) as scratch:
                    np.save(scratch, found)
            parts.append(np.load(path).astype(np.float32) / 255)
            done += 1
            on_progress(done, len(places) * len(wanted), tag)
        mask = join(parts, places, round(FADE_S * SAMPLE_RATE / hop))
        masks[tag] = 1.0 - mask if removed else mask
    header = write_masks(
        output,
        masks,
        known,
        sample_rate=SAMPLE_RATE,
        samples=audio.shape[1],
        n_fft=n_fft,
        hop=hop,
        settings=about,
    )
    shutil.rmtree(kept, ignore_errors=True)
    return sum(header.sizes)


def _masks(
    piece: torch.Tensor,
    autoencoder: Autoencoder,
    targets: Sequence[Target],
    settings: Settings,
    place: Segment,
) -> npt.NDArray[np.uint8]:
    """Of one segment, ``[frames, bins]`` of 0 to 255."""
    if float(piece.square().mean()) < SILENT**2:
        return np.zeros((place.frames, settings.n_ffts[0] // 2 + 1), np.uint8)
    mask = steer(piece, autoencoder, targets, settings)[0].T[: place.frames]
    found = (mask.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    return np.pad(found, ((0, place.frames - len(found)), (0, 0)), mode="edge")


def _key(sound: bytes, settings: Settings, about: Mapping[str, str]) -> str:
    """What tells one song, way and network from others."""
    digest = hashlib.sha256(sound)
    digest.update(repr((settings, sorted(about.items()))).encode())
    return digest.hexdigest()[:12]
