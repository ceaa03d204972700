"""The paper's weak losses on the live separator: equations 5 to 8 on bands, causally.

The critic is the shipped transcriber, frozen.  It hears levels in bands, and a mask that
is constant over a separator's band moves the levels of a stem by its decibels; so what it
would hear of a separated stem is worked out from the mixture's features and the masks,
without a signal being made.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pretty_midi
import torch
from torch import Tensor, nn
from torch.nn import functional

from rtsep.manifest import FrontEnd
from rtsep.rates import REFERENCE_RATE
from rtsep_export.features import (
    SEPARATOR_FRONT_ENDS,
    SEPARATOR_HOP,
    TRANSCRIBER_FRONT_ENDS,
    TRANSCRIBER_HOP,
    edges,
)
from rtsep_export.note_rolls import COLUMN, N_NOTES, POSITIVE_WEIGHTS
from rtsep_export.stems import PITCHED, STEMS
from rtsep_export.tcn import Transcriber

HARMONICS = 40
# After a key is let go, and after a stroke, sound goes on.
RELEASE_S, STROKE_S = 0.15, 0.3
RATIO = TRANSCRIBER_HOP // SEPARATOR_HOP
# Weights of equation 8 beside the score's loss, and of onsets beside activity.
CLIP_MIX, HARMONIC_MIX, ONSETS = 1.0, 0.1, 3.0

Notes = Sequence[tuple[str, int, float, float, int]]


class Critic(nn.Module):
    """A frozen transcriber that hears stems through masks.

    Parameters
    ----------
    transcriber : Transcriber
        Its weights are not to learn; see `rtsep_export.from_onnx.load_transcriber`.
    """

    def __init__(self, transcriber: Transcriber) -> None:
        super().__init__()
        self.transcriber = transcriber.requires_grad_(False)
        for number, end in enumerate(TRANSCRIBER_FRONT_ENDS):
            self.register_buffer(f"spread{number}", torch.from_numpy(_spread(end)))
        owners = np.zeros((len(STEMS), N_NOTES), np.float32)
        for (stem, _), column in COLUMN.items():
            owners[STEMS.index(stem), column] = 1.0
        self.register_buffer("owners", torch.from_numpy(owners))

    def heard(self, features: Tensor, masks: Tensor) -> Tensor:
        """A transcriber's features of every stem.

        Parameters
        ----------
        features : ``[batch, frames, n]``
            Of the mixture, every `TRANSCRIBER_HOP` samples.
        masks : ``[batch, RATIO * frames, stems, bands]``
            Of the separator, every `SEPARATOR_HOP` samples.

        Returns
        -------
        Tensor
            ``[batch, stems, frames, n]``
        """
        frames = features.shape[1]
        per_stem = masks.permute(0, 2, 3, 1)
        columns, start = [], 0
        for number, end in enumerate(TRANSCRIBER_FRONT_ENDS):
            # A window is loudest where it ends: about a quarter of it counts.
            reach = max(end.n_fft // (4 * SEPARATOR_HOP), RATIO)
            padded = functional.pad(per_stem.flatten(0, 1), (reach - 1, 0), mode="replicate")
            mean = functional.avg_pool1d(padded, reach, 1)
            mean = mean.unflatten(0, per_stem.shape[:2])[..., RATIO - 1 :: RATIO][..., :frames]
            spread = getattr(self, f"spread{number}")
            gain = torch.einsum("bskt,kn->bstn", mean, spread)
            width = spread.shape[1]
            level = features[..., start : start + width][:, None]
            power = 10 ** (2.0 * level - 5.0)
            columns.append((10 * torch.log10(power * gain.square() + 1e-9) + 50) / 20)
            start += width
        return torch.cat(columns, dim=-1)

    def loss(self, features: Tensor, masks: Tensor, onset: Tensor, frame: Tensor) -> Tensor:
        """Equation 5: each stem is to hold its own notes and no others.

        Parameters
        ----------
        onset, frame : ``[batch, frames, N_NOTES]``
            As of `rtsep_export.transcription.rolls`.
        """
        owners = self.owners
        assert isinstance(owners, Tensor)
        heard = self.heard(features, masks)
        logits = self.transcriber(heard.flatten(0, 1))
        total = torch.zeros((), device=masks.device)
        for logit, target, kind, weight in (
            (logits[0], onset, "onset", ONSETS),
            (logits[1], frame, "frame", 1.0),
        ):
            own = (target[:, None] * owners[:, None]).flatten(0, 1)
            positive = torch.tensor(POSITIVE_WEIGHTS[kind], device=masks.device)
            entropy = functional.binary_cross_entropy_with_logits(
                logit.float(), own, pos_weight=positive, reduction="none"
            )
            total = total + weight * entropy.sum(-1).mean() * len(STEMS)
        return total


def _spread(end: FrontEnd) -> npt.NDArray[np.float32]:
    """Linear interpolation from the separator's bands to a front end's, ``[bands, n]``."""
    source = edges(SEPARATOR_FRONT_ENDS[0])
    middles = (source[1:] + source[:-1]) / 2
    own = edges(end)
    place = np.interp((own[1:] + own[:-1]) / 2, middles, np.arange(len(middles)))
    low = np.floor(place).astype(int).clip(0, len(middles) - 2)
    share = (place - low).astype(np.float32)
    matrix = np.zeros((len(middles), len(own) - 1), np.float32)
    rows = np.arange(len(own) - 1)
    matrix[low, rows] = 1.0 - share
    matrix[low + 1, rows] += share
    return matrix


def activity(notes: Notes, first_end: int, frames: int) -> npt.NDArray[np.float32]:
    """Where the score expects a stem's energy, ``[frames, stems, bands]`` of 0 and 1.

    Equation 7's sets: within a band of a harmonic of a note that sounds; everywhere after
    a stroke of the drums, and always in "other", whose score is seldom whole.

    Parameters
    ----------
    first_end : int
        Sample at which the first frame ends.
    """
    bounds = edges(SEPARATOR_FRONT_ENDS[0])
    low, high = bounds[:-1], bounds[1:]
    times = (first_end + np.arange(frames) * SEPARATOR_HOP) / REFERENCE_RATE
    active = np.zeros((frames, len(STEMS), len(low)), np.float32)
    active[:, STEMS.index("other")] = 1.0
    combs: dict[int, npt.NDArray[np.bool_]] = {}
    for stem, pitch, onset, offset, _ in notes:
        row = STEMS.index(stem)
        if stem == "drums":
            active[(times >= onset) & (times < onset + STROKE_S), row] = 1.0
        elif stem in PITCHED:
            if pitch not in combs:
                combs[pitch] = _comb(pitch, low, high)
            sounding = (times >= onset) & (times < offset + RELEASE_S)
            active[np.ix_(sounding, np.arange(row, row + 1), combs[pitch])] = 1.0
    return active


def _comb(
    pitch: int, low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    harmonics = pretty_midi.note_number_to_hz(pitch) * np.arange(1, HARMONICS + 1)[:, None]
    near = 23.4 + 0.01 * harmonics
    near_one = (high > harmonics - near) & (low < harmonics + near)
    return np.asarray(near_one.any(axis=0))


def mix_losses(masks: Tensor, energy: Tensor, active: Tensor) -> Tensor:
    """Equations 6 and 7 with their weights; the masks add up to one, so only what is not
    active counts.

    Parameters
    ----------
    masks : ``[batch, frames, stems, bands]``
    energy : ``[batch, frames, bands]``
        Of the mixture.
    active : ``[batch, frames, stems, bands]``
        As of `activity`.
    """
    magnitude = energy.sqrt()[:, :, None]
    whole = magnitude.sum((1, 3)).squeeze(-1) + 1e-6
    in_clip = active.amax((1, 3), keepdim=True)
    clip = ((1 - in_clip) * masks * magnitude).sum((1, 2, 3)) / whole
    harmonic = ((1 - active) * masks * magnitude).sum((1, 2, 3)) / whole
    return CLIP_MIX * clip.mean() + HARMONIC_MIX * harmonic.mean()
