"""Atomic 64-bit words and raw addresses, for memory that two threads or processes share.

Numba has no atomics on the CPU, and plain loads are not enough: the compiler hoists
them out of loops.  An address is an int64 everywhere; what points at nothing is 0.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types  # type: ignore[attr-defined, unused-ignore]
from numba.extending import intrinsic

_WORD = ir.IntType(64)
_WORD_BYTES = 8


def _pointer(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, _WORD.as_pointer())


@intrinsic
def _load(typing_context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _pointer(builder, arguments[0])
        return builder.load_atomic(place, "acquire", _WORD_BYTES, typ=_WORD)

    return types.int64(types.int64), generate


@intrinsic
def _store(typing_context: Any, address: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store_atomic(arguments[1], _pointer(builder, arguments[0]), "release", _WORD_BYTES)
        return context.get_dummy_value()

    return types.none(types.int64, types.int64), generate


@intrinsic
def _add(typing_context: Any, address: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.atomic_rmw("add", _pointer(builder, arguments[0]), arguments[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate


@intrinsic
def as_pointer(typing_context: Any, address: Any) -> Any:
    """Address as a void pointer, for `numba.carray`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), generate


@intrinsic
def as_address(typing_context: Any, pointer: Any) -> Any:
    """Void pointer as an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ptrtoint(arguments[0], _WORD)

    return types.int64(types.voidptr), generate


@njit([types.int64(types.int64, types.int64)], nogil=True, cache=True)
def load(address: int, word: int) -> int:
    """Read word number `word` from `address` on; what was stored before it is seen too."""
    return _load(address + word * _WORD_BYTES)  # type: ignore[call-arg, no-any-return, unused-ignore]


@njit([types.void(types.int64, types.int64, types.int64)], nogil=True, cache=True)
def store(address: int, word: int, value: int) -> None:
    """Write a word after everything written before it."""
    _store(address + word * _WORD_BYTES, value)  # type: ignore[call-arg, unused-ignore]


@njit([types.int64(types.int64, types.int64, types.int64)], nogil=True, cache=True)
def add(address: int, word: int, value: int) -> int:
    """Add to a word at once; its value before."""
    return _add(address + word * _WORD_BYTES, value)  # type: ignore[call-arg, no-any-return, unused-ignore]


@njit(nogil=True, forceinline=True)
def words(address: int, count: int) -> Any:
    """View of `count` int64 words."""
    return carray(as_pointer(address), (count,), np.int64)  # type: ignore[call-arg, unused-ignore]


@njit(nogil=True, forceinline=True)
def floats(address: int, count: int) -> Any:
    """View of `count` float32 samples."""
    return carray(as_pointer(address), (count,), np.float32)  # type: ignore[call-arg, unused-ignore]


@njit(nogil=True, forceinline=True)
def float_rows(address: int, rows: int, count: int) -> Any:
    """View of `rows` by `count` float32 samples."""
    return carray(as_pointer(address), (rows, count), np.float32)  # type: ignore[call-arg, unused-ignore]


@njit(nogil=True, forceinline=True)
def address_of(pointer: Any) -> Any:
    """Address of what a C library hands a callback as ``void *``."""
    return as_address(pointer)  # type: ignore[call-arg, unused-ignore]
