"""What the MIDI port is connected to, for a port that comes back to be connected again.

JACK forgets a port's connections with the port: after the process that owned it was
killed, or the server was away, nothing would reach the synthesizer, not even the end of
what sounds there.

This is a client of its own, for the process that owns the port.  It may not live in the
process that plays: JACK's library crashes where one of two clients of a server that died
is used after the other was closed.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

_OWN = "rtsep-midi-patch"


class JackPatch:
    """Remembers the connections of a port of ours, and makes them again.

    Parameters
    ----------
    port : str
        Its full name.
    remembered : iterable of str
        Ports that one of its name was connected to before.
    """

    def __init__(self, port: str, remembered: Iterable[str]) -> None:
        self._port = port
        self._client: Any = None
        self._remembered = set(remembered)

    def restore(self) -> bool:
        """Connect what was remembered; whether all of it is, which may take more calls."""
        there = self.connected()
        if there is None:
            return False
        for port in self._remembered - there:
            self._ask(lambda client, to=port: client.connect(self._port, to))
        return self._remembered <= (self.connected() or set())

    def connected(self) -> set[str] | None:
        """What there is now; None where JACK does not say."""
        found: set[str] | None = self._ask(
            lambda client: {port.name for port in client.get_all_connections(self._port)}
        )
        return found

    def _ask(self, question: Callable[..., Any]) -> Any:
        """What JACK answers, None where it does not."""
        try:
            import jack

            if self._client is None:
                self._client = jack.Client(_OWN, no_start_server=True)
            return question(self._client)
        except Exception:  # the server, or a port, has gone; there is another time
            self.close()
            return None

    def close(self) -> None:
        """Leave the server."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(Exception):  # a server that has gone cannot be told anything
                client.close(ignore_errors=True)
