"""When notes leave: the host's clock from what is seen of it, and the two timings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtsep.note_events import NoteEvent
from rtsep_bridge.midi_timing import MARGIN_S, SECOND_NS, HostClock, Timing

RATE, BLOCK = 48_000, 128
MS = 1_000_000


def watched(clock: HostClock, seconds: float, *, seed: int = 0, drift: float = 0.0) -> int:
    """See a host whose callbacks, and looks at whom, come late; the moment of the last look.

    Frame f passes at f / RATE, but for the drift; callbacks are up to 1 ms late, rarely 20.
    """
    rng = np.random.default_rng(seed)
    period_ns = BLOCK * SECOND_NS / RATE * (1.0 + drift)
    blocks = int(seconds * RATE / BLOCK)
    late = rng.uniform(0.0, 1.0, blocks) * MS
    late[rng.uniform(size=blocks) < 0.02] += 20 * MS
    called = np.maximum.accumulate(np.arange(blocks) * period_ns + late)
    now = 0.0
    while now < called[-1]:
        count = int(np.searchsorted(called, now, side="right"))
        if count:
            clock.look(count * BLOCK, BLOCK, RATE, int(now))
        now += 2 * MS + rng.uniform(0.0, 0.5) * MS
    return int(now)


@pytest.mark.parametrize("drift", [0.0, 1e-4, -1e-4])
def test_the_clock_is_steady_where_callbacks_are_not(drift: float) -> None:
    clock = HostClock()
    assert clock.time_of(0) is None
    errors = []
    for seconds in np.arange(1.5, 4.0, 0.05):
        clock = HostClock()
        now = watched(clock, float(seconds), drift=drift)
        frame = int(now * RATE / SECOND_NS / (1.0 + drift))
        found = clock.time_of(frame)
        assert found is not None
        errors.append((found - frame * SECOND_NS / RATE * (1.0 + drift)) / MS)
    assert min(errors) > -0.15
    assert max(errors) < 0.9
    assert np.std(errors) < 0.25


def test_the_clock_finds_its_way_after_a_pause_and_another_rate() -> None:
    clock = HostClock()
    for i in range(1, 1000):
        clock.look(i * BLOCK, BLOCK, RATE, i * BLOCK * SECOND_NS // RATE)
    now = 1000 * BLOCK * SECOND_NS // RATE
    assert not clock.stands_still(now)
    assert clock.stands_still(now + 2 * SECOND_NS)
    clock.look(1000 * BLOCK, BLOCK, RATE, now + 3 * SECOND_NS)
    assert clock.time_of(999 * BLOCK) == pytest.approx(now + 3 * SECOND_NS, abs=2)
    clock.look(1001 * BLOCK, BLOCK, 96_000, now + 4 * SECOND_NS)
    assert clock.time_of(1000 * BLOCK) == pytest.approx(now + 4 * SECOND_NS, abs=2)


def test_the_clock_follows_a_host_that_lost_time() -> None:
    clock = HostClock()
    period = BLOCK * SECOND_NS // RATE
    for i in range(1, 400):
        lost = 15 * MS if i > 200 else 0
        clock.look(i * BLOCK, BLOCK, RATE, i * period + lost)
        if i == 200 + 60:  # 160 ms later
            found = clock.time_of(i * BLOCK)
            assert found == pytest.approx((i + 1) * period + 15 * MS, abs=0.2 * MS)


def timing(*, steady: bool, latency: int = 256, note_delay: int = 2400) -> Timing:
    """One whose host has played frame 0 at moment 0."""
    clock = HostClock()
    clock.look(BLOCK, BLOCK, RATE, 0)
    timing = Timing(clock)
    timing.steady, timing.rate = steady, RATE
    timing.latency, timing.note_delay = latency, note_delay
    return timing


def at(sample: int) -> int:
    return sample * SECOND_NS // RATE


def test_steady_notes_have_one_delay() -> None:
    t = timing(steady=True)
    delay = 2400 + round(MARGIN_S * RATE)
    assert t.delay_samples == delay
    for sample, known in ((4800, 4900), (9600, 12_000), (14_401, 14_401)):
        _, due = t.note_on(NoteEvent(sample, known, "piano", 60, 80), at(known))
        assert due == at(sample + delay)
        end = t.note_off(NoteEvent(sample + 480, known, "piano", 60, 0), at(known))
        assert end is not None
        assert end[1] == pytest.approx(at(sample + 480 + delay), abs=2)
    # With a model that looks ahead, stems come later than notes: they sound together.
    assert timing(steady=True, latency=9000).delay_samples == 9000


def test_earliest_notes_leave_when_known_but_not_before_their_stem() -> None:
    t = timing(steady=False, latency=1024)
    _, due = t.note_on(NoteEvent(4800, 4900, "piano", 60, 80), at(4900))
    assert due == at(4800 + 1024)
    _, due = t.note_on(NoteEvent(4800, 7200, "piano", 61, 80), at(7200))
    assert due == at(7200)
    end = t.note_off(NoteEvent(4810, 7200, "piano", 61, 0), at(7200))
    assert end is not None
    assert end[1] == pytest.approx(at(7200 + 10), abs=2)  # short, yet as long as it was


@given(
    st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 20_000)), min_size=1, max_size=20),
    st.booleans(),
    st.integers(0, 30_000),
)
def test_notes_keep_their_length_and_their_order(
    notes: list[tuple[int, int]], steady: bool, late: int
) -> None:
    t = timing(steady=steady)
    sample = 0
    for gap, length in notes:
        sample += gap
        now = at(sample + late)
        serial, on = t.note_on(NoteEvent(sample, sample + late, "bass", 40, 80), now)
        sample += length
        now = at(sample + late)
        end = t.note_off(NoteEvent(sample, sample + late, "bass", 40, 0), now)
        assert end is not None
        assert end[0] == serial
        assert end[1] - on >= at(length) - 2
        assert end[1] >= now
    assert t.note_off(NoteEvent(sample, sample, "bass", 40, 0), 0) is None
