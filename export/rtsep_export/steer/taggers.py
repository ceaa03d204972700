"""The taggers of Won et al. ("Evaluation of CNN-based automatic music tagging models", SMC
2020), with their weights' public names.

All hear mono audio at 16 kHz through a mel spectrogram in decibels, whose window and
filters are among the weights.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

SAMPLE_RATE, N_FFT, HOP, MELS = 16_000, 512, 256, 96
BINS = N_FFT // 2 + 1
TAGS = 50
FLOOR = 1e-10
LONG, SHORT = 29 * SAMPLE_RATE, 3 * SAMPLE_RATE


class PowerSpectrum(nn.Module):
    """Power in every bin, of frames centred in padding by reflection."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(N_FFT))
        self._waves: Tensor | None = None

    def convolve(self) -> None:
        """Do without a Fourier transform from now on: what graphs are exported from."""
        turn = torch.arange(BINS)[:, None] * torch.arange(N_FFT) % N_FFT
        angle = 2 * torch.pi / N_FFT * turn.double()
        self._waves = torch.cat([angle.cos(), angle.sin()]).float()

    def forward(self, audio: Tensor) -> Tensor:
        """``[batch, samples]`` to ``[batch, BINS, frames]``."""
        window = self.get_buffer("window")
        if self._waves is None:
            spectrum = torch.stft(
                audio, N_FFT, HOP, window=window, pad_mode="reflect", return_complex=True
            )
            return spectrum.abs().square()
        padded = functional.pad(audio[:, None], (N_FFT // 2, N_FFT // 2), mode="reflect")
        waves = (self._waves * window)[:, None]
        parts = functional.conv1d(padded, waves, stride=HOP).square()
        return parts[:, :BINS] + parts[:, BINS:]


def decibels(power: Tensor) -> Tensor:
    """Of power, no less than that of `FLOOR`."""
    return 10 * torch.log10(power.clamp_min(FLOOR))


def mel_filters() -> Tensor:
    """Triangles on the mel scale (2595 log10(1 + f / 700)) from 0 Hz up, ``[BINS, MELS]``."""
    highest = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, highest, MELS + 2) / 2595) - 1)
    hz = np.linspace(0, SAMPLE_RATE / 2, BINS)[:, None]
    rise = (hz - edges[:-2]) / np.diff(edges)[:-1]
    fall = (edges[2:] - hz) / np.diff(edges)[1:]
    return torch.from_numpy(np.minimum(rise, fall).clip(0).astype(np.float32))


class _FrontEnd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.spectrogram = PowerSpectrum()
        self.mel_scale = nn.Module()
        self.mel_scale.register_buffer("fb", mel_filters())

    def forward(self, audio: Tensor) -> Tensor:
        """``[batch, samples]`` to decibels ``[batch, MELS, frames]``."""
        filters = self.get_buffer("mel_scale.fb")
        return decibels(filters.T @ self.spectrogram(audio))


