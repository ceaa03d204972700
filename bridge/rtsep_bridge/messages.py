"""What goes over the bridge: messages of version 1, to bytes and back.

A message is a ZeroMQ multipart of one or two frames: a msgpack header and, for
audio, the samples as little-endian float32, channel after channel.  Headers are
arrays, not maps: half the bytes of a map, and the first bytes of a kind of one
version never change, so that they serve as subscription (`topic`) and so that a
message of another version is known as one (`docs/protocol.md` is the page for
authors of other programs).

Nothing that arrives can raise anything but `MalformedMessage`.  Lengths are checked
before anything is decoded; decoded audio is a view of the frame that came.
"""

import math
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from rtsep.live.session import Decibels
from rtsep.live.status import Status
from rtsep.note_events import NoteEvent
from rtsep.rates import FILE_RATE_RANGE

VERSION = 1
MIX_CHANNELS = 2
MAX_STEMS = 16
MAX_BLOCK = 8_192
MAX_NOTES = 128
MAX_HEADER_BYTES = 16_384
MAX_SAMPLE = 2**62

NAME = r"^[a-z0-9][a-z0-9._-]{0,63}\Z"
Name = Annotated[str, Meta(pattern=NAME)]
Text = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f-\x9f]{0,256}\Z")]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Sample = Annotated[int, Meta(ge=-MAX_SAMPLE, le=MAX_SAMPLE)]
Versions = Annotated[
    tuple[Annotated[int, Meta(ge=1, le=127)], ...], Meta(min_length=1, max_length=8)
]
Samples = NDArray[np.float32]
Bytes = bytes | bytearray | memoryview


class Reason(StrEnum):
    """Why a message is not one; few, so that they can be counted one by one."""

    FRAMES = "not one or two frames, or samples where none belong"
    SIZE = "a frame too long or too short"
    HEADER = "a header that is not msgpack"
    VERSION = "a version that is not spoken here"
    FIELDS = "fields that are missing, unknown or out of bounds"
    SAMPLES = "samples that are not finite numbers"


