"""A stem's effects: run block by block, measured, changed while playing, and guarded.

A chain is cut into links: as many of pedalboard's own effects in a row as there are, or
one plug-in of others.  Every link gives as many samples as it takes, later by its
`Link.latency_samples`, whatever effect it holds at the moment, so that another one can
be faded in and the dry signal can take its place.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtsep.errors import SessionError
from rtsep.kernels import mixing
from rtsep.live.chain_latency import held_back, not_stated
from rtsep.live.plugins import load_plugin, make_builtin, reason, set_parameters
from rtsep.live.session import Effect

Floats = NDArray[np.float32]

BYPASS_FADE = 128
"""Samples from what a failed effect last gave to the dry signal."""
SETTLE = 4096
"""Samples for which a changed effect runs unheard, until its levels are those of the music."""


class Link:
    """Some built-in effects in a row, or one plug-in.

    Parameters
    ----------
    effects : tuple of Effect
    where : str
        What messages call it.

    Attributes
    ----------
    latency_samples : int
        After `prepare`.
    complaint : str
        What is wrong with it, until it is taken; empty where nothing is.
    failed : bool
        The dry signal goes out instead.

    Raises
    ------
    SessionError
        An effect that there is not, or that refuses what the session says.
    """

    def __init__(self, effects: tuple[Effect, ...], where: str) -> None:
        self.effects, self.where = effects, where
        self.latency_samples = 0
        self.complaint = ""
        self.failed = False
        self._plugin = load_plugin(effects[0], where) if effects[0].plugin else None
        self._defaults: dict[str, Any] = {}
        self._set_plugin(effects[0])
        self._board = self._make(effects)
        self._next: Any = None

    def prepare(self, sample_rate: int, max_block: int, curve: Floats) -> None:
        """Measure the latency and make room.

        Parameters
        ----------
        curve : float32 array
            Of the fade to changed effects.

        Raises
        ------
        SessionError
            An effect whose output does not keep up with its input.
        """
        self._rate, self._curve = sample_rate, curve
        self._adopt_next()
        self._primer = np.zeros((2, max_block), np.float32)
        steps = np.arange(1, BYPASS_FADE + 1) / (BYPASS_FADE + 1)
        self._bypass_curve = (0.5 - 0.5 * np.cos(np.pi * steps)).astype(np.float32)
        try:
            held = held_back(self._board, sample_rate, max_block)
            self._unsaid = 0
            if self._plugin is not None and held is not None:
                self._unsaid = not_stated(self._board, sample_rate, max_block)
        except Exception as error:
            raise SessionError(
                f"{self.where}: {self.label} fails on audio ({reason(error)})"
            ) from None
        if held is None:
            raise SessionError(
                f"{self.where}: {self.label} falls ever further behind and cannot be played live",
                "an effect that gives as much as it takes",
                "leave it out",
            )
        self.latency_samples = held + self._unsaid
        self._said = self._latency_said()
        capacity = 1 << (self.latency_samples + max_block + 2 * BYPASS_FADE).bit_length()
        self._dry, self._heard, *self._wet = np.zeros((4, 2, capacity), np.float32)
        self.reset()

    @property
    def label(self) -> str:
        """How messages call its effects."""
        return " + ".join(effect.label for effect in self.effects)

    def reset(self) -> None:
        """Forget the stream."""
        for ring in (self._dry, self._heard, *self._wet):
            ring[:] = 0.0
        self._t = 0
        self._old: _Voice | None = None
        self._fade, self._faded = self._curve, 0
        self._adopt_next()
        self.failed = False
        self._board.reset()
        self._voice = self._begin(self._board, self._wet[0])

    def change(self, effects: tuple[Effect, ...]) -> None:
        """Go over to other parameters of the same effects, without a click.

        A plug-in's are set in place; whether it clicks then is its own affair.

        Raises
        ------
        SessionError
            Then everything stays as it was.
        """
        if effects == self.effects and not self.failed:
            return
        if self._plugin is None:
            self._next = self._make(effects)
        else:
            self._set_plugin(effects[0])
            said = self._latency_said()
            if said != self._said:
                self._said = said
                self.complaint = (
                    f"{self.where}: {self.label} takes {said} samples now; its stem comes "
                    "at another time than the others until rtsep starts again"
                )
            if self.failed:
                self._board.reset()
                self._next = self._board
        self.effects = effects

    def process(self, source: Floats, out: Floats) -> bool:
        """Run a block.

        Parameters
        ----------
        source, out : float32 arrays, shape (2, n), C-contiguous
            May be the same.

        Returns
        -------
        bool
            False where an effect failed in this block.
        """
        n = source.shape[1]
        mixing.keep_rows(self._dry, self._t, source)
        if self._old is not None and self._faded >= self._fade.size:
            self._old = None
        if self._old is None and self._next is not None:
            self._change_over()
        until = self._t + n
        good = self._voice.run(source, self._rate, until)
        if good and self._old is not None:
            good = self._old.run(source, self._rate, until)
        if not good:
            self._bypass()
        new = self._voice
        old = self._old or new
        mixing.blend(
            old.ring,
            self._t - old.wait,
            new.ring,
            self._t - new.wait,
            self._faded if self._old is not None else 0,
            self._fade,
            out,
        )
        mixing.keep_rows(self._heard, self._t, out)
        self._faded += n
        self._t = until
        return good

    def _adopt_next(self) -> None:
        if self._next is not None:
            self._board, self._next = self._next, None

    def _set_plugin(self, effect: Effect) -> None:
        """Set a plug-in's parameters; one that is no longer set is what it was at first."""
        if self._plugin is None:
            return
        parameters = {**self._defaults, **effect.parameters}
        for name, old in set_parameters(self._plugin, parameters, self.where, self.label).items():
            self._defaults.setdefault(name, old)

    def _make(self, effects: tuple[Effect, ...]) -> Any:
        import pedalboard

        if self._plugin is not None:
            return pedalboard.Pedalboard([self._plugin])
        return pedalboard.Pedalboard([make_builtin(effect, self.where) for effect in effects])

    def _begin(self, board: Any, ring: Floats) -> "_Voice":
        """Start an effect at this instant.

        It first gets silence, one block of the largest size: with that it makes its room
        (it would lose its state were a later block larger), and pedalboard learns which
        axis is which, which two frames of stereo would not tell.
        """
        given = board.process(self._primer, self._rate, reset=False)
        late = self._primer.shape[1] - given.shape[1]
        return _Voice(board, ring, self._t - late, self.latency_samples - self._unsaid)

    def _change_over(self) -> None:
        """Start the next effect, unheard at first."""
        board, self._next = self._next, None
        ring = self._wet[1] if self._voice.ring is self._wet[0] else self._wet[0]
        voice = self._begin(board, ring)
        if self._t - voice.at > voice.wait:
            self.complaint = (
                f"{self.where}: {self.label} would take longer than before; "
                "what was set last begins when rtsep starts again"
            )
            return
        self._old, self._voice, self._board = self._voice, voice, board
        self._fade, self._faded = self._curve, -(SETTLE + self.latency_samples)
        self.failed = False

    def _bypass(self) -> None:
        """Let the dry signal take over from what was heard last."""
        mixing.reflect(self._heard, self._t, BYPASS_FADE)
        self._old = _Voice(None, self._heard, self._t, 0)
        self._voice = _Voice(None, self._dry, self._t, self.latency_samples)
        self._fade, self._faded = self._bypass_curve, 0
        self.failed = True
        self.complaint = (
            f"{self.where}: {self.label} gave no usable sound and is left out "
            "until the session changes"
        )

    def _latency_said(self) -> int:
        return int(getattr(self._plugin, "reported_latency_samples", 0))


