"""The paper's losses, equations 1 to 11.

Shapes: magnitudes ``[batch, bins, frames]``, separated ones and masks with instruments
after the batch; scores (piano rolls) ``[batch, instruments, notes, frames]`` of 0 and 1.
The sums of the paper run over a clip's notes or bins and frames; here every loss is that
sum for a clip, divided by its frames and averaged over the batch, so that the paper's
weights between them keep their meaning whatever the clip's length.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rtsep_export.scores.networks import (
    FRAME_S,
    LOWEST_NOTE,
    N_BINS,
    N_FFT,
    N_INSTRUMENTS,
    N_NOTES,
)
from rtsep_export.scores.songs import SAMPLE_RATE, Note

# More would leave the bass no bin that is not its own.
HARMONICS = 10
# Full scale is 1 in our spectra, where the paper's are not scaled; the mixture losses are
# brought to a scale at which both they and the score's count.
MAGNITUDE_SCALE = 25.0
# A note that is not heard in its separated source counts as much as four heard in another:
# else silence is cheap.
MISSED = 4.0
# Nats: what a note costs that is as likely as not.
CAP = float(np.log(2.0))


@dataclass(frozen=True)
class Weights:
    """The paper's weights (section 3.2), but for beta 2 (0.1 there); 0 leaves a term out.

    Attributes
    ----------
    instrument, pitch : float
        alpha 1 and beta 1, of equation 4.
    clip_mix, harmonic_mix : float
        alpha 2 and beta 2, of equation 8.
    adversarial_mix, adversarial_score : float
        alpha 3 and beta 3, of equation 11.
    """

    instrument: float = 0.03
    pitch: float = 0.1
    clip_mix: float = 1.0
    harmonic_mix: float = 1.0
    adversarial_mix: float = 0.0
    adversarial_score: float = 0.0


def piano_roll(notes: Sequence[Note], frames: int) -> Tensor:
    """Score of a clip, ``[instruments, notes, frames]``; frame k is at ``k * FRAME_S``."""
    roll = torch.zeros(N_INSTRUMENTS, N_NOTES, frames)
    for instrument, pitch, on, off in notes:
        if 0 <= pitch - LOWEST_NOTE < N_NOTES:
            first = int(-(-on // FRAME_S))
            last = max(int(-(-off // FRAME_S)), first + 1)
            roll[instrument, pitch - LOWEST_NOTE, first:last] = 1.0
    return roll


def activity_weights(rates: Sequence[float]) -> Tensor:
    """Weights of the instruments' score losses from how often each plays.

    The paper weights by "the rate of frame-wise activity"; we take the inverse, so that
    what plays seldom is not drowned, scaled to a mean of one.
    """
    inverse = 1.0 / torch.tensor([max(rate, 0.02) for rate in rates])
    return inverse / inverse.mean()


def score_loss(logits: Tensor, score: Tensor, weights: Tensor, positive: float = 1.0) -> Tensor:
    """Equation 1: cross-entropy over instruments, notes and frames; `positive` weighs notes."""
    entropy = functional.binary_cross_entropy_with_logits(
        logits, score, reduction="none", pos_weight=logits.new_tensor(positive)
    )
    return (entropy.sum(2).mean((0, 2)) * weights).sum()


def transcription_loss(logits: Tensor, score: Tensor, weights: Tensor, by: Weights) -> Tensor:
    """Equation 4: the score, and its maxima over notes (3) and over instruments (2)."""
    bce = functional.binary_cross_entropy_with_logits
    pitch = bce(logits.amax(1), score.amax(1), reduction="none").sum(1).mean()
    entropy = bce(logits.amax(2), score.amax(2), reduction="none")
    instrument = (entropy.mean((0, 2)) * weights).sum()
    return score_loss(logits, score, weights) + by.instrument * instrument + by.pitch * pitch


def of_each(score: Tensor) -> Tensor:
    """Equation 5's labels: ``[batch, sources, instruments, ...]``, source i has only i's."""
    own = torch.eye(score.shape[1], device=score.device)
    return torch.einsum("sj,bj...->bsj...", own, score)


def separated_score_loss(logits: Tensor, score: Tensor, weights: Tensor) -> Tensor:
    """Equation 5 summed over the sources.

    Parameters
    ----------
    logits : ``[batch, sources, instruments, notes, frames]``
        What the critic hears in each separated source.
    """
    own = of_each(score).flatten(0, 1)
    return score_loss(logits.flatten(0, 1), own, weights, MISSED) * score.shape[1]


def clip_mix_loss(mixture: Tensor, separated: Tensor, score: Tensor) -> Tensor:
    """Equation 6: those that play in the clip add up to the mixture, the others to nothing."""
    active = score.amax((2, 3))[:, :, None, None]
    return _mix_loss(mixture, separated, active)


def harmonic_mix_loss(mixture: Tensor, separated: Tensor, score: Tensor) -> Tensor:
    """Equation 7: the same, bin by bin, by where the score has harmonics."""
    return _mix_loss(mixture, separated, harmonic_masks(score))


def _mix_loss(mixture: Tensor, separated: Tensor, active: Tensor) -> Tensor:
    inside = (active * separated).sum(1)
    # Magnitudes are not negative, so what is not inside needs no sum of its own.
    error = (mixture - inside).abs().sum(1) - inside.sum(1) + separated.sum((1, 2))
    return MAGNITUDE_SCALE * error.mean()


def harmonic_masks(score: Tensor) -> Tensor:
    """1 within a bin of a harmonic of a note that sounds, ``[batch, instruments, bins, frames]``.

    The paper leaves the number of harmonics open: `HARMONICS`, tuned to 440 Hz.
    """
    hit = torch.einsum("binf,nk->bikf", score, _comb(score.device))
    return (hit > 0).to(score.dtype)


@lru_cache
def _comb(device: torch.device) -> Tensor:
    """Which bins belong to each note, ``[notes, bins]``."""
    note = torch.arange(LOWEST_NOTE, LOWEST_NOTE + N_NOTES, dtype=torch.float64)
    base = 440.0 * 2 ** ((note - 69) / 12) * N_FFT / SAMPLE_RATE
    bins = torch.round(base[:, None] * torch.arange(1, HARMONICS + 1)).long()
    comb = torch.zeros(N_NOTES, N_BINS + 1)
    for shift in (-1, 0, 1):
        comb.scatter_(1, (bins + shift).clamp(0, N_BINS), 1.0)
    return comb[:, :N_BINS].to(device)


def supervised_loss(separated: Tensor, sources: Tensor) -> Tensor:
    """L1 on the magnitudes of every source."""
    return MAGNITUDE_SCALE * (separated - sources).abs().sum((1, 2)).mean()


def activity_loss(logits: Tensor, score: Tensor, weights: Tensor) -> Tensor:
    """The classifier's: cross-entropy of every instrument's activity in a frame."""
    activity = score.amax(2, keepdim=True)
    return score_loss(logits, activity, weights)


def adversarial_mix_loss(logits: Tensor, score: Tensor, weights: Tensor) -> Tensor:
    """Equation 9, of the notes that are there: the critic is not to hear them in a remix.

    The paper's negated loss, of all labels and without a bound, is cheapest for a critic
    that answers every remix with all notes at once; then it says nothing of the separated
    sources either.  Here a missed note counts for no more than `CAP`: a guess.
    """
    entropy = functional.binary_cross_entropy_with_logits(logits, score, reduction="none")
    return -((score * entropy).clamp(max=CAP).sum(2).mean((0, 2)) * weights).sum()


def adversarial_score_loss(logits: Tensor, score: Tensor, weights: Tensor) -> Tensor:
    """Equation 10 summed over the sources: all that is in the mixture but the source itself."""
    others = score[:, None] - of_each(score)
    return score_loss(logits.flatten(0, 1), others.flatten(0, 1), weights) * score.shape[1]


def remix(separated: Tensor, score: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Mixtures of separated sources, each instrument's from another sample, and their scores."""
    batch = len(separated)
    picks = [torch.from_numpy(rng.permutation(batch)) for _ in range(separated.shape[1])]
    mixture = sum(separated[pick, i] for i, pick in enumerate(picks))
    labels = torch.stack([score[pick, i] for i, pick in enumerate(picks)], dim=1)
    assert isinstance(mixture, Tensor)
    return mixture, labels
