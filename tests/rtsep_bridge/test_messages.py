"""Messages of the bridge: to bytes and back, and what is no message.

``RTSEP_FUZZ=5000000`` sends that many damaged messages instead of 200,000.
"""

import os
import random
import re
import struct
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect as types

from rtsep.live.status import Latency, Status, StemStatus
from rtsep.note_events import NoteEvent
from rtsep_bridge import messages
from rtsep_bridge.messages import (
    KINDS,
    MAX_BLOCK,
    MAX_HEADER_BYTES,
    MAX_NOTES,
    MAX_SAMPLE,
    MAX_STEMS,
    AnyHeader,
    Control,
    Counters,
    Header,
    Hello,
    MalformedMessage,
    Message,
    Mix,
    Notes,
    Open,
    Opened,
    Reason,
    Refusal,
    StatusReport,
    Stems,
    channels,
    decode,
    encode,
    topic,
)

PAGE = (Path(__file__).parents[2] / "docs/protocol.md").read_text("utf-8")
STATUS = Status(
    time=1.5,
    state="playing",
    host="jack",
    sample_rate=48_000,
    block=128,
    preset="live",
    model="live",
    frames=12_800,
    latency=Latency(256, 5.3, None),
    load=0.05,
    load_max=0.1,
    callbacks=100,
    misses=0,
    xruns=0,
    restarts=0,
    callback_us_p50=8.0,
    callback_us_p999=20.0,
    callback_us_max=21.0,
    engine_misses=0,
    bad_samples=0,
    stems=[StemStatus("drums", -6.0, -12.0), StemStatus("other", None, None)],
    monitor=StemStatus("monitor", -3.0, -9.0),
    mix=StemStatus("mix", -3.0, -9.0),
    notes=3,
    last_miss=None,
    message="",
)
COMMON = {"session": 0x0123456789ABCDEF, "sequence": 300, "sample": 38_400, "sample_rate": 48_000}
HEADERS: dict[str, AnyHeader] = {
    "hello": Hello(**COMMON, versions=(1, 2), program="rtsep 0.1.0"),
    "refusal": Refusal(**COMMON, versions=(1,), reason="no key"),
    "open": Open(**COMMON, preset="live", step=64),
    "opened": Opened(
        **COMMON, preset="live", latency=192, note_delay=2_300, stems=("drums", "other")
    ),
    "mix": Mix(**COMMON, frames=2, position=-7, playing=True, offline=False),
    "stems": Stems(**COMMON, frames=1, latency=256, stems=("drums", "other")),
    "notes": Notes(
        **COMMON,
        notes=(NoteEvent(38_000, 38_400, "bass", 40, 90), NoteEvent(38_100, 38_400, "bass", 40, 0)),
    ),
    "control": Control(**COMMON, stem="bass", gain_db=-6.0, mute=False),
    "status": StatusReport(**COMMON, status=STATUS),
}
START = "01cf0123456789abcdefcd012ccd9600cdbb80"  # version, session, sequence, sample, rate
GOLDEN = {
    "hello": "98a568656c6c6f" + START + "920102ab727473657020302e312e30",
    "refusal": "98a77265667573616c" + START + "9101a66e6f206b6579",
    "open": "98a46f70656e" + START + "a46c69766540",
    "opened": "9aa66f70656e6564" + START + "a46c697665ccc0cd08fc92a56472756d73a56f74686572",
    "mix": "9aa36d6978" + START + "02f9c3c2",
    "stems": "99a57374656d73" + START + "01cd010092a56472756d73a56f74686572",
    "notes": "97a56e6f746573"
    + START
    + "9295cd9470cd9600a462617373285a95cd94d4cd9600a4626173732800",
    "control": "9aa7636f6e74726f6c" + START + "c0a462617373cbc018000000000000c2",
    "status": "97a6737461747573" + START + msgspec.msgpack.encode(STATUS).hex(),
}
SAMPLES = {"mix": "0000803f000000bf0000000000000040", "stems": "0000803f000000bf0000000000000040"}
VALUES = np.array([1.0, -0.5, 0.0, 2.0], np.float32)


def message(kind: str) -> Message:
    header = HEADERS[kind]
    shape = (channels(header), -1)
    return Message(header, VALUES.reshape(shape) if kind in SAMPLES else None)


