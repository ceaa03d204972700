"""Memory that the host process and the engine processes share.

Each segment is made by the host process, which also removes it; engine processes
attach to it by name.  What the words mean stands in `rtsep.kernels.handover`.
"""

from contextlib import suppress
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtsep.kernels import tables

MIX_CAPACITY = 1 << 17
"""Frames of the mix that are kept: the most that a stem may be late."""
STEM_CAPACITY = 1 << 17
"""Frames of each stem that are kept."""
MIX_METER = tables.MAX_CHANNELS - 2
"""Row of the mix's meters, behind those of a slot's channels."""
NOTE_CAPACITY = 1 << 10
NOTE_WORDS = 5
"""Words of a note: sample, known_at, stem, pitch, velocity."""


class Segment:
    """A named piece of shared memory, cut into arrays.

    Parameters
    ----------
    layout : dict of str to (shape, dtype)
    name : str, optional
        Of a segment that is there; a new one is made where it is not given.
    """

    def __init__(
        self, layout: dict[str, tuple[tuple[int, ...], Any]], name: str | None = None
    ) -> None:
        sizes = [
            -(-int(np.prod(shape)) * np.dtype(kind).itemsize // 64) * 64
            for shape, kind in layout.values()
        ]
        if name is None:
            self._memory = SharedMemory(create=True, size=sum(sizes))
        else:
            self._memory = SharedMemory(name)
        self._owner = name is None
        self._arrays: dict[str, NDArray[Any]] = {}
        start = 0
        for size, (key, (shape, kind)) in zip(sizes, layout.items(), strict=True):
            array: NDArray[Any] = np.ndarray(shape, kind, self._memory.buf, start)
            if self._owner:
                array.fill(0)  # touches every page
            self._arrays[key] = array
            start += size

    @property
    def name(self) -> str:
        """What others attach by."""
        return self._memory.name

    def __getitem__(self, key: str) -> NDArray[Any]:
        """An array of the layout; not to be kept longer than the segment."""
        return self._arrays[key]

    def address(self, key: str) -> int:
        """Where an array starts, in this process."""
        return int(self._arrays[key].ctypes.data)

    def close(self) -> None:
        """Let go of the memory, and remove it where it was made."""
        self._arrays.clear()
        with suppress(BufferError):  # a view is still about: the mapping ends with it
            self._memory.close()
        if self._owner:
            with suppress(FileNotFoundError):
                self._memory.unlink()


def mix_segment(name: str | None = None) -> Segment:
    """The mix and its header: "header" int64 words, "ring" float32 [2, frames]."""
    segment = Segment(
        {
            "header": ((tables.MIX_HEADER_WORDS,), np.int64),
            "ring": ((2, MIX_CAPACITY), np.float32),
        },
        name,
    )
    if name is None:
        segment["header"][tables.TRANSPORT] = tables.NEVER
    return segment


def slot_segment(channels: int, name: str | None = None) -> Segment:
    """What an engine process gives: "header", "ring" [channels, frames], "notes"."""
    segment = Segment(
        {
            "header": ((tables.SLOT_HEADER_WORDS,), np.int64),
            "ring": ((channels, STEM_CAPACITY), np.float32),
            "notes": ((NOTE_CAPACITY, NOTE_WORDS), np.int64),
        },
        name,
    )
    if name is None:
        segment["header"][tables.LATENCY] = -1
        segment["header"][tables.VALID_FROM] = tables.NEVER
    return segment


def fallback_gains(segment: Segment) -> NDArray[np.float32]:
    """The part of a slot's header with the mix's gain on each channel."""
    stop = tables.SLOT_FALLBACK + tables.MAX_CHANNELS // 2
    return segment["header"][tables.SLOT_FALLBACK : stop].view(np.float32)


def meters(segment: Segment) -> NDArray[np.float32]:
    """The part of a slot's header with the channels' meters: peak and mean square."""
    stop = tables.SLOT_METERS + tables.MAX_CHANNELS
    return segment["header"][tables.SLOT_METERS : stop].view(np.float32).reshape(-1, 2)
