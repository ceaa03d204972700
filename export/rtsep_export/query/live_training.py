"""Training of the live query model on rendered songs and solos, by what `live_segments` makes."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rtsep_export.devices import best_device
from rtsep_export.features import OFFLINE_HOP, SEPARATOR_HOP
from rtsep_export.mixes import Arrays, Mixes
from rtsep_export.query.live import LiveQuery
from rtsep_export.query.live_segments import DeviceQueryMixes, QuerySegments
from rtsep_export.query.losses import query_loss
from rtsep_export.query.solos import Solos
from rtsep_export.rendered import RenderedSongs
from rtsep_export.separation import augment, segment_sdr, segment_si_sdr

STRIDE = OFFLINE_HOP // SEPARATOR_HOP
QUERY_WEIGHT = 1.0
# What a decibel beside the right level costs, in decibels of SDR.
GAIN_WEIGHT = 0.2


class LiveQueryTask:
    """The live query model, its data and its loss."""

    def __init__(
        self, rendered: Path, *, frames: int = 640, batch: int = 8, workers: int = 0
    ) -> None:
        make = QuerySegments(frames, Solos(rendered, "train"))
        self.device = best_device()
        self.mixes: Mixes | DeviceQueryMixes = (
            DeviceQueryMixes(rendered / "train", make, batch, self.device)
            if self.device.type == "cuda"
            else Mixes(rendered / "train", make, batch, workers)
        )
        songs, rng = RenderedSongs(rendered / "valid"), np.random.default_rng(9)
        make = QuerySegments(frames, Solos(rendered, "valid"))
        self.valid = [make(songs, rng) for _ in range(3 * len(songs))]
        self.network: nn.Module = LiveQuery().to(self.device)

    def loss(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Minus the worth of what comes out, and equation 6."""
        batch = {name: array.to(self.device) for name, array in self.mixes.draw(rng).items()}
        heard, blank = augment(batch["features"], rng)
        assert isinstance(self.network, LiveQuery)
        queries = self.network.query(batch["examples"].flatten(0, 1)[:, None])
        first, second = queries.unflatten(0, (-1, 2)).unbind(1)
        worth, _ = self._worth(self.network, heard, first, batch, blank)
        apart = query_loss(first[None], second[None])
        total = QUERY_WEIGHT * apart - worth.mean()
        figures = {"worth": float(worth.detach().mean()), "query": float(apart.detach())}
        return total, figures

    def _worth(
        self, network: LiveQuery, heard: Tensor, query: Tensor, batch: Arrays, blank: int
    ) -> tuple[Tensor, Tensor]:
        """Of the stem asked for, in dB, and whether there is one, ``[batch]``.

        Its scale-invariant SDR, less something for another level than it has; where there
        is none, the SDR of silence, which falls with all that comes out.
        """
        mask = network(heard, query, STRIDE)
        masks = torch.stack([mask, 1 - mask], dim=2)
        targets = {"live": (batch["energy"], batch["ratio"], batch["floor"])}
        sdr = segment_sdr(masks, targets, "live", blank, STRIDE)
        si_sdr, gain_db, sounds = segment_si_sdr(masks, targets, "live", blank, STRIDE)
        worth = torch.where(sounds, si_sdr - GAIN_WEIGHT * gain_db.abs(), sdr[:, :1])
        return worth[:, 0], sounds[:, 0]

    def score(self, network: nn.Module) -> dict[str, float]:
        """Mean worth of what is asked for, where it sounds, on fixed mixes."""
        assert isinstance(network, LiveQuery)
        found = []
        for segment in self.valid:
            batch = {name: array[None].to(self.device) for name, array in segment.items()}
            query = network.query(batch["examples"][:, :1])
            worth, sounds = self._worth(network, batch["features"], query, batch, 0)
            if sounds[0]:
                found.append(float(worth[0]))
        return {"score": float(np.mean(found))}
