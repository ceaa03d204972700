"""Is there more than one instrument in a clip?  A small network, and what it learns from.

It hears three seconds of one voice or of a few, each at a level, through an equaliser and
in a room of its own: rendered solos and stems of rendered songs.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rtsep_export.console import progress_bar
from rtsep_export.devices import best_device
from rtsep_export.query.live_segments import Voice, excerpt
from rtsep_export.query.solos import Solos
from rtsep_export.rendered import RenderedSongs
from rtsep_export.steer.taggers import SAMPLE_RATE, SHORT, Convolution, MelTagger

TAG = "several"
ABOUT = "which tells whether there are several instruments in an example"
BATCH = 48
# Excerpts that are kept of every stem and of every instrument that plays solos.
PER_STEM, PER_SOLO = 900, 40
# How often there are several, and how many there are then.
SEVERAL, COUNTS = 0.5, (2, 2, 2, 3, 4)
# May be a few instruments itself.
MANY = "other"
QUIETEST_DB, EQUALISER_DB, EQUALISER_POINTS = -8.0, 8.0, 6
REVERBERANT, ROOM_S, ROOM_LEVEL = 0.6, (0.1, 1.0), (0.02, 0.25)
NOISE_DB = (-60.0, -25.0)
WIDTHS = (16, 24, 32, 48, 64)
LEVEL, SILENT = 0.1, 1e-5
FLOOR_DB = -50.0
VALID = 400


class Several(MelTagger):
    """Five convolutions, their mean and peak over time; audio of any level."""

    samples = SHORT

    def __init__(self) -> None:
        super().__init__(1)
        widths = pairwise((1, *WIDTHS))
        self.layers = nn.Sequential(*(Convolution(a, b, (2, 2)) for a, b in widths))
        self.dense = nn.Sequential(
            nn.Dropout(0.3), nn.Linear(2 * WIDTHS[-1], 64), nn.ReLU(), nn.Linear(64, 1)
        )

    def logits(self, audio: Tensor) -> Tensor:
        """See `Tagger.logits`."""
        rms = audio.square().mean(-1, keepdim=True).sqrt()
        bands = self.spec(LEVEL * audio / (rms + SILENT)).clamp_min(FLOOR_DB)
        x = self.layers(functional.avg_pool2d(self.spec_bn(bands[:, None]), (1, 2)))
        x = x.mean(2)
        out: Tensor = self.dense(torch.cat([x.mean(-1), x.amax(-1)], dim=1))
        return out


def excerpts(
    songs: RenderedSongs, solos: Solos, per_stem: int, per_solo: int, rng: np.random.Generator
) -> dict[str, Tensor]:
    """Some seconds of every voice at an RMS of 1, ``[excerpts, SHORT]`` by its name.

    A solo instrument that is a stem of songs too is one voice.
    """
    drawn: dict[str, list[Voice]] = {}
    for solo, having, count in ((False, songs.having, per_stem), (True, solos.having, per_solo)):
        for name, numbers in having.items():
            if numbers:
                chosen = rng.choice(numbers, count)
                drawn.setdefault(name, []).extend(Voice(solo, name, int(n)) for n in chosen)
    found = {}
    with progress_bar() as progress:
        bar = progress.add_task("reading voices", total=sum(map(len, drawn.values())))
        for name, voices in drawn.items():
            audio = []
            for voice in voices:
                audio.append(excerpt(solos if voice.solo else songs, voice, rng))
                progress.advance(bar)
            whole = torch.from_numpy(np.stack(audio))
            found[name] = whole / (whole.square().mean(-1, keepdim=True).sqrt() + SILENT)
    return found


def draw(
    pool: Mapping[str, Tensor], count: int, rng: np.random.Generator, *, vary: bool = True
) -> tuple[Tensor, Tensor]:
    """Clips ``[count, SHORT]`` and whether there are several instruments in each, ``[count, 1]``.

    Parameters
    ----------
    vary : bool
        Each voice in a room of its own, and noise.
    """
    names = sorted(pool)
    alone = [name for name in names if name != MANY]
    several = rng.random(count) < SEVERAL
    rows: list[int] = []
    voices: list[Tensor] = []
    for row in range(count):
        many = min(int(rng.choice(COUNTS)), len(names)) if several[row] else 1
        for name in rng.choice(names if several[row] else alone, many, replace=False):
            rows.append(row)
            voices.append(pool[name][int(rng.integers(len(pool[name])))])
    stack = torch.stack(voices)
    if vary:
        stack = in_rooms(stack, rng)
    level = 10 ** (rng.uniform(QUIETEST_DB, 0.0, len(rows)) / 20)
    mix = torch.zeros(count, stack.shape[1])
    mix.index_add_(0, torch.tensor(rows), stack * torch.from_numpy(level).float()[:, None])
    if vary:
        noise = torch.from_numpy(rng.standard_normal(mix.shape, np.float32))
        share = 10 ** (rng.uniform(*NOISE_DB, count) / 20)
        rms = mix.square().mean(-1, keepdim=True).sqrt()
        mix = mix + noise * rms * torch.from_numpy(share).float()[:, None]
    return mix, torch.from_numpy(several).float()[:, None]


def in_rooms(voices: Tensor, rng: np.random.Generator) -> Tensor:
    """Voices ``[n, samples]`` each through an equaliser, and most in a room."""
    count, samples = voices.shape
    n_fft = 1 << (samples + round(ROOM_S[1] * SAMPLE_RATE) - 1).bit_length()
    bins = n_fft // 2 + 1
    points = rng.uniform(-EQUALISER_DB, EQUALISER_DB, (count, EQUALISER_POINTS))
    # Of equal width on a square root's scale, between octaves and hertz.
    place = np.sqrt(np.linspace(0.0, 1.0, bins)) * (EQUALISER_POINTS - 1)
    low = np.minimum(place.astype(int), EQUALISER_POINTS - 2)
    gain_db = points[:, low] + (place - low) * (points[:, low + 1] - points[:, low])
    response = np.zeros((count, n_fft), np.float32)
    response[:, 0] = 1.0
    for row in np.flatnonzero(rng.random(count) < REVERBERANT):
        length = round(rng.uniform(*ROOM_S) * SAMPLE_RATE)
        fall = 10 ** (-3.0 * np.arange(1, length) / length)
        # Of the energy of the tail, whatever its length.
        level = rng.uniform(*ROOM_LEVEL) / np.sqrt(SAMPLE_RATE / 100)
        response[row, 1:length] = level * rng.standard_normal(length - 1) * fall
    spectra = torch.fft.rfft(voices, n_fft) * torch.fft.rfft(torch.from_numpy(response))
    spectra = spectra * torch.from_numpy(10 ** (gain_db / 20)).float()
    return torch.fft.irfft(spectra, n_fft)[:, :samples]


class SeveralTask:
    """The network, its data and its loss."""

    def __init__(
        self,
        rendered: Path,
        *,
        batch: int = BATCH,
        per_stem: int = PER_STEM,
        per_solo: int = PER_SOLO,
    ) -> None:
        self._batch = batch
        rng = np.random.default_rng(10)
        self.pools = [
            excerpts(RenderedSongs(rendered / split), Solos(rendered, split), *many, rng)
            for split, many in (
                ("train", (per_stem, per_solo)),
                ("valid", (-(-per_stem // 6), -(-per_solo // 6))),
            )
        ]
        self.valid = draw(self.pools[1], VALID, rng, vary=False)
        self.device = best_device()
        self.network: nn.Module = Several().to(self.device)

    def loss(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Binary cross-entropy."""
        audio, several = (array.to(self.device) for array in draw(self.pools[0], self._batch, rng))
        assert isinstance(self.network, Several)
        loss = functional.binary_cross_entropy_with_logits(self.network.logits(audio), several)
        return loss, {"entropy": float(loss.detach())}

    def score(self, network: nn.Module) -> dict[str, float]:
        """How often a clip of several is told from one of one (area under the ROC curve)."""
        audio, several = self.valid
        heard = torch.cat([network(part.to(self.device)).cpu() for part in audio.split(BATCH)])
        return {"score": ranked(heard[several > 0].tolist(), heard[several == 0].tolist())}


def ranked(higher: Sequence[float], lower: Sequence[float]) -> float:
    """How often one of the first is above one of the second."""
    return float(np.mean(np.asarray(higher)[:, None] > np.asarray(lower)[None, :]))
