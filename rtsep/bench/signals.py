"""Signals to measure a delay with, and the arithmetic that finds it again, to the sample."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

#: Feedback taps of a shift register that runs through all its states.
_REGISTER_BITS, _REGISTER_TAPS = 14, (14, 13, 12, 2)
_AMPLITUDE = np.float32(0.25)
_SHORTEST_SPACING = 2_053
IMPULSES = 8
_SMOOTH_S = 8
_CHORD_HZ = (55.0, 82.4, 110.0, 164.8, 220.0, 277.2, 329.6, 415.3)
#: As far from the delayed signal as a sum of float32 stems may be.
EXACT = 1e-4


def maximum_length_sequence() -> Floats:
    """A pseudo-random sequence of two values, 16,383 samples, the same every time.

    It agrees with itself in all samples at lag 0 and in no more than half at any other
    (a maximum-length sequence).
    """
    state, signs = 1, np.empty((1 << _REGISTER_BITS) - 1, np.float32)
    for index in range(signs.size):
        bit = 0
        for tap in _REGISTER_TAPS:
            bit ^= state >> (_REGISTER_BITS - tap)
        signs[index] = 1.0 if state & 1 else -1.0
        state = (state >> 1) | ((bit & 1) << (_REGISTER_BITS - 1))
    return signs * _AMPLITUDE


@dataclass(frozen=True)
class Signal:
    """What is played to measure a delay.

    Attributes
    ----------
    mix : float32 array, shape (2, frames)
        Impulses, then the sequence; silence between and behind them.  The right side
        is half of the left, turned over, so that exchanged sides show.
    impulses : tuple of int
        Where they are.
    sequence : slice
        Where the sequence is.
    """

    mix: Floats
    impulses: tuple[int, ...]
    sequence: slice


def measuring_signal(longest: int) -> Signal:
    """A signal for delays of up to `longest` samples."""
    # Odd, so that impulses fall on different positions in a block and in a hop.
    spacing = max(_SHORTEST_SPACING, longest + 2) | 1
    noise = maximum_length_sequence()
    impulses = tuple(spacing * (index + 1) for index in range(IMPULSES))
    begin = spacing * (IMPULSES + 1)
    left = np.zeros(begin + noise.size + longest + spacing, np.float32)
    left[list(impulses)] = 2 * _AMPLITUDE
    left[begin : begin + noise.size] = noise
    return Signal(np.stack((left, -0.5 * left)), impulses, slice(begin, begin + noise.size))


def smooth_signal(sample_rate: int) -> Floats:
    """A slowly breathing chord without a step in it, to be repeated without end.

    Returns
    -------
    float32 array, shape (2, 8 * sample_rate)
        Its end fits its beginning.
    """
    turns = 2 * np.pi * np.arange(_SMOOTH_S * sample_rate) / (_SMOOTH_S * sample_rate)
    left, right = np.zeros_like(turns), np.zeros_like(turns)
    for index, hertz in enumerate(_CHORD_HZ):
        # Whole turns in the whole length, for tones and for their breathing.
        tone, breath = round(hertz * _SMOOTH_S), index % 5 + 3
        for side, shift in ((left, 0.0), (right, 1.1)):
            level = 0.6 + 0.4 * np.sin(breath * turns + index + shift)
            side += level * np.sin(tone * turns + 2.3 * index + shift)
    return (0.08 * np.stack((left, right))).astype(np.float32)


@dataclass(frozen=True)
class Delays:
    """What was found, in samples; None where nothing like the signal came back.

    Attributes
    ----------
    impulses : tuple of (int or None)
        The delay of every impulse.
    sequence : int or None
        The delay of the pseudo-random sequence.
    error : float
        Largest distance of any sample from the mix delayed by `sequence`.
    """

    impulses: tuple[int | None, ...]
    sequence: int | None
    error: float

    @property
    def found(self) -> tuple[int, ...]:
        """Every delay that was found."""
        return tuple(lag for lag in (*self.impulses, self.sequence) if lag is not None)

    @property
    def whole(self) -> bool:
        """Whether everything came back, as it was sent."""
        return len(self.found) == len(self.impulses) + 1 and self.error <= EXACT


def find_delays(signal: Signal, heard: Floats) -> Delays:
    """Find a test signal in a recording that starts when it starts.

    Parameters
    ----------
    signal : Signal
    heard : float32 array, shape (2, frames)
        At least as long as the signal; the sum of the stems.

    Returns
    -------
    Delays
    """
    frames = signal.mix.shape[1]
    spacing = signal.impulses[0]
    impulses = tuple(
        _impulse(heard[:, place : place + spacing], float(signal.mix[0, place]))
        for place in signal.impulses
    )
    begin = signal.sequence.start
    sequence = _lag(signal.mix[0, signal.sequence], heard[0, begin:frames])
    error = float("inf")
    if sequence is not None:
        expected = np.zeros_like(signal.mix)
        expected[:, sequence:] = signal.mix[:, : frames - sequence]
        error = float(np.abs(heard[:, :frames] - expected).max())
    return Delays(impulses, sequence, error)


def _impulse(heard: Floats, height: float) -> int | None:
    """Where the largest sample is, if it is as high as the impulse was, nearly."""
    place = int(np.abs(heard[0]).argmax())
    return place if abs(heard[0, place] - height) <= 0.1 * abs(height) else None


def _lag(sent: Floats, heard: Floats) -> int | None:
    """Where `sent` begins in `heard`, if what is there is like it."""
    size = 1 << int(sent.size + heard.size - 1).bit_length()
    spectrum = np.fft.rfft(heard.astype(np.float64), size)
    spectrum *= np.conj(np.fft.rfft(sent.astype(np.float64), size))
    alike = np.fft.irfft(spectrum, size)[: heard.size - sent.size + 1]
    place = int(alike.argmax())
    energy = float(np.square(sent, dtype=np.float64).sum())
    return place if alike[place] >= 0.5 * energy else None