class _Voice:
    """An effect and what it gave; or, without a board, a ring that someone else fills.

    Attributes
    ----------
    ring : float32 array, shape (2, power of two)
        By absolute index: what came of the sample of that index.
    at : int
        Where its next output belongs.
    wait : int
        How much later than its own output it is read.
    """

    def __init__(self, board: Any, ring: Floats, at: int, wait: int) -> None:
        self._board, self.ring, self.at, self.wait = board, ring, at, wait
        if board is not None:
            ring[:] = 0.0

    def run(self, source: Floats, rate: int, until: int) -> bool:
        """Run a block that ends at `until`; False where the output cannot be used."""
        if self._board is None:
            return True
        try:
            given = self._board.process(source, rate, reset=False)
        except Exception:  # whatever it is, it must not be heard
            return False
        if given.ndim != 2 or given.shape[0] != 2 or given.shape[1] > self.ring.shape[1]:
            return False
        finite = mixing.keep_rows(self.ring, self.at, given)
        self.at += given.shape[1]
        return bool(finite) and self.at >= until - self.wait


def cut(effects: tuple[Effect, ...]) -> list[tuple[Effect, ...]]:
    """A chain in parts for a `Link` each."""
    parts: list[tuple[Effect, ...]] = []
    for effect in effects:
        if effect.type and parts and parts[-1][0].type:
            parts[-1] += (effect,)
        else:
            parts.append((effect,))
    return parts
