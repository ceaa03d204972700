"""Trouble for an audio program: what else a machine, or the program itself, may be at."""

import gc
import multiprocessing
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

import numpy as np

from rtsep.errors import RtsepError

_BIG_BYTES = 64 << 20
_Stopping = Callable[[], bool]


def _python(stopping: _Stopping) -> None:
    """A busy Python thread, which wants the interpreter all the time."""
    count = 0
    while not stopping():
        for _ in range(1000):
            count += 1


def _garbage(stopping: _Stopping) -> None:
    """Circles of objects, collected over and over while the interpreter stands still."""
    while not stopping():
        circles: list[list[object]] = [[] for _ in range(20_000)]
        for first, second in zip(circles, circles[1:] + circles[:1], strict=True):
            first.append(second)
        del circles, first, second
        gc.collect()


def _memory(stopping: _Stopping) -> None:
    """Pages asked of the system, touched and given back."""
    while not stopping():
        pages = np.empty(_BIG_BYTES, np.uint8)
        pages[::4096] = 1
        del pages


def _process() -> None:
    """A busy process."""
    count = 0
    while True:
        count += 1


@contextmanager
def _thread(work: Callable[[_Stopping], None]) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop.is_set,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)


@contextmanager
def _busy_process() -> Iterator[None]:
    process = multiprocessing.get_context("spawn").Process(target=_process, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join(10)


_LOADS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "none": nullcontext,
    "python": lambda: _thread(_python),
    "process": _busy_process,
    "gc": lambda: _thread(_garbage),
    "memory": lambda: _thread(_memory),
}
LOADS = tuple(_LOADS)


@contextmanager
def loads(names: Sequence[str]) -> Iterator[None]:
    """Carry loads, all at once, in this process or beside it.

    Parameters
    ----------
    names : sequence of str
        Some of `LOADS`.

    Raises
    ------
    RtsepError
        An unknown one.
    """
    check_loads(names)
    with ExitStack() as stack:
        for name in dict.fromkeys(names):
            stack.enter_context(_LOADS[name]())
        yield


def check_loads(names: Sequence[str]) -> None:
    """Refuse a load that is none.

    Raises
    ------
    RtsepError
    """
    for name in names:
        if name not in _LOADS:
            raise RtsepError(f"--load {name}", f"one of {', '.join(LOADS)}")
