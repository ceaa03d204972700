"""Whole files through the engine: any sample rate, latency trimmed, exact lengths.

At a sample rate that the engine does not run at, the mix is converted to one that it
does (`rtsep.rates.native_rate`) and the stems back.  The residual is then the mix as it
came less the other stems, so that the stems sum to it at any rate.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtsep.engine import MAX_BLOCK, Engine
from rtsep.note_events import NoteEvent
from rtsep.rates import native_rate
from rtsep.resample import Resampler

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class SeparatedBlock:
    """A piece of the result.

    Attributes
    ----------
    start : int
        Position of its first sample in the file.
    stems : float32 [n_stems, channels, n]
        Aligned with the mix; `n` varies and may be 0.
    notes : list of NoteEvent
        What was decided meanwhile, in samples of the file.
    """

    start: int
    stems: Floats
    notes: list[NoteEvent]


def separate_audio(
    engine: Engine, chunks: Iterable[Floats], sample_rate: int, channels: int
) -> Iterator[SeparatedBlock]:
    """Run a file through an engine, piece by piece, in bounded memory.

    Parameters
    ----------
    engine : Engine
        Prepared here, at a rate that suits the file.
    chunks : iterable of float32 [channels, n]
        The file in order, n from 0 up.
    sample_rate : int
        Of the file, in Hz.
    channels : {1, 2}

    Yields
    ------
    SeparatedBlock
        As results come.  The stems of all of them in a row are as long as the file.
    """
    return _Separation(engine, sample_rate, channels).run(chunks)


def engine_rate(engine: Engine, sample_rate: int) -> int:
    """The rate in Hz at which `engine` works on a file of `sample_rate` Hz."""
    rate = native_rate(sample_rate)
    return rate if rate in engine.native_rates else engine.native_rates[0]


class _Separation:
    """The state of one `separate_audio`.

    Lengths and positions named `..._e` count samples at the engine's rate, the others
    samples of the file.
    """

    def __init__(self, engine: Engine, sample_rate: int, channels: int) -> None:
        self._engine = engine
        self._channels = channels
        rate = engine_rate(engine, sample_rate)
        engine.prepare(rate, MAX_BLOCK, channels)
        self._n_stems = len(engine.stems)
        self._lanes = max(self._n_stems - 1, 0) * channels
        self._file_rate, self._engine_rate = sample_rate, rate
        self._taken = self._given = 0
        self._taken_e = 0
        self._given_e = -engine.latency_samples
        self._into: Resampler | None = None
        self._back: Resampler | None = None
        if rate != sample_rate:
            self._into = Resampler(sample_rate, rate, channels)
            if self._n_stems:
                self._back = Resampler(rate, sample_rate, self._lanes)
        # The mix from sample `_given` on.
        self._mix: deque[Floats] = deque()
        self._cut: set[tuple[str, int]] = set()

    def run(self, chunks: Iterable[Floats]) -> Iterator[SeparatedBlock]:
        for chunk in chunks:
            self._check(chunk)
            for start in range(0, chunk.shape[1], MAX_BLOCK):
                block = chunk[:, start : start + MAX_BLOCK]
                self._taken += block.shape[1]
                if self._back is not None:
                    self._mix.append(block.copy())
                if self._into is not None:
                    block = self._into.process(block)
                self._taken_e += block.shape[1]
                yield from self._push(block)
        if self._into is not None:
            rest = self._into.finish()
            self._taken_e += rest.shape[1]
            yield from self._push(rest)
        # Until the last sample is out and the last note decided.
        wait = max(self._engine.latency_samples, self._engine.note_delay_samples)
        yield from self._push(np.zeros((self._channels, wait), np.float32))
        stems = np.empty((self._n_stems, self._channels, 0), np.float32)
        if self._back is not None:
            stems = self._split(self._back.finish())
        yield self._block(stems, self._engine.flush_notes(self._taken_e))

    def _check(self, chunk: Floats) -> None:
        if chunk.dtype != np.float32:
            raise TypeError(f"a chunk of {chunk.dtype}; expected float32")
        if chunk.ndim != 2 or chunk.shape[0] != self._channels:
            raise ValueError(f"a chunk of shape {chunk.shape}; expected ({self._channels}, n)")

    def _push(self, audio: Floats) -> Iterator[SeparatedBlock]:
        """Put audio at the engine's rate through it."""
        for start in range(0, audio.shape[1], MAX_BLOCK):
            block = audio[:, start : start + MAX_BLOCK]
            n = block.shape[1]
            stems = np.empty((self._n_stems, self._channels, n), np.float32)
            self._engine.process(block, stems)
            begin = min(max(-self._given_e, 0), n)
            end = min(max(self._taken_e - self._given_e, 0), n)
            self._given_e += n
            stems = stems[:, :, begin:end]
            if self._back is not None:
                lanes = stems[:-1].reshape(self._lanes, end - begin)
                stems = self._split(self._back.process(lanes))
            yield self._block(stems, self._engine.take_notes())

    def _split(self, lanes: Floats) -> Floats:
        """Stems at the file's rate, [n_stems - 1, channels] as lanes, and the residual."""
        n = min(lanes.shape[1], self._taken - self._given)
        stems = np.empty((self._n_stems, self._channels, n), np.float32)
        stems[:-1] = lanes[:, :n].reshape(self._n_stems - 1, self._channels, n)
        position = 0
        while position < n:
            block = self._mix.popleft()
            count = min(block.shape[1], n - position)
            if count < block.shape[1]:
                self._mix.appendleft(block[:, count:])
            stems[-1, :, position : position + count] = block[:, :count]
            position += count
        for stem in stems[:-1]:
            stems[-1] -= stem
        return stems

    def _block(self, stems: Floats, events: list[NoteEvent]) -> SeparatedBlock:
        if not self._n_stems:
            stems = np.empty((0, self._channels, self._taken - self._given), np.float32)
        start = self._given
        self._given += stems.shape[2]
        return SeparatedBlock(start, stems, self._in_file(events))

    def _in_file(self, events: list[NoteEvent]) -> list[NoteEvent]:
        """Events in samples of the file, without what was heard in its being cut off.

        What still sounds at the end of the file is switched off there, however much
        silence the engine was given after it.
        """
        kept = []
        for event in events:
            if not event.velocity and event.sample > self._taken_e:
                event = event._replace(sample=self._taken_e)
            key = (event.stem, event.pitch)
            if event.velocity and event.sample >= self._taken_e:
                self._cut.add(key)
            elif key in self._cut:
                self._cut.remove(key)
            elif self._into is None:
                kept.append(event)
            else:
                sample = round(event.sample * self._file_rate / self._engine_rate)
                known_at = round(event.known_at * self._file_rate / self._engine_rate)
                kept.append(event._replace(sample=sample, known_at=known_at))
        return kept
