"""Transcriber, separator and classifier on one temporal convolutional network.

The paper's section 3.2: three repeats of eight dilated residual blocks, kernel 3, a
fully connected sigmoid output layer; input is the magnitude spectrogram at 16 kHz, square
root of a Hann window of 2048 samples, hop 500.  What the paper leaves open: channels (128
here), the normalisation (layer norm, frame by frame), and that the network takes the
logarithm of the magnitudes itself, so that all its inputs, separated ones too, are plain
magnitudes.  The blocks look both ways, as nothing here runs live.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from rtsep_export.devices import mixed_precision
from rtsep_export.scores.songs import INSTRUMENTS, SAMPLE_RATE

N_FFT, HOP = 2048, 500
N_BINS = N_FFT // 2 + 1
LOWEST_NOTE, N_NOTES = 21, 88
N_INSTRUMENTS = len(INSTRUMENTS)
CHANNELS = 128
DILATIONS = tuple(2**k for k in range(8)) * 3
FRAME_S = HOP / SAMPLE_RATE


def window(device: torch.device | None = None) -> Tensor:
    """The square root of a periodic Hann window."""
    return torch.hann_window(N_FFT, device=device).sqrt()


def spectra(audio: Tensor) -> Tensor:
    """Complex STFT, ``[..., samples]`` to ``[..., bins, frames]``, scaled to full scale 1."""
    shape = audio.shape[:-1]
    result = torch.stft(
        audio.reshape(-1, audio.shape[-1]),
        N_FFT,
        HOP,
        window=window(audio.device),
        center=True,
        return_complex=True,
    )
    return result.reshape(*shape, *result.shape[-2:]) * (2.0 / float(window().sum()))


def signals(spectrum: Tensor, samples: int) -> Tensor:
    """The inverse of `spectra`."""
    shape = spectrum.shape[:-2]
    flat = spectrum.reshape(-1, *spectrum.shape[-2:]) / (2.0 / float(window().sum()))
    audio = torch.istft(flat, N_FFT, HOP, window=window(), center=True, length=samples)
    return audio.reshape(*shape, samples)


class Block(nn.Module):
    """Layer norm, dilated convolution of width 3, ReLU, 1x1 convolution, add."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.wide = nn.Linear(3 * channels, channels)
        self.out = nn.Linear(channels, channels)
        self.dilation = dilation
        nn.init.zeros_(self.out.bias)
        with torch.no_grad():
            self.out.weight.mul_(0.3)

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, frames, channels]`` to the same shape."""
        d, frames = self.dilation, x.shape[1]
        padded = functional.pad(self.norm(x), (0, 0, d, d))
        taps = torch.cat([padded[:, k * d : k * d + frames] for k in range(3)], dim=-1)
        hidden: Tensor = x + self.out(torch.relu(self.wide(taps)))
        return hidden


class Network(nn.Module):
    """Magnitudes to logits ``[batch, instruments, width, frames]``.

    Parameters
    ----------
    width : int
        88 notes for the transcriber, the bins for the separator, 1 for the classifier.
    """

    def __init__(self, width: int, channels: int = CHANNELS) -> None:
        super().__init__()
        self.width = width
        self.input = nn.Linear(N_BINS, channels)
        self.blocks = nn.Sequential(*(Block(channels, d) for d in DILATIONS))
        self.output = nn.Sequential(
            nn.LayerNorm(channels), nn.Linear(channels, N_INSTRUMENTS * width)
        )

    def forward(self, magnitudes: Tensor) -> Tensor:
        """``[batch, bins, frames]`` at least 0 to logits."""
        # 3e-4 is 70 dB below full scale: what is masked away is as quiet as silence.
        levels = torch.log(magnitudes.transpose(1, 2) + 3e-4)
        # A fixed scale first: a layer norm alone would hide how loud a source is.
        levels = (levels + 7.0) / 2.0
        with mixed_precision(magnitudes.device):
            logits = self.output(self.blocks(self.input(levels)))
        return logits.float().unflatten(-1, (N_INSTRUMENTS, self.width)).movedim(1, -1)


def transcriber(channels: int = CHANNELS) -> Network:
    """Piano rolls of every instrument."""
    network = Network(N_NOTES, channels)
    head = network.output[-1]
    assert isinstance(head, nn.Linear)
    # Few notes sound at once: start from there.
    nn.init.constant_(head.bias, -4.0)
    return network


def separator(channels: int = CHANNELS) -> Network:
    """A mask for every instrument."""
    return Network(N_BINS, channels)


def classifier(channels: int = CHANNELS) -> Network:
    """Activity of every instrument: the critic of Pishdadian et al., the paper's [16]."""
    return Network(1, channels)
