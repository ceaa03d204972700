"""Listening: what is heard, what is dropped and counted, what is said when nothing comes."""

import asyncio
import re
import time
from pathlib import Path

import numpy as np
import pytest

from rtsep.errors import RtsepError
from rtsep.note_events import NoteEvent
from rtsep_bridge.keys import allow, make_keys
from rtsep_bridge.listener import Listener
from rtsep_bridge.messages import Message, Notes, Stems, encode
from rtsep_bridge.reception import MOST_SESSIONS, Reception, SequenceBook
from rtsep_bridge.sequence import Sender
from tests.rtsep_bridge.doubles import NAMES, Double, double, ramp


def stems_of(message: Message | None) -> tuple[int, int]:
    assert message is not None
    assert isinstance(message.header, Stems)
    return message.header.session, message.header.sample


def drain(listener: Listener) -> list[Message]:
    found = []
    while (message := listener.receive(0.3)) is not None:
        found.append(message)
    return found


def test_what_is_said_is_heard() -> None:
    with double() as bridge, Listener(bridge.address) as listener:
        bridge.await_listener()
        assert listener.receive(0.05) is None
        bridge.stems()
        bridge.notes(NoteEvent(0, 9, "bass", 40, 100))
        for kind, (header, samples) in zip((Stems, Notes), listener, strict=False):
            assert isinstance(header, kind)
            assert header.session == listener.session == bridge.sender.session
            if samples is not None:
                np.testing.assert_array_equal(samples, ramp(0, 128))
        assert listener.connected


def test_it_is_heard_beside_other_tasks() -> None:
    async def listen(bridge: Double) -> list[int]:
        samples = []
        async with Listener(bridge.address) as listener:
            waits = asyncio.create_task(listener.areceive(5.0))
            await asyncio.to_thread(bridge.await_listener)
            bridge.stems()
            samples.append(stems_of(await waits)[1])
            for _ in range(400):
                bridge.stems()
            async for message in listener:
                samples.append(stems_of(message)[1])
                if len(samples) == 401:
                    return samples
        return samples

    with double() as bridge:
        assert asyncio.run(listen(bridge)) == [128 * number for number in range(401)]


def test_only_what_is_asked_for_is_sent() -> None:
    with double() as bridge, Listener(bridge.address, kinds=(Notes,)) as listener:
        bridge.await_listener(1)
        bridge.stems()
        bridge.notes(NoteEvent(0, 9, "bass", 40, 100))
        message = listener.receive(5.0)
        assert message is not None
        assert isinstance(message.header, Notes)


