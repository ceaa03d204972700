"""The taggers of Won et al. ("Evaluation of CNN-based automatic music tagging models", SMC
2020), with their weights' public names.

All hear mono audio at 16 kHz through a mel spectrogram in decibels, whose window and
filters are among the weights.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from rtsep_export.checkpoints import UNFIT, unfit

SAMPLE_RATE, N_FFT, HOP, MELS = 16_000, 512, 256, 96
TAGS = 50
FLOOR = 1e-10
LONG, SHORT = 29 * SAMPLE_RATE, 3 * SAMPLE_RATE


class _FrontEnd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.spectrogram = nn.Module()
        self.spectrogram.register_buffer("window", torch.hann_window(N_FFT))
        self.mel_scale = nn.Module()
        self.mel_scale.register_buffer("fb", torch.zeros(N_FFT // 2 + 1, MELS))

    def forward(self, audio: Tensor) -> Tensor:
        """``[batch, samples]`` to decibels ``[batch, MELS, frames]``."""
        window = self.get_buffer("spectrogram.window")
        spectrum = torch.stft(
            audio, N_FFT, HOP, window=window, pad_mode="reflect", return_complex=True
        )
        power = spectrum.abs().square()
        mel = torch.einsum("bft,fm->bmt", power, self.get_buffer("mel_scale.fb"))
        return 10 * torch.log10(mel.clamp_min(FLOOR))


class _Conv2d(nn.Module):
    """3x3 convolution, batch norm, ReLU, max-pooling over (frequency, time)."""

    def __init__(self, inputs: int, outputs: int, pooling: tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.bn = nn.BatchNorm2d(outputs)
        self.pooling = pooling

    def forward(self, x: Tensor) -> Tensor:
        return functional.max_pool2d(torch.relu(self.bn(self.conv(x))), self.pooling)


class Tagger(nn.Module):
    """What all taggers share.

    Attributes
    ----------
    samples : int
        What one window hears; longer audio is cut into windows and averaged.
    """

    samples = LONG

    def __init__(self) -> None:
        super().__init__()
        self.spec = _FrontEnd()
        self.spec_bn = nn.BatchNorm2d(1)

    def heard(self, audio: Tensor) -> Tensor:
        """Normalised decibels ``[batch, 1, MELS, frames]`` of ``[batch, samples]``."""
        out: Tensor = self.spec_bn(self.spec(audio)[:, None])
        return out

    def logits(self, audio: Tensor) -> Tensor:
        """``[batch, TAGS]`` of windows ``[batch, samples]``."""
        raise NotImplementedError

    def forward(self, audio: Tensor) -> Tensor:
        """Probabilities ``[batch, TAGS]``."""
        return torch.sigmoid(self.logits(audio))


class Fcn(Tagger):
    """Five convolutions (Choi et al. 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = _Conv2d(1, 64, (2, 4))
        self.layer2 = _Conv2d(64, 128, (2, 4))
        self.layer3 = _Conv2d(128, 128, (2, 4))
        self.layer4 = _Conv2d(128, 128, (3, 5))
        self.layer5 = _Conv2d(128, 64, (4, 4))
        self.dense = nn.Linear(64, TAGS)
        self.dropout = nn.Dropout(0.5)

    def logits(self, audio: Tensor) -> Tensor:
        """See `Tagger.logits`."""
        x = self.heard(audio)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4, self.layer5):
            x = layer(x)
        out: Tensor = self.dense(self.dropout(x.flatten(1)))
        return out


class Crnn(Tagger):
    """Four convolutions and two gated recurrent layers (Choi et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = _Conv2d(1, 64, (2, 2))
        self.layer2 = _Conv2d(64, 128, (3, 3))
        self.layer3 = _Conv2d(128, 128, (4, 4))
        self.layer4 = _Conv2d(128, 128, (4, 4))
        self.layer5 = nn.GRU(128, 32, 2, batch_first=True)
        self.dense = nn.Linear(32, TAGS)
        self.dropout = nn.Dropout(0.5)

    def logits(self, audio: Tensor) -> Tensor:
        """See `Tagger.logits`."""
        x = self.heard(audio)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
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


class Musicnn(Tagger):
    """Filters shaped by what music has (Pons and Serra 2019)."""

    samples = SHORT

    def __init__(self) -> None:
        super().__init__()
        shapes = [_Vertical(67), _Vertical(38), *(_Horizontal(n) for n in (129, 65, 33))]
        self.layers = nn.ModuleList(shapes)
        self.layer1, self.layer2, self.layer3 = _Conv1d(561), _Conv1d(64), _Conv1d(64)
        self.dense1 = nn.Linear(1506, 200)
        self.bn = nn.BatchNorm1d(200)
        self.dense2 = nn.Linear(200, TAGS)
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


KINDS: dict[str, type[Tagger]] = {"fcn": Fcn, "crnn": Crnn, "musicnn": Musicnn}


def tagger_kind(state: Mapping[str, object]) -> str | None:
    """Which tagger's the tensors of a checkpoint are; None for another network's."""
    if "spec.mel_scale.fb" not in state:
        return None
    if "layers.0.conv.weight" in state:
        return "musicnn"
    return "crnn" if "layer5.weight_ih_l0" in state else "fcn"


def load_tagger(path: Path) -> Tagger:
    """The tagger in a checkpoint, frozen and ready to be used.

    Raises
    ------
    RtsepError
        Not an archive of tensors alone, or another network's.
    """
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        network = KINDS[tagger_kind(state) or "fcn"]()
        network.load_state_dict(state)
    except UNFIT as error:
        raise unfit(path, error) from None
    return network.requires_grad_(False).eval()
