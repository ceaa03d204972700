"""How late an effect gives what it takes, measured.

What counts as latency:

- Samples that pedalboard holds back at first, which is what an effect says that it
  takes.  Of pedalboard's own effects this is all of it: what their sound does later, as
  an echo, is meant to be later.
- Of a plug-in of others, what comes on top of that, for many say nothing or too little.
  It is measured with an impulse.  Where the answer is no impulse, as with a reverb or a
  gate, it is the first arrival in the cross-correlation with noise: the first lag at a
  quarter or more of the largest.

A board is a ``pedalboard.Pedalboard``; it is reset, and keeps state of the measurement.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

LONGEST = 16_384
"""The longest latency that is looked for, in samples."""

_CLEAN = 0.9
_ARRIVED = 0.25
_SEEN = 12.0


def held_back(board: Any, sample_rate: int, block: int) -> int | None:
    """The most samples that are held back, or None where they become ever more."""
    _, held = _stream(board, sample_rate, block, _noise(4 * LONGEST))
    half = len(held) // 2
    return None if max(held[half:]) > max(held[:half]) else max(held)


def not_stated(board: Any, sample_rate: int, block: int) -> int:
    """How much later than what is held back the sound comes, in samples."""
    at = LONGEST // 2
    impulse = np.zeros((2, 2 * LONGEST), np.float32)
    impulse[:, at] = 0.5
    answer, _ = _stream(board, sample_rate, block, impulse)
    power = (answer.astype(np.float64) ** 2).sum(axis=0)
    peak = int(power.argmax())
    around = power[max(0, peak - 1) : peak + 2].sum()
    if 0.0 < around >= _CLEAN * power.sum():
        return max(0, peak - at)
    return first_arrival(
        _noise(2 * LONGEST), lambda noise: _stream(board, sample_rate, block, noise)[0]
    )


def first_arrival(noise: Floats, answer: Callable[[Floats], Floats]) -> int:
    """The lag at which noise first comes through, 0 where that cannot be seen.

    Parameters
    ----------
    noise : float32 array, shape (2, n)
    answer : callable
        Gives what becomes of the noise.
    """
    size = 2 * noise.shape[1]
    spectra = np.fft.rfft(answer(noise), size) * np.conj(np.fft.rfft(noise, size))
    lags = np.abs(np.fft.irfft(spectra, size)[:, :LONGEST]).sum(axis=0)
    if not lags.max() > _SEEN * np.median(lags):
        return 0
    return int(np.argmax(lags >= _ARRIVED * lags.max()))


def _stream(board: Any, sample_rate: int, block: int, signal: Floats) -> tuple[Floats, list[int]]:
    """What comes of a signal after a block of silence, and how much was held back so far."""
    board.reset()
    padded = np.concatenate([np.zeros((2, block), np.float32), signal], axis=1)
    pieces, held = [], [0]
    for start in range(0, padded.shape[1], block):
        piece = np.ascontiguousarray(padded[:, start : start + block])
        pieces.append(board.process(piece, sample_rate, reset=False))
        held.append(held[-1] + piece.shape[1] - pieces[-1].shape[1])
    return np.concatenate(pieces, axis=1)[:, block:], held[1:]


def _noise(length: int) -> Floats:
    return np.random.default_rng(1).uniform(-0.25, 0.25, (2, length)).astype(np.float32)
