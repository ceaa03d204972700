"""Sequence numbers, against a watcher that remembers everything."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtsep_bridge.sequence import WINDOW, Sequence, Verdict


class Remembering:
    """The same rules by brute force: a list of what was taken."""

    def __init__(self) -> None:
        self.came: set[int] = set()
        self.first = self.newest = self.hoped = -1

    def judge(self, number: int) -> Verdict:
        hoped, self.hoped = self.hoped, -1
        if not self.came:
            self.first = self.newest = number
        elif number > self.newest:
            if number > self.newest + WINDOW and number != hoped:
                self.hoped = number + 1
                return Verdict.STRAY
            self.newest = number
        elif number <= self.newest - WINDOW or number < self.first:
            return Verdict.REPLAYED
        elif number in self.came:
            return Verdict.DUPLICATE
        else:
            self.came.add(number)
            return Verdict.LATE
        self.came.add(number)
        return Verdict.NEW

    def lost(self) -> int:
        return len(set(range(self.first, self.newest + 1)) - self.came)


def compare(numbers: list[int]) -> Sequence:
    sequence, brute = Sequence(), Remembering()
    verdicts = []
    for number in numbers:
        verdicts.append(sequence.judge(number))
        assert verdicts[-1] == brute.judge(number), (number, numbers)
    assert sequence.accepted == verdicts.count(Verdict.NEW)
    assert sequence.reordered == verdicts.count(Verdict.LATE)
    assert sequence.duplicated == verdicts.count(Verdict.DUPLICATE)
    assert sequence.replayed == verdicts.count(Verdict.REPLAYED)
    assert sequence.strayed == verdicts.count(Verdict.STRAY)
    assert sequence.lost == (brute.lost() if numbers else 0)
    return sequence


@given(st.lists(st.integers(0, 3 * WINDOW), max_size=60))
def test_any_numbers(numbers: list[int]) -> None:
    compare(numbers)


@pytest.mark.parametrize("seed", range(20))
def test_a_stream_with_every_trouble(seed: int) -> None:
    random_ = random.Random(seed)
    numbers, number = [], random_.randrange(1_000)
    for _ in range(2_000):
        number += random_.choice((1, 1, 1, 1, 2, 5, WINDOW, WINDOW + 1))
        numbers.append(number)
        if random_.random() < 0.1:
            numbers.append(max(0, number + random_.randrange(-2 * WINDOW, 3)))
        if random_.random() < 0.1:
            numbers[-2:] = numbers[-2:][::-1]
    compare(numbers)


def test_a_clean_stream_counts_nothing_else() -> None:
    sequence = compare(list(range(50, 5_000)))
    assert sequence.accepted == 4_950
    assert sequence.lost == 0


def test_one_damaged_number_costs_one_message() -> None:
    sequence = compare([*range(10), 2**60, *range(11, 20)])
    assert (sequence.accepted, sequence.strayed, sequence.lost) == (19, 1, 1)


@pytest.mark.parametrize("ahead", range(1, WINDOW + 1))
def test_a_number_damaged_a_little_costs_no_more_than_the_window(ahead: int) -> None:
    sequence = compare([*range(10), 9 + ahead, *range(11, 200)])
    assert sequence.accepted == 10 + 1 + (200 - 10 - ahead)
    assert sequence.reordered + sequence.duplicated == ahead - 1


def test_a_long_outage_costs_one_message_more() -> None:
    sequence = compare([*range(10), *range(10_000, 10_010)])
    assert (sequence.accepted, sequence.strayed, sequence.lost) == (19, 1, 10_000 - 10 + 1)


def test_a_replayed_recording_is_dropped_whole() -> None:
    sequence = compare([*range(500), *range(500), 500])
    assert (sequence.accepted, sequence.lost) == (501, 0)
    assert sequence.duplicated == WINDOW
    assert sequence.replayed == 500 - WINDOW
