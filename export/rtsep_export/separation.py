"""Training of the separator on stored mixes, from their stems, their scores, or both.

From stems, the loss is the negative signal-to-distortion ratio of every stem over a
segment, in dB, computed exactly from the band statistics of `rtsep_export.features`; a
share of the mix's energy in numerator and denominator keeps silent stems finite.  From
scores, see `rtsep_export.score_supervision`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rtsep.manifest import FrontEnd, band_count
from rtsep_export.devices import best_device, mixed_precision
from rtsep_export.features import (
    HEADS,
    OFFLINE_HOP,
    SEPARATOR_FRONT_ENDS,
    SEPARATOR_HOP,
    edges,
    equaliser_db,
    n_features,
)
from rtsep_export.score_supervision import RATIO, Critic, activity, mix_losses
from rtsep_export.stems import STEMS
from rtsep_export.store import MixStore
from rtsep_export.tcn import CYCLE, Separator, Transcriber
from rtsep_export.transcription import rolls

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

Array = npt.NDArray[np.float32]
Arrays = dict[str, Array]
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
    "offline": Shape(("offline",), 192, 2),
}


class Segment:
    """A batch of segments: features and the statistics the loss needs."""

    def __init__(self, parts: list[Arrays], device: torch.device) -> None:
        stacked = {k: torch.from_numpy(np.stack([p[k] for p in parts])) for k in parts[0]}
        stacked = {k: v.to(device) for k, v in stacked.items()}
        self.features: Tensor = stacked["features"]
        self.score: tuple[Tensor, Tensor, Tensor, Tensor] | None = None
        if "active" in stacked:
            self.score = (
                stacked["notefeatures"],
                stacked["onset"],
                stacked["frame"],
                stacked["active"],
            )
        self.targets = {
            "live": (10 ** stacked["energy"], stacked["ratio"], stacked["floor"]),
            "offline": (10 ** stacked["energy4"], stacked["ratio4"], stacked["floor4"]),
        }


class SeparationTask:
    """A separator with all its heads, its data and its loss.

    Parameters
    ----------
    shape : Shape
    stems_weight : float
        Of the loss from true stems; 0 learns from scores alone.
    critic : Transcriber, optional
        Adds the loss from scores, on the live head; only mixes at their own speed, whose
        notes are kept in the critic's frames, are then used.
    """

    def __init__(
        self,
        train: Path,
        valid: Path,
        shape: Shape = SHAPES["separator"],
        *,
        frames: int = 640,
        batch: int = 8,
        bfloat16: bool = True,
        stems_weight: float = 1.0,
        critic: Transcriber | None = None,
    ) -> None:
        needs = "features" if critic is None else "notefeatures"
        self.train, self.valid = MixStore(train, needs), MixStore(valid, "features")
        self.stems_weight, self.heads = stems_weight, shape.heads
        self.frames, self.batch, self.bfloat16 = frames, batch, bfloat16
        self.device = best_device()
        self.network: nn.Module = make_separator(shape).to(self.device)
        self.critic = None if critic is None else Critic(critic).to(self.device)

    def loss(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Negative SDR of a random batch, averaged over heads and stems, and the scores'."""
        names = [self.train.draw(rng) for _ in range(self.batch)]
        parts = [self._segment(self.train, name, rng) for name in names]
        segment = Segment(parts, self.device)
        features, blank = augment(segment.features, rng)
        # Neighbours say nearly the same; the critic alone hears every frame.
        stride = STRIDE if self.critic is None else 1
        with mixed_precision(self.device, wanted=self.bfloat16):
            masks = self.network(features, stride)
        total = torch.zeros((), device=self.device)
        figures = {}
        for head in self.heads:
            loss, figures[head] = stems_loss(
                masks[head].float(), segment.targets, head, blank, stride
            )
            total = total + HEAD_WEIGHTS[head] * loss
        total = self.stems_weight * total / sum(HEAD_WEIGHTS[head] for head in self.heads)
        if self.critic is not None and segment.score is not None:
            weak = self._from_score(self.critic, masks["live"].float(), segment)
            figures["from score"] = float(weak.detach())
            total = total + SCORE_WEIGHT * weak
        return total, figures

    def _from_score(self, critic: Critic, masks: Tensor, segment: Segment) -> Tensor:
        assert segment.score is not None
        heard, onset, frame, active = segment.score
        energy = segment.targets["live"][0]
        loss = critic.loss(heard, masks, onset, frame)
        return loss + MIX_WEIGHT * mix_losses(masks, energy, active)

    def score(self, network: nn.Module) -> dict[str, float]:
        """Mean SDR of the four named stems on fixed validation segments."""
        rng = np.random.default_rng(5)
        sums: dict[str, list[Tensor]] = {head: [] for head in self.heads}
        for name in self.valid.names:
            segment = Segment([self._segment(self.valid, name, rng) for _ in range(2)], self.device)
            with mixed_precision(self.device, wanted=self.bfloat16):
                masks = network(segment.features, STRIDE)
            for head in self.heads:
                sdr = segment_sdr(masks[head].float(), segment.targets, head, 0, STRIDE)
                sums[head].append(sdr)
        figures = {head: float(torch.cat(v)[:, :4].mean()) for head, v in sums.items()}
        first = self.heads[0]
        stems = torch.cat(sums[first]).mean(0)
        figures |= {f"{first}_{stem}": float(stems[i]) for i, stem in enumerate(STEMS)}
        return figures | {"score": figures[first]}

    def _segment(self, store: MixStore, name: str, rng: np.random.Generator) -> Arrays:
        frames = self.frames
        length = min(len(store.array(name, "features")), len(store.array(name, "energy")))
        last = (min(length, STRIDE * len(store.array(name, "energy4"))) - frames) // STRIDE
        start = STRIDE * int(rng.integers(max(last, 1)))
        part = {
            k: store.window(name, k, start, frames)
            for k in ("features", "energy", "ratio", "floor")
        }
        count = (frames - _offline_delay()) // STRIDE
        for k in ("energy4", "ratio4", "floor4"):
            part[k] = store.window(name, k, start // STRIDE, count)
        if self.critic is not None and store is self.train:
            part |= self._score_segment(store, name, start)
        return part

    def _score_segment(self, store: MixStore, name: str, start: int) -> Arrays:
        first, count = start // RATIO, self.frames // RATIO
        onset, frame, active = self._rolls(store, name)
        heard = store.window(name, "notefeatures", first, count)
        rolls_ = {"onset": onset[first : first + count], "frame": frame[first : first + count]}
        return {"notefeatures": heard, **rolls_, "active": active[start : start + self.frames]}

    @lru_cache(maxsize=64)  # noqa: B019  (a task lives as long as the training)
    def _rolls(self, store: MixStore, name: str) -> tuple[Array, Array, Array]:
        notes, frames = store.notes(name), len(store.array(name, "notefeatures"))
        onset, frame, _ = rolls(notes, frames)
        return onset, frame, activity(notes, SEPARATOR_HOP, RATIO * frames)


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


def augment(
    features: Tensor,
    rng: np.random.Generator,
    front_ends: Sequence[FrontEnd] = SEPARATOR_FRONT_ENDS,
) -> tuple[Tensor, int]:
    """Levels, a smooth equaliser, swapped channels and, now and then, an empty past.

    Returns
    -------
    features : Tensor
    blank : int
        Frames at the start whose features were zeroed, as before the start of a file.
    """
    # Filtering a mix filters its stems alike and leaves the ideal masks as they are.
    depth_db = rng.normal(0.0, (6.0, 3.0, 3.0, 2.0), (len(features), 1, 4))
    device = features.device
    sign = torch.from_numpy(rng.choice([-1.0, 1.0], (len(features), 1, 1)).astype(np.float32))
    sign = sign.to(device)
    columns, start = [], 0
    for end in front_ends:
        middles = edges(end)
        middles = ((middles[1:] + middles[:-1]) / 2).clip(20.0)
        octaves = np.log2(middles / 20.0) / 10.0  # 0 at 20 Hz, 1 at 20 kHz
        gain_db = -5.0 + equaliser_db(depth_db, octaves)
        gain = torch.from_numpy(gain_db.astype(np.float32)).to(device)
        for value in end.values:
            column = features[..., start : start + len(middles)]
            start += len(middles)
            level = value == "level"
            columns.append((column + gain / 20).clamp_min(-2.0) if level else column * sign)
    features = torch.cat(columns, dim=-1)
    blank = 0
    if rng.random() < 0.1:
        blank = int(rng.integers(1, features.shape[1] // 2))
        features[:, :blank] = 0.0
    return features, blank
