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
from rtsep_export.separation import augment, segment_sdr

STRIDE = OFFLINE_HOP // SEPARATOR_HOP
QUERY_WEIGHT = 1.0


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
