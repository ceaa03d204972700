"""Bands in Hz, so that one network serves every sample rate.

Bands are contiguous; each FFT bin is shared out among the bands that its interval
of frequencies overlaps, so the weights of a bin over all bands sum to one.
"""

import numpy as np
import numpy.typing as npt


def band_edges(
    min_hz: float, max_hz: float, min_width_hz: float, ratio: float
) -> npt.NDArray[np.float64]:
    """Edges of contiguous bands, linear at the bottom and logarithmic above.

    Parameters
    ----------
    min_hz, max_hz : float
        First and (at least) last edge in Hz.
    min_width_hz : float
        Width of the lowest bands in Hz.
    ratio : float
        From where it is wider than `min_width_hz`, a band's upper edge is `ratio`
        times its lower edge.

    Returns
    -------
    float64 array, shape (n_bands + 1,)
    """
    edges = [min_hz]
    while edges[-1] < max_hz:
        low = edges[-1]
        edges.append(low + max(min_width_hz, low * (ratio - 1.0)))
    return np.asarray(edges)


def band_matrix(
    edges_hz: npt.NDArray[np.float64], n_fft: int, sample_rate: float, *, cover: bool
) -> npt.NDArray[np.float32]:
    """Share of every FFT bin in every band.

    Parameters
    ----------
    edges_hz : float array, shape (n_bands + 1,)
        From `band_edges`.
    n_fft : int
        FFT length in samples.
    sample_rate : float
        In Hz.
    cover : bool
        True (masks): the first and last band reach to DC and Nyquist, and every
        column sums to one.  False (features): bins outside the bands count nowhere.

    Returns
    -------
    float32 array, shape (n_bands, n_fft // 2 + 1)
    """
    width = sample_rate / n_fft
    centres = np.arange(n_fft // 2 + 1) * width
    low, high = centres - width / 2, centres + width / 2
    edges = edges_hz.copy()
    if cover:
        edges[0], edges[-1] = min(edges[0], -width), max(edges[-1], sample_rate)
    overlap = np.minimum(high, edges[1:, None]) - np.maximum(low, edges[:-1, None])
    shares: npt.NDArray[np.float32] = (np.maximum(overlap, 0.0) / width).astype(np.float32)
    return shares
