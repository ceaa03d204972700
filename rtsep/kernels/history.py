"""The history of a causal network, kept outside its graph (see `manifest.Taps`)."""

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]


@njit(nogil=True, cache=True, error_model="numpy")
def advance(
    ring: Floats, frame: int, activations: Floats, dilations: Indices, taps: Floats
) -> None:
    """Keep one frame's activations and collect the taps of the next frame.

    Parameters
    ----------
    ring : float32 array, shape (layers, n_ring, channels)
        Activations of the last `n_ring` frames, that of frame t at ``t % n_ring``;
        `n_ring` is a power of two and at least ``n_taps * max(dilations)``.
    frame : int
        Number of the frame that `activations` belong to.
    activations : float32 array, shape (layers, channels)
        Values that are not finite are kept as zeros: one bad frame must not poison
        those that hear it.
    dilations : int64 array, shape (layers,)
    taps : float32 array, shape (layers, n_taps, channels)
        Written, oldest first: activations of ``k * dilations[layer]`` frames before
        ``frame + 1``, for k from `n_taps` to 1.
    """
    layers, n_taps, channels = taps.shape
    wrap = ring.shape[1] - 1
    slot = frame & wrap
    for layer in range(layers):
        for channel in range(channels):
            value = activations[layer, channel]
            ring[layer, slot, channel] = value if np.isfinite(value) else np.float32(0.0)
        for tap in range(n_taps):
            past = (frame + 1 - (n_taps - tap) * dilations[layer]) & wrap
            for channel in range(channels):
                taps[layer, tap, channel] = ring[layer, past, channel]