def same(a: Message, b: Message) -> bool:
    return a.header == b.header and (
        a.samples is b.samples is None or np.array_equal(a.samples, b.samples)
    )


def raw(kind: str) -> list[bytes]:
    return [bytes(frame) for frame in encode(message(kind))]


def refused(frames: list[bytes]) -> Reason:
    with pytest.raises(MalformedMessage) as caught:
        decode(frames)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()
    return caught.value.reason


@pytest.mark.parametrize("kind", GOLDEN)
def test_version_1_has_these_bytes(kind: str) -> None:
    frames = [bytes.fromhex(GOLDEN[kind])]
    if kind in SAMPLES:
        frames.append(bytes.fromhex(SAMPLES[kind]))
    assert raw(kind) == frames
    assert same(decode(frames), message(kind))
    assert frames[0].startswith(topic(type(HEADERS[kind])))


def test_every_kind_has_golden_bytes() -> None:
    assert [type(header) for header in HEADERS.values()] == list(KINDS)
    assert HEADERS.keys() == GOLDEN.keys()


samples_at = st.integers(-MAX_SAMPLE, MAX_SAMPLE)
names = st.from_regex(messages.NAME.replace(r"\Z", ""), fullmatch=True).filter(str.isascii)
texts = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=256)
versions = st.lists(st.integers(1, 127), min_size=1, max_size=8).map(tuple)
common = {
    "session": st.integers(1, 2**63 - 1),
    "sequence": st.integers(0, 2**63 - 1),
    "sample": samples_at,
    "sample_rate": st.integers(8_000, 192_000),
}
note_events = st.builds(
    lambda times, stem, pitch, velocity: NoteEvent(*sorted(times), stem, pitch, velocity),
    st.tuples(samples_at, samples_at),
    names,
    st.integers(0, 127),
    st.integers(0, 127),
)
finite = st.floats(allow_nan=False, allow_infinity=False)
levels = st.builds(StemStatus, st.text(max_size=12), st.none() | finite, st.none() | finite)
headers = st.one_of(
    st.builds(
        Mix,
        **common,
        frames=st.integers(1, MAX_BLOCK),
        position=samples_at,
        playing=st.booleans(),
        offline=st.booleans(),
    ),
    st.builds(
        Stems,
        **common,
        frames=st.integers(1, MAX_BLOCK),
        latency=st.integers(0, MAX_SAMPLE),
        stems=st.lists(names, min_size=1, max_size=MAX_STEMS, unique=True).map(tuple),
    ),
    st.builds(Notes, **common, notes=st.lists(note_events, min_size=1, max_size=20).map(tuple)),
    st.builds(Control, **common, preset=names),
    st.builds(Control, **common, stem=names, mute=st.booleans(), gain_db=st.floats(-120.0, 24.0)),
    st.builds(
        StatusReport,
        **common,
        status=st.builds(
            lambda **new: msgspec.structs.replace(STATUS, **new),
            load=finite,
            message=st.text(max_size=200),
            stems=st.lists(levels, max_size=MAX_STEMS),
            last_miss=st.none() | finite,
        ),
    ),
    st.builds(Open, **common, preset=names, step=st.integers(1, MAX_BLOCK)),
    st.builds(
        Opened,
        **common,
        preset=names,
        latency=st.integers(0, MAX_SAMPLE),
        note_delay=st.integers(0, MAX_SAMPLE),
        stems=st.lists(names, min_size=1, max_size=MAX_STEMS, unique=True).map(tuple),
    ),
    st.builds(Hello, **common, versions=versions, program=texts),
    st.builds(Refusal, **common, versions=versions, reason=texts),
)


@settings(max_examples=300, deadline=None)
@given(headers, st.integers(0, 2**32 - 1))
def test_what_is_sent_arrives(header: AnyHeader, seed: int) -> None:
    samples = None
    if channels(header):
        shape = (channels(header), header.frames)
        samples = np.random.default_rng(seed).standard_normal(shape, np.float32)
    sent = Message(header, samples)
    assert same(decode(encode(sent)), sent)


