"""The masking transform: a streaming STFT, masks in bands, one inverse a stem.

A stereo pair travels as one complex signal, left + i right.  A mask is real, even
over positive and negative frequencies and the same for both channels, so the masked
complex spectrum transforms straight back to the masked pair: one complex transform
forward and one back for each stem but the last.  The last stem, the residual, is the
delayed mix minus the others, which makes the stems sum to the mix whatever the masks.
"""

import numpy as np
import numpy.typing as npt
from numba import float32, int64, njit

from rtsep.kernels.fft import Plan, join_all, join_some, plan_all, plan_some, transform_lanes
from rtsep.kernels.frames import overlap_add, push_history
from rtsep.kernels.masks import Spread, spread_masks, spread_table
from rtsep.kernels.simd import LANES, load, store
from rtsep.kernels.workspace import pack, part
from rtsep.windows import analysis_window, synthesis_window

Floats = npt.NDArray[np.float32]


class MaskingStft:
    """Stems out of a stream, hop by hop, by masks on an asymmetric STFT.

    Parameters
    ----------
    n_fft : int
        Analysis window in samples, a power of two of at least 64.
    synthesis : int
        Synthesis window in samples, a multiple of 16, at most `n_fft`.
    hop : int
        Samples a call, a multiple of 8 that divides half of `synthesis`.
    n_stems : int
        Stems, the residual last; at least 1.
    channels : int
        1 or 2.
    mask_matrix : float32 array, shape (n_bands, n_fft // 2 + 1)
        From `rtsep.bands.band_matrix` with ``cover=True``.

    Attributes
    ----------
    delay_samples : int
        Delay of the output against the input of the same call: synthesis - hop.

    Raises
    ------
    ValueError
        A size that does not fit the others.
    """

    def __init__(
        self,
        *,
        n_fft: int,
        synthesis: int,
        hop: int,
        n_stems: int,
        channels: int,
        mask_matrix: Floats,
    ) -> None:
        if channels not in (1, 2):
            raise ValueError(f"{channels} channels; expected 1 or 2")
        if n_stems < 1:
            raise ValueError(f"{n_stems} stems; expected at least the residual")
        if hop % LANES or synthesis % (2 * LANES):
            raise ValueError(f"hop {hop}, synthesis {synthesis}; expected multiples of 8 and 16")
        if mask_matrix.ndim != 2 or mask_matrix.shape[1] != n_fft // 2 + 1:
            raise ValueError(
                f"a mask matrix of shape {mask_matrix.shape}; expected (bands, {n_fft // 2 + 1})"
            )
        self.delay_samples = synthesis - hop
        self._x_shape = (channels, hop)
        self._masks_shape = (n_stems, mask_matrix.shape[0])
        self._out_shape = (n_stems, channels, hop)
        self._position = 0
        masked = n_stems - 1
        # The end alone is worth its inner products up to an eighth of the frame.
        whole = synthesis > n_fft // 8
        forward = plan_all(n_fft)
        inverse = forward if whole else plan_some(n_fft, np.arange(-synthesis, 0) + n_fft)
        spread = spread_table(mask_matrix)
        tables = pack(
            (
                analysis_window(n_fft, synthesis),
                synthesis_window(n_fft, synthesis, hop) / np.float32(n_fft),
                forward.twiddles,
                forward.join_re,
                forward.join_im,
                inverse.join_re,
                inverse.join_im,
                spread.shares,
            )
        )
        indices = pack((forward.order, inverse.order, spread.bands))
        frame = n_fft if whole else synthesis
        state = pack(
            (
                _zeros(2, 2 * n_fft),
                _zeros(2 * masked, synthesis),
                _zeros(mask_matrix.shape[0] * LANES),
                _zeros(-(-masked // LANES) * LANES, n_fft),
                _zeros(n_fft),
                _zeros(n_fft),
                _zeros(n_fft),
                _zeros(n_fft),
                _zeros(frame),
                _zeros(frame),
            )
        )
        self._state = state[0]
        self._arrays = (*tables, *indices, *state)

    def process(self, x: Floats, masks: Floats, out: Floats) -> None:
        """One hop of mix in, one hop of every stem out.

        Parameters
        ----------
        x : float32 array, shape (channels, hop)
        masks : float32 array, shape (n_stems, n_bands)
            For the frame that ends with `x`.  The residual's row is not read.
        out : float32 array, shape (n_stems, channels, hop)
            Written: the stems of the input `delay_samples` earlier.

        Raises
        ------
        ValueError
            An array of another shape.
        TypeError
            An array that is not float32 or not C-contiguous.
        """
        if (
            x.shape != self._x_shape
            or masks.shape != self._masks_shape
            or out.shape != self._out_shape
        ):
            raise ValueError(
                f"x {x.shape}, masks {masks.shape}, out {out.shape}; expected "
                f"{self._x_shape}, {self._masks_shape}, {self._out_shape}"
            )
        self._position = _process(x, masks, out, self._position, *self._arrays)

    def reset(self) -> None:
        """Forget the stream: what follows is as after construction."""
        self._state.fill(0.0)
        self._position = 0


def _zeros(*shape: int) -> Floats:
    return np.zeros(shape, np.float32)


# The types are stated because anything else would be read as if it were float32.
_PACKED = (float32[::1], int64[:, ::1], int64[::1], int64[:, ::1], float32[::1], int64[:, ::1])


@njit(
    [int64(float32[:, ::1], float32[:, ::1], float32[:, :, ::1], int64, *_PACKED)],
    nogil=True,
    cache=True,
    error_model="numpy",
)
def _process(  # type: ignore[no-untyped-def]
    x, masks, out, position, tables, table_bounds, indices, index_bounds, state, state_bounds
):
    analysis = part(tables, table_bounds, 0)
    synthesis = part(tables, table_bounds, 1)
    twiddles = part(tables, table_bounds, 2)
    forward = Plan(
        twiddles,
        part(indices, index_bounds, 0),
        part(tables, table_bounds, 3),
        part(tables, table_bounds, 4),
    )
    inverse = Plan(
        twiddles,
        part(indices, index_bounds, 1),
        part(tables, table_bounds, 5),
        part(tables, table_bounds, 6),
    )
    n_stems, channels, hop = out.shape
    n_fft = analysis.size
    table = Spread(part(indices, index_bounds, 2), part(tables, table_bounds, 7))
    history = part(state, state_bounds, 0).reshape(2, 2 * n_fft)
    tail = part(state, state_bounds, 1)
    columns = part(state, state_bounds, 2)
    spread = part(state, state_bounds, 3)
    lanes_re = part(state, state_bounds, 4)
    lanes_im = part(state, state_bounds, 5)
    spectrum_re = part(state, state_bounds, 6)
    spectrum_im = part(state, state_bounds, 7)
    left = part(state, state_bounds, 8)
    right = part(state, state_bounds, 9)

    position = push_history(history, x, position)
    second = position + 2 * n_fft
    transform_lanes(history, position, history, second, analysis, 0, twiddles, lanes_re, lanes_im)
    join_all(lanes_re, lanes_im, forward, spectrum_re, spectrum_im)

    spread_masks(masks, n_stems - 1, table, columns, spread, n_fft)
    for s in range(n_stems - 1):
        # Imaginary parts as real ones and the reverse: the inverse transform.
        transform_lanes(
            spectrum_im, 0, spectrum_re, 0, spread, s * n_fft, twiddles, lanes_im, lanes_re
        )
        if left.size == n_fft:
            join_all(lanes_im, lanes_re, inverse, right, left)
        else:
            join_some(lanes_im, lanes_re, inverse, right, left)
        at = s * channels * hop
        overlap_add(tail, 2 * s, left, synthesis, out, at, hop)
        if channels == 2:
            overlap_add(tail, 2 * s + 1, right, synthesis, out, at + hop, hop)

    for c in range(channels):
        delayed = c * 2 * n_fft + position + n_fft - synthesis.size
        for i in range(0, hop, LANES):
            rest = load(history, delayed + i)
            for s in range(n_stems - 1):
                rest = rest - load(out, (s * channels + c) * hop + i)
            store(out, ((n_stems - 1) * channels + c) * hop + i, rest)
    return position
