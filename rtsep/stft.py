"""The masking transform: a streaming STFT, masks in bands, one inverse a stem.

A stereo pair travels as one complex signal, left + i right.  A mask is real, even
over positive and negative frequencies and the same for both channels, so the masked
complex spectrum transforms straight back to the masked pair: one complex transform
forward and one back for each stem but the last.  The last stem, the residual, is the
delayed mix minus the others, which makes the stems sum to the mix whatever the masks.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from rtsep.kernels.fft import Plan, join_all, join_some, plan_all, plan_some, sub_transforms
from rtsep.kernels.frames import overlap_add, push_history, window_newest
from rtsep.kernels.masks import Spread, apply_mask, spread_masks, spread_table
from rtsep.kernels.simd import LANES, load, store
from rtsep.windows import analysis_window, synthesis_window

Floats = npt.NDArray[np.float32]


class _Tables(NamedTuple):
    window: Floats
    forward: Plan
    inverse: Plan
    spread: Spread


class _State(NamedTuple):
    history: Floats
    tail: Floats
    work_re: Floats
    work_im: Floats
    re: Floats
    im: Floats
    frame_re: Floats
    frame_im: Floats
    columns: Floats
    spread: Floats


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
        self._tables = _Tables(
            analysis_window(n_fft, synthesis),
            plan_all(n_fft),
            _inverse_plan(n_fft, synthesis, hop),
            spread_table(mask_matrix),
        )
        masked = n_stems - 1
        rows = -(-masked // LANES) * LANES
        self._state = _State(
            history=np.zeros((2, 2 * n_fft), np.float32),
            tail=np.zeros((2 * masked, synthesis), np.float32),
            work_re=np.zeros(n_fft, np.float32),
            work_im=np.zeros(n_fft, np.float32),
            re=np.zeros(n_fft, np.float32),
            im=np.zeros(n_fft, np.float32),
            frame_re=np.zeros(synthesis, np.float32),
            frame_im=np.zeros(synthesis, np.float32),
            columns=np.zeros(mask_matrix.shape[0] * LANES, np.float32),
            spread=np.zeros((rows, n_fft), np.float32),
        )

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
        self._position = _process(x, masks, out, self._position, self._tables, self._state)

    def reset(self) -> None:
        """Forget the stream: what follows is as after construction."""
        self._state.history.fill(0.0)
        self._state.tail.fill(0.0)
        self._position = 0


def _inverse_plan(n_fft: int, synthesis: int, hop: int) -> Plan:
    """The inverse transform of which only the synthesis window's samples are wanted."""
    gain = synthesis_window(n_fft, synthesis, hop).astype(np.float64) / n_fft
    lanes = LANES
    while 2 * lanes * synthesis <= n_fft and 2 * lanes * LANES <= n_fft:
        lanes *= 2
    return plan_some(n_fft, lanes, np.arange(n_fft - synthesis, n_fft), gain)


@njit(nogil=True, cache=True, error_model="numpy")
def _process(  # type: ignore[no-untyped-def]
    x, masks, out, position, tables, state
):
    n_stems, channels, hop = out.shape
    n_fft = state.re.size
    synthesis = state.frame_re.size
    inverse = tables.inverse
    lanes = inverse.join_re.size // synthesis

    position = push_history(state.history, x, position)
    window_newest(state.history, position, tables.window, state.work_re, state.work_im)
    sub_transforms(state.work_re, state.work_im, n_fft // LANES, LANES, tables.forward.twiddles)
    join_all(state.work_re, state.work_im, tables.forward, state.re, state.im)

    spread_masks(masks, n_stems - 1, tables.spread, state.columns, state.spread)
    for s in range(n_stems - 1):
        apply_mask(state.re, state.im, state.spread, s, state.work_re, state.work_im)
        # Real and imaginary parts change places: the inverse transform.
        sub_transforms(state.work_im, state.work_re, n_fft // lanes, lanes, inverse.twiddles)
        join_some(state.work_im, state.work_re, lanes, inverse, state.frame_im, state.frame_re)
        at = s * channels * hop
        overlap_add(state.tail, 2 * s, state.frame_re, out, at, hop)
        if channels == 2:
            overlap_add(state.tail, 2 * s + 1, state.frame_im, out, at + hop, hop)

    for c in range(channels):
        delayed = c * 2 * n_fft + position + n_fft - synthesis
        for i in range(0, hop, LANES):
            rest = load(state.history, delayed + i)
            for s in range(n_stems - 1):
                rest = rest - load(out, (s * channels + c) * hop + i)
            store(out, ((n_stems - 1) * channels + c) * hop + i, rest)
    return position
