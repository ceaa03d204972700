"""The paper's five models and a causal one; weights bear the public implementation's names.

Spectrograms are magnitudes ``[batch, 1, frames, BINS]`` of audio at 16 kHz (`spectrogram`).
Nothing pools over time, but in the query network.  The causal model's convolutions reach two
frames back where the paper's reach one frame back and one ahead, with weights of one shape.

Scales begin at 1, where the paper's begin near 0: a query or a note that says nothing yet
leaves alone what it modulates, and learning starts sooner.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

SAMPLE_RATE, N_FFT, HOP = 16_000, 2048, 160
BINS = N_FFT // 2
LOWEST_NOTE, NOTES = 21, 88
SILENCE, CLASSES = NOTES, NOTES + 1
QUERY = 6
ENCODER_CHANNELS = (2, 4, 8, 16, 32, 64)
QUERY_CHANNELS = (2, 4)
TRANSCRIBER_CHANNELS = (128, 256)
# Of batch norms, whose statistics follow the data slowly.
MOMENTUM = 0.01


@dataclass(frozen=True)
class Model:
    """What one of the five models, or of ours, is made of.

    Attributes
    ----------
    title : str
        Its name in the paper's table.
    separates, transcribes : bool
        Has a decoder, has a transcriber.
    disentangles : bool
        Decodes pitch and timbre, which it takes apart, in place of what it encoded.
    translates : bool
        Learns that timbre stays when pitch moves (equation 20).
    causal : bool
        Hears nothing that comes later, but for the query network, whose example is whole.
    """

    title: str
    separates: bool = True
    transcribes: bool = True
    disentangles: bool = False
    translates: bool = False
    causal: bool = False


MODELS = {
    "separation": Model("MSS-only", transcribes=False),
    "transcription": Model("AMT-only", separates=False),
    "multi-task": Model("multi-task"),
    "msi": Model("MSI", disentangles=True),
    "msi-dis": Model("MSI-DIS", disentangles=True, translates=True),
    "causal": Model("MSI, causal", disentangles=True, causal=True),
}


def spectrum(audio: Tensor) -> Tensor:
    """Short-time transform, ``[..., samples]`` to ``[..., frames, BINS]``, without the top bin."""
    window = torch.hann_window(N_FFT, device=audio.device)
    rows = audio.reshape(-1, audio.shape[-1])
    found = torch.stft(rows, N_FFT, HOP, window=window, pad_mode="reflect", return_complex=True)
    return found[:, :BINS].mT.reshape(*audio.shape[:-1], -1, BINS)


def spectrogram(audio: Tensor) -> Tensor:
    """The magnitudes of `spectrum`."""
    return spectrum(audio).abs()


def _start(layer: nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d) -> None:
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class _BatchNorm(nn.Module):
    """A batch norm under the name that weights were published with."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels, momentum=MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(x)
        return out


class Pointwise(nn.Module):
    """A convolution of width 1 over time: one linear map for all frames."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, 1, bias=bias)
        _start(self.conv)

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, inputs, frames]`` to ``[batch, outputs, frames]``."""
        out: Tensor = self.conv(x)
        return out


def _reached(x: Tensor, causal: bool) -> Tensor:
    """Zeros around time and bins, so that a 3x3 convolution keeps the shape."""
    return functional.pad(x, (1, 1, 2, 0) if causal else (1, 1, 1, 1))


class Block(nn.Module):
    """3x3 convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.conv = nn.Conv2d(inputs, outputs, 3, bias=False)
        self.bn = nn.BatchNorm2d(outputs, momentum=MOMENTUM)
        _start(self.conv)

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, inputs, frames, bins]`` to ``[batch, outputs, frames, bins]``."""
        return torch.relu(self.bn(self.conv(_reached(x, self.causal))))


