"""The stems of the engine that plays, for others than the audio callback.

Another engine that takes over goes on where the one before was: what is taken has no
gap, unless there was no engine, or nobody took anything for two seconds (at 48 kHz).
"""

import threading
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class StemBlock(NamedTuple):
    """A piece of every stem.

    Attributes
    ----------
    sample : int
        Frame of the host's stream at which the mix was of which the first sample is made.
    latency : int
        How many samples the stems are behind the mix.
    stems : tuple of str
        The residual last.
    audio : float32 [2 × stems, n]
    """

    sample: int
    latency: int
    stems: tuple[str, ...]
    audio: NDArray[np.float32]


class StemSource(Protocol):
    """An engine process, as far as stems go."""

    def read_stems(self, start: int, most: int) -> StemBlock | None:
        """What there is from a frame on, or as close behind it as there is anything."""


class StemFeed:
    """Collects the stems of one engine after another; any thread may take them."""

    def __init__(self) -> None:
        # Taking stems reads an engine's memory, which must not be let go of meanwhile.
        self._lock = threading.Lock()
        self._source: StemSource | None = None
        self._next = 0

    def follow(self, source: StemSource | None) -> None:
        """Take another engine's from now on, or none.

        Once this has returned, the memory of the one before may go.
        """
        with self._lock:
            self._source = source

    def leave(self, source: StemSource) -> None:
        """Take no more of an engine that is about to go."""
        with self._lock:
            if source is self._source:
                self._source = None

    def take(self, most: int) -> StemBlock | None:
        """The next stems, of at most so many frames; None where there are none yet."""
        with self._lock:
            if self._source is None:
                return None
            block = self._source.read_stems(self._next, most)
            if block is not None:
                self._next = block.sample + block.audio.shape[1]
            return block
