"""The causal temporal convolutional networks: separator and transcriber.

The residual blocks follow "Transcription Is All You Need" (Hung, Wichern, Le Roux,
ICASSP 2021): kernel 3, dilations doubling, repeated.  Here they are strictly causal,
normalised frame by frame, and every layer sees its past through *taps*, so that one
frame can be computed from the new features and a few stored activations.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

TAPS = 2
CYCLE = (1, 2, 4, 8, 16, 32, 64, 128)


class Block(nn.Module):
    """Normalise, dilated causal convolution of width 3, ReLU, 1x1 convolution, add."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.norm = nn.LayerNorm(channels)
        self.taps = nn.Linear((TAPS + 1) * channels, channels)
        self.out = nn.Linear(channels, channels)
        nn.init.zeros_(self.out.bias)
        with torch.no_grad():
            self.out.weight.mul_(0.5)

    def forward(
        self, x: Tensor, spacing: int = 1, step: int = 1, film: Tensor | None = None
    ) -> Tensor:
        """One in `step` of the entries of ``[batch, frames, channels]``, zeros before the start.

        The entries are `spacing` frames apart, a divisor of the dilation.  `film`
        ``[2, batch, 1, channels]`` scales and shifts what the convolution finds.
        """
        n = self.norm(x)
        d = self.dilation // spacing
        padded = functional.pad(n, (0, 0, TAPS * d, 0))
        frames = x.shape[1]
        heard = torch.cat(
            [padded[:, k * d : k * d + frames : step] for k in range(TAPS + 1)], dim=-1
        )
        return x[:, ::step] + self.after(heard, film)

    def after(self, heard: Tensor, film: Tensor | None) -> Tensor:
        """What is added to the block's input, from its taps, oldest first, in the last axis."""
        out: Tensor = self.out(torch.relu(filmed(self.taps(heard), film)))
        return out


def filmed(x: Tensor, film: Tensor | None) -> Tensor:
    """Feature-wise linear modulation (Perez et al., AAAI 2018), where there is one."""
    return x if film is None else film[0] * x + film[1]


class Trunk(nn.Module):
    """Features to a hidden sequence."""

    def __init__(self, n_features: int, channels: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.channels, self.dilations = channels, tuple(dilations)
        self.input = nn.Linear(n_features, channels)
        self.blocks = nn.ModuleList([Block(channels, d) for d in dilations])
        self.norm = nn.LayerNorm(channels)

    @property
    def context_frames(self) -> int:
        """How many frames of the past reach an output."""
        return TAPS * sum(self.dilations)

    def forward(
        self, features: Tensor, stride: int = 1, films: Sequence[Tensor] | None = None
    ) -> Tensor:
        """Frames 0, `stride`, ... of ``[batch, frames, n_features]``, as ``[..., channels]``.

        They are the same for any stride, but cost less: what no later block looks at, and
        that is most where long dilations come last, is not computed.  `films` has one for
        every block.
        """
        x = self.input(features)
        spacing = 1
        for index, block in enumerate(self.blocks):
            wanted = math.gcd(stride, *self.dilations[index + 1 :])
            x = block(x, spacing, wanted // spacing, None if films is None else films[index])
            spacing = wanted
        out: Tensor = self.norm(x)
        return out

    def step(
        self, features: Tensor, taps: Tensor, films: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """One frame from its features ``[1, F]`` and taps ``[L, TAPS, C]``.

        Returns
        -------
        hidden : ``[1, C]``
        activations : ``[L, C]``, each layer's normalised input, the next taps
        """
        x = self.input(features)
        activations = []
        blocks = [b for b in self.blocks if isinstance(b, Block)]
        for index, block in enumerate(blocks):
            n = block.norm(x)
            activations.append(n)
            heard = torch.cat([taps[index].reshape(1, -1), n], dim=-1)
            x = x + block.after(heard, None if films is None else films[index])
        return self.norm(x), torch.cat(activations)


class Separator(nn.Module):
    """Masks in bands for every stem, one head for each lookahead.

    Parameters
    ----------
    heads : sequence of str
        Names of the outputs; they share the trunk.
    """

    def __init__(
        self,
        n_features: int,
        n_bands: int,
        n_stems: int,
        heads: Sequence[str],
        channels: int,
        dilations: Sequence[int] = CYCLE,
    ) -> None:
        super().__init__()
        self.n_bands, self.n_stems = n_bands, n_stems
        self.trunk = Trunk(n_features, channels, dilations)
        self.heads = nn.ModuleDict({h: nn.Linear(channels, n_stems * n_bands) for h in heads})

    def masks(self, hidden: Tensor, head: str) -> Tensor:
        """``[..., channels]`` to ``[..., n_stems, n_bands]``, summing to one over stems."""
        logits = self.heads[head](hidden).unflatten(-1, (self.n_stems, self.n_bands))
        return torch.softmax(logits, dim=-2)

    def forward(self, features: Tensor, stride: int = 1) -> dict[str, Tensor]:
        """Masks of every head for frames 0, `stride`, ... of ``[batch, frames, n_features]``."""
        hidden = self.trunk(features, stride)
        return {head: self.masks(hidden, head) for head in self.heads}


class Transcriber(nn.Module):
    """Onset, frame activity and velocity logits for every note."""

    def __init__(
        self,
        n_features: int,
        n_notes: int,
        channels: int = 192,
        dilations: Sequence[int] = (1, 2, 4, 8, 16, 32, 1, 2),
    ) -> None:
        super().__init__()
        self.n_notes = n_notes
        self.trunk = Trunk(n_features, channels, dilations)
        self.head = nn.Linear(channels, 3 * n_notes)

    def logits(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Onset, frame and velocity logits, ``[..., n_notes]`` each."""
        onset, frame, velocity = self.head(hidden).split(self.n_notes, dim=-1)
        return onset, frame, velocity

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits for ``[batch, frames, n_features]``."""
        return self.logits(self.trunk(features))
