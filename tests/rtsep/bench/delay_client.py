"""A JACK client with a known delay: what rtsep's place is taken by when the probe is tested."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jack
import numpy as np
from llvmlite import binding
from numba import carray, cfunc, int64, types

from rtsep.kernels.atomics import as_pointer

binding.load_library_permanently(jack._libname)
_get_buffer: Any = types.ExternalFunction(
    "jack_port_get_buffer", types.voidptr(types.voidptr, types.uint32)
)
CHANNELS = ("drums_L", "drums_R", "other_L", "other_R")
_RING = 1 << 15
_DELAY, _TIME, _DATA, _PORT = 0, 1, 2, 8
_LATENCY = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p)


@cfunc(types.int32(types.uint32, types.voidptr), cache=True)
def _process(frames: int, argument: Any) -> int:
    c = carray(argument, (16,), np.int64)
    n, t, last = int64(frames), c[_TIME], _RING - 1
    ring = carray(as_pointer(c[_DATA]), (2, _RING), np.float32)
    for side in range(2):
        mix = carray(_get_buffer(as_pointer(c[_PORT + side]), frames), (n,), np.float32)
        drums = carray(_get_buffer(as_pointer(c[_PORT + 2 + side]), frames), (n,), np.float32)
        other = carray(_get_buffer(as_pointer(c[_PORT + 4 + side]), frames), (n,), np.float32)
        for i in range(n):
            ring[side, (t + i) & last] = mix[i]
        for i in range(n):
            x = ring[side, (t + i - c[_DELAY]) & last]
            drums[i] = np.float32(0.3) * x
            other[i] = x - drums[i]
    c[_TIME] = t + n
    return 0


@contextmanager
def delay_client(server: str, name: str, delay: int) -> Iterator[str]:
    """A client that delays its mix by `delay` samples, states it, and deals it to two stems."""
    client = jack.Client(name, no_start_server=True, servername=server)
    ports = [client.inports.register(f"mix_{side}") for side in "LR"]
    ports += [client.outports.register(channel) for channel in CHANNELS]
    table, ring = np.zeros(16, np.int64), np.zeros((2, _RING), np.float32)
    table[_DELAY], table[_DATA] = delay, ring.ctypes.data
    handle = lambda pointer: int(jack._ffi.cast("intptr_t", pointer))  # noqa: E731
    table[_PORT : _PORT + 6] = [handle(port._ptr) for port in ports]
    library = ctypes.CDLL(jack._libname)

    @_LATENCY
    def say_latency(mode: int, argument: int) -> None:
        capture = mode == 0
        span = (ctypes.c_uint32 * 2)()
        source, targets = (ports[0], ports[2:]) if capture else (ports[2], ports[:2])
        library.jack_port_get_latency_range(ctypes.c_void_p(handle(source._ptr)), mode, span)
        shifted = (ctypes.c_uint32 * 2)(span[0] + delay, span[1] + delay)
        for port in targets:
            library.jack_port_set_latency_range(ctypes.c_void_p(handle(port._ptr)), mode, shifted)

    library.jack_set_latency_callback(ctypes.c_void_p(handle(client._ptr)), say_latency, None)
    callback = jack._ffi.cast("JackProcessCallback", _process.address)
    argument = jack._ffi.cast("void*", table.ctypes.data)
    assert jack._lib.jack_set_process_callback(client._ptr, callback, argument) == 0
    client.activate()
    try:
        yield client.name
    finally:
        client.deactivate()
        client.close()
