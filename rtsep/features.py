r"""What a network hears: levels and pans in bands of the newest samples, frame by frame.

For each front end, with window a, band matrix W and the real transforms
X_c = rfft(a · newest samples of channel c):

.. math:: P_c[b] = \left(\frac{2}{\sum a}\right)^2 \sum_k W[b, k] |X_c[k]|^2

    level = (10 \log_{10}((P_L + P_R) / 2 + 10^{-9}) + 50) / 20

    pan = (P_L - P_R) / (P_L + P_R + 10^{-9})

A mono stream counts as two equal channels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import boolean, float32, float64, int64, njit, void

from rtsep.bands import band_edges, band_matrix
from rtsep.kernels.bands import (
    BandSums,
    band_sums,
    split_power,
    sum_bands,
    write_levels,
    write_pans,
)
from rtsep.kernels.fft import Plan, join_all, plan_all, transform_lanes
from rtsep.kernels.frames import push_history
from rtsep.kernels.simd import LANES
from rtsep.kernels.workspace import pack, part
from rtsep.manifest import FrontEnd
from rtsep.rates import rate_factor
from rtsep.windows import analysis_window

Floats = npt.NDArray[np.float32]


class FeatureExtractor:
    """Features of a stream, one vector a network frame.

    Parameters
    ----------
    front_ends : sequence of FrontEnd
        At least one; from the manifest of the network, sizes at the reference rate.
    sample_rate : int
        A native rate, in Hz.
    channels : int
        1 or 2.
    hop : int
        Samples between network frames at `sample_rate`.

    Attributes
    ----------
    n_features : int
        Numbers a frame: for each front end, for each of its values, all bands.

    Raises
    ------
    ValueError
        A rate, channel count or hop that cannot be served.
    """

    def __init__(
        self, front_ends: Sequence[FrontEnd], *, sample_rate: int, channels: int, hop: int
    ) -> None:
        if not front_ends:
            raise ValueError("no front ends; expected at least one")
        if channels not in (1, 2):
            raise ValueError(f"{channels} channels; expected 1 or 2")
        if hop < 1:
            raise ValueError(f"hop {hop}; expected at least 1 sample")
        factor = rate_factor(sample_rate)
        self._x_shape = (channels, hop)
        self._position = 0
        self._history = np.zeros((2, 2 * factor * max(end.n_fft for end in front_ends)), np.float32)
        self._front_ends = []
        start = 0
        for end in front_ends:
            arrays, gain, n_bands = _front_end(end, sample_rate)
            places = [start + n_bands * i for i in range(len(end.values))]
            at = dict(zip(end.values, places, strict=True))
            numbers = (n_bands, gain, at.get("level", -1), at.get("pan", -1))
            self._front_ends.append((*numbers, *arrays))
            start += n_bands * len(end.values)
        self.n_features = start

    def process(self, x: Floats, out: Floats) -> None:
        """One network hop of audio in, one feature vector out.

        Parameters
        ----------
        x : float32 array, shape (channels, hop)
        out : float32 array, shape (n_features,)
            Written: the features of the frame that ends with `x`.

        Raises
        ------
        ValueError
            An array of another shape.
        TypeError
            An array that is not float32 or not C-contiguous.
        """
        if x.shape != self._x_shape or out.shape != (self.n_features,):
            raise ValueError(
                f"x {x.shape}, out {out.shape}; expected {self._x_shape}, ({self.n_features},)"
            )
        self._position = push_history(self._history, x, self._position)
        mono = self._x_shape[0] == 1
        for end in self._front_ends:
            _extract(out, self._history, self._position, mono, *end)

    def reset(self) -> None:
        """Forget the stream: what follows is as after construction."""
        self._history.fill(0.0)
        self._position = 0


def _front_end(end: FrontEnd, sample_rate: int) -> tuple[tuple[Any, ...], float, int]:
    """Tables and scratch, factor of the power sums and number of bands of a front end."""
    factor = rate_factor(sample_rate)
    n_fft = end.n_fft * factor
    window = analysis_window(n_fft, end.synthesis * factor)
    edges = band_edges(end.min_hz, end.max_hz, end.min_width_hz, end.ratio)
    matrix = band_matrix(edges, n_fft, sample_rate, cover=False)
    sums = band_sums(matrix)
    # A quarter: `split_power` leaves four times the power.
    gain = (2.0 / float(np.sum(window, dtype=np.float64))) ** 2 / 4.0
    plan = plan_all(n_fft)
    scratch = (n_fft, n_fft, n_fft + LANES, n_fft + LANES, n_fft // 2 + LANES, n_fft // 2 + LANES)
    floats = (
        window,
        plan.twiddles,
        plan.join_re,
        plan.join_im,
        sums.weights,
        *(np.zeros(size, np.float32) for size in scratch),
        np.zeros_like(sums.first_bin, np.float32),
        np.zeros_like(sums.first_bin, np.float32),
    )
    arrays = (*pack(floats), *pack((plan.order, sums.first_bin, sums.bounds)))
    return arrays, gain, matrix.shape[0]


# The types are stated because anything else would be read as if it were float32.
_NUMBERS = (int64, boolean, int64, float64, int64, int64)
_PACKED = (float32[::1], int64[:, ::1], int64[::1], int64[:, ::1])


@njit(
    [void(float32[::1], float32[:, ::1], *_NUMBERS, *_PACKED)],
    nogil=True,
    cache=True,
    error_model="numpy",
)
def _extract(  # type: ignore[no-untyped-def]
    out,
    history,
    position,
    mono,
    n_bands,
    gain,
    level_at,
    pan_at,
    floats,
    float_bounds,
    indices,
    index_bounds,
):
    """Features of one front end; `level_at` and `pan_at` say where they go, -1: nowhere."""
    window = part(floats, float_bounds, 0)
    plan = Plan(
        part(floats, float_bounds, 1),
        part(indices, index_bounds, 0),
        part(floats, float_bounds, 2),
        part(floats, float_bounds, 3),
    )
    table = BandSums(
        part(indices, index_bounds, 1),
        part(indices, index_bounds, 2),
        part(floats, float_bounds, 4),
    )
    lanes_re = part(floats, float_bounds, 5)
    lanes_im = part(floats, float_bounds, 6)
    spectrum_re = part(floats, float_bounds, 7)
    spectrum_im = part(floats, float_bounds, 8)
    left = part(floats, float_bounds, 9)
    right = part(floats, float_bounds, 10)
    left_sums = part(floats, float_bounds, 11)
    right_sums = part(floats, float_bounds, 12)

    n_fft = window.size
    row = history.shape[1]
    first = position + row // 2 - n_fft
    second = first + row
    transform_lanes(history, first, history, second, window, 0, plan.twiddles, lanes_re, lanes_im)
    join_all(lanes_re, lanes_im, plan, spectrum_re, spectrum_im)
    spectrum_re[n_fft] = spectrum_re[0]
    spectrum_im[n_fft] = spectrum_im[0]
    split_power(spectrum_re, spectrum_im, left, right)
    sum_bands(left, table, left_sums)
    sum_bands(left if mono else right, table, right_sums)
    if level_at >= 0:
        write_levels(left_sums, right_sums, gain, out, level_at, n_bands)
    if pan_at >= 0:
        write_pans(left_sums, right_sums, gain, out, pan_at, n_bands)