def test_repeated_reordered_and_damaged_messages_are_dropped_and_counted() -> None:
    with double() as bridge, Listener(bridge.address) as listener:
        bridge.await_listener()
        sent = []
        for number in range(6):
            header = Stems(
                **bridge.sender.numbers(Stems, 128 * number), frames=128, latency=0, stems=NAMES
            )
            sent.append(encode(Message(header, ramp(128 * number, 128))))
        for number in (0, 1, 1, 3, 2, 0, 5):
            bridge.pub.send_multipart(sent[number])
        bridge.pub.send_multipart([sent[5][0], b"short"])
        bridge.pub.send_multipart([bytes(sent[5][0])[:7] + b"\x02" + bytes(sent[5][0])[8:]])
        assert [stems_of(m)[1] // 128 for m in drain(listener)] == [0, 1, 3, 5]
        counts = listener.counts
        assert (counts.repeated, counts.lost, counts.dropped) == (3, 1, 0)
        assert counts.malformed == 1  # a message of version 2 is not even subscribed to


def test_a_slow_reader_loses_the_oldest() -> None:
    with double() as bridge, Listener(bridge.address, queue=50) as listener:
        bridge.await_listener()
        heard = []
        for number in range(2000):
            bridge.stems()
            if number % 10 == 9:
                heard.append(stems_of(listener.receive(5.0))[1] // 128)
        assert 1999 - heard[-1] < 1500  # it keeps up with the newest
        heard += [stems_of(m)[1] // 128 for m in drain(listener)]
        assert heard == sorted(set(heard))
        assert heard[-1] == 1999
        assert listener.counts.dropped == 2000 - len(heard) > 0
        assert listener.counts.lost == 0


def test_a_stalled_reader_delays_nobody() -> None:
    with double() as bridge, Listener(bridge.address) as stalled:
        bridge.await_listener()
        with Listener(bridge.address) as listener:
            bridge.await_listener()
            slowest = 0.0
            for number in range(5000):
                begun = time.monotonic()
                bridge.stems()
                if number % 10 == 9:
                    for _ in range(10):
                        assert listener.receive(5.0)
                slowest = max(slowest, time.monotonic() - begun)
            assert listener.counts.lost == listener.counts.dropped == 0
            assert slowest < 2.0
        assert stems_of(stalled.receive(5.0))[0] == bridge.sender.session


def test_a_flood_leaves_the_newest_and_no_growth() -> None:
    reception = Reception(limit=100)
    sender = Sender(48_000)
    block = ramp(0, 128)
    for number in range(20_000):
        header = Stems(**sender.numbers(Stems, 128 * number), frames=128, latency=0, stems=NAMES)
        reception.take([bytes(frame) for frame in encode(Message(header, block))], 0.0)
    waiting = []
    while (message := reception.next()) is not None:
        waiting.append(stems_of(message)[1] // 128)
    assert waiting == list(range(19_900, 20_000))
    assert reception.counts.dropped == 19_900


def test_the_first_session_is_followed_until_it_is_silent() -> None:
    reception = Reception()
    first, second = Sender(48_000), Sender(48_000)

    def say(sender: Sender, now_s: float) -> int | None:
        header = Stems(**sender.numbers(Stems, 0), frames=128, latency=0, stems=NAMES)
        reception.take([bytes(f) for f in encode(Message(header, ramp(0, 128)))], now_s)
        message = reception.next()
        return None if message is None else message.header.session

    assert say(first, 0.0) == first.session
    assert say(second, 1.0) is None
    assert say(first, 2.0) == first.session
    assert say(second, 4.9) is None
    assert say(second, 5.1) == second.session
    assert say(first, 5.2) is None
    assert reception.counts.foreign == 3


def test_a_session_may_be_chosen() -> None:
    with double() as bridge:
        wanted = Sender(48_000)
        with Listener(bridge.address, session=wanted.session) as listener:
            bridge.await_listener()
            bridge.stems()
            bridge.sender = wanted
            bridge.stems(at=0)
            assert stems_of(listener.receive(5.0)) == (wanted.session, 0)
            assert listener.counts.foreign == 1


def test_sessions_are_forgotten_but_not_what_they_lost() -> None:
    book = SequenceBook()
    for session in range(1, 10_000):
        for number in (0, 2):
            numbers = {"session": session, "sequence": number, "sample": 0, "sample_rate": 48_000}
            header = Stems(**numbers, frames=128, latency=0, stems=NAMES)
            assert book.is_new(header)
    assert book.lost == 9_999
    assert len(book._sessions) == MOST_SESSIONS


def test_a_bridge_that_goes_is_heard_when_it_is_back() -> None:
    with double() as bridge, Listener(bridge.address) as listener:
        bridge.await_listener()
        bridge.stems()
        first = stems_of(listener.receive(5.0))[0]
        bridge.close()
        assert listener.receive(0.5) is None
        assert not listener.connected
        time.sleep(3.0)  # as long as a session counts as there
        with double(bridge.address) as again:
            again.await_listener()
            again.stems()
            assert stems_of(listener.receive(10.0)) == (again.sender.session, 0)
            assert again.sender.session != first


def test_keys_that_do_not_fit_are_said_in_one_line(tmp_path: Path) -> None:
    make_keys("server", tmp_path)
    client = make_keys("client", tmp_path).public
    allowing = re.escape(f"--allow NAME '{client[:1]}")
    with double(keys=tmp_path) as bridge:
        plain = bridge.address.partition("?key=")[0]
        for address, said in (
            (bridge.address, f"does not let this machine in.*{allowing}"),
            (f"{plain}?key={client}", "another key than the address says"),
            (plain, r"has keys; expected \?key="),
        ):
            begun = time.monotonic()
            with Listener(address, folder=tmp_path) as listener:
                with pytest.raises(RtsepError, match=said) as caught:
                    listener.receive(10.0)
                assert "\n" not in str(caught.value)
                assert time.monotonic() - begun < 5.0
        allow("me", client, tmp_path)
        with Listener(bridge.address, folder=tmp_path) as listener:
            bridge.await_listener()
            bridge.stems()
            assert stems_of(listener.receive(5.0))[1] == 0
