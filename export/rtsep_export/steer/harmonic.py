"""The harmonic CNN of Won et al. ("Data-driven harmonic filters for audio representation
learning", ICASSP 2020), with its weights' public names.

Band-pass filters half a semitone apart, for the fundamental and five harmonics each; how
narrow they are was learnt.  Five seconds a window.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from rtsep_export.steer.taggers import (
    SAMPLE_RATE,
    TAGS,
    Convolution,
    PowerSpectrum,
    Tagger,
    decibels,
)

HARMONICS, BANDS, BANDS_PER_SEMITONE = 6, 128, 2
LOWEST_NOTE = 24
CHANNELS = 128
# Width of a filter in Hz for its centre: of the ear's (Glasberg and Moore 1990).
WIDTH_OF_HZ, WIDTH_HZ = 0.1079, 24.7


class _HarmonicFrontEnd(nn.Module):
    """``[batch, samples]`` to decibels ``[batch, HARMONICS, BANDS, frames]``."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = PowerSpectrum()
        self.bw_Q = nn.Parameter(torch.ones(1))
        note = LOWEST_NOTE + torch.arange(BANDS) / BANDS_PER_SEMITONE
        base = 440.0 * 2 ** ((note - 69) / 12)
        centres = (torch.arange(1, HARMONICS + 1)[:, None] * base).flatten()
        self.register_buffer("centres", centres, persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        power = self.spec(audio)
        centres = self.get_buffer("centres")
        width = (WIDTH_OF_HZ * centres + WIDTH_HZ) / self.bw_Q
        hz = torch.linspace(0, SAMPLE_RATE / 2, power.shape[1], device=power.device)
        filters = (1 - 2 * (hz[:, None] - centres).abs() / width).clamp_min(0)
        return decibels((filters.T @ power).unflatten(1, (HARMONICS, BANDS)))


class _Residual(nn.Module):
    """Two convolutions, added, ReLU, max-pooling."""

    def __init__(self, channels: int, pooling: tuple[int, int]) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn_1 = nn.BatchNorm2d(channels)
        self.conv_2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn_2 = nn.BatchNorm2d(channels)
        self.pooling = pooling

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn_2(self.conv_2(torch.relu(self.bn_1(self.conv_1(x)))))
        return functional.max_pool2d(torch.relu(x + out), self.pooling)


class Harmonic(Tagger):
    """Harmonic filters, then seven layers, five of them residual."""

    samples = 5 * SAMPLE_RATE

    def __init__(self, outputs: int = TAGS) -> None:
        super().__init__(outputs)
        wide = 2 * CHANNELS
        self.hstft = _HarmonicFrontEnd()
        self.hstft_bn = nn.BatchNorm2d(HARMONICS)
        self.layer1 = Convolution(HARMONICS, CHANNELS, (2, 2))
        self.layer2 = _Residual(CHANNELS, (2, 2))
        self.layer3 = _Residual(CHANNELS, (2, 2))
        self.layer4 = _Residual(CHANNELS, (2, 2))
        self.layer5 = Convolution(CHANNELS, wide, (2, 2))
        self.layer6 = _Residual(wide, (2, 3))
        self.layer7 = _Residual(wide, (2, 3))
        self.dense1 = nn.Linear(wide, wide)
        self.bn = nn.BatchNorm1d(wide)
        self.dense2 = nn.Linear(wide, outputs)
        self.dropout = nn.Dropout(0.5)

    def logits(self, audio: Tensor) -> Tensor:
        """See `Tagger.logits`."""
        x = self.hstft_bn(self.hstft(audio))
        for number in range(1, 8):
            x = self.get_submodule(f"layer{number}")(x)
        x = self.dense1(x.flatten(2).amax(2))
        out: Tensor = self.dense2(self.dropout(torch.relu(self.bn(x))))
        return out
