r"""What a network hears: levels and pans in bands of the newest samples, frame by frame.

For each front end, with window a, band matrix W and the real transforms
X_c = rfft(a · newest samples of channel c):

.. math:: P_c[b] = \frac{2}{\sum a^2} \sum_k W[b, k] |X_c[k]|^2

    level = (10 \log_{10}((P_L + P_R) / 2 + 10^{-9}) + 50) / 20

    pan = (P_L - P_R) / (P_L + P_R + 10^{-9})

A mono stream counts as two equal channels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

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
from rtsep.manifest import FrontEnd
from rtsep.rates import rate_factor
from rtsep.windows import analysis_window

Floats = npt.NDArray[np.float32]


class _FrontEnd(NamedTuple):
    """Tables and scratch of one front end."""

    window: Floats
    plan: Plan
    sums: BandSums
    work_re: Floats
    work_im: Floats
    re: Floats
    im: Floats
    left: Floats
    right: Floats
    left_sums: Floats
    right_sums: Floats


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
        self._parts = []
        start = 0
        for end in front_ends:
            tables, gain, n_bands = _front_end(end, sample_rate)
            level = start + n_bands * end.values.index("level") if "level" in end.values else -1
            pan = start + n_bands * end.values.index("pan") if "pan" in end.values else -1
            self._parts.append((tables, gain, n_bands, level, pan))
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
        for tables, gain, n_bands, level, pan in self._parts:
            _extract(self._history, self._position, mono, tables, gain, n_bands, level, pan, out)

    def reset(self) -> None:
        """Forget the stream: what follows is as after construction."""
        self._history.fill(0.0)
        self._position = 0


def _front_end(end: FrontEnd, sample_rate: int) -> tuple[_FrontEnd, float, int]:
    """Tables, factor of the power sums and number of bands of a front end."""
    factor = rate_factor(sample_rate)
    n_fft = end.n_fft * factor
    window = analysis_window(n_fft, end.synthesis * factor)
    edges = band_edges(end.min_hz, end.max_hz, end.min_width_hz, end.ratio)
    matrix = band_matrix(edges, n_fft, sample_rate, cover=False)
    n_bands = matrix.shape[0]
    sums = band_sums(matrix)

    def scratch(size: int) -> Floats:
        return np.zeros(size, np.float32)

    tables = _FrontEnd(
        window=window,
        plan=plan_all(n_fft),
        sums=sums,
        work_re=scratch(n_fft),
        work_im=scratch(n_fft),
        re=scratch(n_fft + LANES),
        im=scratch(n_fft + LANES),
        left=scratch(n_fft // 2 + LANES),
        right=scratch(n_fft // 2 + LANES),
        left_sums=scratch(sums.first_bin.size),
        right_sums=scratch(sums.first_bin.size),
    )
    # A quarter: `split_power` leaves four times the power.
    gain = 2.0 / float(np.sum(np.square(window, dtype=np.float64))) / 4.0
    return tables, gain, n_bands


@njit(nogil=True, cache=True, error_model="numpy")
def _extract(  # type: ignore[no-untyped-def]
    history, position, mono, tables, gain, n_bands, level, pan, out
):
    """Features of one front end; `level` and `pan` say where they go, -1 for nowhere."""
    n_fft = tables.work_re.size
    length = history.shape[1] // 2
    start = position + length - n_fft
    transform_lanes(
        history,
        start,
        history,
        start + 2 * length,
        tables.window,
        0,
        tables.plan.twiddles,
        tables.work_re,
        tables.work_im,
    )
    join_all(tables.work_re, tables.work_im, tables.plan, tables.re, tables.im)
    tables.re[n_fft] = tables.re[0]
    tables.im[n_fft] = tables.im[0]
    split_power(tables.re, tables.im, tables.left, tables.right)
    sum_bands(tables.left, tables.sums, tables.left_sums)
    if not mono:
        sum_bands(tables.right, tables.sums, tables.right_sums)
    right_sums = tables.left_sums if mono else tables.right_sums
    if level >= 0:
        write_levels(tables.left_sums, right_sums, gain, out, level, n_bands)
    if pan >= 0:
        write_pans(tables.left_sums, right_sums, gain, out, pan, n_bands)