def test_samples_are_not_copied() -> None:
    samples = np.zeros((2, 8), np.float32)
    sent = encode(Message(msgspec.structs.replace(HEADERS["mix"], frames=8), samples))
    samples[0, 3] = 0.5
    received = decode([bytearray(frame) for frame in sent]).samples
    assert received is not None
    assert received[0, 3] == 0.5
    assert not received.flags.writeable
    assert np.shares_memory(decode(sent).samples, samples)
    strided = np.arange(32, dtype=np.float32).reshape(2, 16)[:, ::2]
    header = msgspec.structs.replace(HEADERS["mix"], frames=8)
    assert same(decode(encode(Message(header, strided))), Message(header, strided))


@pytest.mark.parametrize("kind", HEADERS)
def test_no_truncation_is_a_message(kind: str) -> None:
    frames = raw(kind)
    for number, frame in enumerate(frames):
        for length in range(len(frame)):
            refused([*frames[:number], frame[:length], *frames[number + 1 :]])
        refused([*frames[:number], frame + b"\0", *frames[number + 1 :]])
        refused(frames[:number])
    refused([*frames, b""])
    refused([*frames, b"", b""])


def damaged(random_: random.Random, whole: list[list[bytes]]) -> list[bytes]:
    frames = [bytearray(frame) for frame in random_.choice(whole)]
    what = random_.random()
    if what < 0.1:
        return [random_.randbytes(random_.randrange(80)) for _ in range(random_.randrange(4))]
    frame = frames[0] if 0.3 < what < 0.8 else random_.choice(frames)
    if what < 0.6:
        for _ in range(random_.choice((1, 1, 2, 8))):
            frame[random_.randrange(len(frame))] ^= 1 << random_.randrange(8)
    elif what < 0.8:
        at = random_.randrange(len(frame))
        frame[at : at + random_.randrange(9)] = random_.randbytes(random_.randrange(9))
    elif what < 0.9:
        del frame[random_.randrange(len(frame)) :]
    else:
        frames = [*frames, *map(bytearray, random_.choice(whole))]
        random_.shuffle(frames)
        del frames[random_.randrange(1, 3) :]
    return [bytes(frame) for frame in frames]


def test_damage_is_refused_or_gives_another_message() -> None:
    random_ = random.Random(4)
    whole = [raw(kind) for kind in HEADERS]
    counters = Counters()
    count = int(os.environ.get("RTSEP_FUZZ", "200000"))
    for _ in range(count):
        frames = damaged(random_, whole)
        taken = counters.take(frames)
        if taken is not None:
            decode(encode(taken))
    refusals = counters.malformed
    assert counters.accepted + counters.unknown_version + sum(refusals.values()) == count
    assert min(refusals.values()) > 0
    assert set(refusals) == set(Reason) - {Reason.VERSION}
    assert counters.unknown_version > 0
    before = counters.accepted
    assert counters.take(whole[0]) is not None
    assert counters.accepted == before + 1


@given(st.lists(st.binary(max_size=200), max_size=3))
def test_bytes_of_any_kind_raise_one_error(frames: list[bytes]) -> None:
    assert Counters().take(frames) is None


