"""Notes stay whole whatever becomes of the engine that decides them."""

from hypothesis import given
from hypothesis import strategies as st

from rtsep.live.note_feed import MOST, NoteFeed
from rtsep.note_events import NoteEvent, collect_notes


class Source:
    def __init__(self) -> None:
        self.events: list[NoteEvent] = []

    def take_notes(self) -> list[NoteEvent]:
        events, self.events = self.events, []
        return events


def event(sample: int, pitch: int, velocity: int) -> NoteEvent:
    return NoteEvent(sample, sample + 10, "piano", pitch, velocity)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("note"), st.integers(0, 1), st.integers(60, 62), st.integers(0, 1)),
        st.tuples(st.just("follow"), st.integers(-1, 1)),
        st.tuples(st.just("leave"), st.integers(0, 1)),
        st.tuples(st.just("hush")),
        st.tuples(st.just("take")),
    ),
    max_size=60,
)


@given(steps)
def test_every_note_ends_once(steps: list[tuple[object, ...]]) -> None:
    clock = 0
    sources = Source(), Source()
    feed = NoteFeed(lambda: clock)
    taken: list[NoteEvent] = []
    for kind, *rest in steps:
        clock += 100
        which = rest[0] if rest else -1
        if kind == "note":
            _, pitch, on = rest
            sources[which].events.append(event(clock, pitch, 80 * on))
        elif kind == "follow":
            feed.follow(sources[which] if which >= 0 else None)
        elif kind == "leave":
            feed.leave(sources[which])
        elif kind == "hush":
            feed.hush()
        else:
            taken += feed.take()
    feed.follow(None)
    taken += feed.take()
    notes = collect_notes(taken)  # raises where a note does not end, or ends twice
    assert len(notes) == feed.notes
    assert all(note.offset > note.onset for note in notes)


def test_only_the_engine_that_is_followed_is_heard() -> None:
    old, new = Source(), Source()
    feed = NoteFeed(lambda: 5000)
    feed.follow(old)
    old.events = [event(100, 60, 90)]
    new.events = [event(150, 60, 70)]
    assert feed.take() == [event(100, 60, 90)]
    old.events = [event(200, 64, 90)]
    feed.follow(new)
    # What it decided before counts, what the new one did before does not.
    kept = feed.take()
    assert kept[0] == event(200, 64, 90)
    assert {(e.sample, e.pitch, e.velocity) for e in kept[1:]} == {(5000, 60, 0), (5000, 64, 0)}
    new.events = [event(6000, 60, 0), event(6000, 67, 50)]
    assert feed.take() == [event(6000, 67, 50)]
    assert feed.notes == 3


def test_what_nobody_takes_is_bounded() -> None:
    source = Source()
    feed = NoteFeed(lambda: 0)
    feed.follow(source)
    for i in range(2 * MOST):
        source.events += [event(20 * i, 60, 90), event(20 * i + 9, 60, 0)]
        if i % 100 == 0:
            feed.hush()  # collects
    events = feed.take()
    assert len(events) <= MOST + 128
    collect_notes(events)
    assert feed.notes == 2 * MOST
