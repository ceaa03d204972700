"""Asymmetric analysis/synthesis window pairs.

A long analysis window gives frequency resolution; a short synthesis window gives
latency.  Their product is a Hann window of the synthesis length at the end of the
frame, so that overlap-add reconstructs perfectly at any hop that divides half of
it (Mauler and Martin, "A low delay, variable resolution, perfect reconstruction
spectral analysis-synthesis system for speech enhancement", EUSIPCO 2007).
"""

import numpy as np
import numpy.typing as npt

Window = npt.NDArray[np.float32]


def analysis_window(n_fft: int, synthesis_length: int) -> Window:
    """The analysis window: a long square-root-Hann rise and a short fall.

    Parameters
    ----------
    n_fft : int
        Frame length in samples.
    synthesis_length : int
        Length of the synthesis window in samples, even, at most `n_fft`.  The
        window falls over its last half.

    Returns
    -------
    float32 array, shape (n_fft,)
    """
    return _analysis(n_fft, synthesis_length).astype(np.float32)


def synthesis_window(n_fft: int, synthesis_length: int, hop: int) -> Window:
    """The synthesis window that reconstructs with `analysis_window`.

    Parameters
    ----------
    n_fft, synthesis_length : int
        As for `analysis_window`.
    hop : int
        Samples between frames; divides ``synthesis_length // 2``.

    Returns
    -------
    float32 array, shape (synthesis_length,)
        It applies to the last `synthesis_length` samples of the inverse frame.
    """
    half = synthesis_length // 2
    if hop < 1 or half % hop:
        raise ValueError(f"hop {hop}; expected a divisor of {half}, half the synthesis window")
    tail = _analysis(n_fft, synthesis_length)[n_fft - synthesis_length :]
    phase = np.arange(synthesis_length) / synthesis_length
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * phase)
    safe = np.maximum(tail, 1e-12)
    return np.where(hann > 0, hann / safe * (hop / half), 0.0).astype(np.float32)


def _analysis(n_fft: int, synthesis_length: int) -> npt.NDArray[np.float64]:
    if synthesis_length % 2 or not 2 <= synthesis_length <= n_fft:
        raise ValueError(
            f"synthesis window of {synthesis_length} samples; expected an even number "
            f"between 2 and the frame length {n_fft}"
        )
    fall = synthesis_length // 2
    rise = n_fft - fall
    up = np.sin(0.5 * np.pi * np.arange(rise) / rise)
    down = np.cos(0.5 * np.pi * np.arange(fall) / fall)
    return np.concatenate([up, down])
