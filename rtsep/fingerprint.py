"""Where in a song we are, from its sound alone.

One word of 32 bits a frame, after Haitsma and Kalker ("A highly robust audio fingerprinting
system", ISMIR 2002): the signs of the differences of 33 bands' energies, between
neighbours and from frame to frame.  Frames are long and overlap by far the most of their
length, so that it hardly matters where between two frames one starts to listen; levels and
equalisers do not matter either.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Words = npt.NDArray[np.uint32]

BANDS, LOWEST_HZ, HIGHEST_HZ = 33, 200.0, 3000.0
FRAME_S, FRAMES_PER_S = 0.37, 100
# Of the bits over the search's length, the share that may differ.
LARGEST_DISTANCE = 0.35
# The next best place, further than this away, must be worse by this share of the bits.
APART_FRAMES, LEAST_LEAD = 10, 0.04


class Listener:
    """Words of a stream as it comes.

    Parameters
    ----------
    sample_rate : int
        In Hz, a multiple of `FRAMES_PER_S`.
    """

    def __init__(self, sample_rate: int) -> None:
        if sample_rate % FRAMES_PER_S:
            raise ValueError(f"{sample_rate} Hz; expected a multiple of {FRAMES_PER_S}")
        self.hop = sample_rate // FRAMES_PER_S
        self.n_fft = 2 * round(FRAME_S * sample_rate / 2)
        self._window = np.hanning(self.n_fft).astype(np.float32)
        edges = np.geomspace(LOWEST_HZ, HIGHEST_HZ, BANDS + 1) * self.n_fft / sample_rate
        self._edges = np.round(edges).astype(np.int64)
        self.reset()

    def reset(self) -> None:
        """Forget the stream."""
        self._recent = np.zeros(self.n_fft, np.float32)
        self._waiting = self.hop
        self._before = np.zeros(BANDS, np.float64)

    def push(self, mono: Floats) -> Words:
        """Words of the frames that end in the next samples, each `hop` after the last."""
        found = []
        position = 0
        while position < len(mono):
            count = min(self._waiting, len(mono) - position)
            self._recent = np.concatenate([self._recent[count:], mono[position : position + count]])
            position += count
            self._waiting -= count
            if self._waiting == 0:
                found.append(self._word())
                self._waiting = self.hop
        return np.array(found, np.uint32)

    def _word(self) -> int:
        power = np.abs(np.fft.rfft(self._recent * self._window)) ** 2
        energy = np.log(np.add.reduceat(power, self._edges)[:BANDS] + 1e-12)
        slope = np.diff(energy - self._before)
        self._before = energy
        word = 0
        for bit in slope > 0:
            word = word << 1 | int(bit)
        return word


def fingerprint(audio: Floats, sample_rate: int) -> Words:
    """Words of a whole song ``[channels, samples]``; word k ends at sample ``(k + 1) * hop``."""
    return Listener(sample_rate).push(audio.mean(axis=0, dtype=np.float32))


def find(heard: Words, song: Words) -> tuple[int, float] | None:
    """The word of a song at which what was heard ends, and the share of bits that differ.

    None where no place is like enough, or where two are alike.

    Parameters
    ----------
    heard : uint32 array
        The newest words, oldest first.
    """
    length = len(heard)
    if length > len(song) or not length:
        return None
    places = np.lib.stride_tricks.sliding_window_view(song, length)
    distances = np.empty(len(places))
    for start in range(0, len(places), 4096):
        different = np.bitwise_count(places[start : start + 4096] ^ heard)
        distances[start : start + 4096] = different.sum(axis=1)
    distances /= 32 * length
    best = int(distances.argmin())
    distance = float(distances[best])
    if distance > LARGEST_DISTANCE:
        return None
    elsewhere = np.concatenate(
        [distances[: max(best - APART_FRAMES, 0)], distances[best + APART_FRAMES + 1 :]]
    )
    if elsewhere.size and float(elsewhere.min()) < distance + LEAST_LEAD:
        return None
    return best + length - 1, distance
