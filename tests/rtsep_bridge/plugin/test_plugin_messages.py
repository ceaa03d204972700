"""The plugin's own reader and writer of messages, against the one in Python.

``RTSEP_FUZZ=1000000`` damages that many messages instead of 200,000.
"""

import os
import random
import struct
import subprocess
from collections.abc import Iterable
from types import SimpleNamespace

import msgspec

from rtsep_bridge.messages import MalformedMessage, Message, Reason, StatusReport, decode, encode
from tests.rtsep_bridge.test_messages import GOLDEN, HEADERS, SAMPLES, damaged, raw

WHOLE = [raw(kind) for kind in HEADERS]


def packed(messages: Iterable[list[bytes]]) -> bytes:
    """As `messages_check` reads them."""
    out = []
    for frames in messages:
        out.append(struct.pack("<I", len(frames)))
        out += [struct.pack("<I", len(frame)) + frame for frame in frames]
    return b"".join(out)


def check(plugin: SimpleNamespace, messages: list[list[bytes]], *args: str) -> list[str]:
    done = subprocess.run(
        [plugin.messages_check, *args], input=packed(messages), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return done.stdout.decode().splitlines()


def said(frames: list[bytes]) -> str:
    """What `messages_check` should print."""
    try:
        message = decode(frames)
    except MalformedMessage as error:
        return error.reason.value
    return "-" if isinstance(message.header, StatusReport) else encode(message)[0].hex()


def test_golden_bytes_are_read_and_written(plugin: SimpleNamespace) -> None:
    frames = [
        [bytes.fromhex(GOLDEN[kind]), *([bytes.fromhex(SAMPLES[kind])] if kind in SAMPLES else [])]
        for kind in GOLDEN
    ]
    wanted = ["-" if kind == "status" else GOLDEN[kind] for kind in GOLDEN]
    assert check(plugin, frames) == wanted


def test_both_readers_take_and_refuse_the_same(plugin: SimpleNamespace) -> None:
    random_ = random.Random(9)
    messages = [damaged(random_, WHOLE) for _ in range(20_000)]
    # Which reason is given first may differ where there are several, and the plugin does
    # not look into a status.
    vague = {Reason.HEADER.value, Reason.FIELDS.value}
    taken = 0
    for frames, found in zip(messages, check(plugin, messages), strict=True):
        wanted = said(frames)
        if found == "-":
            continue
        assert found == wanted or {found, wanted} <= vague, frames
        taken += len(wanted) > len(Reason.FRAMES.value) and " " not in wanted
    assert taken > 1000


def test_every_number_has_its_shortest_form(plugin: SimpleNamespace) -> None:
    edges = [0, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**62]
    edges += [-1, -32, -33, -128, -129, -32_768, -32_769, -(2**31), -(2**31) - 1, -(2**62)]
    header = HEADERS["mix"]
    samples = decode(raw("mix")).samples
    messages = []
    for edge in edges:
        moved = msgspec.structs.replace(header, sample=edge, position=-edge)
        messages.append([bytes(frame) for frame in encode(Message(moved, samples))])
    assert check(plugin, messages) == [frames[0].hex() for frames in messages]


def test_damage_is_refused_and_the_next_message_served(plugin: SimpleNamespace) -> None:
    """Under the address and undefined behaviour sanitizers, which end the program."""
    count = int(os.environ.get("RTSEP_FUZZ", "200000"))
    lines = check(plugin, WHOLE, str(count), "4")
    counts = {line.partition(" ")[2]: int(line.partition(" ")[0]) for line in lines[:-1]}
    assert lines[-1] == f"{len(WHOLE)} whole messages taken"
    assert sum(counts.values()) == count
    assert set(counts) == {reason.value for reason in Reason} | {"a message"}
    assert min(counts.values()) > 0
