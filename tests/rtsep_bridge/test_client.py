"""Having a mix taken apart from Python: what is sent, what is answered, what is refused."""

import asyncio
import re
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rtsep.engine import Engine
from rtsep.errors import RtsepError
from rtsep.presets import PRESETS
from rtsep.songs import find_separator
from rtsep_bridge.client import WINDOW, AsyncClient, Client
from rtsep_bridge.messages import Control, Hello, Mix, Open, Opened, Refusal, Stems
from rtsep_bridge.sequence import Sender
from tests.rtsep.cli import music
from tests.rtsep_bridge.bridges import serving
from tests.rtsep_bridge.doubles import NAMES, RATE, Double, double, free_address, ramp

PAGE = Path(__file__).parents[2] / "docs/bridge.md"


def served(bridge: Double, *answers: Callable[[Double], None]) -> threading.Thread:
    """A thread that answers one message after the other."""

    def work() -> None:
        for answer in answers:
            bridge.heard = bridge.hear().header
            answer(bridge)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def greet(bridge: Double) -> None:
    bridge.answer(Hello(**Sender(RATE).numbers(Hello, 0), versions=(1, 2), program="a double"))


def opened(bridge: Double) -> None:
    assert isinstance(bridge.heard, Open)
    bridge.mixing = Sender(RATE, bridge.heard.session)
    numbers = bridge.mixing.numbers(Opened, 0)
    bridge.answer(Opened(**numbers, preset="live", latency=64, note_delay=9, stems=NAMES))


def refuse(bridge: Double) -> None:
    numbers = Sender(RATE).numbers(Refusal, 0)
    bridge.answer(Refusal(**numbers, versions=(1,), reason="no engine today; come again"))


def of_another_version(bridge: Double) -> None:
    numbers = Sender(RATE).numbers(Refusal, 0)
    bridge.answer(Refusal(**numbers, versions=(2, 3), reason="version 1 is not spoken here"))


def test_a_mix_goes_and_stems_come() -> None:
    with double() as bridge, Client(bridge.address) as client:
        thread = served(bridge, greet, greet, opened)
        assert client.hello().program == "a double"
        answer = client.open("live", RATE, step=64)
        thread.join()
        assert (answer.latency, answer.stems) == (64, NAMES)
        assert bridge.heard.step == 64
        block = ramp(0, 128, ("a",))
        assert client.send(block, playing=False)
        assert client.send(block, position=77, offline=True)
        for start, position, playing, offline in ((0, 0, False, False), (128, 77, True, True)):
            header, samples = bridge.hear()
            assert isinstance(header, Mix)
            assert (header.sample, header.session) == (start, client.session)
            assert (header.position, header.playing, header.offline) == (position, playing, offline)
            np.testing.assert_array_equal(samples, block)
        assert client.room == WINDOW - 256
        numbers = bridge.mixing.numbers(Stems, 0)
        stems = Stems(**numbers, frames=64, latency=64, stems=NAMES)
        bridge.answer(stems, ramp(0, 64))
        bridge.answer(stems, ramp(0, 64))  # once more: dropped
        message = client.receive(5.0)
        assert message is not None
        assert message.header == stems
        assert client.room == WINDOW - 192
        assert client.receive(0.2) is None
        assert client.counts.repeated == 1
        client.control(stem="drums", mute=True)
        assert isinstance(bridge.hear().header, Control)


def test_stems_of_a_mix_before_are_not_taken_for_this_one() -> None:
    with double() as bridge, Client(bridge.address) as client:
        thread = served(bridge, greet, opened, greet, opened)
        client.open("live", RATE)
        before = bridge.mixing
        client.open("live", RATE)
        thread.join()
        bridge.answer(
            Stems(**before.numbers(Stems, 0), frames=64, latency=64, stems=NAMES), ramp(0, 64)
        )
        assert client.receive(0.2) is None
        assert client.counts.foreign == 1