class DeepBlock(nn.Module):
    """Two blocks."""

    def __init__(self, inputs: int, outputs: int, causal: bool) -> None:
        super().__init__()
        self.conv1 = Block(inputs, outputs, causal)
        self.conv2 = Block(outputs, outputs, causal)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes as of a block."""
        out: Tensor = self.conv2(self.conv1(x))
        return out


def _columns(x: Tensor) -> Tensor:
    """``[batch, channels, frames, bins]`` to ``[batch, channels * bins, frames]``."""
    return x.transpose(2, 3).flatten(1, 2)


class QueryNet(nn.Module):
    """An example to a query vector (equation 5)."""

    def __init__(self) -> None:
        super().__init__()
        self.bn0 = _BatchNorm(1)
        sizes = zip((1, *QUERY_CHANNELS), QUERY_CHANNELS, strict=False)
        self.layers = nn.ModuleList([Block(i, o, causal=False) for i, o in sizes])
        pooled = BINS // 2 ** len(QUERY_CHANNELS)
        self.bottom = Pointwise(QUERY_CHANNELS[-1] * pooled, QUERY)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """``[batch, 1, frames, BINS]`` to ``[batch, QUERY]``, each from -1 to 1."""
        x = self.bn0(spectrogram)
        for layer in self.layers:
            x = functional.avg_pool2d(layer(x), 2)
        return torch.tanh(self.bottom(_columns(x))).mean(-1)


class Film(nn.Module):
    """Scale and shift of every channel and bin of a level, from the query."""

    def __init__(self, channels: int, bins: int) -> None:
        super().__init__()
        self.shape = (channels, 1, bins)
        self.gamma = Pointwise(QUERY, channels * bins)
        self.beta = Pointwise(QUERY, channels * bins)
        assert self.gamma.conv.bias is not None
        nn.init.ones_(self.gamma.conv.bias)

    def forward(self, x: Tensor, query: Tensor) -> Tensor:
        """Of ``[batch, channels, frames, bins]`` and ``[batch, QUERY]``."""
        column = query[:, :, None]
        gamma = self.gamma(column).unflatten(1, self.shape)[..., 0]
        beta = self.beta(column).unflatten(1, self.shape)[..., 0]
        return gamma * x + beta


class Encoder(nn.Module):
    """A mixture and a query to a representation at six levels (equation 7)."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.bn0 = _BatchNorm(1)
        sizes = zip((1, *ENCODER_CHANNELS), ENCODER_CHANNELS, strict=False)
        self.layers = nn.ModuleList([DeepBlock(i, o, causal) for i, o in sizes])
        self.film_layers = nn.ModuleList(
            [Film(channels, BINS >> level) for level, channels in enumerate(ENCODER_CHANNELS)]
        )

    def forward(self, mixture: Tensor, query: Tensor) -> list[Tensor]:
        """Of ``[batch, 1, frames, BINS]`` and ``[batch, QUERY]``, finest level first."""
        x = self.bn0(mixture)
        levels: list[Tensor] = []
        for layer, film in zip(self.layers, self.film_layers, strict=True):
            if levels:
                x = functional.avg_pool2d(x, (1, 2))
            x = film(layer(x), query)
            levels.append(x)
        return levels


