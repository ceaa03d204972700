"""What a model reaches on fixed pairs: SDR by mir_eval, precision by scikit-learn."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import mir_eval
import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import precision_score
from torch import Tensor
from torch.nn import functional

from rtsep_export.query.networks import HOP, N_FFT, NOTES, QueryModel, spectrum
from rtsep_export.query.pairs import Asked

Audio = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Found:
    """Figures of one pair; None for what a model does not do.

    Attributes
    ----------
    sdr : float or None
        Of the estimated magnitudes with the mixture's phase, in dB.
    masked_sdr : float or None
        Of the mixture under a mask made from the estimate, in dB.
    mixture_sdr : float
        Of the mixture itself, in dB.
    precision : float or None
        Share of the frames, among those in which a note is detected, whose note is right.
    """

    instrument: str
    sdr: float | None
    masked_sdr: float | None
    mixture_sdr: float
    precision: float | None


def audio(spectra: Tensor, samples: int) -> Audio:
    """The inverse of `spectrum`, ``[frames, BINS]`` to ``[samples]``."""
    window = torch.hann_window(N_FFT)
    whole = functional.pad(spectra, (0, 1)).mT
    found: Audio = torch.istft(whole, N_FFT, HOP, window=window, length=samples).numpy()
    return found


def with_phase(estimate: Tensor, mixture: Tensor) -> Tensor:
    """Magnitudes with the phase of a spectrum."""
    return torch.polar(estimate.clamp_min(0), mixture.angle())


def masked(estimate: Tensor, mixture: Tensor) -> Tensor:
    """A spectrum under the mask that comes closest to magnitudes, none above 1."""
    return mixture * (estimate / (mixture.abs() + 1e-8)).clamp(0.0, 1.0)


@torch.no_grad()
def evaluate(network: QueryModel, pairs: Iterable[Asked]) -> list[Found]:
    """Figures of every pair, in evaluation mode."""
    network.eval()
    found = []
    for pair in pairs:
        example, mixture = (torch.from_numpy(a) for a in (pair.example, pair.mixture))
        heard = spectrum(mixture)
        query = network.query(spectrum(example).abs()[None, None])
        estimate, logits = network(heard.abs()[None, None], query)
        phased = under_mask = right = None
        if estimate is not None:
            phased, under_mask = (
                sdr(pair.source, audio(spectra, len(pair.source)))
                for spectra in (with_phase(estimate[0, 0], heard), masked(estimate[0, 0], heard))
            )
        if logits is not None:
            right = precision(pair.classes, logits[0].argmax(0).numpy())
        before = sdr(pair.source, pair.mixture)
        found.append(Found(pair.instrument, phased, under_mask, before, right))
    return found


def sdr(reference: Audio, estimate: Audio) -> float:
    """Signal-to-distortion ratio in dB (Vincent et al. 2006), of one source by itself."""
    with warnings.catch_warnings():
        # It is to go from a later version; it is the measure that the paper names.
        warnings.simplefilter("ignore")
        sdrs, *_ = mir_eval.separation.bss_eval_sources(
            reference[None], estimate[None] + 1e-9, compute_permutation=False
        )
    return float(sdrs[0])


def precision(truth: npt.NDArray[np.int64], guess: npt.NDArray[np.int64]) -> float:
    """Micro-averaged over the notes; silence is none."""
    return float(
        precision_score(truth, guess, labels=range(NOTES), average="micro", zero_division=0.0)
    )
