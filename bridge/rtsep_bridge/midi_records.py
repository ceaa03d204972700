"""What the player's process tells the process that owns the MIDI port: records of 20 bytes.

They all have one size, so that a pipe of bytes can be cut without looking into it.
"""

import struct
from typing import NamedTuple

ALIVE, STEM, ON, OFF, HUSH = range(5)
"""Kinds: nothing but a sign of life; a stem's channel and program; a note's begin and
end; the end of all that sounds and waits."""
NO_PROGRAM = 255
_FORM = struct.Struct("<qQBBBB")
SIZE = _FORM.size


class Record(NamedTuple):
    """One of them.

    Attributes
    ----------
    kind : int
    due_ns : int
        On the monotonic clock, which all processes share.
    serial : int
        Of a note.
    stem : int
        Number of a stem, which `STEM` gives a channel.
    first, second : int
        ON: note and velocity.  STEM: channel and program, `NO_PROGRAM` for none.
    """

    kind: int
    due_ns: int = 0
    serial: int = 0
    stem: int = 0
    first: int = 0
    second: int = 0

    def encode(self) -> bytes:
        """As bytes."""
        return _FORM.pack(self.due_ns, self.serial, self.kind, self.stem, self.first, self.second)


def decode(data: bytes) -> Record:
    """A record from its bytes."""
    due_ns, serial, kind, stem, first, second = _FORM.unpack(data)
    return Record(kind, due_ns, serial, stem, first, second)