class Up(nn.Module):
    """Twice the bins, half the channels; then the finer level beside it."""

    def __init__(self, channels: int, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.conv = nn.ConvTranspose2d(channels, channels // 2, 3, (1, 2), bias=False)
        self.bn = nn.BatchNorm2d(channels // 2, momentum=MOMENTUM)
        self.conv_block = Block(channels, channels // 2, causal)
        _start(self.conv)

    def forward(self, x: Tensor, finer: Tensor) -> Tensor:
        """Of ``[batch, channels, frames, bins]`` and half the channels of twice the bins."""
        # A transposed convolution spreads each frame over three: from the one before it to
        # the one after it, or, causally, to the two after it.
        frames, ahead = x.shape[2], 0 if self.causal else 1
        x = self.conv(x)[:, :, ahead : ahead + frames, :-1]
        x = torch.cat([torch.relu(self.bn(x)), finer], dim=1)
        out: Tensor = self.conv_block(x)
        return out


class Decoder(nn.Module):
    """A representation to a spectrogram, not a mask (equations 8 and 13)."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Up(c, causal) for c in reversed(ENCODER_CHANNELS[1:])])
        last = nn.Conv2d(ENCODER_CHANNELS[0], 1, 1)
        _start(last)
        self.bottom = nn.ModuleDict({"conv": last})

    def forward(self, levels: list[Tensor]) -> Tensor:
        """``[batch, 1, frames, BINS]``."""
        *finer, x = levels
        for layer, level in zip(self.layers, reversed(finer), strict=True):
            x = layer(x, level)
        out: Tensor = self.bottom["conv"](x)
        return out


class Transcriber(nn.Module):
    """The coarsest level to the note that sounds, or silence (equation 9)."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        channels = (ENCODER_CHANNELS[-1], *TRANSCRIBER_CHANNELS)
        sizes = zip(channels, TRANSCRIBER_CHANNELS, strict=False)
        self.layers = nn.ModuleList([DeepBlock(i, o, causal) for i, o in sizes])
        bins = BINS >> (len(ENCODER_CHANNELS) - 1 + len(TRANSCRIBER_CHANNELS))
        self.bottom = Pointwise(channels[-1] * bins, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[batch, CLASSES, frames]``."""
        for layer in self.layers:
            x = functional.avg_pool2d(layer(x), (1, 2))
        out: Tensor = self.bottom(_columns(x))
        return out


class PitchExtractor(nn.Module):
    """A vector for every note at every level, as it sounds (equation 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes = [(2, c, BINS >> level) for level, c in enumerate(ENCODER_CHANNELS)]
        self.layers = nn.ModuleList(
            [Pointwise(CLASSES, 2 * c * bins, bias=False) for _, c, bins in self.shapes]
        )
        with torch.no_grad():
            for layer, (_, c, bins) in zip(self.layers, self.shapes, strict=True):
                assert isinstance(layer, Pointwise)
                layer.conv.weight[: c * bins] += 1.0

    def forward(self, notes: Tensor) -> list[Tensor]:
        """``[batch, CLASSES, frames]`` to ``[batch, 2, channels, frames, bins]`` a level."""
        return [
            layer(notes).unflatten(1, shape).transpose(3, 4)
            for layer, shape in zip(self.layers, self.shapes, strict=True)
        ]


class TimbreFilter(nn.Module):
    """What is left of every level without its pitch (equation 11)."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Block(c, c, causal) for c in ENCODER_CHANNELS])

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        """Levels as of the encoder."""
        return [layer(level) for layer, level in zip(self.layers, levels, strict=True)]


class QueryModel(nn.Module):
    """Any of the models."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model, causal = model, model.causal
        self.queryNet = QueryNet()
        parts: dict[str, nn.Module] = {"encoder": Encoder(causal)}
        if model.separates:
            parts["decoder"] = Decoder(causal)
        self.unet = nn.ModuleDict(parts)
        if model.transcribes:
            self.transcriptor = Transcriber(causal)
        if model.disentangles:
            self.pitchExtractor = PitchExtractor()
            self.timbreFilter = TimbreFilter(causal)

    def query(self, example: Tensor) -> Tensor:
        """The query vector ``[batch, QUERY]`` of a spectrogram ``[batch, 1, frames, BINS]``."""
        out: Tensor = self.queryNet(example)
        return out

    def encode(self, mixture: Tensor, query: Tensor) -> list[Tensor]:
        """The levels of a mixture for a query, finest first."""
        levels: list[Tensor] = self.unet["encoder"](mixture, query)
        return levels

    def transcribe(self, levels: list[Tensor]) -> Tensor:
        """Logits ``[batch, CLASSES, frames]``."""
        logits: Tensor = self.transcriptor(levels[-1])
        return logits

    def decode(self, levels: list[Tensor], notes: Tensor | None) -> Tensor:
        """A spectrogram of levels and, where the model takes them apart, notes.

        Parameters
        ----------
        notes : ``[batch, CLASSES, frames]``
            Probabilities, or a score of ones and zeros (equations 12 and 13).
        """
        if self.model.disentangles:
            pitches, timbres = self.pitchExtractor(notes), self.timbreFilter(levels)
            levels = [p[:, 0] * t + p[:, 1] for p, t in zip(pitches, timbres, strict=True)]
        out: Tensor = self.unet["decoder"](levels)
        return out

    def forward(self, mixture: Tensor, query: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Spectrogram ``[batch, 1, frames, BINS]`` and logits, None for what it has not.

        Parameters
        ----------
        mixture : ``[batch, 1, frames, BINS]``
        query : ``[batch, QUERY]``
        """
        levels = self.encode(mixture, query)
        logits = self.transcribe(levels) if self.model.transcribes else None
        if not self.model.separates:
            return None, logits
        return self.decode(levels, None if logits is None else logits.softmax(1)), logits

    def synthesise(self, mixture: Tensor, score: Tensor, query: Tensor) -> Tensor:
        """A new score ``[batch, CLASSES, frames]`` in the timbre asked for."""
        return self.decode(self.encode(mixture, query), score)
