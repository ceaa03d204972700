"""The query models in the layout in which a GPU learns them fast: bins folded into channels.

Every level of the U-Net has 2,048 numbers a frame, as few channels of many bins or many
channels of few.  A GPU multiplies 64 channels as fast as 2, so that a convolution over
2 channels of 1,024 bins wastes nearly all of it.  Here activations are ``[batch, frames,
bins, channels]``, and a convolution over bins is one over `GROUPS` groups of bins: the bins
of a group, times the channels, are its channels, and its weights are the small ones laid
out between every bin and its neighbours.  The weights, the running statistics and what
comes out are those of `rtsep_export.query.networks`, in training.
"""

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from rtsep_export.query.networks import (
    CLASSES,
    Block,
    Decoder,
    DeepBlock,
    Encoder,
    Film,
    Pointwise,
    QueryModel,
    Up,
)

GROUPS = 32


@cache
def _neighbours(bins_in: int, bins_out: int, device: torch.device) -> Tensor:
    """Which tap leads from each bin of the group before, of this and of the next to each bin.

    Ones and zeros ``[bins_out, bins_in, 3, 3]``, the last axis by tap; of a convolution, or
    where there are twice as many bins after it, of a transposed one of stride 2.
    """
    found = torch.zeros(bins_out, bins_in, 3, 3)
    for group in range(3):
        for i in range(bins_in):
            at = i + bins_in * (group - 1)
            for k in range(3):
                j = at - k + 1 if bins_in == bins_out else 2 * at + k
                if 0 <= j < bins_out:
                    found[j, i, group, k] = 1.0
    return found.to(device)


def convolve(x: Tensor, weight: Tensor, *, causal: bool, up: bool = False) -> Tensor:
    """A 3x3 convolution of ``[batch, frames, bins, channels]`` that keeps frames and bins.

    Parameters
    ----------
    weight : ``[outputs, inputs, 3, 3]``, or ``[inputs, outputs, 3, 3]`` where `up`
        Taps over time, then over bins.
    up : bool
        Transposed, with stride 2 over bins, the one too many dropped.
    """
    batch, frames, bins, channels = x.shape
    groups = min(GROUPS, bins)
    size_in = bins // groups
    size_out = 2 * size_in if up else size_in
    if up:
        # What goes from a frame to later ones comes, seen from these, from earlier ones.
        weight = weight.transpose(0, 1).flip(2)
    taps = _neighbours(size_in, size_out, x.device).to(weight.dtype)
    wide = torch.einsum("oitk,jbdk->jobitd", weight, taps)
    wide = wide.reshape(size_out * weight.shape[0], size_in * channels, 3, 3)
    folded = x.reshape(batch, frames, groups, size_in * channels).permute(0, 3, 1, 2)
    out = functional.conv2d(
        folded, wide.contiguous(memory_format=torch.channels_last), padding=(2 if causal else 1, 1)
    )
    out = out[:, :, :frames].permute(0, 2, 3, 1)
    return out.reshape(batch, frames, groups * size_out, weight.shape[0])


