"""Eight float32 numbers in one register, as a Numba type.

LLVM's loop vectoriser gives up on FFT butterflies: too many streams that might
overlap.  Written with this type a butterfly is a handful of vector instructions on
every machine (one AVX register, two NEON registers), in the order it is written.

Inside ``@njit`` code ``+``, ``-`` and ``*`` work between two vectors, and ``*``
between a vector and a float32.  Arrays are flat, C-contiguous float32; indices are
not checked.  NaN and infinity behave as in scalar code; multiplications and additions
may be contracted to fused ones.
"""

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic as numba_intrinsic
from numba.extending import lower_builtin, models, register_model

LANES = 8
"""Numbers in a vector."""

# Typed as Any: a call of an intrinsic lacks the first parameter of its definition.
intrinsic: Any = numba_intrinsic

_FLAGS = ("contract", "nsz")
_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)
_INT32 = ir.IntType(32)
_ITEM_BYTES = 4


class _VectorType(types.Type):
    def __init__(self) -> None:
        super().__init__(name="float32x8")


vector = _VectorType()
"""The Numba type of a vector."""


@register_model(_VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, numba_type: Any) -> None:
        super().__init__(manager, numba_type, _VECTOR)


@infer_global(operator.add)
@infer_global(operator.sub)
class _Sum(ConcreteTemplate):
    cases = [signature(vector, vector, vector)]  # noqa: RUF012 (Numba's interface)


@infer_global(operator.mul)
class _Product(ConcreteTemplate):
    cases = [  # noqa: RUF012 (Numba's interface)
        signature(vector, vector, vector),
        signature(vector, vector, types.float32),
    ]


@lower_builtin(operator.add, vector, vector)
def _add(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.fadd(args[0], args[1], flags=_FLAGS)


@lower_builtin(operator.sub, vector, vector)
def _subtract(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.fsub(args[0], args[1], flags=_FLAGS)


@lower_builtin(operator.mul, vector, vector)
def _multiply(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.fmul(args[0], args[1], flags=_FLAGS)


@lower_builtin(operator.mul, vector, types.float32)
def _scale(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.fmul(args[0], _broadcast(builder, args[1]), flags=_FLAGS)


@intrinsic
def load(typing_context: Any, array: Any, index: Any) -> Any:
    """The vector ``array[index : index + LANES]``."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, sig, args)
        return builder.load(pointer, align=_ITEM_BYTES)

    return vector(array, types.intp), generate


@intrinsic
def store(typing_context: Any, array: Any, index: Any, value: Any) -> Any:
    """Write `value` to ``array[index : index + LANES]``."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(args[2], _pointer(context, builder, sig, args), align=_ITEM_BYTES)
        return context.get_dummy_value()

    return types.none(array, types.intp, vector), generate


@intrinsic
def broadcast(typing_context: Any, number: Any) -> Any:
    """The vector whose lanes are all the float32 `number`."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _broadcast(builder, args[0])

    return vector(types.float32), generate


@intrinsic
def reverse(typing_context: Any, value: Any) -> Any:
    """The lanes of `value` from last to first."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _shuffle(builder, args[0], args[0], range(LANES - 1, -1, -1))

    return vector(vector), generate


@intrinsic
def transpose(typing_context: Any, rows: Any) -> Any:
    """Eight vectors as the rows of a matrix; its eight columns, as a tuple."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        values = [builder.extract_value(args[0], i) for i in range(LANES)]
        return context.make_tuple(builder, sig.return_type, _transposed(builder, values))

    return rows(rows), generate


@intrinsic
def sum_lanes(typing_context: Any, rows: Any) -> Any:
    """The vector of the lane sums of eight vectors."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        values = [builder.extract_value(args[0], i) for i in range(LANES)]
        # Each round halves the vectors and the lanes that are still to be added up.
        for low, high in _EXCHANGES:
            half = len(values) // 2
            values = [
                builder.fadd(
                    _shuffle(builder, values[i], values[i + half], low),
                    _shuffle(builder, values[i], values[i + half], high),
                    flags=_FLAGS,
                )
                for i in range(half)
            ]
        return values[0]

    return vector(rows), generate


# Shuffles of two vectors (lanes 0-7 and 8-15), one pair a round: pair the 128-bit
# halves, then the pairs in each half, then the neighbours.
_EXCHANGES = (
    ((0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15)),
    ((0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15)),
    ((0, 8, 2, 10, 4, 12, 6, 14), (1, 9, 3, 11, 5, 13, 7, 15)),
)


def _transposed(builder: Any, values: list[Any]) -> list[Any]:
    for distance, (low, high) in zip((4, 2, 1), _EXCHANGES, strict=True):
        swapped = list(values)
        for i in range(LANES):
            if not i & distance:
                swapped[i] = _shuffle(builder, values[i], values[i + distance], low)
                swapped[i + distance] = _shuffle(builder, values[i], values[i + distance], high)
        values = swapped
    return values


def _shuffle(builder: Any, a: Any, b: Any, lanes: Any) -> Any:
    mask = ir.Constant(ir.VectorType(_INT32, LANES), list(lanes))
    return builder.shuffle_vector(a, b, mask)


def _broadcast(builder: Any, number: Any) -> Any:
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, number, ir.Constant(_INT32, 0))
    return _shuffle(builder, first, undefined, [0] * LANES)


def _pointer(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    array = context.make_array(sig.args[0])(context, builder, args[0])
    return builder.bitcast(builder.gep(array.data, [args[1]]), _VECTOR.as_pointer())
