"""A delay is found to the sample, and found out where it is not one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsep.bench import signals

LONGEST = 4_000


def delayed(signal: signals.Signal, samples: int) -> signals.Floats:
    heard = np.zeros_like(signal.mix)
    heard[:, samples:] = signal.mix[:, : heard.shape[1] - samples]
    return heard


def test_the_sequence_is_of_maximum_length() -> None:
    sequence = signals.maximum_length_sequence()
    signs = np.sign(sequence).astype(np.float64)
    assert signs.size == 16_383
    assert abs(signs.sum()) == 1
    spectrum = np.abs(np.fft.fft(signs))[1:]
    np.testing.assert_allclose(spectrum, spectrum[0], rtol=1e-9)


@given(samples=st.integers(0, LONGEST))
@settings(max_examples=25, deadline=None)
def test_a_delay_is_found_to_the_sample(samples: int) -> None:
    signal = signals.measuring_signal(LONGEST)
    found = signals.find_delays(signal, delayed(signal, samples))
    assert set(found.found) == {samples}
    assert found.whole
    assert found.error == 0.0


def test_impulses_fall_on_many_positions_in_a_block() -> None:
    signal = signals.measuring_signal(LONGEST)
    for block in (64, 128, 256, 512):
        assert len({place % block for place in signal.impulses}) == signals.IMPULSES


def test_what_does_not_come_back_is_missed() -> None:
    signal = signals.measuring_signal(LONGEST)
    nothing = signals.find_delays(signal, np.zeros_like(signal.mix))
    assert nothing.found == ()
    assert not nothing.whole
    swapped = signals.find_delays(signal, delayed(signal, 3)[::-1])
    assert not swapped.whole
    late = delayed(signal, 100)
    late[:, signal.impulses[3] :] = delayed(signal, 101)[:, signal.impulses[3] :]
    moved = signals.find_delays(signal, late)
    assert set(moved.found) == {100, 101}
    assert not moved.whole


@pytest.mark.parametrize("longest", [10, 30_000])
def test_the_signal_fits_the_longest_delay(longest: int) -> None:
    signal = signals.measuring_signal(longest)
    assert set(signals.find_delays(signal, delayed(signal, longest)).found) == {longest}
