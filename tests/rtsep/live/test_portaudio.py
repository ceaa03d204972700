"""PortAudio: on a real JACK server in a child process, and on devices that are made up."""

import ctypes
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtsep import probes
from rtsep.bench.clicks import ClickDetector
from rtsep.bench.probe import Probe
from rtsep.errors import AudioError, SetupError
from rtsep.kernels import portaudio_callbacks as cb
from rtsep.kernels import tables
from rtsep.live import portaudio_host
from rtsep.live.devices import Device
from rtsep.live.drift import Drift
from rtsep.live.handover import Handover
from rtsep.live.portaudio_host import JACK, PortAudioHost, common_clock, device_channels
from tests.rtsep import models
from tests.rtsep.live.rig import PORTS, STEM_PORTS, bundle_file, song, tone
from tests.rtsep.live.servers import Server, jack_server

ROOT = Path(__file__).parents[3]
STEMS = ("drums_L", "drums_R", "other_L", "other_R")
MONITOR = ("monitor_L", "monitor_R")


# --- which channel goes where -------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (8, (*STEMS, *MONITOR)),
        (6, (*STEMS, *MONITOR)),
        (5, STEMS),
        (4, STEMS),
        (3, MONITOR),
        (2, MONITOR),
    ],
)
def test_stems_take_channel_pairs_in_order(width: int, expected: tuple[str, ...]) -> None:
    places = device_channels((*STEMS, *MONITOR), width)
    assert sorted(places, key=places.__getitem__) == list(expected)
    assert sorted(places.values()) == list(range(len(expected)))


def test_a_clock_is_common_on_one_device_and_on_one_jack_server() -> None:
    def device(index: int, api: str) -> Device:
        return Device(index, f"card {index}", api, 2, 2, 48_000)

    assert common_clock(device(0, "ALSA"), device(0, "ALSA"))
    assert common_clock(device(0, JACK), device(1, JACK))
    assert not common_clock(device(0, "ALSA"), device(1, "ALSA"))
    assert not common_clock(device(0, JACK), device(1, "ALSA"))


# --- a PortAudio that is made up ----------------------------------------------------


class FakeStream:
    """Keeps what a stream was opened with; `call` is what a device would do."""

    def __init__(self, system: "FakePortAudio", **settings: Any) -> None:
        self.settings = settings
        self.active = False
        self.latency = (0.01, 0.02) if settings["kind"] == "duplex" else 0.01
        self._system = system
        if system.refuses:
            raise system.PortAudioError("Error opening stream: Device unavailable")
        system.streams.append(self)

    def start(self) -> None:
        self.active = True

    def abort(self, ignore_errors: bool) -> None:
        if self._system.hangs:
            time.sleep(60)

    def close(self, ignore_errors: bool) -> None:
        self.active = False

    def call(self, n: int, heard: np.ndarray, played: np.ndarray, flags: int = 0) -> None:
        kind = ctypes.CFUNCTYPE(
            ctypes.c_int,
            *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ulong),
            *(ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p),
        )
        kind(self.settings["callback"])(
            heard.ctypes.data, played.ctypes.data, n, None, flags, self.settings["userdata"]
        )


class FakePortAudio:
    """What of sounddevice the host uses."""

    class PortAudioError(Exception):
        pass

    def __init__(self, devices: list[Device], rates: set[int]) -> None:
        self._devices, self._rates = devices, rates
        self.streams: list[FakeStream] = []
        self.refuses = self.hangs = False
        self.default = type("default", (), {"hostapi": 0})
        self._ffi = type("ffi", (), {"cast": staticmethod(lambda kind, address: address)})
        self.restarts = 0

    def _StreamBase(self, **settings: Any) -> FakeStream:  # noqa: N802
        return FakeStream(self, **settings)

    def query_hostapis(self, index: int | None = None) -> Any:
        def default(direction: str) -> int:
            able = [d.index for d in self._devices if getattr(d, f"{direction}s") > 0]
            return able[0] if able else -1

        apis = [
            {
                "name": "ALSA",
                "default_input_device": default("input"),
                "default_output_device": default("output"),
            }
        ]
        return apis if index is None else apis[index]

    def query_devices(self) -> list[dict[str, Any]]:
        return [
            {
                "name": device.name,
                "hostapi": 0,
                "max_input_channels": device.inputs,
                "max_output_channels": device.outputs,
                "default_samplerate": float(device.sample_rate),
                "default_low_input_latency": 0.01,
                "default_low_output_latency": 0.02,
            }
            for device in self._devices
        ]

    def check_input_settings(self, device: int, channels: int, *rest: Any) -> None:
        if rest[-1] not in self._rates:
            raise self.PortAudioError("Invalid sample rate")

    check_output_settings = check_input_settings

    def _terminate(self) -> None:
        self.restarts += 1

    def _initialize(self) -> None:
        pass

    def _exit_handler(self) -> None:
        pass


