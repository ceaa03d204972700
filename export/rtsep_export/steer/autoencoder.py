"""The bottom level of Jukebox's VQ-VAE (Dhariwal et al. 2020), with its weights' public names.

Audio at 44.1 kHz, 8 samples a latent vector of 64 values, a codebook of 2,048.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

SAMPLE_RATE, HOP = 44_100, 8
STAGES, STRIDE = 3, 2
WIDTH, CODES = 64, 2048
DEPTH, DILATION_GROWTH = 8, 3
LEVEL = "0"
# Of `at_scale`: latent vectors are then about 10, and the paper's rate of 5 moves them by half
# of that a step, which made the tagger's loss fall the most.
CODE_SIZE = 20.0


class _Residual(nn.Module):
    """ReLU, a dilated convolution of width 3, ReLU, one of width 1, added."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.ReLU(),
            nn.Conv1d(WIDTH, WIDTH, 3, 1, dilation, dilation),
            nn.ReLU(),
            nn.Conv1d(WIDTH, WIDTH, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.model(x)
        return out


class _Stack(nn.Module):
    def __init__(self, *, reverse: bool) -> None:
        super().__init__()
        dilations = [DILATION_GROWTH**depth for depth in range(DEPTH)]
        self.model = nn.Sequential(
            *[_Residual(d) for d in (reversed(dilations) if reverse else dilations)]
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model(x)
        return out


class _Blocks(nn.Module):
    """One level's layers; the decoder has a last convolution besides."""

    def __init__(self, layers: list[nn.Module], *, last: bool) -> None:
        super().__init__()
        level = nn.Module()
        level.model = nn.Sequential(*layers)
        self.level_blocks = nn.ModuleDict({LEVEL: level})
        if last:
            self.out = nn.Conv1d(WIDTH, 1, 3, 1, 1)


class _Codebook(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("k", torch.randn(CODES, WIDTH))


class Autoencoder(nn.Module):
    """Audio to latent vectors, to codes, and back."""

    def __init__(self) -> None:
        super().__init__()
        wide, padding = 2 * STRIDE, STRIDE // 2
        down: list[nn.Module] = [
            nn.Sequential(
                nn.Conv1d(1 if stage == 0 else WIDTH, WIDTH, wide, STRIDE, padding),
                _Stack(reverse=False),
            )
            for stage in range(STAGES)
        ]
        up: list[nn.Module] = [
            nn.Sequential(
                _Stack(reverse=True), nn.ConvTranspose1d(WIDTH, WIDTH, wide, STRIDE, padding)
            )
            for _ in range(STAGES)
        ]
        narrow = nn.Conv1d(WIDTH, WIDTH, 3, 1, 1)
        first = nn.Conv1d(WIDTH, WIDTH, 3, 1, 1)
        self.encoders = nn.ModuleDict({LEVEL: _Blocks([*down, narrow], last=False)})
        self.decoders = nn.ModuleDict({LEVEL: _Blocks([first, *up], last=True)})
        self.bottleneck = nn.Module()
        self.bottleneck.level_blocks = nn.ModuleDict({LEVEL: _Codebook()})

    @property
    def codebook(self) -> Tensor:
        """``[CODES, WIDTH]``."""
        return self.get_buffer(f"bottleneck.level_blocks.{LEVEL}.k")

    def encode(self, audio: Tensor) -> Tensor:
        """``[batch, 1, samples]``, a multiple of `HOP`, to ``[batch, WIDTH, samples // HOP]``."""
        level: nn.Module = self.get_submodule(f"encoders.{LEVEL}.level_blocks.{LEVEL}.model")
        out: Tensor = level(audio)
        return out

    def quantise(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Nearest codes ``[batch, frames]``, and their vectors.

        Gradients pass to the latent vectors as if nothing had been done (straight through).
        """
        rows = latent.transpose(1, 2)
        distance = (
            rows.square().sum(-1, keepdim=True)
            - 2 * rows @ self.codebook.T
            + self.codebook.square().sum(-1)
        )
        codes = distance.argmin(-1)
        vectors = self.codebook[codes].transpose(1, 2)
        return codes, latent + (vectors - latent).detach()

    def decode(self, latent: Tensor) -> Tensor:
        """``[batch, WIDTH, frames]`` to audio ``[batch, 1, frames * HOP]``."""
        level = self.get_submodule(f"decoders.{LEVEL}.level_blocks.{LEVEL}.model")
        out: Tensor = self.get_submodule(f"decoders.{LEVEL}.out")(level(latent))
        return out

    def forward(self, audio: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Latent vectors, codes and decoded audio."""
        latent = self.encode(audio)
        codes, vectors = self.quantise(latent)
        return latent, codes, self.decode(vectors)


def bottom_level(found: Mapping[str, object]) -> dict[str, Tensor]:
    """The bottom level's tensors of a public checkpoint, under this module's names."""
    model = found.get("model", found)
    if not isinstance(model, Mapping):
        return {}
    state = {str(key).removeprefix("module."): value for key, value in model.items()}
    wanted = (f"encoders.{LEVEL}.", f"decoders.{LEVEL}.", f"bottleneck.level_blocks.{LEVEL}.k")
    return {
        key: value
        for key, value in state.items()
        if isinstance(value, Tensor) and (key.startswith(wanted[:2]) or key == wanted[2])
    }


def is_autoencoder(found: Mapping[str, object]) -> bool:
    """Whether a checkpoint holds such a network."""
    return f"bottleneck.level_blocks.{LEVEL}.k" in bottom_level(found)


@torch.no_grad()
def at_scale(network: Autoencoder) -> Autoencoder:
    """The same function with codes of a size that steering counts with, changed in place.

    The losses leave the size of the latent vectors open, and the rate of steering is in
    its units: the root mean square of the median code becomes `CODE_SIZE`.
    """
    factor = CODE_SIZE / network.codebook.square().mean(1).sqrt().median()
    last = _convolutions(network.get_submodule(f"encoders.{LEVEL}"))[-1]
    first = _convolutions(network.get_submodule(f"decoders.{LEVEL}"))[0]
    for tensor in (last.weight, last.bias, network.codebook):
        if tensor is not None:
            tensor.mul_(factor)
    first.weight.div_(factor)
    return network


def _convolutions(part: nn.Module) -> list[nn.Conv1d]:
    return [module for module in part.modules() if isinstance(module, nn.Conv1d)]
