"""What the MIDI port is connected to, for a port that comes back to be connected again.

JACK forgets a port's connections with the port: after the process that owned it was
killed, or the server was away, nothing would reach the synthesizer, not even the end of
what sounds there.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rtsep_bridge.midi_guard import CLIENT

_OWN = "rtsep-midi-patch"


class JackPatch:
    """Remembers the connections of a port of ours, and makes them again.

    Parameters
    ----------
    name : str
        Of the port.
    """

    def __init__(self, name: str) -> None:
        self._port = f"{CLIENT}:{name}"
        self._client: Any = None
        self._remembered: set[str] = set()

    def look(self) -> None:
        """Remember what there is now; about once a second."""
        found = self._connected()
        if found is not None:
            self._remembered = found

    def restore(self) -> bool:
        """Connect what was remembered; whether all of it is, which may take more calls."""
        there = self._connected()
        if there is None:
            return False
        for port in self._remembered - there:
            self._ask(lambda client, to=port: client.connect(self._port, to))
        return self._remembered <= (self._connected() or set())

    def _connected(self) -> set[str] | None:
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
