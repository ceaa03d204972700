"""Guided by what the decoder does: ``python fuzz_messages.py [libFuzzer options] CORPUS``.

An input is one byte, the length of the first frame, then the frames; where there is no
more than that, it is one frame.
"""

import os
import sys

import atheris

with atheris.instrument_imports(include=["rtsep_bridge.messages"]):
    from rtsep_bridge import messages

PLANTED = int(os.environ.get("RTSEP_PLANT", "-1"))
"""A mistake for the fuzzer to find: what a message of this number raises."""


def split(data: bytes) -> list[bytes]:
    """The frames of an input."""
    if not data:
        return []
    stop = 1 + data[0]
    return [data[1:stop], data[stop:]] if len(data) > stop else [data[1:]]


def one(data: bytes) -> None:
    """A message is read, and reads the same again; all else is one exception."""
    try:
        message = messages.decode(split(data))
    except messages.MalformedMessage:
        return
    if message.header.sequence == PLANTED:
        raise KeyError("planted")
    again = messages.decode(messages.encode(message))
    if again.header != message.header:
        raise AssertionError(message.header)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