class MalformedMessage(ValueError):  # noqa: N818, the name says what is wrong
    """What came, or should be sent, is not a message of this version.

    Parameters
    ----------
    reason : Reason
    detail : str
        What exactly; may quote what a stranger sent, shortened.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        self.reason = reason
        shown = as_text(detail)[:200]
        super().__init__(f"{reason.value}: {shown}" if shown else reason.value)


class Header(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, kw_only=True):
    """What every message carries, first and in this order.

    Attributes
    ----------
    version : int
        Of the protocol.
    session : int
        Drawn at random by the sender when it starts, and drawn anew when its sequence
        numbers or its clock start anew.
    sequence : int
        From 0, one more for each message of this kind in this session; by kind, so
        that who subscribes to the stems alone sees no gaps.
    sample : int
        On the clock of the mix: the first sample of the block, else when the message
        was made.  Stems carry the index of the mix that they are made of, however late.
    sample_rate : int
        In Hz.
    """

    version: Literal[1] = 1
    session: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    sequence: Count
    sample: Sample
    sample_rate: Annotated[int, Meta(ge=FILE_RATE_RANGE[0], le=FILE_RATE_RANGE[1])]


class Open(Header, frozen=True, kw_only=True, tag="open"):
    """A mix is about to come: its rate stands in the header, its session is new.

    Attributes
    ----------
    preset : str
        A position of the latency dial.
    step : int
        Every block will be a multiple of it, see `rtsep.latency.step_gain`; 1 promises
        nothing.
    """

    preset: Name
    step: Annotated[int, Meta(ge=1, le=MAX_BLOCK)]


class Opened(Header, frozen=True, kw_only=True, tag="opened"):
    """The answer to `Open`: an engine is ready for the session, and what it will give.

    Attributes
    ----------
    preset : str
    latency : int
        How many samples the engine is behind the mix: the stems up to a sample are there
        once the engine has as many samples more of the mix.
    note_delay : int
        No note is known further than this behind its sample.
    stems : tuple of str
        The residual last.
    """

    preset: Name
    latency: Annotated[int, Meta(ge=0, le=MAX_SAMPLE)]
    note_delay: Annotated[int, Meta(ge=0, le=MAX_SAMPLE)]
    stems: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=MAX_STEMS)]


class Mix(Header, frozen=True, kw_only=True, tag="mix"):
    """A stereo block on its way to an engine; samples of shape (2, frames) go with it.

    Attributes
    ----------
    frames : int
    position : int
        The host's play head at the first sample, in samples of its timeline.
    playing : bool
        Whether the play head moves.
    offline : bool
        Whether the host renders faster or slower than time, and waits for the stems.
    """

    frames: Annotated[int, Meta(ge=1, le=MAX_BLOCK)]
    position: Sample
    playing: bool
    offline: bool


class Stems(Header, frozen=True, kw_only=True, tag="stems"):
    """A block of every stem, samples of shape (2 × stems, frames): left, right, left...

    The names go with every block.  Five names cost 33 bytes beside five kilobytes of
    audio (128 frames), and nobody who joins late, misses a message or meets a change of model can
    take one stem for another, as could happen with a layout sent apart.

    Attributes
    ----------
    frames : int
    latency : int
        How many samples the engine is behind the mix.
    stems : tuple of str
        In the order of the samples, each once, the residual last.
    """

    frames: Annotated[int, Meta(ge=1, le=MAX_BLOCK)]
    latency: Annotated[int, Meta(ge=0, le=MAX_SAMPLE)]
    stems: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=MAX_STEMS)]


class Notes(Header, frozen=True, kw_only=True, tag="notes"):
    """Notes switched on and off, in the order in which they were decided."""

    notes: Annotated[tuple[NoteEvent, ...], Meta(min_length=1, max_length=MAX_NOTES)]


class Control(Header, frozen=True, kw_only=True, tag="control"):
    """What somebody turned, to the engine or back from it; None is left as it is.

    Attributes
    ----------
    preset : str or None
        A position of the latency dial.
    stem : str or None
        To which the rest applies; None where there is no rest.
    gain_db : float or None
    mute : bool or None
    """

    preset: Name | None = None
    stem: Name | None = None
    gain_db: Decibels | None = None
    mute: bool | None = None


class StatusReport(Header, frozen=True, kw_only=True, tag="status"):
    """The state of the engine.

    `status` is a map with a version of its own: fields of it that a reader does not
    know are skipped.
    """

    status: Status


class Hello(Header, frozen=True, kw_only=True, tag="hello"):
    """The first message each way: which versions a program speaks, and what it is.

    It has this form, and the number 1, in every version to come; so has `Refusal`.
    """

    versions: Versions
    program: Text


class Refusal(Header, frozen=True, kw_only=True, tag="refusal"):
    """What cannot be served, and why: a hello, an open, a mix that nobody has opened."""

    versions: Versions
    reason: Text


AnyHeader = Mix | Stems | Notes | Control | StatusReport | Hello | Refusal | Open | Opened
KINDS: tuple[type[Header], ...] = (
    Hello,
    Refusal,
    Open,
    Opened,
    Mix,
    Stems,
    Notes,
    Control,
    StatusReport,
)
_decoder: msgspec.msgpack.Decoder[AnyHeader] = msgspec.msgpack.Decoder(AnyHeader)
is_name = re.compile(NAME).match
_encoder = msgspec.msgpack.Encoder()


class Message(NamedTuple):
    """One message.

    Attributes
    ----------
    header : Hello, Refusal, Open, Opened, Mix, Stems, Notes, Control or StatusReport
    samples : ndarray or None
        float32 of shape (channels, frames) with `Mix` and `Stems`, else None.  Decoded,
        it cannot be written to and lives as long as the frame of which it is a view.
    """

    header: AnyHeader
    samples: Samples | None = None


def channels(header: Header) -> int:
    """How many channels of samples go with a header; 0 where none do."""
    if isinstance(header, Stems):
        return 2 * len(header.stems)
    return MIX_CHANNELS if isinstance(header, Mix) else 0


def as_text(line: str) -> str:
    """A line as a `Text`: without control characters, cut to its length."""
    return "".join(c if c.isprintable() else "?" for c in line)[:256]


def topic(kind: type[Header]) -> bytes:
    """The first bytes of every message of a kind: what to subscribe to."""
    tag = str(kind.__struct_config__.tag)
    head = bytes((0x90 + 1 + len(kind.__struct_fields__), 0xA0 + len(tag)))
    return head + tag.encode() + bytes((VERSION,))


_TOPICS = {kind: topic(kind) for kind in KINDS}


def encode(message: Message, *, own: bool = False) -> list[bytes | memoryview]:
    """The frames of a message.

    Parameters
    ----------
    message : Message
        Its samples are not copied where they are contiguous float32: leave them as
        they are until the frames are sent.
    own : bool
        The header is of the caller's own making, from values that are within bounds:
        it is not looked at again, which takes three quarters of the time.

    Raises
    ------
    MalformedMessage
        `decode` would not take it.
    TypeError
        The samples are not float32, or the header is none.
    """
    header, samples = message
    try:
        frames: list[bytes | memoryview] = [_encoder.encode(header)]
    except (msgspec.MsgspecError, ValueError, OverflowError) as error:
        raise MalformedMessage(Reason.FIELDS, str(error)) from None
    if samples is not None:
        shape = (channels(header), getattr(header, "frames", 0))
        if samples.shape != shape:
            detail = f"{samples.shape}; the header says {shape}"
            raise MalformedMessage(Reason.SIZE, detail)
        if samples.dtype != np.float32:
            raise TypeError(f"samples of {samples.dtype}; expected float32")
        if own and not np.isfinite(samples).all():
            raise MalformedMessage(Reason.SAMPLES)
        frames.append(np.ascontiguousarray(samples, "<f4").reshape(-1).view(np.uint8).data)
    if not own:
        decode(frames)
    return frames


def decode(frames: Sequence[Bytes]) -> Message:
    """The message that came.

    Parameters
    ----------
    frames : sequence of bytes, bytearray or memoryview
        All parts of a multipart without what the socket put before them.

    Raises
    ------
    MalformedMessage
        It is none.  Nothing else is raised, whatever the bytes.
    """
    if not 1 <= len(frames) <= 2:
        raise MalformedMessage(Reason.FRAMES, f"{len(frames)} frames")
    raw = memoryview(frames[0])
    if not 0 < raw.nbytes <= MAX_HEADER_BYTES:
        raise MalformedMessage(Reason.SIZE, f"a header of {raw.nbytes} bytes")
    version = _version(raw)
    if version not in (None, VERSION):
        raise MalformedMessage(Reason.VERSION, str(version))
    try:
        header = _decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise MalformedMessage(Reason.FIELDS, str(error)) from None
    except (ValueError, OverflowError, RecursionError) as error:
        raise MalformedMessage(Reason.HEADER, str(error)) from None
    # An array that leaves out its last fields, or a number in more bytes than it takes.
    if raw[: len(_TOPICS[type(header)])] != _TOPICS[type(header)]:
        raise MalformedMessage(Reason.FIELDS, "a header that does not begin as its kind does")
    _check(header)
    if len(frames) != 1 + bool(channels(header)):
        raise MalformedMessage(Reason.FRAMES, f"{len(frames)} frames")
    if not isinstance(header, Mix | Stems):
        return Message(header)
    data = memoryview(frames[1])
    shape = (channels(header), header.frames)
    if data.nbytes != 4 * shape[0] * shape[1]:
        detail = f"{data.nbytes} bytes of samples for {shape[0]} × {shape[1]}"
        raise MalformedMessage(Reason.SIZE, detail)
    samples = np.frombuffer(data, "<f4").reshape(shape)
    if not np.isfinite(samples).all():
        raise MalformedMessage(Reason.SAMPLES)
    samples.flags.writeable = False
    return Message(header, samples)


def _version(raw: memoryview) -> int | None:
    """What stands where every version has its number; None where that has another form."""
    if raw[0] & 0xF0 == 0x90 and len(raw) > 1 and raw[1] & 0xE0 == 0xA0:
        at = 2 + (raw[1] & 0x1F)
        if at < len(raw) and raw[at] < 0x80:
            return int(raw[at])
    return None


def _check(header: AnyHeader) -> None:
    """What types do not say."""
    detail = ""
    if isinstance(header, Stems | Opened):
        if len(set(header.stems)) < len(header.stems):
            detail = "two stems of one name"
    elif isinstance(header, Notes):
        for note in header.notes:
            if not (
                -MAX_SAMPLE <= note.sample <= note.known_at <= MAX_SAMPLE
                and 0 <= note.pitch <= 127
                and 0 <= note.velocity <= 127
                and is_name(note.stem)
            ):
                detail = str(note)
    elif isinstance(header, Control):
        strip = header.gain_db is not None or header.mute is not None
        if strip != (header.stem is not None) or not (strip or header.preset is not None):
            detail = "a stem without a setting, a setting without a stem, or nothing at all"
        elif header.gain_db is not None and not math.isfinite(header.gain_db):
            detail = "a gain that is not a finite number"
    elif isinstance(header, StatusReport) and not _finite(msgspec.to_builtins(header.status)):
        detail = "a status with what is not a finite number"
    if detail:
        raise MalformedMessage(Reason.FIELDS, detail)


def _finite(value: Any) -> bool:
    """Whether there is no NaN and no infinity anywhere in builtins."""
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    if isinstance(value, list):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


class Counters(Struct):
    """What came of all that arrived at one place.

    Attributes
    ----------
    accepted : int
    unknown_version : int
    malformed : dict of Reason to int
        Every reason is there from the start; `Reason.VERSION` is counted apart.
    """

    accepted: int = 0
    unknown_version: int = 0
    malformed: dict[Reason, int] = msgspec.field(
        default_factory=lambda: {reason: 0 for reason in Reason if reason != Reason.VERSION}
    )

    def take(self, frames: Sequence[Bytes]) -> Message | None:
        """The message that came, counted; None in place of an error."""
        try:
            message = decode(frames)
        except MalformedMessage as error:
            if error.reason == Reason.VERSION:
                self.unknown_version += 1
            else:
                self.malformed[error.reason] += 1
            return None
        self.accepted += 1
        return message
