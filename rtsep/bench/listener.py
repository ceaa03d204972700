"""What comes out while the smooth signal plays: exact, late by what was stated, no clicks."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from rtsep.bench.clicks import Click, ClickDetector
from rtsep.bench.signals import EXACT, Floats

_SEARCH = 2048


@dataclass
class Heard:
    """What a `Listener` has found so far.

    Attributes
    ----------
    frames : int
        Listened to.
    error : float
        Largest distance of the sum of the stems from the mix delayed by what was stated.
    inexact_frames : int
        In how many frames it was more than `EXACT`.
    first_inexact : int or None
        The first of them.
    latencies : set of int
        What was measured; the stated one where the sum was exact.
    unknown_chunks : int
        Chunks in which no delay fitted.
    skipped_frames : int
        Not listened to, because the server had left out cycles.
    clicks : list of Click
        The first of them, up to `KEPT`.
    click_count : int
    """

    KEPT = 100

    frames: int = 0
    error: float = 0.0
    inexact_frames: int = 0
    first_inexact: int | None = None
    latencies: set[int] = field(default_factory=set)
    unknown_chunks: int = 0
    skipped_frames: int = 0
    clicks: list[Click] = field(default_factory=list)
    click_count: int = 0


class Listener:
    """Holds what is recorded against what was played, chunk by chunk.

    Parameters
    ----------
    signal : float32 array, shape (2, frames)
        Played over and over.
    begin : int
        The frame in which it began.
    latency : int
        As stated, in samples.
    stems : sequence of bool
        Which of the ports belong to the sum: pairs of left and right; others are only
        searched for clicks.
    """

    def __init__(self, signal: Floats, begin: int, latency: int, stems: Sequence[bool]) -> None:
        self._signal, self._begin, self.latency = signal, begin, latency
        self._stems = np.array(stems)
        self._peak = float(np.abs(signal).max())
        self._detector: ClickDetector | None = None
        self.heard = Heard()

    def listen(self, frame: int, samples: Floats) -> None:
        """Take what came from `frame` on, shape (ports, frames); chunks follow each other."""
        heard, frames = self.heard, samples.shape[1]
        stems = samples[self._stems].reshape(-1, 2, frames)
        total = stems.sum(axis=0, dtype=np.float64)
        error = np.abs(total - self._played(frame - self.latency, frames)).max(axis=0)
        heard.frames += frames
        heard.error = max(heard.error, float(error.max()))
        wrong = np.flatnonzero(error > EXACT)
        if wrong.size:
            heard.inexact_frames += int(wrong.size)
            if heard.first_inexact is None:
                heard.first_inexact = frame + int(wrong[0])
        latency = self._measure(frame, total) if wrong.size else self.latency
        if latency is None:
            heard.unknown_chunks += 1
        else:
            heard.latencies.add(latency)
        if self._detector is None:
            self._detector = ClickDetector(len(samples), self._peak, frame)
        self._keep(self._detector.feed(samples))

    def skip(self, frames: int) -> None:
        """Leave out frames that cannot be judged."""
        self.finish()
        self.heard.skipped_frames += frames

    def finish(self) -> None:
        """Find the clicks of the end."""
        if self._detector is not None:
            self._keep(self._detector.finish())
            self._detector = None

    def _keep(self, clicks: list[Click]) -> None:
        self.heard.click_count += len(clicks)
        self.heard.clicks += clicks[: Heard.KEPT - len(self.heard.clicks)]

    def _played(self, frame: int, frames: int) -> Floats:
        """What was played from `frame` on."""
        at = np.arange(frame - self._begin, frame - self._begin + frames)
        played: Floats = self._signal[:, at % self._signal.shape[1]]
        return played

    def _measure(
        self, frame: int, total: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
    ) -> int | None:
        """The delay at which most of a chunk is exact; None where half of it is at none."""
        frames = total.shape[1]
        best, delay = 0, None
        # By what one in sixteen samples says, then all of those that pass.
        few = np.arange(0, frames, 16)
        low = max(0, self.latency - _SEARCH)
        played = self._played(frame - self.latency - _SEARCH, frames + 2 * _SEARCH)
        for lag in range(low, self.latency + _SEARCH):
            at = self.latency + _SEARCH - lag
            exact = np.abs(total[:, few] - played[:, at + few]).max(axis=0) <= EXACT
            if (count := int(np.count_nonzero(exact))) > best:
                best, delay = count, lag
        return delay if best > few.size // 2 else None