def test_the_same_beside_other_tasks() -> None:
    async def talk(bridge: Double) -> None:
        async with AsyncClient(bridge.address) as client:
            served(bridge, greet, greet, opened)
            assert (await client.hello()).program == "a double"
            assert (await client.open("live", RATE)).stems == NAMES
            waits = asyncio.create_task(client.receive(5.0))
            await asyncio.sleep(0)
            numbers = bridge.mixing.numbers(Stems, 0)
            stems = Stems(**numbers, frames=64, latency=64, stems=NAMES)
            bridge.answer(stems, ramp(0, 64))
            message = await waits
            assert message is not None
            assert message.header == stems

    with double() as bridge:
        asyncio.run(talk(bridge))


def test_what_cannot_be_is_said_in_one_line() -> None:
    with Client(free_address()) as client:
        with pytest.raises(RtsepError, match=r"no bridge answers at .* within 0\.2 s"):
            client.hello(timeout_s=0.2)
        with pytest.raises(RtsepError, match="no bridge answers"):
            client.open("live", RATE, timeout_s=0.2)
    for answer, said in (
        (refuse, "refuses: no engine today"),
        (of_another_version, "speaks version 2, 3 of the protocol; expected version 1"),
    ):
        with double() as bridge, Client(bridge.address) as client:
            served(bridge, answer)
            with pytest.raises(RtsepError, match=said) as caught:
                client.hello()
            assert "\n" not in str(caught.value)
    with pytest.raises(RtsepError, match=r"tcp://\*"), Client("tcp://*:7610"):
        pass


def test_blocks_that_are_none_and_too_many_on_their_way() -> None:
    with Client(free_address()) as client:
        for block in (np.zeros((1, 9), np.float32), np.zeros(9, np.float32)):
            with pytest.raises(ValueError, match=r"expected \(2, n\)"):
                client.send(block)
        assert client.sample == 0
        block = np.zeros((2, 8192), np.float32)
        for _ in range(8):
            assert client.send(block, offline=True)
        assert client.room == 0
        with pytest.raises(RtsepError, match="receive stems first"):
            client.send(block, offline=True)
        assert client.sample == WINDOW


def test_a_bridge_that_takes_nothing_holds_nobody_up() -> None:
    with Client(free_address()) as client:
        block = np.zeros((2, 1), np.float32)
        for _ in range(5000):
            client.send(block)
        assert client.unsent == 5000 - WINDOW // 16
        assert client.sample == 5000


def example(name: str) -> str:
    """A piece of code of the page."""
    found = re.search(rf"<!-- {name} -->\n```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def test_the_page_works_on_a_real_bridge(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    address = free_address()
    monkeypatch.setattr("rtsep_bridge.client.Client.__init__.__defaults__", (address,))
    monkeypatch.setattr("rtsep_bridge.listener.Listener.__init__.__defaults__", (address,))
    with serving(address):
        names: dict[str, object] = {}
        exec(compile(example("separate"), str(PAGE), "exec"), names)
        said = capsys.readouterr().out
        assert "in Python" not in said
        assert said.startswith("rtsep ")
        assert "they sum to the mix: True" in said

        # The same, to the sample, as an engine that is asked directly.
        audio = music(1.5)
        with Client(address) as client:
            stems = names["separate_over_bridge"](client, audio, RATE)  # type: ignore[operator]
            assert client.counts.lost == client.counts.dropped == client.unsent == 0
            listening = threading.Thread(
                target=exec, args=(compile(example("listen"), str(PAGE), "exec"), {})
            )
            listening.start()
            while listening.is_alive():
                client.send(np.zeros((2, 1024), np.float32))
                client.receive(0.05)
            assert "('drums', " in capsys.readouterr().out
    engine = Engine(find_separator("live"), None, PRESETS["live"])
    engine.prepare(RATE, 1024, 2)
    n = audio.shape[1]
    mix = np.concatenate([audio, np.zeros((2, 2048), np.float32)], axis=1)
    direct = np.zeros((len(engine.stems), 2, mix.shape[1]), np.float32)
    for start in range(0, n + 1024, 1024):
        block = np.ascontiguousarray(mix[:, start : start + 1024])
        out = np.zeros((len(engine.stems), 2, block.shape[1]), np.float32)
        engine.process(block, out)
        direct[:, :, start : start + 1024] = out
    late = engine.latency_samples
    for name, stem in zip(engine.stems, direct[:, :, late : late + n], strict=True):
        np.testing.assert_array_equal(stems[name], stem)
