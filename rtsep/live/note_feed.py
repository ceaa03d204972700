"""The notes of the engine that plays, whole whatever becomes of the engine.

An engine that dies, or is followed by another, leaves notes that it never ends; one that
takes over ends notes that nobody heard begin.  Here every note that was switched on is
switched off once, so that nothing behind it has to know about engines.
"""

import threading
from collections.abc import Callable
from typing import Protocol

from rtsep.note_events import NoteEvent

MOST = 4096
"""No more notes begin while so many events wait to be taken."""


class NoteSource(Protocol):
    """An engine process, as far as notes go."""

    def take_notes(self) -> list[NoteEvent]:
        """Notes decided since the last call."""


class NoteFeed:
    """Collects the notes of one engine after another; any thread may take them.

    Parameters
    ----------
    now : callable
        The frame of the host's stream at which notes end whose engine does not say.

    Attributes
    ----------
    notes : int
        Notes switched on so far.
    """

    def __init__(self, now: Callable[[], int]) -> None:
        self.notes = 0
        self._now = now
        # Taking notes reads an engine's memory, which must not be let go of meanwhile.
        self._lock = threading.Lock()
        self._source: NoteSource | None = None
        self._sounding: dict[tuple[str, int], NoteEvent] = {}
        self._events: list[NoteEvent] = []

    def follow(self, source: NoteSource | None) -> None:
        """Listen to another engine from now on, or to none, and end what sounds.

        Once this has returned, the memory of the one before may go.
        """
        with self._lock:
            if source is self._source:
                return
            self._end_all()
            self._source = source
            if source is not None:
                source.take_notes()  # of the time in which it was not heard

    def leave(self, source: NoteSource) -> None:
        """Listen no more to an engine that is about to go."""
        if source is self._source:
            self.follow(None)

    def hush(self) -> None:
        """End what sounds, for a time in which the engine hears nothing."""
        with self._lock:
            self._end_all()

    def take(self) -> list[NoteEvent]:
        """Notes since the last call, each with its end before it begins anew."""
        with self._lock:
            self._collect()
            events, self._events = self._events, []
        return events

    def _collect(self) -> None:
        if self._source is not None:
            for event in self._source.take_notes():
                self._keep(event)

    def _end_all(self) -> None:
        self._collect()
        now = self._now()
        for (stem, pitch), on in list(self._sounding.items()):
            sample = max(now, on.sample + 1)
            self._keep(NoteEvent(sample, max(sample, on.known_at), stem, pitch, 0))

    def _keep(self, event: NoteEvent) -> None:
        """Add an event, unless it makes no sense after those before it."""
        key = event.stem, event.pitch
        if (event.velocity > 0) == (key in self._sounding):
            return
        if event.velocity:
            self.notes += 1
            if len(self._events) >= MOST:
                return  # nobody takes them
            self._sounding[key] = event
        else:
            del self._sounding[key]
        self._events.append(event)
