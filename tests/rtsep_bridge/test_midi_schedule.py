"""No note is ever left sounding, whatever the schedule is told and whenever."""

from hypothesis import given
from hypothesis import strategies as st

from rtsep_bridge.midi_schedule import ALL_NOTES_OFF, MOST, REMIND_NS, Schedule

DRUMS, BASS, PIANO = range(3)
CHANNELS = {DRUMS: 9, BASS: 0, PIANO: 1}


class Synth:
    """Hears messages and knows what sounds."""

    def __init__(self) -> None:
        self.heard: list[list[int]] = []
        self.sounding: set[tuple[int, int]] = set()
        self.programs: dict[int, int] = {}
        self.silenced: list[int] = []

    def __call__(self, message: list[int]) -> None:
        self.heard.append(message)
        assert all(0 <= byte <= 127 for byte in message[1:])
        kind, channel = message[0] & 0xF0, message[0] & 0x0F
        if kind == 0x90:
            assert message[2] > 0
            assert (channel, message[1]) not in self.sounding, "struck while it sounds"
            self.sounding.add((channel, message[1]))
        elif kind == 0x80:
            assert (channel, message[1]) in self.sounding, "ended without a beginning"
            self.sounding.remove((channel, message[1]))
        elif kind == 0xC0:
            self.programs[channel] = message[1]
        else:
            assert kind == 0xB0
            assert message[1] == ALL_NOTES_OFF
            # All has ended by then: some synthesizers ignore this message.
            assert not any(of == channel for of, _ in self.sounding)
            self.silenced.append(channel)


def ready() -> tuple[Schedule, Synth]:
    synth = Synth()
    schedule = Schedule(synth)
    for stem, channel in CHANNELS.items():
        schedule.set_stem(stem, channel, None if stem == DRUMS else stem)
    synth.heard.clear()
    return schedule, synth


times = st.integers(0, 50)
serials = st.integers(0, 12)
stems = st.integers(0, 3)  # the last one has no channel
steps = st.lists(
    st.one_of(
        st.tuples(st.just("on"), times, stems, serials, st.integers(60, 62)),
        st.tuples(st.just("off"), times, serials),
        st.tuples(st.just("stem"), stems, st.integers(0, 2), st.none() | st.integers(0, 2)),
        st.tuples(st.just("run"), times),
        st.tuples(st.just("hush")),
    ),
    max_size=80,
)


@given(steps)
def test_every_note_that_begins_ends_once(steps: list[tuple[object, ...]]) -> None:
    schedule, synth = ready()  # the synth objects to what makes no sense
    now = 0
    for kind, *rest in steps:
        if kind == "on":
            due, stem, serial, note = rest
            schedule.note_on(now + due, stem, serial, note, 80)
        elif kind == "off":
            schedule.note_off(now + rest[0], rest[1])
        elif kind == "stem":
            schedule.set_stem(*rest)
        elif kind == "run":
            now += rest[0]
            schedule.run(now)
        else:
            schedule.hush()
            assert not synth.sounding
    schedule.silence()
    assert not synth.sounding
    assert synth.silenced[-16:] == list(range(16))
    begun = sum(message[0] & 0xF0 == 0x90 for message in synth.heard)
    ended = sum(message[0] & 0xF0 == 0x80 for message in synth.heard)
    assert begun == ended


@given(st.lists(st.tuples(times, times, st.integers(60, 61), stems), max_size=20))
def test_notes_whose_end_is_told_need_no_silence(
    notes: list[tuple[int, int, int, int]],
) -> None:
    schedule, synth = ready()
    for serial, (due_on, due_off, note, stem) in enumerate(notes):
        schedule.note_on(due_on, stem, serial, note, 80)
        schedule.note_off(due_off, serial)
    assert schedule.run(10**6) is None
    assert not synth.sounding


