"""Rings, fades and sums of the mixer, against numpy."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rtsep.kernels.mixing import (
    STATE_WORDS,
    blend,
    keep_rows,
    mix_strips,
    reflect,
)
from rtsep.kernels.rings import read_ring, write_ring

CAPACITY = 64


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).uniform(-1, 1, shape).astype(np.float32)


@given(st.integers(-200, 200), st.integers(0, CAPACITY))
def test_a_ring_gives_what_it_took(start: int, n: int) -> None:
    ring, values, read = numbers(CAPACITY), numbers(n), np.zeros(n, np.float32)
    before = ring.copy()
    write_ring(ring, start, values)
    expected = before.copy()
    expected[(start + np.arange(n)) % CAPACITY] = values
    np.testing.assert_array_equal(ring, expected)
    read_ring(ring, start, read)
    np.testing.assert_array_equal(read, values)


@given(st.integers(0, 1), st.integers(0, 9), st.sampled_from([np.nan, np.inf, -np.inf]))
def test_rows_that_are_not_finite_are_told(side: int, at: int, bad: float) -> None:
    rings, values = numbers(2, CAPACITY), numbers(2, 10)
    assert keep_rows(rings, 60, values)
    np.testing.assert_array_equal(rings[:, (60 + np.arange(10)) % CAPACITY], values)
    values[side, at] = bad
    assert not keep_rows(rings, 60, values)
    assert keep_rows(rings, 60, np.zeros((2, 0), np.float32))
    assert keep_rows(rings, 0, np.full((2, 5), np.finfo(np.float32).max))


@given(st.integers(0, 200))
def test_a_reflection_goes_on_in_value_and_slope(start: int) -> None:
    rings = numbers(2, CAPACITY)
    line = np.arange(-40.0, 0.0, dtype=np.float32)
    keep_rows(rings, start - 40, np.stack([line, line**2]))
    reflect(rings, start, 20)
    out = np.zeros((2, 20), np.float32)
    for side in range(2):
        read_ring(rings[side], start, out[side])
    past = np.stack([line, line**2])
    np.testing.assert_allclose(out, 2 * past[:, -1:] - past[:, -2:-22:-1])
    np.testing.assert_allclose(out[0], np.arange(20.0))


@given(st.integers(0, 100), st.integers(0, 100), st.integers(-30, 30), st.integers(1, 40))
def test_a_blend_goes_from_one_to_the_other(old_at: int, new_at: int, faded: int, n: int) -> None:
    old, new = numbers(2, CAPACITY), -numbers(2, 2 * CAPACITY)
    curve = np.linspace(0.1, 0.9, 10, dtype=np.float32)
    out = np.full((2, n), np.nan, np.float32)
    blend(old, old_at, new, new_at, faded, curve, out)
    at = np.arange(n)
    padded = np.concatenate([np.zeros(30), curve, np.ones(80)])[30 + faded + at]
    a = old[:, (old_at + at) % CAPACITY]
    b = new[:, (new_at + at) % (2 * CAPACITY)]
    np.testing.assert_allclose(out, a + padded * (b - a), atol=1e-6)
    np.testing.assert_array_equal(out[:, padded == 0], a[:, padded == 0])
    np.testing.assert_array_equal(out[:, padded == 1], b[:, padded == 1])


def test_strips_take_what_came_of_their_effects() -> None:
    stems, wet, n = numbers(2, 2, 16), numbers(2, 2, 17)[:, :, :16].copy(), 16
    gains = np.ones((3, 2), np.float32)
    state = np.zeros((3, STATE_WORDS), np.int64)
    state[:, [0, 3]] = 8
    out = np.zeros((6, n), np.float32)
    lines, curve, scratch = np.zeros((2, 2, 64), np.float32), numbers(8), numbers(n)
    uses_wet = np.array([False, True])
    assert not mix_strips(stems, wet, uses_wet, lines, 0, gains, state, curve, scratch, out)
    np.testing.assert_array_equal(out[:2], stems[0])
    np.testing.assert_array_equal(out[2:4], wet[1])
    np.testing.assert_array_equal(out[4:], stems[0] + wet[1])