CARD = Device(0, "Card", "ALSA", 2, 12, 48_000)
MICROPHONE = Device(1, "Microphone", "ALSA", 1, 0, 44_100)
CABLE = Device(2, "Cable", "ALSA", 2, 4, 48_000)


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> FakePortAudio:
    fake = FakePortAudio([CARD, MICROPHONE, CABLE], {44_100, 48_000})
    monkeypatch.setattr(portaudio_host, "load_portaudio", lambda: fake)
    return fake


@contextmanager
def opened(host: PortAudioHost, channels: tuple[str, ...] = STEMS) -> Iterator[Handover]:
    handover = Handover()
    handover.add_channels(MONITOR)
    handover.open_channels()
    try:
        host.open(handover)
        host.set_channels((*channels, *MONITOR))
        yield handover
    finally:
        host.close()
        handover.close()


def test_one_device_is_one_stream(system: FakePortAudio) -> None:
    host = PortAudioHost(input="card", output="card", block=64)
    with opened(host) as handover:
        (stream,) = system.streams
        assert stream.settings["kind"] == "duplex"
        assert stream.settings["device"] == (0, 0)
        assert stream.settings["channels"] == (2, 12)
        assert stream.settings["samplerate"] == host.sample_rate == 48_000
        assert host.device_latency_s == (0.01, 0.02)
        assert host.extra_latency_samples == 0
        assert host.remarks == ()
        heard = np.arange(128, dtype=np.float32).reshape(64, 2)
        played = np.full((64, 12), np.nan, np.float32)
        stream.call(64, heard, played, flags=16)
        np.testing.assert_array_equal(handover.mix["ring"][:, :64], heard.T)
        np.testing.assert_array_equal(played, 0.0)
        assert handover.xruns == 0
        stream.call(64, heard, played, flags=4)
        assert handover.xruns == 1
        assert handover.callbacks == 2
        assert handover.frames == 128
        assert host.alive()
    assert not host.alive()


def test_the_route_puts_names_on_channels(system: FakePortAudio) -> None:
    host = PortAudioHost(input=0, output=0, block=64)
    with opened(host) as handover:
        table = host._table
        assert handover.channels == (*MONITOR, *STEMS)
        rows = np.stack([np.full(64, k + 1.0, np.float32) for k in range(tables.MAX_CHANNELS)])
        played = np.zeros((64, 12), np.float32)
        cb._emit(table.ctypes.data, played.ctypes.data, 64, rows.ctypes.data, 64)
        np.testing.assert_array_equal(played[0], [3, 4, 5, 6, 1, 2] + [0] * 6)
        host.set_channels(("vocals_L", "vocals_R", "other_L", "other_R", *MONITOR))
        played[:] = 0.0
        cb._emit(table.ctypes.data, played.ctypes.data, 64, rows.ctypes.data, 64)
        np.testing.assert_array_equal(played[0], [7, 8, 5, 6, 1, 2] + [0] * 6)


def test_one_channel_is_heard_on_both_sides(system: FakePortAudio) -> None:
    host = PortAudioHost(input="Microphone", output="Cable", block=64)
    with opened(host) as handover:
        first, second = system.streams
        assert (first.settings["kind"], second.settings["kind"]) == ("input", "output")
        assert first.settings["channels"] == 1
        assert host.device_latency_s == (0.01, 0.01)
        heard = np.arange(64, dtype=np.float32)
        first.call(64, heard, np.zeros(1))
        np.testing.assert_array_equal(handover.mix["ring"][:, :64], np.stack([heard, heard]))
        played = np.full((64, 4), np.nan, np.float32)
        second.call(64, np.zeros(1), played)
        np.testing.assert_array_equal(played, 0.0)


def test_what_costs_or_is_missing_is_said(system: FakePortAudio) -> None:
    host = PortAudioHost(input="Card", output="Cable", block=128)
    with opened(host, (*STEMS, "vocals_L", "vocals_R")):
        assert host.extra_latency_samples == 282
        unheard, drifting = sorted(host.remarks, key=lambda remark: "clocks" in remark)
        assert unheard == "the output's 4 channels leave no channel for: other, vocals"
        assert "282 samples (5.9 ms) more" in drifting


