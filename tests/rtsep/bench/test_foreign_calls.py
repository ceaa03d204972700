"""The list of a callback's calls finds what must not be there, and clears what may be."""

from typing import Any

import numpy as np
import pytest
from numba import cfunc, njit, types
from numba.core.ccallback import CFunc

from rtsep.bench.foreign_calls import foreign_calls, read_calls
from rtsep.kernels import clock
from rtsep.kernels.atomics import floats, words

SIGNATURE = types.int32(types.uint32, types.int64)


@njit
def _helper(table: int) -> int:
    return int(np.empty(words(table, 1)[0])[0])


def allocates(frames: int, table: int) -> int:
    return _helper(table)


def divides(frames: int, table: int) -> int:
    return words(table, 1)[0] // frames


def prints(frames: int, table: int) -> int:
    print(frames)
    return 0


def moves_samples(frames: int, table: int) -> int:
    samples = floats(table, 2 * frames)
    for i in range(frames):
        samples[frames + i] = np.float32(0.5) * samples[i]
    clock.post(table)
    words(table, 2)[1] = clock.now_ns()
    return 0


@pytest.mark.parametrize("function", [allocates, divides, prints])
def test_what_must_not_be_in_a_callback_is_found(function: Any) -> None:
    calls = foreign_calls(cfunc(SIGNATURE)(function))
    assert calls.raises or any("NRT" in name or "Py" in name for name in calls.foreign)
    assert not calls.foreign <= {"clock_gettime", "sem_post"}


def test_what_may_be_in_a_callback_is_named() -> None:
    calls = foreign_calls(cfunc(SIGNATURE)(moves_samples))
    assert calls.foreign == {"clock_gettime", "sem_post"}
    assert not calls.raises


def test_a_computed_address_is_found() -> None:
    code = "\n".join(
        [
            "define i32 @inner(ptr %a) {",
            "  %.4 = call i32 %.3(i32 1)",
            "  ret i32 0",
            "}",
            "define i32 @cfunc.inner(ptr %a) {",
            "  %.5 = call i32 @inner(ptr %a)",
            "  ret i32 0",
            "}",
        ]
    )
    assert read_calls(code).foreign >= {"<computed>"}
    with pytest.raises(ValueError, match="0 callbacks"):
        read_calls("")


def test_the_callbacks_that_measure_call_nothing_but_jack() -> None:
    try:
        from rtsep.bench import kernels
    except OSError:
        pytest.skip("the JACK library is not installed")
    allowed = {"jack_port_get_buffer", "jack_last_frame_time"}
    for callback in (kernels.play, kernels.record, kernels.say_nothing):
        calls = foreign_calls(callback)
        assert calls.foreign <= allowed
        assert not calls.raises


@pytest.mark.parametrize("name", ["jack_callbacks", "portaudio_callbacks"])
def test_the_audio_callbacks_neither_allocate_nor_raise(name: str) -> None:
    module = pytest.importorskip(f"rtsep.kernels.{name}", exc_type=OSError)
    callbacks = [each for each in vars(module).values() if isinstance(each, CFunc)]
    assert len(callbacks) >= 3
    # Computed: functions of the host's library, whose addresses stand in the host's table.
    allowed = {"<computed>", "clock_gettime", "sem_post", "nanosleep"}
    # Lets go of an array's memory where the array has any, which none has here: all are
    # views of addresses.
    allowed.add("NRT_MemInfo_call_dtor")
    for callback in callbacks:
        calls = foreign_calls(callback)
        assert calls.foreign <= allowed, callback._pyfunc.__name__
        assert not calls.raises, callback._pyfunc.__name__
