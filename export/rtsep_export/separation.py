"""Training of the separator on random mixes, from their stems, their scores, or both.

From stems, the loss is the negative signal-to-distortion ratio of every stem over a
segment, in dB, computed exactly from the band statistics of `rtsep_export.features`; a
share of the mix's energy in numerator and denominator keeps silent stems finite.  From
scores, see `rtsep_export.score_supervision`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rtsep.manifest import FrontEnd, band_count
from rtsep_export.device_mixes import mixes_for
from rtsep_export.devices import best_device, mixed_precision
from rtsep_export.features import (
    HEADS,
    OFFLINE_HOP,
    SEPARATOR_FRONT_ENDS,
    SEPARATOR_HOP,
    n_features,
    recoloured,
)
from rtsep_export.mixes import Arrays, own_segments
from rtsep_export.score_supervision import Critic, mix_losses
from rtsep_export.segments import STATISTICS, SeparatorSegment
from rtsep_export.stems import STEMS
from rtsep_export.tcn import CYCLE, Separator, Transcriber

# Shares of the mix's energy added to signal and error.  A stem that is as good as absent
# gets the larger one: the decibels of silence would drown all others.
SHARE = 1e-3
ABSENT, ABSENT_SHARE = 3e-3, 3e-2
HEAD_WEIGHTS = {"live": 1.0, "relaxed": 0.4, "offline": 1.0}
ENTROPY_WEIGHT = 2.0
# Of the loss from scores beside the one from stems, and of its mixture losses.
SCORE_WEIGHT, MIX_WEIGHT = 0.1, 10.0
STEM_WEIGHTS = (1.0, 1.0, 1.0, 1.0, 0.5)
STRIDE = OFFLINE_HOP // SEPARATOR_HOP

# By what they were fitted to: energy, ratio and floor of `rtsep_export.features`.
Targets = dict[str, tuple[Tensor, Tensor, Tensor]]


@dataclass(frozen=True)
class Shape:
    """A separator's heads, which share its trunk, and the trunk's size."""

    heads: tuple[str, ...]
    channels: int
    cycles: int  # of dilations from 1 to 128, shortest first


SHAPES = {
    "separator": Shape(("live", "relaxed"), 256, 1),
    "offline": Shape(("offline",), 256, 1),
}


class SeparationTask:
    """A separator with all its heads, its data and its loss.

    Parameters
    ----------
    rendered : Path
        Of songs for training in ``train`` and for validation in ``valid``.
    shape : Shape
    stems_weight : float
        Of the loss from true stems; 0 learns from scores alone.
    critic : Transcriber, optional
        Adds the loss from scores, on the live head.
    workers : int
        Processes that make mixes beside this one.
    """

    def __init__(
        self,
        rendered: Path,
        shape: Shape = SHAPES["separator"],
        *,
        frames: int = 640,
        batch: int = 8,
        bfloat16: bool = True,
        stems_weight: float = 1.0,
        critic: Transcriber | None = None,
        workers: int = 0,
    ) -> None:
        self.heads, self.stems_weight, self.bfloat16 = shape.heads, stems_weight, bfloat16
        prepare = SeparatorSegment(shape.heads, frames, scored=critic is not None)
        self.device = best_device()
        # Scores are followed note by note, which no GPU does.
        where = self.device if critic is None else torch.device("cpu")
        self.mixes = mixes_for(rendered / "train", prepare, batch, workers, where)
        self.valid = own_segments(rendered / "valid", SeparatorSegment(shape.heads, frames))
        self.network: nn.Module = make_separator(shape).to(self.device)
        self.critic = None if critic is None else Critic(critic).to(self.device)

    def loss(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Negative SDR of a random batch, averaged over heads and stems, and the scores'."""
        segment = self._at_device(self.mixes.draw(rng))
        features, blank = augment(segment["features"], rng)
        targets = _targets(segment)
        # Neighbours say nearly the same; the critic alone hears every frame.
        stride = STRIDE if self.critic is None else 1
        with mixed_precision(self.device, wanted=self.bfloat16):
            masks = self.network(features, stride)
        total = torch.zeros((), device=self.device)
        figures = {}
        for head in self.heads:
            loss, figures[head] = stems_loss(masks[head].float(), targets, head, blank, stride)
            total = total + HEAD_WEIGHTS[head] * loss
        total = self.stems_weight * total / sum(HEAD_WEIGHTS[head] for head in self.heads)
        if self.critic is not None:
            weak = self._from_score(self.critic, masks["live"].float(), segment)
            figures["from score"] = float(weak.detach())
            total = total + SCORE_WEIGHT * weak
        return total, figures

    def _at_device(self, segment: Arrays) -> Arrays:
        return {name: array.to(self.device) for name, array in segment.items()}

    def _from_score(self, critic: Critic, masks: Tensor, segment: Arrays) -> Tensor:
        loss = critic.loss(segment["notefeatures"], masks, segment["onset"], segment["frame"])
        return loss + MIX_WEIGHT * mix_losses(masks, segment["energy"], segment["active"])

    def score(self, network: nn.Module) -> dict[str, float]:
        """Mean SDR of the four named stems on fixed validation segments."""
        sums: dict[str, list[Tensor]] = {head: [] for head in self.heads}
        for segment in self.valid:
            segment = self._at_device(segment)
            with mixed_precision(self.device, wanted=self.bfloat16):
                masks = network(segment["features"], STRIDE)
            for head in self.heads:
                sdr = segment_sdr(masks[head].float(), _targets(segment), head, 0, STRIDE)
                sums[head].append(sdr)
        figures = {head: float(torch.cat(v)[:, :4].mean()) for head, v in sums.items()}
        first = self.heads[0]
        stems = torch.cat(sums[first]).mean(0)
        figures |= {f"{first}_{stem}": float(stems[i]) for i, stem in enumerate(STEMS)}
        return figures | {"score": figures[first]}


