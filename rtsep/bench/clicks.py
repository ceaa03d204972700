"""Finding steps in a signal that should be smooth.

A step in value or in slope is a pulse in the second difference.  Each block's largest
second difference is held against what is usual in the blocks around it, and against
what a cross-fade over `rtsep.kernels.tables.FADE` samples makes by itself.  With a
smooth signal of even loudness, what stands out by a factor of `FACTOR` is a click.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from rtsep.kernels.tables import FADE

Floats = NDArray[np.float32]

FACTOR = 12.0
_BLOCK = 128
_AROUND = 16


@dataclass(frozen=True)
class Click:
    """A step in one port's signal.

    Attributes
    ----------
    port : int
    frame : int
        Where, to about a sample.
    size : float
        The step, roughly, in the signal's own unit.
    usual : float
        The largest that would have been taken for smooth.
    """

    port: int
    frame: int
    size: float
    usual: float


def smoothest_step(peak: float) -> float:
    """The second difference that a cross-fade between silence and `peak` makes."""
    return peak * (np.pi / FADE) ** 2 / 2


class ClickDetector:
    """Looks for clicks in a stream, chunk by chunk, on every port.

    Parameters
    ----------
    ports : int
    peak : float
        Of the mix from which the ports' signals come.
    start : int
        Frame of the first sample.
    """

    def __init__(self, ports: int, peak: float, start: int = 0) -> None:
        self._floor = smoothest_step(peak)
        self._rest: Floats = np.empty((ports, 0), np.float32)
        self._frame = start
        # Largest second difference of the last blocks, and where it is.
        self._sizes = np.empty((ports, 0))
        self._frames = np.empty((ports, 0), np.int64)
        self._judged = 0  # of the blocks in `_sizes`, how many are behind us

    def feed(self, samples: Floats) -> list[Click]:
        """Take the next samples, shape (ports, frames); clicks up to a little before.

        A click is told once the 16 blocks of 128 samples behind it are known.
        """
        waiting = np.concatenate((self._rest, samples), axis=1)
        # The last two samples of a block begin the next one's second difference.
        blocks = max(0, (waiting.shape[1] - 2) // _BLOCK)
        self._rest = waiting[:, blocks * _BLOCK :].copy()
        if blocks:
            self._measure(waiting[:, : blocks * _BLOCK + 2], _BLOCK)
        return self._judge(self._sizes.shape[1] - _AROUND)

    def finish(self) -> list[Click]:
        """The clicks of the last blocks, the very last of which is a short one."""
        if self._rest.shape[1] > 2:
            self._measure(self._rest, self._rest.shape[1] - 2)
        return self._judge(self._sizes.shape[1])

    def _measure(self, samples: Floats, size: int) -> None:
        """Keep each block's largest second difference and its place; two samples are left."""
        second = np.abs(np.diff(samples.astype(np.float64), 2, axis=1))
        second = second.reshape(len(second), -1, size)
        begins = self._frame + 1 + np.arange(second.shape[1]) * size
        self._sizes = np.concatenate((self._sizes, second.max(axis=2)), axis=1)
        self._frames = np.concatenate((self._frames, begins + second.argmax(axis=2)), axis=1)
        self._frame += second.shape[1] * size

    def _judge(self, stop: int) -> list[Click]:
        """Judge the blocks up to `stop`."""
        begin = self._judged
        if stop <= begin:
            return []
        usual = FACTOR * np.maximum(self._floor, self._level(begin, stop))
        sizes = self._sizes[:, begin:stop]
        clicks = [
            Click(
                int(port),
                int(self._frames[port, begin + block]),
                float(sizes[port, block]),
                float(usual[port, block]),
            )
            for port, block in np.argwhere(sizes > usual)
        ]
        gone = max(0, stop - _AROUND)
        self._sizes, self._frames = self._sizes[:, gone:], self._frames[:, gone:]
        self._judged = stop - gone
        return clicks

    def _level(self, begin: int, stop: int) -> NDArray[np.float64]:
        """What is usual around each block: the louder of the medians before and behind."""
        ports, count = self._sizes.shape
        padded = np.full((ports, count + 2 * _AROUND), np.nan)
        padded[:, _AROUND : _AROUND + count] = self._sizes
        windows = sliding_window_view(padded, _AROUND, axis=1)
        level = np.zeros((ports, stop - begin))
        # The window before block b starts at b in the padded row, the one behind at b + 17.
        for side in (windows[:, begin:stop], windows[:, begin + _AROUND + 1 : stop + _AROUND + 1]):
            known = ~np.isnan(side).all(axis=2)
            found = np.zeros_like(level)
            found[known] = np.nanmedian(side[known], axis=1)
            level = np.maximum(level, found)
        return level
