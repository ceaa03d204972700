"""A query model for live use: the causal separator, modulated by a query vector.

The paper's U-Net needs a window of 128 ms.  This network hears what the live separator
hears, at its latency, and gives one mask in its bands; the query network of the paper
makes the vector, which scales and shifts what every block finds, as it does in the
paper's encoder (equation 7).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rtsep.manifest import FrontEnd, band_count
from rtsep_export.features import SEPARATOR_FRONT_ENDS, n_features
from rtsep_export.query.networks import QUERY, QueryNet
from rtsep_export.tcn import CYCLE, Trunk

CHANNELS = 256


class LiveQuery(nn.Module):
    """Masks of one stem, and the query network.

    Parameters
    ----------
    front_ends : sequence of FrontEnd
        Those of the separator that it plays beside.
    """

    def __init__(
        self, front_ends: Sequence[FrontEnd] = SEPARATOR_FRONT_ENDS, channels: int = CHANNELS
    ) -> None:
        super().__init__()
        self.queryNet = QueryNet()
        self.trunk = Trunk(n_features(front_ends), channels, CYCLE)
        self.films = nn.ModuleList([nn.Linear(QUERY, 2 * channels) for _ in CYCLE])
        self.head = nn.Linear(channels, band_count(front_ends[0]))
        for film in self.films:
            assert isinstance(film, nn.Linear)
            with torch.no_grad():
                film.bias[:channels] = 1.0
                film.bias[channels:] = 0.0

    def query(self, example: Tensor) -> Tensor:
        """The query vector ``[batch, QUERY]`` of magnitudes ``[batch, 1, frames, BINS]``."""
        out: Tensor = self.queryNet(example)
        return out

    def modulations(self, query: Tensor) -> list[Tensor]:
        """Scale and shift ``[2, batch, 1, channels]`` for every block."""
        return [film(query).unflatten(-1, (2, 1, -1)).transpose(0, 1) for film in self.films]

    def forward(self, features: Tensor, query: Tensor, stride: int = 1) -> Tensor:
        """Masks of frames 0, `stride`, ... of ``[batch, frames, n]``, ``[batch, ..., bands]``."""
        hidden = self.trunk(features, stride, self.modulations(query))
        return torch.sigmoid(self.head(hidden))

    def step(self, features: Tensor, taps: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        """One frame: mask ``[1, 1, bands]`` and activations; see `rtsep_export.tcn.Trunk.step`."""
        films = [film[:, 0] for film in self.modulations(query)]
        hidden, activations = self.trunk.step(features, taps, films)
        return torch.sigmoid(self.head(hidden))[:, None], activations