def header_with(kind: str, **changes: object) -> list[bytes]:
    """Frames whose header is not checked before it is sent."""
    header = msgspec.structs.replace(HEADERS[kind], **changes)
    return [msgspec.msgpack.encode(header), *raw(kind)[1:]]


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("open", {"step": 0}),
        ("open", {"preset": ""}),
        ("opened", {"stems": ("drums", "drums")}),
        ("opened", {"latency": -1}),
        ("mix", {"session": 0}),
        ("mix", {"sequence": -1}),
        ("mix", {"sample": MAX_SAMPLE + 1}),
        ("mix", {"sample_rate": 7_999}),
        ("mix", {"sample_rate": 48_000.5}),
        ("mix", {"frames": 0}),
        ("mix", {"frames": MAX_BLOCK + 1}),
        ("mix", {"frames": True}),
        ("mix", {"playing": 1}),
        ("stems", {"stems": ("drums", "drums")}),
        ("stems", {"stems": ("drums", "Other")}),
        ("stems", {"stems": ("drums", "other\n")}),
        ("stems", {"stems": tuple(f"s{n}" for n in range(MAX_STEMS + 1))}),
        ("stems", {"stems": ("x" * 65,)}),
        ("stems", {"latency": -1}),
        ("notes", {"notes": ()}),
        ("notes", {"notes": (NoteEvent(1, 2, "bass", 40, 1),) * (MAX_NOTES + 1)}),
        ("notes", {"notes": (NoteEvent(2, 1, "bass", 40, 1),)}),
        ("notes", {"notes": (NoteEvent(1, 2, "bass", 128, 1),)}),
        ("notes", {"notes": (NoteEvent(1, 2, "bass", 40, 128),)}),
        ("notes", {"notes": (NoteEvent(1, 2, "", 40, 1),)}),
        ("notes", {"notes": (NoteEvent(1, 2**63, "bass", 40, 1),)}),
        ("control", {"stem": None}),
        ("control", {"gain_db": None, "mute": None}),
        ("control", {"stem": None, "gain_db": None, "mute": None}),
        ("control", {"gain_db": float("nan")}),
        ("control", {"gain_db": 25.0}),
        ("status", {"status": msgspec.structs.replace(STATUS, load=float("inf"))}),
        ("hello", {"versions": ()}),
        ("hello", {"program": "a\x1b[2J"}),
        ("refusal", {"reason": "x" * 257}),
    ],
)
def test_fields_out_of_bounds_are_refused(kind: str, changes: dict[str, object]) -> None:
    assert refused(header_with(kind, **changes)) == Reason.FIELDS
    with pytest.raises(MalformedMessage):
        encode(Message(msgspec.structs.replace(HEADERS[kind], **changes), message(kind).samples))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_samples_that_are_no_numbers_are_refused(bad: float) -> None:
    frames = raw("mix")
    assert refused([frames[0], struct.pack("<4f", 0, 0, bad, 0)]) == Reason.SAMPLES
    with pytest.raises(MalformedMessage):
        encode(Message(HEADERS["mix"], np.full((2, 2), bad, np.float32)))


def test_what_encode_does_not_take() -> None:
    with pytest.raises(TypeError):
        encode(Message(HEADERS["mix"], np.zeros((2, 2))))
    for samples in (None, np.zeros((2, 3), np.float32), np.zeros((1, 4), np.float32)):
        with pytest.raises(MalformedMessage):
            encode(Message(HEADERS["mix"], samples))
    with pytest.raises(MalformedMessage):
        encode(Message(HEADERS["hello"], np.zeros((2, 2), np.float32)))
    with pytest.raises(MalformedMessage):
        encode(Message(msgspec.structs.replace(HEADERS["hello"], program="\ud800")))


def test_ones_own_header_gives_the_same_bytes() -> None:
    for kind in HEADERS:
        own = encode(message(kind), own=True)
        assert [bytes(frame) for frame in own] == raw(kind)
    bad = Message(HEADERS["mix"], np.full((2, 2), np.inf, np.float32))
    with pytest.raises(MalformedMessage):
        encode(bad, own=True)
    with pytest.raises(MalformedMessage):
        encode(Message(HEADERS["mix"], np.zeros((2, 3), np.float32)), own=True)


def test_lengths_are_looked_at_first() -> None:
    assert refused([]) == Reason.FRAMES
    assert refused([b"", b"", b""]) == Reason.FRAMES
    assert refused([bytes(MAX_HEADER_BYTES + 1)]) == Reason.SIZE
    assert refused([b"\x91" * MAX_HEADER_BYTES]) == Reason.FIELDS
    deep = topic(StatusReport) + bytes.fromhex(START[2:]) + b"\x81\xa3new" + b"\x91" * 16_000
    assert refused([deep]) == Reason.HEADER
    huge = topic(Stems) + bytes.fromhex(START[2:]) + b"\x01\x00\xdd\xff\xff\xff\xff"
    assert refused([huge, b""]) == Reason.FIELDS


def test_the_longest_of_every_kind_fits() -> None:
    stems = tuple(f"{'x' * 62}{n:02}" for n in range(MAX_STEMS))
    block = Stems(**COMMON, frames=MAX_BLOCK, latency=0, stems=stems)
    shape = (2 * MAX_STEMS, MAX_BLOCK)
    assert decode(encode(Message(block, np.zeros(shape, np.float32)))).header == block
    note = NoteEvent(MAX_SAMPLE, MAX_SAMPLE, "x" * 64, 127, 127)
    many = Notes(**COMMON, notes=(note,) * MAX_NOTES)
    assert decode(encode(Message(many))).header == many
    long = Hello(**COMMON, versions=(127,) * 8, program="𝄞" * 256)
    assert decode(encode(Message(long))).header == long


