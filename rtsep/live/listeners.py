"""What else gets the notes, or more, of live audio while it plays: a MIDI port, the bridge.

Notes are due sooner than the player's loop, which also draws, comes round: a thread of
its own hands them out.
"""

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from rtsep.live.status import Status
from rtsep.note_events import NoteEvent

if TYPE_CHECKING:
    from rtsep.live.player import Live

HEAR_EVERY_S = 0.002


class Listener(Protocol):
    """One taker of notes; opened by whoever makes it."""

    def start(self, live: "Live") -> None:
        """Live audio has started; the first notes come after this."""

    def hear(self, notes: list[NoteEvent]) -> None:
        """Take new notes, in their order; called also where there are none.

        Comes from a thread of its own every `HEAR_EVERY_S`, and must not wait.
        """

    def poll(self) -> list[str]:
        """Do what has time; about twenty times a second.  Gives lines for the player."""

    def show(self, status: Status) -> None:
        """Take the state of it all; once a second or more often, between two polls."""

    def close(self) -> None:
        """End everything that was begun."""


class Listeners:
    """Hands the notes of a `Live` to everyone who listens; a context that ends them all."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self._live: Live | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._failures: list[str] = []

    def __enter__(self) -> "Listeners":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def add(self, listener: Listener) -> None:
        """One more, before the start."""
        self._listeners.append(listener)

    def start(self, live: "Live") -> None:
        """Hand out notes from now on."""
        self._live = live
        for listener in self._listeners:
            listener.start(live)
        if self._listeners:
            self._thread = threading.Thread(target=self._run, args=(live,), daemon=True)
            self._thread.start()

    def _run(self, live: "Live") -> None:
        while not self._ended.wait(HEAR_EVERY_S):
            notes = live.take_notes()
            for listener in list(self._listeners):
                try:
                    listener.hear(notes)
                except Exception as error:  # the stems, and the others, play on
                    self._listeners.remove(listener)
                    with suppress(Exception):
                        listener.close()
                    name = type(listener).__name__
                    self._failures.append(
                        f"a mistake in rtsep itself ended {name} "
                        f"({type(error).__name__}: {error}); stems play on"
                    )

    def poll(self) -> list[str]:
        """Let all do what has time, and give what they have to say."""
        if self._live is not None and self._thread is None:
            self._live.take_notes()  # nobody else does
        lines, self._failures = self._failures, []
        for listener in list(self._listeners):
            lines += listener.poll()
        return lines

    def show(self, status: Status) -> None:
        """Let all know the state."""
        for listener in list(self._listeners):
            listener.show(status)

    def close(self) -> None:
        """Hand out no more notes and close all."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._live = None
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
