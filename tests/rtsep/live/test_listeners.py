"""Who gets the notes of live audio, and what becomes of one who fails."""

import threading
import time

from rtsep.live.listeners import Listeners
from rtsep.note_events import NoteEvent

NOTE = NoteEvent(10, 20, "piano", 60, 90)


class FakeLive:
    def __init__(self) -> None:
        self.notes = [NOTE]
        self.taken_on: set[int] = set()

    def take_notes(self) -> list[NoteEvent]:
        self.taken_on.add(threading.get_ident())
        notes, self.notes = self.notes, []
        return notes


class Ear:
    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.heard: list[NoteEvent] = []
        self.calls = self.closed = 0

    def start(self, live: object) -> None:
        self.live = live

    def hear(self, notes: list[NoteEvent]) -> None:
        self.calls += 1
        self.heard += notes
        if self.failure is not None and notes:
            raise self.failure

    def poll(self) -> list[str]:
        return ["polled"]

    def close(self) -> None:
        self.closed += 1


def until(ear: Ear, calls: int) -> None:
    deadline = time.monotonic() + 10
    while ear.calls < calls:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_all_hear_all_notes_from_a_thread_of_its_own_until_the_end() -> None:
    live, one, two = FakeLive(), Ear(), Ear()
    with Listeners() as listeners:
        for ear in (one, two):
            listeners.add(ear)
        listeners.start(live)
        until(two, 5)
        assert listeners.poll() == ["polled", "polled"]
        assert one.heard == two.heard == [NOTE]
        assert live.taken_on.isdisjoint({threading.get_ident()})
        listeners.close()
        calls = one.calls
    time.sleep(0.02)
    assert one.calls == calls
    assert (one.closed, two.closed) == (1, 1)


def test_one_that_fails_is_left_out_with_a_line_and_the_others_play_on() -> None:
    live, bad, good = FakeLive(), Ear(RuntimeError("no luck")), Ear()
    with Listeners() as listeners:
        listeners.add(bad)
        listeners.add(good)
        listeners.start(live)
        until(good, 5)
        (line, *others) = listeners.poll()
        assert "Ear" in line
        assert "no luck" in line
        assert others == ["polled"]
        assert listeners.poll() == ["polled"]
    assert bad.calls == bad.closed == good.closed == 1


def test_without_listeners_notes_are_taken_all_the_same() -> None:
    live = FakeLive()
    with Listeners() as listeners:
        listeners.start(live)
        assert listeners.poll() == []
        assert live.notes == []


def test_what_was_opened_before_a_refusal_is_closed() -> None:
    ear = Ear()
    try:
        with Listeners() as listeners:
            listeners.add(ear)
            raise ValueError
    except ValueError:
        assert ear.closed == 1