def test_an_unknown_version_is_known_as_one() -> None:
    frames = raw("mix")
    at = len(topic(Mix)) - 1
    for version in (0, 2, 127):
        changed = frames[0][:at] + bytes((version,)) + frames[0][at + 1 :]
        assert refused([changed, frames[1]]) == Reason.VERSION
        assert refused([changed[:at] + bytes((version,)) + b"whatever"]) == Reason.VERSION
    counters = Counters()
    assert counters.take([changed, frames[1]]) is None
    assert counters == Counters(unknown_version=1)


def test_one_message_has_one_form() -> None:
    (control,) = raw("control")
    assert refused([b"\x99" + control[1:-1]]) == Reason.FIELDS  # without its last field
    assert refused([b"\xdc\x00\x0a" + control[1:]]) == Reason.FIELDS
    at = len(topic(Control)) - 1
    assert refused([control[:at] + b"\xcc\x01" + control[at + 1 :]]) == Reason.FIELDS


def test_a_status_may_say_more_than_a_reader_knows() -> None:
    said = msgspec.to_builtins(STATUS) | {"new": [1, {"a": None}]}
    frame = bytes.fromhex(GOLDEN["status"][: 2 * len(topic(StatusReport)) - 2] + START)
    assert decode([frame + msgspec.msgpack.encode(said)]).header == HEADERS["status"]


def spelled(kind: types.Type) -> str:
    """How the page writes a field's type and bounds."""
    bound = {2**63 - 1: "2^63 - 1", MAX_SAMPLE: "2^62", -MAX_SAMPLE: "-2^62"}
    match kind:
        case types.LiteralType():
            return f"integer, {kind.values[0]}"
        case types.IntType():
            low, high = (bound.get(n, f"{n:,}") for n in (kind.ge, kind.le))
            return f"integer, {low} to {high}"
        case types.FloatType():
            return f"float, {kind.ge:g} to {kind.le:g}"
        case types.BoolType():
            return "bool"
        case types.StrType():
            return "name" if kind.pattern == messages.NAME else "text"
        case types.NamedTupleType():
            return "note"
        case types.StructType():
            return "map"
        case types.VarTupleType():
            return f"array of {kind.min_length} to {kind.max_length}: {spelled(kind.item_type)}"
        case types.UnionType():
            (inner,) = (one for one in kind.types if not isinstance(one, types.NoneType))
            return f"{spelled(inner)}; or nil"
    raise AssertionError(kind)


def rows(kind: type[Header], after: int) -> list[tuple[str, str]]:
    info = types.type_info(kind)
    assert isinstance(info, types.StructType)
    return [(f"`{field.name}`", spelled(field.type)) for field in info.fields[after:]]


def test_the_page_has_every_field() -> None:
    wanted = [("every kind", *row) for row in rows(Header, 0)]
    for kind in KINDS:
        tag = f"`{kind.__struct_config__.tag}`"
        wanted += [(tag, *row) for row in rows(kind, len(Header.__struct_fields__))]
    table = PAGE.split("<!-- fields -->\n")[1].split("<!-- /fields -->")[0]
    stated, kind_name = [], ""
    for line in table.splitlines()[2:]:
        first, field, type_, meaning = (cell.strip() for cell in line.strip("|").split("|"))
        kind_name = first or kind_name
        stated.append((kind_name, field, type_))
        assert meaning
    assert stated == wanted


def test_the_page_states_notes_bounds_and_first_bytes() -> None:
    note = ", ".join(f"`{name}`" for name in NoteEvent._fields)
    assert f"an array of {len(NoteEvent._fields)}: {note}" in " ".join(PAGE.split())
    for bound in (MAX_HEADER_BYTES, MAX_BLOCK, MAX_NOTES, MAX_STEMS):
        assert f"{bound:,}" in PAGE
    assert f"`{messages.NAME[:-2]}`" in PAGE
    listed = re.findall(r"^\| `(\w+)` \| [^|]+ \| `([0-9a-f ]+)` \|", PAGE, re.MULTILINE)
    assert listed == [(str(kind.__struct_config__.tag), topic(kind).hex(" ")) for kind in KINDS]
