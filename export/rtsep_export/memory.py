"""How a long computation gets its memory."""

import ctypes
import sys

# Of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Have glibc keep large blocks that are freed instead of giving them back at once.

    A step of a training takes and frees tens of megabytes over and over, and the pages cost
    more to get again than the arithmetic: ten steps of `benchmarks/steer.py` took 87 s
    without this and 38 s with it.  Elsewhere than on glibc it does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
