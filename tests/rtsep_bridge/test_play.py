"""Playing a bridge's stems on a JACK server: in their place, through drift and trouble."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from rtsep import probes
from rtsep.bench.probe import Probe
from rtsep.errors import AudioError, SetupError
from rtsep.live.jack_host import JackHost
from rtsep_bridge.listener import Listener
from rtsep_bridge.play import KINDS, Player
from tests.rtsep.cli import CommandLine
from tests.rtsep.live.servers import Server, jack_server
from tests.rtsep_bridge.doubles import RATE, Double, double

ROOT = Path(__file__).parents[2]
NAMES = ("a", "b")
PORTS = ("a_L", "a_R", "b_L", "b_R", "monitor_L", "monitor_R")
PERIOD = 4096
BUFFER_S = 0.1
BLOCK = 256
TRIES = 20


def spiral(start: int, n: int) -> np.ndarray:
    angle = 2 * np.pi * np.arange(start, start + n) / PERIOD
    pair = 0.5 * np.stack([np.cos(angle), np.sin(angle)])
    return np.concatenate([0.25 * pair, 0.75 * pair]).astype(np.float32)


class Sender:
    """Says a block whenever its own clock says so."""

    def __init__(self, bridge: Double, ppm: float = 0.0) -> None:
        self.bridge, self.ppm = bridge, ppm
        self._stop = threading.Event()
        self.pause = 0.0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            due += BLOCK / (RATE * (1 + 1e-6 * self.ppm))
            if self.pause:
                time.sleep(self.pause)
                self.pause = 0.0
            time.sleep(max(0.0, due - time.monotonic()))
            self.bridge.stems(BLOCK, names=NAMES, samples=spiral(self.bridge.at, BLOCK))

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


class Rig:
    """A double that sends, and a player on a server."""

    def __init__(self, server: Server, bridge: Double, ppm: float, hears: bool) -> None:
        # Before anything plays, which would be disturbed.
        self.probe: Probe | None = None
        self.sent = 0
        if hears:
            self.probe = Probe(server.name, PORTS, np.zeros((2, RATE), np.float32), 1 << 18)
            self.probe.__enter__()
        self.said: list[str] = []
        self.listener = Listener(bridge.address, kinds=KINDS)
        bridge.await_listener(1)
        self.player = Player(
            self.listener,
            lambda jitter: JackHost(name="rtsep-test", server=server.name, follow=jitter.follow),
            BUFFER_S,
            say=self.said.append,
        )
        self.sender = Sender(bridge, ppm)

    def until(self, condition: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, (what, self.said)
            self.player.step()

    def run(self, seconds: float) -> None:
        stop = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > stop, "", seconds + 5)

    def close(self) -> None:
        self.sender.close()
        self.player.close()
        self.listener.close()
        if self.probe is not None:
            self.probe.close()


@contextmanager
def rig(server: Server, ppm: float = 0.0, *, hears: bool = False) -> Iterator[Rig]:
    with double() as bridge:
        there = Rig(server, bridge, ppm, hears)
        try:
            yield there
        finally:
            there.close()


def hear(there: Rig, seconds: float, pause_s: float = 0.0) -> np.ndarray:
    """What the ports put out for a while: stems, and their sum."""
    frames, probe = round(seconds * RATE), there.probe
    assert probe is not None
    for channel, port in zip(PORTS, probe._sink.ports, strict=True):
        if not port.connections:
            probe._sink.client.connect(f"rtsep-test:{channel}", port.name)
    there.run(1.0)
    there.sender.pause = pause_s
    there.run(seconds)
    clock, there.sent = probe.clock, there.sender.bridge.at
    return probe.read(clock - frames, frames)


def hear_in_time(there: Rig, seconds: float) -> np.ndarray:
    """The same, of a while in which nothing was late: others may use the machine."""
    probe, frames = there.probe, round(seconds * RATE)
    assert probe is not None

    def faults() -> tuple[int, ...]:
        played, jitter = there.player.played(), there.player.jitter
        assert jitter is not None
        return played.underruns, played.lost, played.breaks, played.xruns, jitter.drift.jumps

    for _ in range(TRIES):
        there.until(lambda: there.player.in_step, "stems")
        before = faults()
        out = hear(there, seconds)
        whole = probe.whole(probe.clock - frames, probe.clock)
        if whole and there.player.in_step and faults() == before:
            return out
    raise AssertionError(f"something was late {TRIES} times in a row: {there.player.played()}")


@pytest.mark.parametrize("ppm", [0.0, 200.0, -200.0])
def test_the_ports_play_what_comes(ppm: float) -> None:
    with jack_server(128) as server, rig(server, ppm, hears=True) as there:
        there.until(lambda: there.player.in_step, "stems")
        there.run(3.0)
        jitter = there.player.jitter
        assert jitter is not None
        there.until(lambda: abs(jitter.drift.error_samples) < 150, "its place", 45.0)
        out = hear_in_time(there, 2.0)
        np.testing.assert_allclose(np.hypot(out[0], out[1]), 0.125, atol=5e-6)
        np.testing.assert_allclose(out[2:4], 3 * out[:2], atol=5e-6)
        np.testing.assert_allclose(out[4:], 4 * out[:2], atol=5e-6)
        assert jitter.buffer == round(BUFFER_S * RATE)
        assert f"{jitter.buffer} samples (100.0 ms) after they come" in there.said[-1]
        assert there.player.played().lost == 0
        # How far the last sample is behind the sender; what is exact about it is tested
        # with simulated clocks, where nobody else uses the machine.
        phase = np.arctan2(out[1, -1], out[0, -1]) / (2 * np.pi) * PERIOD
        late = there.sent - phase - jitter.buffer
        assert abs((late + PERIOD / 2) % PERIOD - PERIOD / 2) < 1000


def test_a_network_that_stands_still_is_faded_counted_and_back_in_its_place() -> None:
    with jack_server(128) as server, rig(server, hears=True) as there:
        there.until(lambda: there.player.in_step, "stems")
        there.run(2.0)
        before = there.player.played().underruns
        out = hear(there, 3.0, pause_s=0.4)
        played = there.player.played()
        assert played.underruns > before
        assert (played.lost, played.breaks) == (0, 0)
        for row in out:
            assert np.abs(np.diff(row, 3)).max() < 1e-3
        assert np.hypot(out[0], out[1]).min() < 1e-3
        out = hear_in_time(there, 1.0)
        np.testing.assert_allclose(np.hypot(out[0], out[1]), 0.125, atol=5e-6)


def test_a_bridge_that_goes_is_waited_for() -> None:
    with jack_server(128) as server, rig(server, hears=True) as there:
        there.until(lambda: there.player.in_step, "stems")
        address = there.sender.bridge.address
        there.sender.close()
        there.sender.bridge.close()
        there.until(lambda: any("waiting for them" in line for line in there.said), "a word")
        with double(address) as again:
            again.await_listener(1)
            there.sender = Sender(again)
            there.until(lambda: "stems come from" in there.said[-1], "stems again")
            there.until(lambda: there.player.in_step, "stems")
            out = hear_in_time(there, 1.0)
            np.testing.assert_allclose(np.hypot(out[0], out[1]), 0.125, atol=5e-6)
            there.sender.close()


def test_a_server_that_goes_is_waited_for() -> None:
    with jack_server(128) as server, rig(server) as there:
        there.until(lambda: there.player.in_step, "stems")
        server.kill()
        there.until(lambda: "has gone" in there.said[-1], "a word")
        there.run(1.5)
        server.start()
        there.until(lambda: there.player.in_step, "stems")
        assert "playing a, b" in there.said[-1]


def test_other_stems_get_other_ports() -> None:
    with jack_server(128) as server, rig(server) as there:
        there.until(lambda: there.player.in_step, "stems")
        there.sender.close()
        bridge = there.sender.bridge
        for number in range(40):
            bridge.stems(names=("c",), samples=spiral(128 * number, 128)[:2])
        there.until(lambda: "playing c:" in there.said[-1], "other ports")
        assert there.player.jitter is not None
        assert there.player.jitter.channels[:2] == ("c_L", "c_R")


def test_another_rate_is_refused_with_what_to_do() -> None:
    said = r"48,000 Hz, while JACK runs at 44,100 Hz.*-r 48000"
    with (
        jack_server(128, 44_100) as server,
        rig(server) as there,
        pytest.raises(AudioError, match=said),
    ):
        there.until(lambda: False, "a refusal")


def test_without_a_server_it_says_so() -> None:
    server = Server(RATE, 128, False)
    server.name = "rtsep-nobody"
    with rig(server) as there, pytest.raises(SetupError, match="no JACK server 'rtsep-nobody'"):
        there.until(lambda: False, "a refusal")


def environment_of(server: str) -> dict[str, str]:
    """For a program that is to find rtsep and a JACK server."""
    paths = os.pathsep.join(str(path) for path in (ROOT, ROOT / "bridge"))
    return {**os.environ, "PYTHONPATH": paths, "JACK_DEFAULT_SERVER": server}


def start_play(*options: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    """`rtsep bridge play` in a process of its own, which Ctrl-C reaches."""
    return subprocess.Popen(
        [sys.executable, "-m", "rtsep", "bridge", "play", *options],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_the_command_plays_until_it_is_told_to_end(tmp_path: Path) -> None:
    with jack_server(128) as server, double() as bridge:
        child = start_play("--address", bridge.address, environment=environment_of(server.name))
        bridge.await_listener(1)
        sender = Sender(bridge)
        try:
            assert child.stderr is not None
            said = [child.stderr.readline(), child.stderr.readline()]
            assert "playing a, b: 960 samples (20.0 ms) after they come" in said[1]
            time.sleep(1.5)
            child.send_signal(signal.SIGINT)
            out, rest = child.communicate(timeout=20)
        finally:
            child.kill()
            sender.close()
    assert (child.returncode, out) == (0, "")
    assert "rtsep: played 0.0 minutes" in rest
    assert "Traceback" not in rest


def test_the_command_plays_through_portaudio() -> None:
    words = ("--host", "portaudio", "--output", "rtsep-bench-sink")
    # PortAudio finds clients of a JACK server as its devices, and our probe is one.
    with (
        jack_server(128) as server,
        double() as bridge,
        Probe(server.name, PORTS, np.zeros((2, RATE), np.float32), 1 << 19) as probe,
    ):
        environment = environment_of(server.name)
        devices = subprocess.run(
            [sys.executable, "-c", probes.PORTAUDIO],
            env=environment,
            capture_output=True,
            check=False,
        )
        if b"JACK" not in devices.stdout:
            pytest.skip("PortAudio knows no JACK here (Debian: libportaudio2)")
        child = start_play(*words, "--address", bridge.address, environment=environment)
        bridge.await_listener(1)
        sender = Sender(bridge)
        try:
            # Others may use the machine: a second in which nothing was late.
            for _ in range(TRIES):
                probe.wait(probe.clock + 2 * RATE)
                out = probe.read(probe.clock - RATE, RATE)
                if (np.abs(np.hypot(out[0], out[1]) - 0.125) < 5e-6).all():
                    break
            else:
                pytest.fail("no second of stems without a fault")
            child.send_signal(signal.SIGINT)
            _, said = child.communicate(timeout=20)
        finally:
            child.kill()
            sender.close()
    assert child.returncode == 0, said
    assert "playing a, b: 960 samples (20.0 ms) after they come" in said
    assert "Traceback" not in said
    np.testing.assert_allclose(out[2:4], 3 * out[:2], atol=5e-6)
    np.testing.assert_allclose(out[4:], 4 * out[:2], atol=5e-6)


def test_what_cannot_be_is_said(rtsep: CommandLine) -> None:
    assert "auto, jack or portaudio" in rtsep.refuses("bridge", "play", "--host", "alsa")
    portaudio = ("bridge", "play", "--host", "portaudio")
    assert "--connect without JACK" in rtsep.refuses(*portaudio, "--connect", "x")
    assert "its server to decide" in rtsep.refuses(*portaudio[:3], "jack", "--block", "64")
    assert "3 to 150 milliseconds" in rtsep.refuses("bridge", "play", "--buffer", "1")
    assert "a regular expression" in rtsep.refuses(*portaudio[:3], "jack", "--connect", "(")
    assert "without a key" in rtsep.refuses(*portaudio, "--address", "tcp://x:1")
