"""Calls of C functions by address, which need no symbol when compiled code is loaded."""

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

_WORD = ir.IntType(64)
_INT = ir.IntType(32)


def _call(builder: Any, address: Any, result: Any, arguments: list[Any]) -> Any:
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(builder.inttoptr(address, kind.as_pointer()), arguments)


@intrinsic
def _pointer_of(typing_context: Any, function: Any, handle: Any, number: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function, handle, number = arguments
        return _call(builder, function, _WORD, [handle, builder.trunc(number, _INT)])

    return types.int64(types.int64, types.int64, types.int64), generate


@intrinsic
def _with_place(typing_context: Any, function: Any, handle: Any, number: Any, place: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function, handle, number, place = arguments
        _call(builder, function, ir.VoidType(), [handle, builder.trunc(number, _INT), place])
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.int64, types.int64), generate


@intrinsic
def _answer_of(typing_context: Any, function: Any, handle: Any, place: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function, handle, place = arguments
        return builder.sext(_call(builder, function, _INT, [handle, place]), _WORD)

    return types.int64(types.int64, types.int64, types.int64), generate


@njit([types.int64(types.int64, types.int64, types.int64)], nogil=True, cache=True)
def pointer_of(function: int, handle: int, number: int) -> int:
    """Call ``void *function(void *handle, int number)``."""
    return _pointer_of(function, handle, number)  # type: ignore[call-arg, no-any-return, unused-ignore]


@njit([types.void(types.int64, types.int64, types.int64, types.int64)], nogil=True, cache=True)
def with_place(function: int, handle: int, number: int, place: int) -> None:
    """Call ``void function(void *handle, int number, void *place)``."""
    _with_place(function, handle, number, place)  # type: ignore[call-arg, unused-ignore]


@njit([types.int64(types.int64, types.int64, types.int64)], nogil=True, cache=True)
def answer_of(function: int, handle: int, place: int) -> int:
    """Call ``int function(void *handle, void *place)``."""
    return _answer_of(function, handle, place)  # type: ignore[call-arg, no-any-return, unused-ignore]
