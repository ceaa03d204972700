"""Mixes made where the network learns: the songs lie in the device's memory.

The same mixes as of `rtsep_export.mixes`, a batch at a time: a GPU makes thousands a
second, where processes beside it would make tens.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rtsep.rates import REFERENCE_RATE
from rtsep_export.device_songs import StoredRolls, StoredSongs
from rtsep_export.features import TRANSCRIBER_HOP
from rtsep_export.mixes import (
    EQUALISER_DB,
    LEVEL_DB,
    MONO,
    USES,
    Arrays,
    Mixes,
    Pool,
    Prepare,
    RandomSegments,
    equaliser_hz,
    random_places,
)
from rtsep_export.rendered import RenderedSongs

# A Butterworth shelf's quality.
SHELF_Q = 0.5**0.5


class Sized(Protocol):
    """Has a length."""

    @property
    def samples(self) -> int:
        """Of the stretch of music that is needed."""


P = TypeVar("P", bound=Sized)


class DeviceMixes(ABC, Generic[P]):
    """Batches of segments for a training, as of `rtsep_export.mixes.Mixes`.

    Parameters
    ----------
    prepare : P
        Knows the length of a segment, and what is made of it.
    least : int
        Samples that can be taken from any place, where they are more than a segment's.
    """

    def __init__(
        self, folder: Path, prepare: P, batch: int, device: torch.device, least: int = 0
    ) -> None:
        self.songs, self.prepare = RenderedSongs(folder), prepare
        self.audio = StoredSongs(self.songs, max(prepare.samples, least), device)
        self._batch, self._pool = batch, Pool(batch)

    def draw(self, rng: np.random.Generator) -> Arrays:
        """A batch, every array with one more axis in front."""
        while True:
            self._pool.add(self.fresh(max(self._batch // USES, 1), rng))
            if (drawn := self._pool.draw(rng)) is not None:
                return drawn

    @abstractmethod
    def fresh(self, count: int, rng: np.random.Generator) -> Arrays:
        """So many new segments, with one more axis in front."""


class DeviceSegments(DeviceMixes[Prepare]):
    """Random mixes, prepared for a network."""

    def __init__(self, folder: Path, prepare: Prepare, batch: int, device: torch.device) -> None:
        super().__init__(folder, prepare, batch, device)
        self._rolls = StoredRolls(self.songs, prepare.samples, device)

    def fresh(self, count: int, rng: np.random.Generator) -> Arrays:
        """So many of them; they begin where a frame of the rolls does."""
        samples = self.prepare.samples
        drawn = [random_places(self.songs, samples, rng) for _ in range(count)]
        places = [
            {s: (song, start - start % TRANSCRIBER_HOP) for s, (song, start) in place.items()}
            for place in drawn
        ]
        stems = varied_batch(self.audio.stems(places, samples), rng)
        return self.prepare.of_batch(stems, self._rolls.at(places), rng)


def mixes_for(
    folder: Path, prepare: Prepare, batch: int, workers: int, device: torch.device
) -> Mixes | DeviceSegments:
    """Mixes made on a GPU where the network learns on one, else by processes beside it."""
    if device.type == "cuda":
        return DeviceSegments(folder, prepare, batch, device)
    return Mixes(folder, RandomSegments(prepare), batch, workers)


def varied_batch(stems: Tensor, rng: np.random.Generator) -> Tensor:
    """Stems ``[batch, n_stems, 2, samples]`` each as of `rtsep_export.mixes.varied`.

    Some mixes become mono.  The equalisers are applied to the spectra of the whole
    stretches, which end in silence for as long as a filter rings.
    """
    device, shape = stems.device, stems.shape[:2]
    hz = equaliser_hz(rng, shape)
    gain_db = rng.normal(0.0, EQUALISER_DB, (*shape, 3))
    middle_q = rng.uniform(0.5, 1.5, shape)
    level = 10 ** (rng.normal(0.0, LEVEL_DB, shape) / 20)
    swapped, mono = rng.random(shape) < 0.5, rng.random(shape[:1]) < MONO
    n_fft = _fast_length(stems.shape[-1] + 8192)
    response = torch.from_numpy(level).float().to(device)[..., None]
    for number, kind in enumerate(("low", "peak", "high")):
        q = middle_q if kind == "peak" else np.full(shape, SHELF_Q)
        response = response * equaliser(
            kind, hz[..., number], gain_db[..., number], q, n_fft, device
        )
    spectra = torch.fft.rfft(stems, n_fft) * response.to(torch.complex64)[:, :, None]
    found = torch.fft.irfft(spectra, n_fft)[..., : stems.shape[-1]]
    sides = torch.from_numpy(swapped).to(device)[:, :, None, None]
    found = torch.where(sides, found.flip(2), found)
    alike = torch.from_numpy(mono).to(device)[:, None, None, None]
    return torch.where(alike, found.mean(2, keepdim=True), found)


def equaliser(
    kind: str,
    hz: npt.NDArray[np.float64],
    gain_db: npt.NDArray[np.float64],
    q: npt.NDArray[np.float64],
    n_fft: int,
    device: torch.device,
) -> Tensor:
    """Frequency response of a biquad, ``[..., n_fft // 2 + 1]``, at the reference rate.

    Robert Bristow-Johnson's formulas: "low" and "high" shelves, and "peak".

    Parameters
    ----------
    hz, gain_db, q : arrays of one shape
    """
    a, w = 10 ** (gain_db / 40), 2 * np.pi * hz / REFERENCE_RATE
    cos, alpha = np.cos(w), np.sin(w) / (2 * q)
    if kind == "peak":
        b = (1 + alpha * a, -2 * cos, 1 - alpha * a)
        d = (1 + alpha / a, -2 * cos, 1 - alpha / a)
    else:
        sign = 1.0 if kind == "low" else -1.0
        root = 2 * np.sqrt(a) * alpha
        b = (
            a * (a + 1 - sign * (a - 1) * cos + root),
            sign * 2 * a * (a - 1 - sign * (a + 1) * cos),
            a * (a + 1 - sign * (a - 1) * cos - root),
        )
        d = (
            a + 1 + sign * (a - 1) * cos + root,
            -sign * 2 * (a - 1 + sign * (a + 1) * cos),
            a + 1 + sign * (a - 1) * cos - root,
        )
    turn = torch.arange(n_fft // 2 + 1, device=device, dtype=torch.float64) * (-2 * np.pi / n_fft)
    z = torch.polar(torch.ones_like(turn), turn).to(torch.complex64)
    top, bottom = (
        [torch.from_numpy(c).float().to(device)[..., None] for c in coefficients]
        for coefficients in (b, d)
    )
    return (top[0] + z * (top[1] + z * top[2])) / (bottom[0] + z * (bottom[1] + z * bottom[2]))


def _fast_length(least: int) -> int:
    """The next product of a power of two and 1, 3 or 9."""
    return min(factor << max((-(-least // factor) - 1).bit_length(), 0) for factor in (1, 3, 9))
