"""Signals that end what plays, records or serves: noted, so that it ends in order."""

import signal
from types import FrameType

_ENDINGS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")


class Endings:
    """Notes them, instead of raising, while the context lasts.

    Attributes
    ----------
    come : bool
        Whether one has come.
    """

    def __init__(self) -> None:
        self.come = False

    def __enter__(self) -> "Endings":
        numbers = [getattr(signal, name) for name in _ENDINGS if hasattr(signal, name)]
        self._before = {number: signal.signal(number, self._note) for number in numbers}
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.come = True

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
