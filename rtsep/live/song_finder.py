"""Follows where in a known song a live mix is, by the mix's sound, beside the audio.

The engine's loop hands over what it hears and takes what was found; looking is done by a
thread of its own.  A transport that rolls tells the place to the sample, and at once after
a jump; it is believed as long as the sound does not say otherwise, as where the song
begins elsewhere on the time line.  Words of the fingerprint come a hundred a second on both
sides, so that a place is one number: how many words the song is ahead of the stream.
"""

import threading

import numpy as np
from numpy.typing import NDArray

from rtsep.engine import Engine
from rtsep.fingerprint import FRAMES_PER_S, Listener, find
from rtsep.mask_file import MaskFile
from rtsep.played_masks import Place

Floats = NDArray[np.float32]

SEARCH_S, CHECK_S, EVERY_S = 1.2, 0.5, 0.2
# Of the bits over the check's length, the share from which on the place is lost.
LOST = 0.4
_RING_S = 4.0


class SongFinder:
    """Where a stream is in the song of a mask file.

    Parameters
    ----------
    file : MaskFile
    sample_rate : int
        Of the stream, in Hz.
    """

    def __init__(self, file: MaskFile, sample_rate: int) -> None:
        self._song, self._sample_rate = file.fingerprint, sample_rate
        self._listener = Listener(sample_rate)
        self._ring = np.zeros(round(_RING_S * sample_rate), np.float32)
        self._lock = threading.Lock()
        self._wake, self._ended = threading.Event(), False
        self._written = self._stream = 0
        self._place: Place | None = None
        self._begin()
        self._told: Place | None = None
        self._transport: float | None = None
        self._believed, self._forget = True, False
        self._thread = threading.Thread(target=self._follow, daemon=True, name="song finder")
        self._thread.start()

    def _begin(self) -> None:
        self._listener.reset()
        self._read = 0
        self._words = np.zeros(0, np.uint32)
        self._count = self._looked = 0
        self._ahead: int | None = None

    def hear(self, block: Floats) -> None:
        """Take the stream's next samples, ``[channels, n]``; cheap, for the engine's loop."""
        n = block.shape[1]
        first = self._written % len(self._ring)
        mono = block.mean(axis=0, dtype=np.float32)
        end = min(n, len(self._ring) - first)
        self._ring[first : first + end] = mono[:end]
        self._ring[: n - end] = mono[end:]
        self._written += n
        self._wake.set()

    def restart(self) -> None:
        """The stream begins anew: its next sample is its first."""
        with self._lock:
            self._written = 0
            self._begin()
            self._place, self._transport, self._believed = None, None, True

    def take(self, transport: float | None = None) -> tuple[bool, Place | None]:
        """Whether the place has changed since the last call, and the place.

        Parameters
        ----------
        transport : float, optional
            Sample of the song at the stream's first one, by a transport that rolls.
        """
        found = self._place
        jumped = None not in (transport, self._transport) and transport != self._transport
        self._transport = transport
        if jumped and self._believed:
            self._place, self._forget, found = None, True, None
        if transport is not None and found is not None:
            self._believed = abs(found.song - transport) <= self._sample_rate / FRAMES_PER_S
        if transport is not None and self._believed:
            found = Place(0, transport)
        changed, self._told = found != self._told, found
        return changed, found

    def lead(self, engine: Engine, block: Floats, transport: float | None) -> None:
        """Hear a block that an engine is about to play, and tell it of another place."""
        self.hear(block)
        changed, place = self.take(transport)
        if changed:
            engine.locate(place)

    def close(self) -> None:
        """End the thread."""
        self._ended = True
        self._wake.set()
        self._thread.join(2.0)

    def _follow(self) -> None:
        while not self._ended:
            self._wake.wait()
            self._wake.clear()
            with self._lock:
                self._listen()

    def _listen(self) -> None:
        written = self._written  # read once: the engine's loop moves it on meanwhile
        if written - self._read > len(self._ring) // 2:
            # Too late for what was: begin with what is, as if the song had jumped.
            self._read = written - len(self._ring) // 4
            self._read -= self._read % self._listener.hop
            self._listener.reset()
            self._count = self._read // self._listener.hop
            self._words = np.zeros(0, np.uint32)
        if written - self._read < self._listener.hop:
            return
        places = np.arange(self._read, written) % len(self._ring)
        words = self._listener.push(self._ring[places])
        self._read = written
        self._count += len(words)
        keep = round(SEARCH_S * FRAMES_PER_S)
        self._words = np.concatenate([self._words, words])[-keep:]
        if self._count - self._looked >= EVERY_S * FRAMES_PER_S:
            self._looked = self._count
            self._look(keep)

    def _look(self, keep: int) -> None:
        """Check the place, or find one in what came since it was lost."""
        if self._forget:
            self._forget, self._ahead, self._words = False, None, self._words[:0]
        if self._ahead is not None:
            if not self._still_there(self._ahead):
                self._ahead, self._place = None, None
                self._words = self._words[:0]
            return
        found = find(self._words, self._song) if len(self._words) == keep else None
        if found is not None:
            self._ahead = found[0] + 1 - self._count
            self._place = Place(0, self._ahead * self._sample_rate / FRAMES_PER_S)

    def _still_there(self, ahead: int) -> bool:
        n = round(CHECK_S * FRAMES_PER_S)
        stop = self._count + ahead
        there = self._song[max(stop - n, 0) : stop]
        heard = self._words[-len(there) :] if len(there) else self._words[:0]
        if len(there) < n or len(heard) < n:
            return False
        return float(np.bitwise_count(heard ^ there).mean()) / 32 < LOST