def _targets(segment: Arrays) -> Targets:
    return {
        target: (segment[energy], segment[ratio], segment[floor])
        for target, (energy, ratio, floor) in STATISTICS.items()
        if energy in segment
    }


def make_separator(
    shape: Shape = SHAPES["separator"], front_ends: Sequence[FrontEnd] = SEPARATOR_FRONT_ENDS
) -> Separator:
    """A separator of some shape, with fresh weights."""
    return Separator(
        n_features(front_ends),
        band_count(front_ends[0]),
        len(STEMS),
        shape.heads,
        channels=shape.channels,
        dilations=sorted(CYCLE * shape.cycles),
    )


def _offline_delay() -> int:
    """Network frames between an offline target's index and the mask made for it."""
    return 2 * HEADS["offline"].lookahead // SEPARATOR_HOP


def stems_loss(
    masks: Tensor, targets: Targets, head: str, blank: int, stride: int = 1
) -> tuple[Tensor, float]:
    """What a head is to make small, and its mean SDR in dB; arguments as of `segment_sdr`."""
    sdr = segment_sdr(masks, targets, head, blank, stride)
    weights = torch.tensor(STEM_WEIGHTS, device=masks.device)
    loss = -(sdr * weights).sum(-1).mean() / weights.sum()
    entropy = segment_entropy(masks, targets, head, blank, stride)
    return loss + ENTROPY_WEIGHT * entropy, float(sdr.detach().mean())


def segment_sdr(masks: Tensor, targets: Targets, head: str, blank: int, stride: int = 1) -> Tensor:
    """SDR in dB of every stem of every segment, ``[batch, n_stems]``.

    Parameters
    ----------
    masks : ``[batch, frames, n_stems, bands]``
    blank : int
        Network frames at the start that do not count.
    stride : int
        Network frames from one of the masks to the next, 1 or `STRIDE`.
    """
    masks, energy, ratio, floor = _align(masks, targets, head, blank, stride)
    energy = energy[:, :, None]
    whole = torch.cat([ratio, 1 - ratio.sum(2, keepdim=True)], dim=2)
    error = (energy * (masks - whole).square()).sum((1, 3)) + floor.sum(1)
    signal = (energy * whole.square()).sum((1, 3)) + floor.sum(1)
    mix = energy.sum((1, 2, 3))[:, None]
    share = torch.where(signal < ABSENT * mix, ABSENT_SHARE, SHARE) * mix + 1e-6
    return 10 * torch.log10((signal + share) / (error + share))


