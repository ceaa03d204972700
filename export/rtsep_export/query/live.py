"""A query model for live use: the causal separator, modulated by a query vector.

The paper's U-Net needs a window of 128 ms.  This network hears what the live separator
hears, at its latency, and gives one mask in its bands; a query vector scales and shifts
what every block finds, as it does in the paper's encoder (equation 7).

The paper's query network hears magnitudes as they are: the same clip 12 dB louder is
another query, and its loudest partials say most.  The one here hears the shape of a
spectrum, in decibels and bands, whatever its level.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from rtsep.bands import band_edges, band_matrix
from rtsep.manifest import FrontEnd, band_count
from rtsep_export.features import SEPARATOR_FRONT_ENDS, n_features
from rtsep_export.query.networks import BINS, N_FFT, SAMPLE_RATE
from rtsep_export.tcn import CYCLE, Trunk

CHANNELS = 256
QUERY = 16
# Of an example: bands of a semitone above 500 Hz, decibels down to what is heard
# as silence beside its mean, and channels of convolutions over a quarter of all before.
EXAMPLE_BANDS = (20.0, 7_900.0, 31.25, 2 ** (1 / 12))
FLOOR_DB = -50.0
EXAMPLE_CHANNELS = (32, 64, 64)


class ExampleNet(nn.Module):
    """An example to a query vector."""

    bands: Tensor

    def __init__(self) -> None:
        super().__init__()
        matrix = band_matrix(band_edges(*EXAMPLE_BANDS), N_FFT, SAMPLE_RATE, cover=False)
        self.register_buffer("bands", torch.from_numpy(matrix[:, :BINS].T.copy()), False)
        layers: list[nn.Module] = []
        for i, o in pairwise((1, *EXAMPLE_CHANNELS)):
            layers += [nn.Conv2d(i, o, 3, 2, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        left = len(matrix[:: 2 ** len(EXAMPLE_CHANNELS)])
        self.last = nn.Linear(EXAMPLE_CHANNELS[-1] * left, QUERY)

    def forward(self, magnitudes: Tensor) -> Tensor:
        """``[batch, 1, frames, BINS]`` to ``[batch, QUERY]``, each from -1 to 1."""
        power = magnitudes.square() @ self.bands
        mean = power.mean((-2, -1), keepdim=True)
        level_db = 10 * torch.log10(power / (mean + 1e-12) + 10 ** (FLOOR_DB / 10))
        found = self.layers(level_db / -FLOOR_DB).mean(2)
        return torch.tanh(self.last(found.flatten(1)))


class LiveQuery(nn.Module):
    """Masks of one stem, and what makes its queries.

    Parameters
    ----------
    front_ends : sequence of FrontEnd
        Those of the separator that it plays beside.
    """

    def __init__(
        self, front_ends: Sequence[FrontEnd] = SEPARATOR_FRONT_ENDS, channels: int = CHANNELS
    ) -> None:
        super().__init__()
        self.queryNet = ExampleNet()
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
