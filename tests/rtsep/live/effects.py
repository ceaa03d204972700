"""Effects as test doubles: put in place of pedalboard's own, under the same names."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rtsep.live.mixer import Mixer
from rtsep.live.session import Effect, Session, Strip

Floats = NDArray[np.float32]

RATE = 48_000
STEMS = ("drums", "bass", "other")


def chain(*effects: Effect, stem: str = "drums", **strip: Any) -> Session:
    """A session with effects on one stem."""
    return Session(stems={stem: Strip(effects=effects, **strip)})


def effect(kind: str, **parameters: float | bool | str) -> Effect:
    return Effect(type=kind, parameters=parameters)


def prepared(session: Session, max_block: int = 512) -> Mixer:
    mixer = Mixer(STEMS, session)
    mixer.prepare(RATE, max_block)
    return mixer


def noise(length: int, seed: int = 1, level: float = 0.25) -> Floats:
    rng = np.random.default_rng(seed)
    return rng.uniform(-level, level, (len(STEMS), 2, length)).astype(np.float32)


def stream(
    mixer: Mixer,
    stems: Floats,
    sizes: list[int],
    at: dict[int, Callable[[], Any]] | None = None,
) -> Floats:
    """Mix in blocks of `sizes`, again and again; do things before certain samples."""
    to_do = dict(at or {})
    pieces, start, turn = [], 0, 0
    while start < stems.shape[2]:
        if start in to_do:
            to_do.pop(start)()
        stop = min(stems.shape[2], start + sizes[turn % len(sizes)], *to_do)
        out = np.full((len(mixer.channels), stop - start), np.nan, np.float32)
        mixer.process(np.ascontiguousarray(stems[:, :, start:stop]), out)
        pieces.append(out)
        start, turn = stop, turn + 1
    return np.concatenate(pieces, axis=1)


class Board:
    """What `Link` asks of a pedalboard; holds back `held` samples, delays by `late`.

    Attributes
    ----------
    fault : callable
        What happens to the output.
    """

    def __init__(self, gain: float = 1.0, held: int = 0, late: int = 0) -> None:
        self.gain, self.held, self.late = gain, held, late
        self.fault: Callable[[Floats], Any] = lambda out: out
        self.reset()

    def reset(self) -> None:
        self._skip = self.held
        self._line = np.zeros((2, self.late + self.held), np.float32)

    def process(self, block: Floats, rate: float, reset: bool = True) -> Any:
        assert rate == RATE
        assert not reset
        line = np.concatenate([self._line, block], axis=1)
        n = block.shape[1]
        self._line = line[:, n:]
        skip = min(self._skip, n)
        self._skip -= skip
        return self.fault(np.ascontiguousarray(line[:, skip:n]) * np.float32(self.gain))


@pytest.fixture
def boards(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[..., Board]]:
    """Names of effects, and the doubles to be made for them."""
    import pedalboard

    doubles: dict[str, Callable[..., Board]] = {}

    def make(effect: Effect, where: str) -> Any:
        return doubles[str(effect.type)](**effect.parameters)

    def wrap(plugins: list[Any]) -> Any:
        (only,) = plugins
        return only

    monkeypatch.setattr("rtsep.live.effects.make_builtin", make)
    monkeypatch.setattr(pedalboard, "Pedalboard", wrap)
    return doubles