class Convolution(nn.Module):
    """3x3 convolution, batch norm, ReLU, max-pooling over (frequency, time)."""

    def __init__(self, inputs: int, outputs: int, pooling: tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.bn = nn.BatchNorm2d(outputs)
        self.pooling = pooling

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, inputs, bands, frames]`` to fewer bands and frames."""
        """``[batch, inputs, bands, frames]`` to fewer of both."""
        return functional.max_pool2d(torch.relu(self.bn(self.conv(x))), self.pooling)


class Tagger(nn.Module):
    """What all taggers share.

    Attributes
    ----------
    samples : int
        What one window hears; longer audio is cut into windows and averaged.
    outputs : int
        How many tags it knows.
    """

    samples = LONG

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    def logits(self, audio: Tensor) -> Tensor:
        """``[batch, outputs]`` of windows ``[batch, samples]``."""
        raise NotImplementedError

    def forward(self, audio: Tensor) -> Tensor:
        """Probabilities ``[batch, outputs]``."""
        return torch.sigmoid(self.logits(audio))


class MelTagger(Tagger):
    """What all share that hear a mel spectrogram."""

    def __init__(self, outputs: int) -> None:
        super().__init__(outputs)
        self.spec = _FrontEnd()
        self.spec_bn = nn.BatchNorm2d(1)

    def heard(self, audio: Tensor) -> Tensor:
        """Normalised decibels ``[batch, 1, MELS, frames]`` of ``[batch, samples]``."""
        out: Tensor = self.spec_bn(self.spec(audio)[:, None])
        return out


class Fcn(MelTagger):
    """Five convolutions (Choi et al. 2016)."""

    def __init__(self, outputs: int = TAGS) -> None:
        super().__init__(outputs)
        self.layer1 = Convolution(1, 64, (2, 4))
        self.layer2 = Convolution(64, 128, (2, 4))
        self.layer3 = Convolution(128, 128, (2, 4))
        self.layer4 = Convolution(128, 128, (3, 5))
        self.layer5 = Convolution(128, 64, (4, 4))
        self.dense = nn.Linear(64, outputs)
        self.dropout = nn.Dropout(0.5)

    def logits(self, audio: Tensor) -> Tensor:
        """See `Tagger.logits`."""
        x = self.heard(audio)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4, self.layer5):
            x = layer(x)
        out: Tensor = self.dense(self.dropout(x.flatten(1)))
        return out


class Crnn(MelTagger):
    """Four convolutions and two gated recurrent layers (Choi et al. 2017)."""

    def __init__(self, outputs: int = TAGS) -> None:
        super().__init__(outputs)
        self.layer1 = Convolution(1, 64, (2, 2))
        self.layer2 = Convolution(64, 128, (3, 3))
        self.layer3 = Convolution(128, 128, (4, 4))
        self.layer4 = Convolution(128, 128, (4, 4))
        self.layer5 = nn.GRU(128, 32, 2, batch_first=True)
        self.dense = nn.Linear(32, outputs)
        self.dropout = nn.Dropout(0.5)

    def logits(self, audio: Tensor) -> Tensor:
        """See `Tagger.logits`."""
        x = self.heard(audio)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        # cuDNN's has no gradient outside of training, and steering needs one.
        with torch.backends.cudnn.flags(enabled=False):
            x, _ = self.layer5(x.squeeze(2).transpose(1, 2))
        out: Tensor = self.dense(self.dropout(x[:, -1]))
        return out


class _Vertical(nn.Module):
    """A filter high enough for a timbre, at its best place in frequency."""

    def __init__(self, high: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 204, (high, 7), padding=(0, 3))
        self.bn = nn.BatchNorm2d(204)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x))).amax(2)


class _Horizontal(nn.Module):
    """A long filter on the loudness of all bands."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 51, length, padding=length // 2)
        self.bn = nn.BatchNorm1d(51)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x.mean(2))))


class _Conv1d(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, 64, 7, padding=3)
        self.bn = nn.BatchNorm1d(64)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x)))


class Musicnn(MelTagger):
    """Filters shaped by what music has (Pons and Serra 2019)."""

    samples = SHORT

    def __init__(self, outputs: int = TAGS) -> None:
        super().__init__(outputs)
        shapes = [_Vertical(67), _Vertical(38), *(_Horizontal(n) for n in (129, 65, 33))]
        self.layers = nn.ModuleList(shapes)
        self.layer1, self.layer2, self.layer3 = _Conv1d(561), _Conv1d(64), _Conv1d(64)
        self.dense1 = nn.Linear(1506, 200)
        self.bn = nn.BatchNorm1d(200)
        self.dense2 = nn.Linear(200, outputs)
        self.dropout = nn.Dropout(0.5)

    def logits(self, audio: Tensor) -> Tensor:
        """See `Tagger.logits`."""
        heard = self.heard(audio)
        x = torch.cat([layer(heard) for layer in self.layers], dim=1)
        first = self.layer1(x)
        second = self.layer2(first) + first
        third = self.layer3(second) + second
        x = torch.cat([x, first, second, third], dim=1)
        x = torch.cat([x.amax(2), x.mean(2)], dim=1)
        out: Tensor = self.dense2(self.dropout(torch.relu(self.bn(self.dense1(x)))))
        return out