def _precise(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def normalise(x: Tensor, norm: nn.BatchNorm2d, *, rectify: bool = True) -> Tensor:
    """A batch norm in training and a ReLU, ``[..., bins, channels]``; moves running statistics."""
    found, mean, variance = _normalised(x, norm.weight, norm.bias, norm.eps, rectify)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    assert norm.momentum is not None
    count = x.numel() // x.shape[-1]
    with torch.no_grad():
        norm.running_mean.lerp_(mean.detach(), norm.momentum)
        norm.running_var.lerp_(variance.detach() * (count / (count - 1)), norm.momentum)
        norm.num_batches_tracked += 1
    return found


def _normalised(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, rectify: bool
) -> tuple[Tensor, Tensor, Tensor]:
    channels, count = x.shape[-1], x.numel() // x.shape[-1]
    rows = _precise(x).reshape(-1, x.shape[-2] * channels)
    mean = rows.sum(0).reshape(-1, channels).sum(0) / count
    square = rows.square().sum(0).reshape(-1, channels).sum(0) / count
    variance = (square - mean.square()).clamp_min(0.0)
    scale = weight * torch.rsqrt(variance + eps)
    found = _precise(x) * scale + (bias - mean * scale)
    return (torch.relu(found) if rectify else found).to(x.dtype), mean, variance


def _block(x: Tensor, block: Block) -> Tensor:
    x = convolve(x, block.conv.weight, causal=block.causal)
    return normalise(x, block.bn)


def _deep_block(x: Tensor, block: DeepBlock) -> Tensor:
    return _block(_block(x, block.conv1), block.conv2)


def _half_bins(x: Tensor) -> Tensor:
    return x.unflatten(2, (-1, 2)).mean(3)


def _of_columns(columns: Tensor, layer: Pointwise) -> Tensor:
    return functional.linear(columns, layer.conv.weight[..., 0], layer.conv.bias)


def _laid_out(values: Tensor, channels: int) -> Tensor:
    """``[..., channels * bins]`` as weights have them, to ``[..., bins, channels]``."""
    return values.unflatten(-1, (channels, -1)).transpose(-2, -1)


class Folded:
    """A query model in training, in this layout.

    Parameters
    ----------
    network : QueryModel
        Its weights are used as they are, its running statistics follow.
    """

    training = True

    def __init__(self, network: QueryModel) -> None:
        self._network, self.model = network, network.model

    def query(self, example: Tensor) -> Tensor:
        """See `QueryModel.query`."""
        net = self._network.queryNet
        x = normalise(example.permute(0, 2, 3, 1), net.bn0.bn, rectify=False)
        for layer in net.layers:
            assert isinstance(layer, Block)
            x = _block(x, layer)
            x = x[:, : x.shape[1] // 2 * 2].unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
            x = x.mean((2, 4))
        weight = _laid_out(net.bottom.conv.weight[..., 0], x.shape[-1])
        bias = net.bottom.conv.bias
        found = functional.linear(x.flatten(2), weight.flatten(1), bias)
        return torch.tanh(_precise(found)).mean(1)

    def encode(self, mixture: Tensor, query: Tensor) -> list[Tensor]:
        """See `QueryModel.encode`; levels ``[batch, frames, bins, channels]``."""
        encoder = self._network.unet["encoder"]
        assert isinstance(encoder, Encoder)
        x = normalise(mixture.permute(0, 2, 3, 1), encoder.bn0.bn, rectify=False)
        levels: list[Tensor] = []
        for layer, film in zip(encoder.layers, encoder.film_layers, strict=True):
            if levels:
                x = _half_bins(x)
            assert isinstance(layer, DeepBlock)
            assert isinstance(film, Film)
            x = _deep_block(x, layer)
            gamma, beta = (
                _laid_out(_of_columns(query, part), x.shape[-1])[:, None]
                for part in (film.gamma, film.beta)
            )
            x = (gamma * x + beta).to(x.dtype)
            levels.append(x)
        return levels

    def transcribe(self, levels: list[Tensor]) -> Tensor:
        """See `QueryModel.transcribe`."""
        net, x = self._network.transcriptor, levels[-1]
        for layer in net.layers:
            assert isinstance(layer, DeepBlock)
            x = _half_bins(_deep_block(x, layer))
        weight = _laid_out(net.bottom.conv.weight[..., 0], x.shape[-1])
        found = functional.linear(x.flatten(2), weight.flatten(1), net.bottom.conv.bias)
        return _precise(found).mT

    def decode(self, levels: list[Tensor], notes: Tensor | None) -> Tensor:
        """See `QueryModel.decode`."""
        if self.model.disentangles:
            assert notes is not None
            levels = self._entangled(levels, notes)
        decoder = self._network.unet["decoder"]
        assert isinstance(decoder, Decoder)
        *finer, x = levels
        for layer, level in zip(decoder.layers, reversed(finer), strict=True):
            assert isinstance(layer, Up)
            x = convolve(x, layer.conv.weight, causal=layer.causal, up=True)
            x = normalise(x, layer.bn)
            x = _block(torch.cat([x, level], dim=-1), layer.conv_block)
        last = decoder.bottom["conv"]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        # A sum over channels: what comes out is not rounded.
        found = (_precise(x) * last.weight[0, :, 0, 0]).sum(-1) + last.bias
        return found[:, None]

    def _entangled(self, levels: list[Tensor], notes: Tensor) -> list[Tensor]:
        found = []
        extractor, filters = self._network.pitchExtractor, self._network.timbreFilter
        for level, layer, part in zip(levels, extractor.layers, filters.layers, strict=True):
            assert isinstance(layer, Pointwise)
            assert isinstance(part, Block)
            bins, channels = level.shape[2:]
            weight = layer.conv.weight.reshape(2, channels, bins, CLASSES).transpose(1, 2)
            gains = functional.linear(notes.mT, weight.reshape(-1, CLASSES))
            gamma, beta = gains.unflatten(-1, (2, bins, channels)).unbind(2)
            found.append((gamma * _block(level, part) + beta).to(level.dtype))
        return found
