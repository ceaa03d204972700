"""Signals that end what runs: noted, so that it ends in order.

An exception out of a signal's handler can come up in a callback of a C library, which
drops it or is left half done: Numba's compiler was seen to do both.
"""

import signal
from types import FrameType

_ENDINGS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")


class Endings:
    """Notes them, instead of raising, while the context lasts."""

    def __init__(self) -> None:
        self._number = 0

    @property
    def come(self) -> bool:
        """Whether one has come."""
        return self._number != 0

    def leave(self) -> None:
        """End the program here, where everything can be put in order, if one has come.

        Raises
        ------
        SystemExit
            With the status that a shell gives for the signal, 128 and its number.
        """
        if self._number:
            raise SystemExit(128 + self._number)

    def __enter__(self) -> "Endings":
        numbers = [getattr(signal, name) for name in _ENDINGS if hasattr(signal, name)]
        self._before = {number: signal.signal(number, self._note) for number in numbers}
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._number = number

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
