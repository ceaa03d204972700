"""The mixer: what a player does to the stems, after the engine and before the host.

Every stem passes its effects, then a delay, then its gain; the monitor is the sum of
all stems as they leave their strips.  All stems are late by the same: by what the
slowest chain of effects takes.  Nothing that changes while playing clicks: gains go
along a raised cosine, from one delay to another there is a cross-fade.
"""

import math

import numpy as np
from numpy.typing import NDArray

from rtsep.errors import SessionError
from rtsep.kernels import mixing
from rtsep.live.effects import Link, cut
from rtsep.live.session import MAX_DELAY_SAMPLES, Effect, Session

Floats = NDArray[np.float32]

RAMP_S = 0.010
"""How long a change takes."""


class Mixer:
    """Strips and monitor.

    Parameters
    ----------
    stems : tuple of str
        In the order of the engine's output; the last one is the residual.
    session : Session

    Attributes
    ----------
    channels : tuple of str
        Of `process`'s output: left and right of every stem, then of the monitor.
    latency_samples : int
        How much later all stems come out than they went in.
    neutral : bool
        Whether the last block's stems went out as they came in.
    fallback : float32 array, shape (channels,)
        Gain of the mix on every channel while the stems are missing.
    bad_blocks : int
        Blocks in which a chain of effects failed.
    complaints : list of str
        What the player should know; to be taken and cleared.

    Raises
    ------
    SessionError
        An effect that there is not, that refuses stereo, or what the session says.
    """

    def __init__(self, stems: tuple[str, ...], session: Session) -> None:
        self.stems = stems
        names = (*stems, "monitor")
        self.channels = tuple(f"{name}_{side}" for name in names for side in "LR")
        self.latency_samples = 0
        self.bad_blocks = 0
        self.complaints: list[str] = []
        self.fallback = np.zeros(len(self.channels), np.float32)
        self.neutral = False
        self._session = session
        self._gains = np.ones((len(names), 2), np.float32)
        self._state = np.zeros((len(names), mixing.STATE_WORDS), np.int64)
        self._curve = np.ones(1, np.float32)
        self._scratch = self._wet = np.zeros(0, np.float32)
        self._uses_wet = np.zeros(len(stems), np.bool_)
        self._chains = [
            [Link(part, f"stems.{stem}.effects") for part in cut(session.strip(stem).effects)]
            for stem in stems
        ]
        self._latencies = [0] * len(stems)
        self._uses_wet[:] = [bool(chain) for chain in self._chains]
        self._links = [link for chain in self._chains for link in chain]
        self._look_for_strangers()

    def prepare(self, sample_rate: int, max_block: int) -> None:
        """Make room and start.

        Parameters
        ----------
        sample_rate : int
            In Hz.
        max_block : int
            Most frames that `process` will be given.

        Raises
        ------
        SessionError
            An effect that fails on audio, or does not keep up with it.
        """
        length = round(RAMP_S * sample_rate)
        steps = np.arange(1, length + 1) / (length + 1)
        self._curve = (0.5 - 0.5 * np.cos(np.pi * steps)).astype(np.float32)
        for link in self._links:
            link.prepare(sample_rate, max_block, self._curve)
        self._latencies = [sum(link.latency_samples for link in chain) for chain in self._chains]
        self.latency_samples = max(self._latencies)
        longest = MAX_DELAY_SAMPLES + self.latency_samples + max_block
        capacity = 1 << (longest - 1).bit_length()
        self._lines = np.zeros((len(self.stems), 2, capacity), np.float32)
        self._wet = np.zeros(len(self.stems) * 2 * max_block, np.float32)
        self._scratch = np.zeros(max_block, np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget the stream; the session as it stands holds from the first sample on."""
        self._t = 0
        self._lines[:] = 0.0
        for link in self._links:
            link.reset()
        self._set_targets()
        state, length = self._state, self._curve.size
        self._gains[:, mixing.FROM] = self._gains[:, mixing.TO]
        state[:, mixing.RAMPED] = state[:, mixing.FADED] = length
        state[:, mixing.DELAY_FROM] = state[:, mixing.DELAY_TO] = state[:, mixing.DELAY_WANTED]
        self.neutral = self._wants_neutral()

    def apply(self, session: Session) -> None:
        """Go over to another session of the same structure, without a click.

        Raises
        ------
        SessionError
            An effect refuses its parameters; then everything stays as it was.
        """
        changed: list[tuple[Link, tuple[Effect, ...]]] = []
        try:
            for stem, chain in zip(self.stems, self._chains, strict=True):
                parts = cut(session.strip(stem).effects)
                for link, part in zip(chain, parts, strict=True):
                    before = link.effects
                    link.change(part)
                    changed.append((link, before))
        except SessionError:
            for link, before in changed:
                link.change(before)
            raise
        self._session = session
        self._look_for_strangers()
        self._set_targets()
        self.neutral = self.neutral and self._wants_neutral()

    def process(self, stems: Floats, out: Floats) -> None:
        """Mix a block.

        Parameters
        ----------
        stems : float32 array, shape (stems, 2, n)
            C-contiguous; n from 1 to the `max_block` of `prepare`.
        out : float32 array, shape (channels, n)
            C-contiguous; overwritten.

        Raises
        ------
        TypeError, ValueError
            A wrong dtype, layout or shape.
        """
        n = stems.shape[-1]
        if (
            stems.shape != (len(self.stems), 2, n)
            or out.shape != (len(self.channels), n)
            or not 0 < n <= self._scratch.size
        ):
            raise ValueError(f"stems {stems.shape} and out {out.shape} do not fit this mixer")
        wet = self._wet[: stems.size].reshape(stems.shape)
        if self._links:
            self._run_effects(stems, wet)
        self.neutral = mixing.mix_strips(
            stems,
            wet,
            self._uses_wet,
            self._lines,
            self._t,
            self._gains,
            self._state,
            self._curve,
            self._scratch,
            out,
        )
        self._t += n

    def _run_effects(self, stems: Floats, wet: Floats) -> None:
        for stem, chain in enumerate(self._chains):
            source = stems[stem]
            for link in chain:
                self.bad_blocks += not link.process(source, wet[stem])
                source = wet[stem]
                if link.complaint:
                    self.complaints.append(link.complaint)
                    link.complaint = ""

    def _look_for_strangers(self) -> None:
        for name in self._session.stems.keys() - set(self.stems):
            self.complaints.append(
                f"the session names a stem {name}; the model has {', '.join(self.stems)}"
            )

    def _set_targets(self) -> None:
        """Start the ramps to what the session says."""
        session = self._session
        strips = [session.strip(stem) for stem in self.stems]
        soloed = any(strip.solo for strip in strips)
        for row, strip in enumerate(strips):
            muted = strip.mute or (soloed and not strip.solo)
            gain = _amplitude(strip.gain_db, muted)
            self._ramp_to(row, -gain if strip.invert else gain)
            wait = self.latency_samples - self._latencies[row]
            self._state[row, mixing.DELAY_WANTED] = strip.delay_samples + wait
        monitor = _amplitude(session.monitor.gain_db, session.monitor.mute)
        self._ramp_to(len(strips), monitor)
        self.fallback[:] = 0.0
        self.fallback[-4:-2] = self._gains[-2, mixing.TO]
        self.fallback[-2:] = monitor

    def _ramp_to(self, row: int, gain: float) -> None:
        gains, done = self._gains[row], int(self._state[row, mixing.RAMPED])
        if gains[mixing.TO] == np.float32(gain):
            return
        rise = gains[mixing.TO] - gains[mixing.FROM]
        share = np.float32(0.0) if done == 0 else self._curve[done - 1]
        if done < self._curve.size:
            gains[mixing.FROM] += rise * share
        else:
            gains[mixing.FROM] = gains[mixing.TO]
        gains[mixing.TO] = gain
        self._state[row, mixing.RAMPED] = 0

    def _wants_neutral(self) -> bool:
        strips = len(self.stems)
        return bool(
            not self._uses_wet.any()
            and (self._gains[:strips, mixing.TO] == 1.0).all()
            and not self._state[:strips, mixing.DELAY_WANTED].any()
        )


def _amplitude(gain_db: float, muted: bool) -> float:
    return 0.0 if muted else math.pow(10.0, gain_db / 20.0)