def segment_si_sdr(
    masks: Tensor, targets: Targets, head: str, blank: int, stride: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """How well every stem of every segment comes out, whatever its level; and at which.

    Silence, the safest answer to plain SDR where much is unsure, is here worth nothing.
    Parameters are those of `segment_sdr`.

    Returns
    -------
    si_sdr : ``[batch, n_stems]``
        Scale-invariant SDR in dB, between -30 and 30.
    gain_db : ``[batch, n_stems]``
        Of the stem, in what its mask lets through.
    sounds : ``[batch, n_stems]``
        Whether there is such a stem.
    """
    masks, energy, ratio, floor = _align(masks, targets, head, blank, stride)
    masks = masks[:, :, : ratio.shape[2]]
    energy = energy[:, :, None]
    signal = (energy * ratio.square()).sum((1, 3)) + floor[:, :, : ratio.shape[2]].sum(1)
    common = (energy * masks * ratio).sum((1, 3)).clamp_min(0.0)
    found = (energy * masks.square()).sum((1, 3))
    mix = energy.sum((1, 2, 3))[:, None]
    share = common.square() / (signal * found + 1e-9 * mix.square() + 1e-12)
    si_sdr = 10 * torch.log10((share + SHARE) / (1 - share.clamp_max(1.0) + SHARE))
    gain_db = 20 * torch.log10((common + SHARE * signal + 1e-9) / (signal + 1e-9))
    return si_sdr, gain_db, signal >= ABSENT * mix


def segment_entropy(
    masks: Tensor, targets: Targets, head: str, blank: int, stride: int = 1
) -> Tensor:
    """Cross-entropy of the masks against the ideal shares, weighted by loudness.

    The ratio loss is moved by the few loudest bands; this one lets every band teach,
    and learning starts sooner.  Energies count with a power of 0.3.
    """
    masks, energy, ratio, _ = _align(masks, targets, head, blank, stride)
    whole = torch.cat([ratio, 1 - ratio.sum(2, keepdim=True)], dim=2).clamp_min(0)
    whole = whole / whole.sum(2, keepdim=True)
    weight = (energy + 1e-6) ** 0.3
    weight = weight / weight.mean((1, 2), keepdim=True)
    return -((whole * torch.log(masks + 1e-5)).sum(2) * weight).mean()


def _align(
    masks: Tensor, targets: Targets, head: str, blank: int, stride: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Masks and the target frames that they are for, from frame `blank` on."""
    energy, ratio, floor = targets[HEADS[head].target]
    if head == "offline":
        masks = masks[:, _offline_delay() // stride :: STRIDE // stride]
        first, spacing, blank = 0, 1, -(-blank // STRIDE)
    else:
        ahead = HEADS[head].lookahead // SEPARATOR_HOP
        skipped = -(-ahead // stride)
        masks = masks[:, skipped:]
        first, spacing, blank = skipped * stride - ahead, stride, -(-blank // stride)
    energy, ratio, floor = (t[:, first::spacing] for t in (energy, ratio, floor))
    span = slice(blank, min(masks.shape[1], energy.shape[1]))
    return masks[:, span], energy[:, span], ratio[:, span], floor[:, span]


def augment(features: Tensor, rng: np.random.Generator) -> tuple[Tensor, int]:
    """Another colour and, now and then, an empty past.

    Returns
    -------
    features : Tensor
    blank : int
        Frames at the start whose features were zeroed, as before the start of a file.
    """
    # Filtering a mix filters its stems alike and leaves the ideal masks as they are.
    features = recoloured(features, rng, SEPARATOR_FRONT_ENDS)
    blank = 0
    if rng.random() < 0.1:
        blank = int(rng.integers(1, features.shape[1] // 2))
        features[:, :blank] = 0.0
    return features, blank
