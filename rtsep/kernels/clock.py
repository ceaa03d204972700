"""The system's clock, a short sleep and a semaphore's post, from compiled code.

Everything here may be called from an audio callback but `pause`, which is for hosts
that render faster than real time.  Tested on Linux; macOS has the same functions, and
Windows' stand beside them.
"""

import sys
from typing import Any

from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

_WORD = ir.IntType(64)
_INT = ir.IntType(32)
_BYTES = ir.IntType(8).as_pointer()
_WINDOWS = sys.platform == "win32"
_CLOCK_MONOTONIC = 6 if sys.platform == "darwin" else 1
_TIME_UTC = 1
_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000

if _WINDOWS:
    for library in ("ucrtbase.dll", "kernel32.dll"):
        binding.load_library_permanently(library)


def _call(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def _timespec(builder: Any) -> Any:
    """Room for a second count and a nanosecond count."""
    return cgutils.alloca_once(builder, ir.ArrayType(_WORD, 2))


def _field(builder: Any, spec: Any, index: int) -> Any:
    zero = _INT(0)
    return builder.gep(spec, [zero, _INT(index)])


@intrinsic
def _now(typing_context: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        spec = _timespec(builder)
        place = builder.bitcast(spec, _BYTES)
        if _WINDOWS:
            _call(builder, "_timespec64_get", _INT, [place, _INT(_TIME_UTC)])
        else:
            _call(builder, "clock_gettime", _INT, [_INT(_CLOCK_MONOTONIC), place])
        seconds = builder.load(_field(builder, spec, 0))
        nanoseconds = builder.load(_field(builder, spec, 1))
        if _WINDOWS:
            nanoseconds = builder.and_(nanoseconds, _WORD(0xFFFF_FFFF))
        return builder.add(builder.mul(seconds, _WORD(_NS_PER_S)), nanoseconds)

    return types.int64(), generate


@intrinsic
def _sleep(typing_context: Any, nanoseconds: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if _WINDOWS:
            spent = builder.trunc(builder.udiv(arguments[0], _WORD(_NS_PER_MS)), _INT)
            _call(builder, "Sleep", ir.VoidType(), [spent])
        else:
            spec = _timespec(builder)
            builder.store(_WORD(0), _field(builder, spec, 0))
            builder.store(arguments[0], _field(builder, spec, 1))
            place = builder.bitcast(spec, _BYTES)
            _call(builder, "nanosleep", _INT, [place, ir.Constant(_BYTES, None)])
        return context.get_dummy_value()

    return types.none(types.int64), generate


@intrinsic
def _post(typing_context: Any, handle: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = builder.inttoptr(arguments[0], _BYTES)
        if _WINDOWS:
            nowhere = ir.Constant(_BYTES, None)
            _call(builder, "ReleaseSemaphore", _INT, [place, _INT(1), nowhere])
        else:
            _call(builder, "sem_post", _INT, [place])
        return context.get_dummy_value()

    return types.none(types.int64), generate


@njit([types.int64()], nogil=True, cache=True)
def now_ns() -> int:
    """Nanoseconds of a clock that only goes forward (on Windows: the system's time)."""
    return _now()  # type: ignore[call-arg, no-any-return, unused-ignore]


@njit([types.void(types.int64)], nogil=True, cache=True)
def pause(nanoseconds: int) -> None:
    """Sleep for less than a second."""
    _sleep(nanoseconds)  # type: ignore[call-arg, unused-ignore]


@njit([types.void(types.int64)], nogil=True, cache=True)
def post(semaphore: int) -> None:
    """Post a semaphore: the address of a ``sem_t``, on Windows a handle.

    ``multiprocessing``'s semaphores keep it as ``_semlock.handle``.
    """
    _post(semaphore)  # type: ignore[call-arg, unused-ignore]