def test_who_follows_stems_opens_an_output_only(system: FakePortAudio) -> None:
    drifts: list[Drift] = []

    def follow(rate: int, block: int) -> Drift:
        drifts.append(Drift(handover.address, rate, 256, block, 8192, 2000))
        return drifts[0]

    handover = Handover()
    handover.add_channels((*STEMS, *MONITOR))
    host = PortAudioHost(output="Cable", sample_rate=44_100, block=64, follow=follow)
    try:
        host.open(handover)
        host.set_channels((*STEMS, *MONITOR))
        (stream,) = system.streams
        assert (stream.settings["kind"], stream.settings["device"]) == ("output", 2)
        assert stream.settings["samplerate"] == host.sample_rate == 44_100
        played = np.full((64, 4), np.nan, np.float32)
        drifts[0].out[: len(handover.channels), :64] = 0.5  # overwritten: nothing has come yet
        stream.call(64, np.zeros(1), played)
        np.testing.assert_array_equal(played, 0.0)
        assert host.alive()
        assert host.remarks == ("the output's 4 channels leave no channel for: monitor",)
    finally:
        host.close()
        handover.close()


def test_who_follows_stems_does_not_take_another_rate(system: FakePortAudio) -> None:
    host = PortAudioHost(sample_rate=96_000, follow=lambda rate, block: pytest.fail("too far"))
    with pytest.raises(AudioError, match=r"Card.* does not run at 96000 Hz"), opened(host):
        pass


def test_a_rate_is_found_that_both_run_at(system: FakePortAudio) -> None:
    system._rates = {44_100, 22_050}
    host = PortAudioHost(input="Card", output="Card")
    with opened(host):
        assert host.sample_rate == 44_100


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"input": "piano"}, ["no input device", "'piano'", "0 Card, ALSA", "2 Cable, ALSA"]),
        ({"output": 1}, ["no output device", "'1'"]),
        ({"input": "c"}, ["'c' may be any", "Card", "Cable"]),
        ({"sample_rate": 22_050}, ["22050", "44100, 48000, 88200, 96000"]),
        ({"sample_rate": 96_000}, ["do not both run at 96000 Hz"]),
        ({"block": 4}, ["block of 4", "16 to 8192"]),
        ({"output": "Ear"}, ["one channel", "stereo"]),
    ],
)
def test_refusals_name_what_is_there(
    settings: dict[str, Any], words: list[str], system: FakePortAudio
) -> None:
    system._devices.append(Device(3, "Ear", "ALSA", 0, 1, 48_000))
    with pytest.raises(AudioError) as refusal, opened(PortAudioHost(**settings)):
        pass
    for word in words:
        assert word in str(refusal.value)
    assert not system.streams


def test_no_rate_no_device_no_stream(system: FakePortAudio) -> None:
    system._rates = {192_000}
    with pytest.raises(AudioError, match="no rate in common"), opened(PortAudioHost()):
        pass
    system._rates, system.refuses = {48_000}, True
    with pytest.raises(SetupError, match="Device unavailable"), opened(PortAudioHost()):
        pass
    system._devices.clear()
    with pytest.raises(SetupError, match="no input device"), opened(PortAudioHost()):
        pass


