"""How near separated audio is to the truth.

SI-SDR
    Le Roux et al., "SDR: half-baked or well done?", ICASSP 2019, eq. 5.  Both channels
    are laid end to end and count as one signal, made zero-mean; one scale for both.
    Held within ±80 dB, so that one silent estimate does not make every mean infinite.
SDR
    BSSEval v4 as museval reports it: windows of one second without overlap, the median
    over the windows of a clip; a window in which any reference or any estimate is
    silent counts for no stem.  In the image version, which museval uses, the filters
    only share the error out between ISR, SIR and SAR: SDR is the plain ratio of the
    reference's power to the error's, so none need be computed.  The tests hold this
    against values that museval 0.4.1 gave.
"""

import numpy as np
import numpy.typing as npt

Audio = npt.NDArray[np.float32]

SILENCE_DB = -60.0
LIMIT_DB = 80.0


def is_silent(audio: Audio) -> bool:
    """Whether a reference lies below `SILENCE_DB` (RMS, full scale) and is not scored."""
    return float(np.mean(np.square(audio, dtype=np.float64))) < 10 ** (SILENCE_DB / 10)


def loudest(audio: Audio, samples: int) -> slice:
    """Where the stretch of some audio with the most energy lies, all of it where that is shorter.

    Parameters
    ----------
    audio : float32 array, shape (frames,)
    """
    if len(audio) <= samples:
        return slice(None)
    energy = np.concatenate([[0.0], np.cumsum(np.square(audio, dtype=np.float64))])
    start = int(np.argmax(energy[samples:] - energy[:-samples]))
    return slice(start, start + samples)


def si_sdr(reference: Audio, estimate: Audio) -> float:
    """Scale-invariant signal-to-distortion ratio in dB.

    Parameters
    ----------
    reference, estimate : float arrays of the same shape, (channels, frames)

    Returns
    -------
    float
        Within ±`LIMIT_DB`; the lower end for an estimate that holds nothing of the
        reference.
    """
    target = reference.astype(np.float64).ravel()
    heard = estimate.astype(np.float64).ravel()
    target -= target.mean()
    heard -= heard.mean()
    projection = target * (heard @ target / (target @ target))
    error = heard - projection
    power = float(projection @ projection)
    if power == 0.0:
        return -LIMIT_DB
    return float(np.clip(_ratio_db(power, float(error @ error)), -LIMIT_DB, LIMIT_DB))


def museval_sdr(references: Audio, estimates: Audio, sample_rate: int) -> npt.NDArray[np.float64]:
    """SDR of every stem as museval gives it, see the module's docstring.

    Parameters
    ----------
    references, estimates : float arrays, shape (stems, channels, frames)

    Returns
    -------
    float64 array, shape (stems,)
        In dB; NaN where no window counts.
    """
    n_stems, _, n = references.shape
    # The last window reaches its full second, or it is not taken, as in museval.
    n_windows = max(n // sample_rate, 1)
    scores = np.full((n_stems, n_windows), np.nan)
    for window in range(n_windows):
        part = slice(window * sample_rate, (window + 1) * sample_rate)
        true = references[..., part].astype(np.float64)
        heard = estimates[..., part].astype(np.float64)
        if _any_silent(true) or _any_silent(heard):
            continue
        error = heard - true
        for stem in range(n_stems):
            power, distortion = np.sum(true[stem] ** 2), np.sum(error[stem] ** 2)
            scores[stem, window] = _ratio_db(power, distortion)
    counted = ~np.isnan(scores).all(axis=1)
    medians = np.full(n_stems, np.nan)
    medians[counted] = np.nanmedian(scores[counted], axis=1)
    return medians


def _any_silent(sources: npt.NDArray[np.float64]) -> bool:
    return bool(np.any(np.all(sources.sum(axis=1) == 0.0, axis=-1)))


def _ratio_db(power: float, distortion: float) -> float:
    with np.errstate(divide="ignore"):
        return float(10 * (np.log10(power) - np.log10(distortion)))
