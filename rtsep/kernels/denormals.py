"""Denormal numbers to zero, in the thread that asks for it.

ONNX Runtime's own setting reaches only the thread that makes a process's first session
and threads started from there.  A decaying filter or network on a CPU of the x86 family
slows down by an order of magnitude on denormals; other CPUs take them in their stride.
"""

import platform
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

_IS_X86 = platform.machine().lower() in ("x86_64", "amd64")
_FLUSH_AND_READ_AS_ZERO = 0x8040


@intrinsic
def _set_control_bits(typing_context: Any) -> Any:
    """Set flush-to-zero and denormals-are-zero in this thread's MXCSR register."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if not _IS_X86:
            return context.get_dummy_value()
        word = ir.IntType(32)
        pointer = ir.IntType(8).as_pointer()
        access = ir.FunctionType(ir.VoidType(), [pointer])
        slot = cgutils.alloca_once(builder, word)
        place = builder.bitcast(slot, pointer)
        for name in ("llvm.x86.sse.stmxcsr", "llvm.x86.sse.ldmxcsr"):
            function = cgutils.get_or_insert_function(builder.module, access, name)
            if name.endswith("ldmxcsr"):
                bits = builder.or_(builder.load(slot), word(_FLUSH_AND_READ_AS_ZERO))
                builder.store(bits, slot)
            builder.call(function, [place])
        return context.get_dummy_value()

    return types.none(), generate


@njit(nogil=True, cache=True)
def flush_denormals() -> None:
    """Treat denormals as zero from now on in the calling thread (x86 only)."""
    _set_control_bits()  # type: ignore[call-arg, unused-ignore]
