"""Training of the live query model on the rendered songs.

A mix is one of the separator's (`rtsep_export.mixes`); what is asked for is one of its
stems, by an excerpt of the same stem from another moment of its song, or now and then by
one of a song that is not in the mix, for which nothing is the answer.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rtsep.rates import REFERENCE_RATE
from rtsep_export.devices import best_device
from rtsep_export.features import (
    OFFLINE_HOP,
    SEPARATOR_FRONT_ENDS,
    SEPARATOR_HOP,
    features,
    mask_targets,
    target_frames,
)
from rtsep_export.mixes import Arrays, Mixes, assembled, mono_at, random_places, varied
from rtsep_export.query.live import LiveQuery
from rtsep_export.query.losses import query_loss
from rtsep_export.query.networks import SAMPLE_RATE, spectrogram
from rtsep_export.rendered import Audio, RenderedSongs
from rtsep_export.segments import HISTORY
from rtsep_export.separation import augment, segment_sdr
from rtsep_export.stems import STEMS

EXAMPLE_S = 3.0
ABSENT = 0.15
SILENT = 1e-3
STRIDE = OFFLINE_HOP // SEPARATOR_HOP
QUERY_WEIGHT = 1.0


@dataclass(frozen=True)
class QuerySegments:
    """Random mixes, each with a stem that is asked for and two examples of it."""

    frames: int

    @property
    def samples(self) -> int:
        """Length of a mix."""
        return HISTORY + (self.frames + 1) * SEPARATOR_HOP

    def __call__(self, songs: RenderedSongs, rng: np.random.Generator) -> Arrays:
        """``features``, ``energy``, ``ratio``, ``floor`` and ``examples`` ``[2, T, BINS]``."""
        places = random_places(songs, self.samples, rng)
        stems, _ = assembled(songs, places, self.samples, rng)
        stem = str(rng.choice(sorted(places)))
        index = places[stem][0]
        target = stems[STEMS.index(stem)].copy()
        if rng.random() < ABSENT:
            # Of a kind that is not in this mix, or of another song's.
            stem = str(rng.choice([s for s in STEMS if songs.having[s]]))
            index = int(rng.choice(songs.having[stem]))
            if places.get(stem, (-1, 0))[0] == index:
                target = stems[STEMS.index(stem)].copy()
            elif stem in places:
                stems[STEMS.index(stem)] = target = np.zeros_like(target)
            else:
                target = np.zeros_like(target)
        examples = np.stack([excerpt(songs, index, stem, rng) for _ in range(2)])
        return self._arrays(stems.sum(0), target) | {
            "examples": spectrogram(torch.from_numpy(examples))
        }

    def _arrays(self, mix: Audio, target: Audio) -> Arrays:
        parts = torch.from_numpy(np.stack([target, mix - target]))
        heard = parts.sum(0)[:, : HISTORY + self.frames * SEPARATOR_HOP]
        hop, first_end = target_frames("live")
        found = mask_targets(parts, "live", 2 * hop, HISTORY + first_end, 1.0)
        skip = HISTORY // SEPARATOR_HOP
        arrays = {"features": features(heard, SEPARATOR_FRONT_ENDS, SEPARATOR_HOP, skip=skip)}
        for name, array in zip(("energy", "ratio", "floor"), found, strict=True):
            arrays[name] = array.repeat_interleave(2, 0)[: self.frames]
        return arrays


def excerpt(songs: RenderedSongs, index: int, stem: str, rng: np.random.Generator) -> Audio:
    """Some seconds of a stem that sounds, varied, one channel at `SAMPLE_RATE`."""
    samples = round(EXAMPLE_S * REFERENCE_RATE)
    for _ in range(6):
        start = int(rng.integers(max(songs.length(index) - samples, 0) + 1))
        audio = songs.part(index, stem, start, samples)
        if np.sqrt(np.mean(audio**2)) > SILENT:
            break
    return mono_at(varied(audio, rng), SAMPLE_RATE, round(EXAMPLE_S * SAMPLE_RATE))


class LiveQueryTask:
    """The live query model, its data and its loss."""

    def __init__(
        self, rendered: Path, *, frames: int = 640, batch: int = 8, workers: int = 0
    ) -> None:
        make = QuerySegments(frames)
        self.mixes = Mixes(rendered / "train", make, batch, workers)
        songs, rng = RenderedSongs(rendered / "valid"), np.random.default_rng(9)
        self.valid = [make(songs, rng) for _ in range(3 * len(songs))]
        self.device = best_device()
        self.network: nn.Module = LiveQuery().to(self.device)

    def loss(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Negative SDR of what was asked for and of the rest, and equation 6."""
        batch = {name: array.to(self.device) for name, array in self.mixes.draw(rng).items()}
        heard, blank = augment(batch["features"], rng)
        assert isinstance(self.network, LiveQuery)
        queries = self.network.query(batch["examples"].flatten(0, 1)[:, None])
        first, second = queries.unflatten(0, (-1, 2)).unbind(1)
        sdr = self._sdr(self.network, heard, first, batch, blank)
        apart = query_loss(first[None], second[None])
        total = -sdr.mean() + QUERY_WEIGHT * apart
        figures = {"sdr": float(sdr[:, 0].detach().mean()), "query": float(apart.detach())}
        return total, figures

    def _sdr(
        self, network: LiveQuery, heard: Tensor, query: Tensor, batch: Arrays, blank: int
    ) -> Tensor:
        """SDR in dB of the stem and of the rest, ``[batch, 2]``."""
        mask = network(heard, query, STRIDE)
        masks = torch.stack([mask, 1 - mask], dim=2)
        targets = {"live": (batch["energy"], batch["ratio"], batch["floor"])}
        return segment_sdr(masks, targets, "live", blank, STRIDE)

    def score(self, network: nn.Module) -> dict[str, float]:
        """Mean SDR of what is asked for, where it sounds, on fixed mixes."""
        assert isinstance(network, LiveQuery)
        found = []
        for segment in self.valid:
            batch = {name: array[None].to(self.device) for name, array in segment.items()}
            query = network.query(batch["examples"][:, :1])
            if batch["ratio"].any():
                found.append(float(self._sdr(network, batch["features"], query, batch, 0)[0, 0]))
        return {"score": float(np.mean(found))}