def test_a_device_that_stands_still_is_dead_and_may_come_back(
    system: FakePortAudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(portaudio_host.time, "monotonic", lambda: now[0])
    host = PortAudioHost(input="Card", output="Cable", block=64)
    with opened(host) as handover:
        first, second = system.streams
        heard, played = np.zeros((64, 2), np.float32), np.zeros((64, 4), np.float32)
        for _ in range(50):
            now[0] += 0.1
            first.call(64, heard, played)
            second.call(64, heard, played)
            assert host.alive()
        for _ in range(19):
            now[0] += 0.1
            second.call(64, heard, played)  # the input has gone
            assert host.alive()
        now[0] += 0.3
        assert not host.alive()
        host.close()
        host.open(handover)
        assert system.restarts == 1
        assert host.alive()
        system.streams[-1].active = False
        assert not host.alive()


def test_a_close_that_hangs_is_given_up(
    system: FakePortAudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portaudio_host, "_CLOSE_S", 0.05)
    monkeypatch.setattr(portaudio_host, "_abandoned", [])
    host = PortAudioHost(input="Card", output="Card")
    with opened(host) as handover:
        system.hangs = True
        host.close()
        with pytest.raises(SetupError, match="start rtsep again"):
            host.open(handover)


# --- a real server ------------------------------------------------------------------


class Child:
    """A player on PortAudio."""

    def __init__(self, server: str, bundle: str, streams: str, block: int = 128) -> None:
        command = [sys.executable, "-m", "tests.rtsep.live.portaudio_child", bundle]
        devices = ["rtsep-bench-source", "rtsep-bench-sink"]
        self.process = subprocess.Popen(
            [*command, *devices, str(block), streams],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "JACK_DEFAULT_SERVER": server, "PYTHONPATH": str(ROOT)},
        )
        self.state: dict[str, Any] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.state = json.loads(line)

    def until(self, condition: Callable[[dict[str, Any]], bool], timeout_s: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not (self.state and condition(self.state)):
            assert self.process.poll() is None, "the player has ended"
            assert time.monotonic() < deadline, self.state
            time.sleep(0.02)

    def end(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        status = self.process.wait(30)
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


@pytest.fixture
def server() -> Iterator[Server]:
    with jack_server() as running:
        environment = {**os.environ, "JACK_DEFAULT_SERVER": running.name}
        command = [sys.executable, "-c", probes.PORTAUDIO]
        answer = subprocess.run(command, env=environment, capture_output=True, check=False)
        if b"JACK" not in answer.stdout:
            pytest.skip("PortAudio knows no JACK here (Debian: libportaudio2)")
        yield running


@contextmanager
def child(server: Server, bundle: str, streams: str) -> Iterator[Child]:
    player = Child(server.name, bundle, streams)
    try:
        yield player
        assert player.end() == 0
    finally:
        player.process.kill()
        player.process.wait()


@pytest.fixture
def tcn(tmp_path: Path) -> str:
    return bundle_file(tmp_path, models.tcn_taps())


def sums(recorded: np.ndarray) -> np.ndarray:
    stems = recorded[: len(STEM_PORTS)].astype(np.float64)
    return np.stack([stems[0::2].sum(axis=0), stems[1::2].sum(axis=0)])


def test_on_one_stream_the_stems_sum_to_the_mix_sample_by_sample(server: Server, tcn: str) -> None:
    mix = song(8.0)
    with Probe(server.name, PORTS, mix, 1 << 19) as probe, child(server, tcn, "together") as player:
        player.until(lambda state: state["state"] == "playing")
        assert player.state["latency"] == 256
        start = probe.play()
        probe.wait(start + 4 * 48_000)
        # PortAudio holds a block back where a JACK stream goes both ways.
        delay, n = 256 + 128, 3 * 48_000
        recorded = probe.read(start + 48_000, n)
        expected = mix[:, 48_000 - delay : 48_000 - delay + n]
        np.testing.assert_allclose(sums(recorded), expected, atol=2e-6)
        np.testing.assert_allclose(recorded[len(STEM_PORTS) :], expected, atol=2e-6)
        assert player.state["remarks"] == []
        assert player.state["callbacks"] > 1000


def test_on_two_streams_it_keeps_in_step(server: Server, tcn: str) -> None:
    mix = tone(30.0)
    with Probe(server.name, PORTS, mix, 1 << 19) as probe, child(server, tcn, "apart") as player:
        player.until(lambda state: state["state"] == "playing")
        stated = player.state["latency"]
        assert stated >= 256 + 282
        start = probe.play()
        probe.wait(start + 7 * 48_000)
        at, n = 5 * 48_000, 48_000
        recorded = probe.read(start + at, n)
        # Less than a few samples from the stated place all along, and nothing breaks it.
        apart = [
            np.abs(sums(recorded) - mix[:, at - d : at - d + n]).max()
            for d in range(stated - 20, stated + 21)
        ]
        assert min(apart) < 0.05
        np.testing.assert_allclose(recorded[-2:], sums(recorded), atol=1e-5)
        detector = ClickDetector(len(recorded), peak=0.8, start=start + at)
        assert not detector.feed(recorded) + detector.finish()
        assert player.state["jumps"] >= 1
        assert "two devices" in player.state["remarks"][0]


def test_a_server_that_dies_does_not_hang_the_player(server: Server, tcn: str) -> None:
    mix = tone(1.0)
    with Probe(server.name, PORTS, mix, 1 << 16), child(server, tcn, "together") as player:
        player.until(lambda state: state["state"] == "playing")
        server.kill()
        player.until(lambda state: state["state"] == "waiting for server")
        assert player.end() == 0