def test_messages_leave_when_they_are_due_and_in_their_order() -> None:
    schedule, synth = ready()
    schedule.note_on(30, PIANO, 1, 60, 90)
    schedule.note_off(50, 1)
    schedule.note_on(20, DRUMS, 2, 36, 100)
    schedule.note_off(25, 2)
    assert schedule.run(19) == 20
    assert synth.heard == []
    assert schedule.run(20) == 25
    assert synth.heard == [[0x99, 36, 100]]
    assert schedule.run(30) == 50
    assert synth.heard[1:] == [[0x89, 36, 0], [0x91, 60, 90]]
    assert schedule.run(50) is None
    assert synth.heard[3:] == [[0x81, 60, 0]]


def test_an_end_before_its_beginning_waits_for_it() -> None:
    schedule, synth = ready()
    schedule.note_on(100, PIANO, 1, 60, 90)
    schedule.note_off(40, 1)
    schedule.run(99)
    assert synth.heard == []
    schedule.run(100)
    assert synth.heard == [[0x91, 60, 90], [0x81, 60, 0]]


def test_a_note_that_is_struck_again_ends_first_and_its_late_end_does_not_cut_it() -> None:
    schedule, synth = ready()
    schedule.note_on(10, PIANO, 1, 60, 90)
    schedule.note_on(20, PIANO, 2, 60, 70)
    schedule.note_off(25, 1)
    schedule.note_off(40, 2)
    schedule.run(30)
    assert synth.heard == [[0x91, 60, 90], [0x81, 60, 0], [0x91, 60, 70]]
    schedule.run(40)
    assert synth.heard[3:] == [[0x81, 60, 0]]


def test_another_channel_ends_what_sounds_on_the_old_one() -> None:
    schedule, synth = ready()
    schedule.note_on(0, PIANO, 1, 60, 90)
    schedule.note_on(10, PIANO, 2, 64, 90)
    schedule.run(0)
    schedule.set_stem(PIANO, 5, 16)
    assert synth.heard[1:] == [[0x81, 60, 0], [0xB1, ALL_NOTES_OFF, 0], [0xC5, 16]]
    schedule.note_off(20, 1)
    schedule.note_off(20, 2)
    schedule.run(20)
    # What waited goes to the new one; the end that came before is not sent twice.
    assert synth.heard[4:] == [[0x95, 64, 90], [0x85, 64, 0]]


def test_another_program_ends_what_sounds_and_the_same_one_changes_nothing() -> None:
    schedule, synth = ready()
    schedule.note_on(0, BASS, 1, 33, 90)
    schedule.run(0)
    schedule.set_stem(BASS, CHANNELS[BASS], BASS)
    assert len(synth.heard) == 1
    schedule.set_stem(BASS, CHANNELS[BASS], 38)
    assert synth.heard[1:] == [[0x80, 33, 0], [0xC0, 38]]


def test_a_program_is_sent_again_with_the_first_note_after_a_rest() -> None:
    schedule, synth = ready()
    for serial, due in enumerate((0, REMIND_NS, 2 * REMIND_NS + 1)):
        schedule.note_on(due, BASS, serial, 33, 90)
        schedule.note_off(due + 1, serial)
        schedule.note_on(due, DRUMS, 100 + serial, 36, 90)
        schedule.run(due + 1)
    played = [message for message in synth.heard if message[0] in (0x90, 0xC0)]
    assert played == [[0x90, 33, 90], [0x90, 33, 90], [0xC0, BASS], [0x90, 33, 90]]


def test_a_shared_channel_is_not_silenced_by_one_who_leaves() -> None:
    schedule, synth = ready()
    schedule.set_stem(BASS, CHANNELS[PIANO], 3)
    schedule.note_on(0, PIANO, 1, 60, 90)
    schedule.run(0)
    schedule.set_stem(BASS, CHANNELS[BASS], 3)
    assert synth.sounding == {(CHANNELS[PIANO], 60)}


def test_what_waits_is_bounded() -> None:
    schedule, synth = ready()
    for serial in range(2 * MOST):
        schedule.note_on(10, PIANO, serial, serial % 128, 90)
    for _ in range(4):
        for serial in range(2 * MOST):
            schedule.note_off(20, serial)
    assert len(schedule._heap) <= 4 * MOST
    schedule.run(20)
    assert sum(message[0] == 0x91 for message in synth.heard) == MOST
    schedule.silence()
    assert not synth.sounding
