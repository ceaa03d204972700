"""The process of one session's engine: messages in, messages out, over a pipe.

What comes begins with a frame of one byte, what it is: `OPEN` (then the header and the
numbers to go on with), `MESSAGE` (a mix or a control), `STATUS` (then a status' numbers).
What goes begins with `DONE`, where a mix or an open has been dealt with, or `MORE`, and
a message may follow.
"""

import os
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import msgspec

from rtsep import realtime
from rtsep.errors import AudioError, RtsepError
from rtsep_bridge.messages import (
    VERSION,
    Control,
    Message,
    Mix,
    Open,
    Refusal,
    StatusReport,
    Stems,
    as_text,
    decode,
    encode,
)
from rtsep_bridge.pipe import FramePipe
from rtsep_bridge.stream import Stream

OPEN, MESSAGE, STATUS = b"o", b"m", b"s"
DONE, MORE = b"d", b"+"


@dataclass(frozen=True)
class Task:
    """What a process is to do.

    Attributes
    ----------
    model, transcriber, masks : str or None
        As in `rtsep.live.session.Session`.
    priority : int
        For `rtsep.realtime.make_realtime`; a mix that is rendered offline gets none.
    """

    model: str | None
    transcriber: str | None
    masks: str | None
    priority: int


def run(task: Task, pipe: FramePipe, parent: "Connection[Any, Any]") -> None:
    """Serve until the parent ends; ("ready", what was granted) or ("failed", why) first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with suppress(EOFError, OSError):  # the parent has ended
        try:
            _serve(task, pipe, parent)
        except RtsepError as error:
            parent.send(("failed", str(error)))
        except (EOFError, OSError):
            raise
        except Exception as error:
            if os.environ.get("RTSEP_TRACEBACK"):
                raise
            parent.send(("failed", f"a mistake in rtsep itself ({type(error).__name__}: {error})"))


def _end_with(parent: "Connection[Any, Any]") -> None:
    with suppress(EOFError, OSError):
        parent.recv()
    os._exit(0)


def _serve(task: Task, pipe: FramePipe, parent: "Connection[Any, Any]") -> None:
    stream = Stream(task.model, task.transcriber, task.masks)
    with suppress(AudioError):  # a model that has a rate of its own
        stream.warm_up()
    granted = (
        realtime.lock_memory(),
        realtime.freeze_garbage(),
        realtime.make_realtime(task.priority),
    )
    parent.send(("ready", granted))
    hurried = True
    while True:
        what, *frames = pipe.receive() or [b""]
        if what == STATUS:
            misses, restarts, message = msgspec.msgpack.decode(frames[0])
            status = stream.status(misses=misses, restarts=restarts, message=message)
            if status is not None:
                numbers = stream.sender.numbers(StatusReport, stream.position)
                _send(pipe, [Message(StatusReport(**numbers, status=status))], MORE)
            continue
        header, samples = decode(frames[:1] if what == OPEN else frames)
        given: Sequence[Message] = ()
        try:
            if isinstance(header, Open):
                counts = msgspec.msgpack.decode(frames[1], type=dict[str, int])
                given = [Message(stream.open(header, counts))]
            elif isinstance(header, Mix) and samples is not None:
                given = stream.take(header, samples)
                if header.offline == hurried:
                    hurried = _hurry(not header.offline, task.priority)
            elif isinstance(header, Control):
                given = stream.control(header)
        except RtsepError as error:
            numbers = stream.sender.numbers(Refusal, header.sample)
            refusal = Refusal(**numbers, versions=(VERSION,), reason=as_text(str(error)))
            given = [Message(refusal)]
        _send(pipe, given, MORE if isinstance(header, Control) else DONE)


def _hurry(hurry: bool, priority: int) -> bool:
    """Take real-time priority, or give it back to others; what holds now."""
    if hurry:
        realtime.make_realtime(priority)
    else:
        realtime.make_normal()
    return hurry


def _send(pipe: FramePipe, messages: Sequence[Message], last: bytes) -> None:
    """Send messages, the last one marked; the mark alone where there is none."""
    for number, message in enumerate(messages):
        frames = encode(message, own=isinstance(message.header, Stems))
        pipe.send([last if number == len(messages) - 1 else MORE, *frames])
    if not messages and last == DONE:
        pipe.send([DONE])
