"""The bridge's server as programs find it: real processes, real sockets."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import zmq

from rtsep.bundle import load_bundle
from rtsep.engine import Engine
from rtsep.errors import RtsepError
from rtsep.presets import PRESETS
from rtsep_bridge import keys
from rtsep_bridge.client import Client
from rtsep_bridge.messages import (
    Control,
    Hello,
    Message,
    Mix,
    Notes,
    Open,
    Opened,
    Refusal,
    Stems,
    decode,
    encode,
)
from rtsep_bridge.sequence import Sender
from tests.rtsep import models
from tests.rtsep.cli import CommandLine, music
from tests.rtsep_bridge.bridges import Bridge, Caller, calling, serving
from tests.rtsep_bridge.test_messages import damaged
from tests.rtsep_bridge.test_messages import raw as whole

BLOCK = 128


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save(models.tcn_taps(), tmp_path_factory.mktemp("model") / "model.onnx")


@pytest.fixture
def bridge(tmp_path: Path, model: Path) -> Iterator[Bridge]:
    with serving(f"ipc://{tmp_path}/bridge", "--model", str(model), "--no-notes") as bridge:
        yield bridge


def song(seconds: float = 1.0) -> np.ndarray:
    audio = music(seconds)
    return audio[:, : audio.shape[1] // BLOCK * BLOCK]


def reference(model: Path, audio: np.ndarray) -> np.ndarray:
    """The stems as the engine gives them, without their latency."""
    engine = Engine(load_bundle(str(model)), None, PRESETS["live"], device="cpu")
    engine.prepare(48_000, BLOCK, 2, step=BLOCK)
    out = np.zeros((len(engine.stems), 2, audio.shape[1]), np.float32)
    for at in range(0, audio.shape[1], BLOCK):
        block = np.ascontiguousarray(audio[:, at : at + BLOCK])
        engine.process(block, out[:, :, at : at + BLOCK])
    return out.reshape(-1, audio.shape[1])[:, engine.latency_samples :]


def until(true: object, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_mix_becomes_the_engines_stems(bridge: Bridge, model: Path) -> None:
    audio = song()
    with calling(bridge.address) as caller:
        opened = caller.open()
        assert opened.stems == models.STEMS
        caller.play(audio)
        n = audio.shape[1] - opened.latency
        stems = caller.stems(n)
        np.testing.assert_allclose(stems, reference(model, audio)[:, :n], atol=1e-7)
        sums = [stems[side::2].sum(axis=0) for side in (0, 1)]
        np.testing.assert_allclose(sums, audio[:, :n], atol=1e-6)
        status = caller.status()
        assert (status.state, status.misses, status.frames) == ("playing", 0, audio.shape[1])
    assert bridge.stop() == 0
    assert bridge.said[-1] == "rtsep: the bridge is closed"


def test_mixes_do_not_hear_each_other_and_listeners_hear_all(bridge: Bridge, model: Path) -> None:
    context = zmq.Context()
    listener = context.socket(zmq.SUB)
    listener.set_hwm(0)
    listener.subscribe(b"")
    listener.connect(bridge.address + ".pub")
    songs = song(), song()[:, ::-1]
    with calling(bridge.address) as one, calling(bridge.address) as other:
        callers = one, other
        opened = [caller.open() for caller in callers]
        threads = [
            threading.Thread(target=caller.play, args=(np.ascontiguousarray(audio),))
            for caller, audio in zip(callers, songs, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        n = songs[0].shape[1] - opened[0].latency
        for caller, audio in zip(callers, songs, strict=True):
            np.testing.assert_allclose(caller.stems(n), reference(model, audio)[:, :n], atol=1e-7)
        heard: dict[int, int] = {}
        while listener.poll(500):
            header = decode(listener.recv_multipart()).header
            if isinstance(header, Stems):
                heard[header.session] = heard.get(header.session, 0) + header.frames
        # Whoever joins late has missed something, nobody has heard of strangers.
        assert heard.keys() == {caller.sender.session for caller in callers}
        assert min(heard.values()) > n // 2
    context.destroy(linger=0)


def test_an_engine_that_is_killed_is_followed_by_another(bridge: Bridge, model: Path) -> None:
    audio = song(2.0)
    half = audio.shape[1] // 2 // BLOCK * BLOCK
    with calling(bridge.address) as caller:
        opened = caller.open()
        caller.send(Control(**caller.sender.numbers(Control, 0), stem="drums", mute=True))
        caller.wait_for(Control)
        caller.play(audio[:, :half])
        old = bridge.engines()[0]
        old.kill()
        again = caller.wait_for(Opened)
        assert again.latency == opened.latency
        caller.play(audio[:, half:])
        assert old.pid not in {engine.pid for engine in bridge.engines()}
        n = audio.shape[1] - half - opened.latency
        expected = reference(model, audio[:, half:])[:, :n]
        stems = caller.stems(half + n)
        np.testing.assert_allclose(stems[2:, half:], expected[2:], atol=1e-7)
        assert not stems[:2, half:].any()  # what was muted stays muted
        numbers = [header.sequence for header in caller.of(Stems)]
        assert numbers == sorted(set(numbers))
        status = caller.status()
        assert status.restarts == 1
        assert "ended by itself" in status.message
    bridge.stop()
    assert any("another takes its place" in line for line in bridge.said)


def test_a_session_whose_engines_die_again_and_again_ends(bridge: Bridge) -> None:
    with calling(bridge.address) as caller:
        caller.open()
        for _ in range(2):
            bridge.engines()[0].kill()
            caller.wait_for(Opened)
        bridge.engines()[0].kill()
        assert "too often" in caller.refusal()
        caller.mix(np.zeros((2, BLOCK), np.float32))
        assert "open it first" in caller.refusal()
        caller.open(hello=False)
        caller.play(song(0.2))


def test_a_flood_delays_nobody_for_long(bridge: Bridge) -> None:
    """Of good blocks without end, and of nonsense."""
    audio = song(3.0)
    stop = threading.Event()

    def flood() -> None:
        random_ = random.Random(1)
        messages = [whole(kind) for kind in ("mix", "control", "hello", "stems")]
        with calling(bridge.address) as caller:
            caller.open()
            block = np.zeros((2, BLOCK), np.float32)
            caller.socket.set_hwm(100)
            while not stop.is_set():
                caller.mix(block, offline=False)
                caller.socket.send_multipart(damaged(random_, messages) or [b""])

    flooder = threading.Thread(target=flood)
    flooder.start()
    try:
        with calling(bridge.address) as caller:
            opened = caller.open()
            delays = []
            start = time.perf_counter()
            for number in range(audio.shape[1] // BLOCK):
                while time.perf_counter() < start + number * BLOCK / 48_000:
                    caller.take(0.001)
                caller.mix(audio[:, number * BLOCK :][:, :BLOCK], offline=False)
                delays.append(caller.position - caller.heard)
            until(lambda: caller.take(0.1) is False or caller.heard == caller.position)
            assert caller.heard == caller.position
            n = audio.shape[1] - opened.latency
            assert not np.isnan(caller.stems(n)).any()  # none of ours was dropped
            assert np.median(delays) < 9_600
    finally:
        stop.set()
        flooder.join()
    rss = bridge.rss()
    assert rss < 600 << 20


def test_who_vanishes_is_forgotten_with_the_engine(bridge: Bridge) -> None:
    code = (
        f"import sys, time; sys.path[:] = {sys.path!r}\n"
        "from tests.rtsep_bridge.bridges import *\n"
        f"caller = Caller({bridge.address!r}); caller.open(); print(flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    until(lambda: len(bridge.engines()) == 2)
    child.kill()
    child.communicate()
    until(lambda: len(bridge.engines()) == 1)


def test_who_does_not_read_delays_nobody(bridge: Bridge) -> None:
    with calling(bridge.address) as deaf, calling(bridge.address) as caller:
        deaf.open()
        deaf.socket.close()
        deaf.socket = deaf.context.socket(zmq.DEALER)
        deaf.socket.set_hwm(1)
        deaf.socket.setsockopt(zmq.RCVBUF, 4096)
        deaf.socket.connect(bridge.address)
        deaf.open()
        deaf.socket.set_hwm(0)
        before = bridge.rss()
        block = np.zeros((2, 8 * BLOCK), np.float32)
        for _ in range(500):
            deaf.mix(block, offline=False)
            time.sleep(0.002)
        opened = caller.open()
        audio = song(0.5)
        caller.play(audio)
        assert not np.isnan(caller.stems(audio.shape[1] - opened.latency)).any()
        assert bridge.rss() - before < 100 << 20
    bridge.stop()


def test_damaged_messages_are_dropped_and_the_next_good_one_is_served(bridge: Bridge) -> None:
    random_ = random.Random(7)
    messages = [whole(kind) for kind in ("hello", "open", "mix", "stems", "notes", "control")]
    count = int(os.environ.get("RTSEP_FUZZ", "50000"))
    with calling(bridge.address) as caller:
        caller.hello()
        caller.socket.set_hwm(1000)
        before = 0
        for number in range(count):
            caller.socket.send_multipart(damaged(random_, messages) or [b""])
            if number % 1000 == 0:
                caller.take()
                caller.came.clear()
            if number == count // 2:
                before = bridge.rss()
        while caller.take(1.0):
            caller.came.clear()
    with calling(bridge.address) as caller:
        opened = caller.open()
        audio = song(0.3)
        caller.play(audio)
        assert not np.isnan(caller.stems(audio.shape[1] - opened.latency)).any()
    assert bridge.process.poll() is None
    assert bridge.rss() - before < 32 << 20


def test_only_what_is_newer_is_used(bridge: Bridge, model: Path) -> None:
    """A mix that comes twice, late, and with a hole in it."""
    audio = song(0.5)
    with calling(bridge.address) as caller:
        opened = caller.open()
        blocks = [
            encode(
                Message(
                    Mix(
                        **caller.sender.numbers(Mix, at),
                        frames=BLOCK,
                        position=0,
                        playing=True,
                        offline=True,
                    ),
                    np.ascontiguousarray(audio[:, at : at + BLOCK]),
                )
            )
            for at in range(0, 100 * BLOCK, BLOCK)
        ]
        order = [*range(50), 10, 49, 49, 51, 50, *range(52, 100), 3]
        for number in order:
            caller.socket.send_multipart(blocks[number])
        heard = audio[:, : 100 * BLOCK].copy()
        heard[:, 50 * BLOCK : 51 * BLOCK] = 0.0  # it came after its successor
        caller.position = 100 * BLOCK
        until(lambda: caller.take(0.1) is False or caller.heard == caller.position)
        n = heard.shape[1] - opened.latency
        np.testing.assert_allclose(caller.stems(n), reference(model, heard)[:, :n], atol=1e-7)


def test_what_cannot_be_served_is_refused_with_the_reason(tmp_path: Path, model: Path) -> None:
    address = f"ipc://{tmp_path}/bridge"
    options = "--model", str(model), "--no-notes", "--sessions", "1"
    with serving(address, *options), calling(address) as caller:
        caller.mix(np.zeros((2, BLOCK), np.float32))
        assert "say hello first" in caller.refusal()
        caller.send(Hello(**caller.sender.numbers(Hello, 0), versions=(2, 3), program="new"))
        assert "version 1 is spoken here" in caller.refusal()
        caller.hello()
        caller.mix(np.zeros((2, BLOCK), np.float32))
        assert "open it first" in caller.refusal()
        for preset, wanted in (("offline", "lowest"), ("loud", "lowest")):
            caller.send(Open(**Sender(48_000).numbers(Open, 0), preset=preset, step=1))
            assert wanted in caller.refusal()
        caller.send(Open(**Sender(8_000).numbers(Open, 0), preset="live", step=1))
        assert "8000 Hz" in caller.refusal()
        caller.open()
        caller.mix(np.zeros((2, 100), np.float32))
        assert "multiples of 128" in caller.refusal()
        with calling(address) as second:
            second.hello()
            second.send(Open(**second.sender.numbers(Open, 0), preset="live", step=1))
            assert "1 mixes are open here already" in second.refusal()
        with calling(address) as thief:
            thief.hello()
            thief.send(Open(**caller.sender.numbers(Open, 0), preset="live", step=1))
            thief.wait_for(Refusal)
        caller.mix(np.zeros((2, BLOCK), np.float32))
        caller.send(Control(**caller.sender.numbers(Control, 0), stem="tuba", mute=True))
        assert "one of drums" in caller.refusal()


def test_a_session_belongs_to_its_connection(bridge: Bridge) -> None:
    with calling(bridge.address) as caller, calling(bridge.address) as thief:
        caller.open()
        thief.hello()
        thief.send(Open(**caller.sender.numbers(Open, 0), preset="live", step=1))
        assert "somebody else's" in thief.refusal()
        header = Control(**caller.sender.numbers(Control, 0), stem="drums", mute=True)
        thief.send(header)
        assert "open it first" in thief.refusal()


def test_connections_without_end_do_not_shut_others_out(bridge: Bridge) -> None:
    with calling(bridge.address) as caller:
        caller.open()
        crowd = [Caller(bridge.address) for _ in range(80)]
        for one in crowd:
            one.hello()
        caller.play(song(0.2))
        for one in crowd:
            one.close()


def test_notes_come_with_the_stems(tmp_path: Path, model: Path) -> None:
    address = f"ipc://{tmp_path}/bridge"
    with serving(address, "--model", str(model)), calling(address) as caller:
        opened = caller.open()
        caller.play(song(3.0))
        assert opened.note_delay > 0
        assert caller.notes()
        for header in caller.of(Notes):
            assert header.session == caller.sender.session


def test_engines_end_with_a_server_that_is_killed(bridge: Bridge) -> None:
    with calling(bridge.address) as caller:
        caller.open()
        until(lambda: len(bridge.engines()) == 2)
        engines = bridge.engines()
        bridge.stop(signal.SIGKILL)
        psutil.wait_procs(engines, timeout=10)
        assert not any(engine.is_running() for engine in engines)


def test_a_server_comes_back_to_the_same_address(tmp_path: Path, model: Path) -> None:
    address = f"ipc://{tmp_path}/bridge"
    options = "--model", str(model), "--no-notes"
    with calling(address) as caller:
        with serving(address, *options) as first:
            caller.open()
            caller.play(song(0.2))
            first.stop(signal.SIGKILL)
        with serving(address, *options):
            caller.mix(np.zeros((2, BLOCK), np.float32))
            assert "hello" in caller.refusal()
            caller.open()
            caller.play(song(0.2))


def test_an_address_that_cannot_be_served_is_refused(
    rtsep: CommandLine, bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RTSEP_BRIDGE_KEYS", str(rtsep.folder / "keys"))

    def refused(*words: str) -> str:
        outcome = rtsep("bridge", "serve", *words)
        assert outcome.status == 2, outcome
        assert outcome.err.count("\n") == 1
        return outcome.err

    assert "somebody else serves there" in refused("--bind", bridge.address)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert "somebody else" in refused("--bind", f"tcp://127.0.0.1:{port}")
    (rtsep.folder / "file").touch()
    assert "is a file" in refused("--bind", f"ipc://{rtsep.folder}/file")
    assert "is no folder" in refused("--bind", f"ipc://{rtsep.folder}/none/bridge")
    assert "no server keys" in refused("--bind", "tcp://0.0.0.0:7610")
    assert rtsep("bridge", "keys").status == 0
    assert "nobody is allowed in" in refused("--bind", "tcp://0.0.0.0:7610")
    assert "--sessions 0" in refused("--sessions", "0")


def test_a_bridge_with_keys_lets_in_who_is_allowed(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, stranger = tmp_path / "home", tmp_path / "stranger"
    server, client = keys.make_keys("server", home), keys.make_keys("client", home)
    keys.make_keys("client", stranger)
    keys.allow("us", client.public, home)
    monkeypatch.setenv(keys.FOLDER_VARIABLE, str(home))
    address = f"ipc://{tmp_path}/bridge"
    with serving(address, "--model", str(model), "--no-notes", "--keys") as bridge:
        assert f"?key={server.public}" in bridge.said[-1]
        audio = song(0.3)
        with Client(f"{address}?key={server.public}", folder=home) as allowed:
            opened = allowed.open(sample_rate=48_000, preset="live", step=BLOCK)
            assert opened.stems == models.STEMS
            allowed.send(audio[:, :BLOCK])
        for where, folder, why in (
            (f"{address}?key={server.public}", stranger, "does not let this machine in"),
            (f"{address}?key={client.public}", home, "another key"),
            (address, home, "keys"),
        ):
            with Client(where, folder=folder) as refused, pytest.raises(RtsepError, match=why):
                refused.hello()
