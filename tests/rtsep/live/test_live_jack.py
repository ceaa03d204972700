"""Live audio through a real JACK server: exact, in time, and still there after faults."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from rtsep.bench.clicks import ClickDetector
from rtsep.bench.probe import Probe
from rtsep.bundle import load_bundle
from rtsep.engine import Engine
from rtsep.errors import SetupError
from rtsep.live.jack_host import JackHost
from rtsep.live.player import Live
from rtsep.live.session import Session
from rtsep.presets import PRESETS
from tests.rtsep import models
from tests.rtsep.live.rig import (
    KEEP,
    PORTS,
    RATE,
    STEM_PORTS,
    Rig,
    bundle_file,
    live_rig,
    song,
    tone,
)
from tests.rtsep.live.servers import jack_server

L = PORTS.index("drums_L")
STEM_ROWS = len(STEM_PORTS)


@pytest.fixture
def tcn(tmp_path: Path) -> str:
    return bundle_file(tmp_path, models.tcn_taps())


def session(model: str, preset: str = "live", **changes: object) -> Session:
    return Session(preset=preset, model=model, transcriber="none", **changes)  # type: ignore[arg-type]


def offline(model: str, preset: str, mix: np.ndarray, block: int) -> np.ndarray:
    """Stems by the engine itself, [ports, frames]."""
    engine = Engine(load_bundle(model), None, PRESETS[preset])
    engine.prepare(RATE, block, step=block)
    whole = np.zeros((len(engine.stems), 2, mix.shape[1]), np.float32)
    for at in range(0, mix.shape[1] - block + 1, block):
        engine.process(mix[:, at : at + block], whole[:, :, at : at + block])
    return whole.reshape(STEM_ROWS, -1)[:, engine.latency_samples :]


def first_engine(live: Live, restarts: int) -> int:
    """Process of an engine that has not played yet."""
    assert live.restarts == restarts
    assert live._next is not None
    return live._next.pid


@contextmanager
def freewheel(server: str) -> Iterator[None]:
    """As fast as possible, every callback waiting for the engine."""
    import jack

    client = jack.Client("rtsep-test-wheel", no_start_server=True, servername=server)
    client.activate()
    client.set_freewheel(True)
    try:
        yield
    finally:
        client.set_freewheel(False)
        client.close()


def sums(recorded: np.ndarray) -> np.ndarray:
    """Left and right of all stems together."""
    stems = recorded[:STEM_ROWS].astype(np.float64)
    return np.stack([stems[0::2].sum(axis=0), stems[1::2].sum(axis=0)])


def assert_whole(recorded: np.ndarray, mix: np.ndarray) -> None:
    np.testing.assert_allclose(sums(recorded), mix, atol=2e-6)


def assert_reported(rig: Rig, probe: Probe, channel: str, latency: int) -> None:
    """JACK tells others, as soon as it has asked everybody."""
    rig.until(
        lambda: probe.reported_latency(rig.client, channel) == latency,
        f"JACK to report a latency of {latency}",
        10.0,
    )


def assert_smooth_since(probe: Probe, start: int) -> None:
    """Nothing that was recorded from a frame on clicks, as far back as it is kept."""
    stop = probe.clock
    start = max(start, stop - KEEP + RATE // 10)
    assert_smooth(probe.read(start, stop - start), start)


def assert_smooth(recorded: np.ndarray, start: int) -> None:
    detector = ClickDetector(len(recorded), peak=0.8, start=start)
    clicks = detector.feed(recorded) + detector.finish()
    assert not clicks, clicks[:5]


@pytest.mark.parametrize(("preset", "block"), [("live", 128), ("lowest", 64), ("relaxed", 256)])
def test_recorded_stems_are_the_offline_ones(tcn: str, preset: str, block: int) -> None:
    mix = song(4.0)
    with live_rig(session(tcn, preset), period=block) as rig, rig.probe(mix) as probe:
        rig.until_playing()
        probe.connect(rig.client)
        latency = rig.live.latency_samples
        with freewheel(rig.server.name):
            misses = rig.live.handover.misses
            start = probe.play()
            probe.wait(start + mix.shape[1] + latency)
            assert rig.live.handover.misses == misses
        n = mix.shape[1] - RATE // 2
        recorded = probe.read(start + latency, n)
        assert_whole(recorded, mix[:, :n])
        # The live engine has heard silence, and its hops may begin at any block.
        errors = []
        for blocks in range(256 // block):
            before = (RATE // 256 + 1) * 256 + blocks * block + (start - probe.clock) % block
            silence = np.zeros((2, before), np.float32)
            expected = offline(tcn, preset, np.concatenate([silence, mix], axis=1), block)
            expected = expected[:, silence.shape[1] : silence.shape[1] + n]
            errors.append(float(np.abs(recorded[:STEM_ROWS] - expected).max()))
        assert min(errors) < 1e-6, errors
        np.testing.assert_allclose(recorded[STEM_ROWS:], mix[:, :n], atol=2e-6)


@pytest.mark.parametrize(
    ("preset", "block", "expected"), [("live", 128, 256), ("lowest", 64, 128), ("live", 64, 256)]
)
def test_latency_is_what_is_stated(tcn: str, preset: str, block: int, expected: int) -> None:
    mix = song(1.0)
    with live_rig(session(tcn, preset), period=block) as rig, rig.probe(mix) as probe:
        rig.until_playing()
        probe.connect(rig.client)
        start = probe.play()
        probe.wait(start + mix.shape[1] + 2048)
        assert rig.live.latency_samples == expected
        assert_reported(rig, probe, "drums_L", expected)
        assert_whole(probe.read(start + expected, 24_000), mix[:, :24_000])


def test_status_measures_the_latency_while_it_plays(tcn: str) -> None:
    mix = song(6.0)
    with live_rig(session(tcn)) as rig, rig.probe(mix) as probe:
        rig.until_playing()
        probe.connect(rig.client)
        probe.play(loop=True)
        rig.until(
            lambda: rig.live.status().latency.measured_samples is not None, "a measured latency"
        )
        time.sleep(0.5)
        status = rig.live.status()
        assert status.latency.stated_samples == status.latency.measured_samples == 256
        assert [stem.name for stem in status.stems] == list(models.STEMS)
        assert status.mix.peak_db is not None
        assert status.mix.peak_db > -30
        assert 0.0 < status.load < 1.0


def test_a_stalled_engine_costs_stems_and_not_the_mix(tcn: str) -> None:
    mix = tone(10.0)
    with live_rig(session(tcn)) as rig, rig.probe(mix) as probe:
        rig.until_playing()
        probe.connect(rig.client)
        start = probe.play()
        probe.wait(start + RATE)
        before = rig.live.handover.misses
        os.kill(rig.live.engine_pid, signal.SIGSTOP)
        time.sleep(1.0)
        os.kill(rig.live.engine_pid, signal.SIGCONT)
        rig.until_playing()
        missed = rig.live.handover.misses - before
        probe.wait(start + 4 * RATE)
        end = start + 4 * RATE - 4096
        latency = rig.live.latency_samples
        assert latency == 256
        n = end - start - RATE // 2
        at = start + RATE // 2
        recorded = probe.read(at, n)
        assert_whole(recorded, mix[:, at - start - latency : at - start - latency + n])
        assert_smooth(recorded, at)
        assert missed > 100
        assert rig.live.restarts == 0
        assert any(entry.kind == "miss" for entry in rig.live.trace())


def test_a_killed_engine_is_started_anew(tcn: str) -> None:
    mix = tone(10.0)
    with live_rig(session(tcn)) as rig, rig.probe(mix) as probe:
        rig.until_playing()
        probe.connect(rig.client)
        start = probe.play()
        probe.wait(start + RATE)
        killed = rig.live.engine_pid
        os.kill(killed, signal.SIGKILL)
        rig.until(lambda: rig.live.restarts == 1, "a restart")
        rig.until(lambda: rig.live.engine_pid != killed, "another engine")
        rig.until_playing()
        stop = min(probe.clock, start + 9 * RATE)
        probe.wait(stop + 2048)
        at, n = start + RATE // 2, stop - start - RATE
        recorded = probe.read(at, n)
        assert_whole(recorded, mix[:, at - start - 256 : at - start - 256 + n])
        assert_smooth(recorded, at)
        assert "starting it anew" in rig.said[-1]


def test_a_first_engine_that_is_killed_is_started_anew_but_not_for_ever(tcn: str) -> None:
    with live_rig(session(tcn)) as rig:
        os.kill(first_engine(rig.live, 0), signal.SIGKILL)
        rig.until_playing()
        assert rig.live.restarts == 1
        assert any("ended by itself" in line and "starting it anew" in line for line in rig.said)

    with jack_server() as server:
        live = Live(JackHost(server=server.name), session(tcn))
        live.start()
        try:
            for restarts in range(2):
                os.kill(first_engine(live, restarts), signal.SIGKILL)
                while live.restarts == restarts:
                    live.poll()
            os.kill(first_engine(live, 2), signal.SIGKILL)
            with pytest.raises(SetupError, match="ended by itself"):
                live.wait()
        finally:
            live.stop()


def test_the_server_may_go_and_come_back(tcn: str) -> None:
    mix = song(1.0)
    with jack_server() as server, live_rig(session(tcn), server=server) as rig:
        rig.until_playing()
        engine = rig.live.engine_pid
        with rig.probe(mix):
            pass
        import jack

        other = jack.Client("rtsep-test-daw", no_start_server=True, servername=server.name)
        target = other.inports.register("track")
        other.activate()
        other.connect(f"{rig.client}:bass_L", target)
        time.sleep(1.2)  # until it is remembered
        other.close()
        server.kill()
        rig.until(lambda: rig.live.state == "waiting for server", "the end of the server")
        server.start()
        rig.until_playing()
        assert rig.live.engine_pid == engine
        other = jack.Client("rtsep-test-daw", no_start_server=True, servername=server.name)
        target = other.inports.register("track")
        other.activate()
        rig.until(lambda: bool(target.connections), "the connection of before")
        other.close()
        with rig.probe(mix) as probe:
            probe.connect(rig.client)
            start = probe.play()
            probe.wait(start + RATE + 2048)
            assert_reported(rig, probe, "drums_L", 256)
            assert_whole(probe.read(start + 256, 24_000), mix[:, :24_000])


def test_a_server_at_another_rate_gets_another_engine(tcn: str) -> None:
    with jack_server() as server, live_rig(session(tcn), server=server) as rig:
        rig.until_playing()
        server.kill()
        rig.until(lambda: rig.live.state == "waiting for server", "the end of the server")
        server.rate, server.period = 96_000, 256
        server.start()
        rig.until_playing()
        assert rig.live.host.sample_rate == 96_000
        assert rig.live.latency_samples == 256 - 128 + 256


def test_a_server_at_another_rate_may_go_once_more_before_it_stays(
    tcn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import jack

    with jack_server() as server, live_rig(session(tcn), server=server) as rig:
        rig.until_playing()
        prepared_for_another = rig.live.engine_pid
        activate, started = jack.Client.activate, threading.Event()

        def too_late(client: jack.Client) -> None:
            started.wait()
            server.kill()
            activate(client)

        with monkeypatch.context() as patch:
            patch.setattr(jack.Client, "activate", too_late)
            server.kill()
            server.rate, server.period = 96_000, 256
            server.start()
            started.set()
            rig.until_said("has come to no cycle with rtsep-test in it")
        assert rig.live.state == "waiting for server"
        server.start()
        rig.until_playing()
        assert rig.live.engine_pid != prepared_for_another
        assert rig.live.host.sample_rate == 96_000
        assert rig.live.latency_samples == 256 - 128 + 256


def test_the_host_may_change_its_block_size(tcn: str) -> None:
    mix = song(1.0)
    with live_rig(session(tcn)) as rig, rig.probe(mix) as probe:
        rig.until_playing()
        probe.connect(rig.client)
        subprocess.run(["jack_bufsize", "-s", rig.server.name, "64"], capture_output=True)
        import jack

        client = jack.Client("rtsep-test-size", no_start_server=True, servername=rig.server.name)
        client.blocksize = 512
        client.close()
        rig.until(lambda: rig.live.handover.block == 512, "blocks of 512")
        rig.until(lambda: rig.live.latency_samples == 256 - 128 + 512, "another latency")
        rig.until_playing()
        start = probe.play()
        probe.wait(start + RATE + 2048)
        assert_reported(rig, probe, "drums_L", 640)
        assert_whole(probe.read(start + 640, 24_000), mix[:, :24_000])


def test_preset_and_model_change_while_it_plays(tcn: str, tmp_path: Path) -> None:
    other = bundle_file(tmp_path, models.constant_masks((1, 0), stems=("vocals", "rest")), "two")
    mix = tone(60.0)
    with live_rig(session(tcn)) as rig:
        rig.until_playing()
        with rig.probe(mix) as probe:
            probe.connect(rig.client)
            start = probe.play()
            rig.change(session(tcn, "relaxed"))
            rig.until(lambda: rig.live.latency_samples == 512 - 128 + 128, "relaxed")
            rig.until_playing()
            stop = probe.clock + RATE // 4  # behind the cross-fade
            probe.wait(stop + RATE)
            at = start + RATE // 4
            assert_smooth(probe.read(at, stop + RATE // 2 - at), at)
            latency = 512
            late = probe.read(stop, RATE // 2)
            begin = stop - start - latency
            assert_whole(late, mix[:, begin : begin + RATE // 2])
            assert_reported(rig, probe, "drums_L", latency)
        rig.change(session(other))
        rig.until(lambda: rig.live.status().stems[0].name == "vocals", "other stems")
        ports = ("vocals_L", "vocals_R", "rest_L", "rest_R")
        with rig.probe(mix, ports) as probe:
            probe.connect(rig.client)
            start = probe.play()
            probe.wait(start + RATE)
            late = rig.in_time(probe, 1024)
            vocals, at = probe.read(late, 1024)[0], late - start - 256
            np.testing.assert_allclose(vocals, mix[0, at : at + 1024], atol=1e-3)


@pytest.mark.parametrize("kind", ["nan", "raises"])
def test_a_broken_model_costs_stems_and_not_the_mix(kind: str, tmp_path: Path) -> None:
    data = (
        models.constant_masks((np.nan, 0, 0, 0, 0))
        if kind == "nan"
        else models.failing_taps(threshold=2.0)
    )
    rumble = np.sin(2 * np.pi * 50.0 * np.arange(4 * RATE) / RATE)
    mix = np.tile(0.7 * rumble, (2, 1)).astype(np.float32)
    with live_rig(session(bundle_file(tmp_path, data))) as rig, rig.probe(mix) as probe:
        rig.until_playing()
        probe.connect(rig.client)
        start = probe.play()
        probe.wait(start + 3 * RATE + 4096)
        at = start + 256 + RATE // 2
        recorded = probe.read(at, 2 * RATE)
        assert_whole(recorded, mix[:, RATE // 2 : RATE // 2 + 2 * RATE])
        assert_smooth(recorded, at)
        assert not recorded[L].any()
        assert rig.live.status().engine_misses > 100


def test_a_model_that_cannot_be_loaded_leaves_what_plays(tcn: str, tmp_path: Path) -> None:
    with live_rig(session(tcn)) as rig:
        rig.until_playing()
        playing = rig.live.engine_pid
        rig.change(session(str(tmp_path / "nothing.onnx")))
        rig.until_said("what played before goes on")
        assert rig.live.state == "playing"
        assert rig.live.engine_pid == playing
        rig.change(session(tcn, "lowest"))
        rig.until(lambda: rig.live.engine_pid != playing, "another engine")
        rig.until_playing()


def test_another_client_may_flood_the_graph(tcn: str) -> None:
    # It spends three quarters of every period, so that some are lost to everybody.
    code = (
        "import jack, sys, time\n"
        "c = jack.Client('flood', no_start_server=True, servername=sys.argv[1])\n"
        "c.inports.register('in'); c.outports.register('out')\n"
        "@c.set_process_callback\n"
        "def process(n):\n"
        "    end = time.perf_counter() + 0.002\n"
        "    while time.perf_counter() < end: pass\n"
        "c.activate(); print('on', flush=True); time.sleep(60)\n"
    )
    mix = song(1.0)
    with jack_server(synchronous=False) as server, live_rig(session(tcn), server=server) as rig:
        rig.until_playing()
        child = subprocess.Popen([sys.executable, "-c", code, server.name], stdout=subprocess.PIPE)
        try:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(2.0)
        finally:
            child.kill()
            child.communicate()
        rig.until_playing()
        # Behind it, everything is where it was.  An asynchronous server on a busy machine
        # loses cycles by itself: a recording without a gap is tried for a while.
        for _ in range(20):
            with rig.probe(mix) as probe:
                probe.connect(rig.client)
                start = probe.play()
                probe.wait(start + RATE + 2048)
                if probe.whole(start, start + 24_576):
                    assert_whole(probe.read(start + 256, 24_000), mix[:, :24_000])
                    return
        pytest.fail("twenty recordings in a row had gaps")


def ports_of(probe: Probe, client: str) -> set[str]:
    """The output ports that the server knows of a client."""
    return {p.shortname for p in probe._sink.client.get_ports(f"^{client}:", is_output=True)}


def test_start_and_stop_are_faded(tcn: str) -> None:
    mix = tone(10.0)
    with jack_server() as server, Probe(server.name, PORTS, mix, 1 << 19) as probe:
        start = probe.play()
        with live_rig(session(tcn), server=server) as rig:
            rig.until(lambda: set(PORTS) <= ports_of(probe, rig.client), "ports")
            probe.connect(rig.client)
            rig.until_playing()
            time.sleep(0.3)
            rig.live.handover.want(None)
            rig.until(lambda: rig.live.handover.source == "silence", "silence")
            time.sleep(0.1)
            stop = probe.clock
            recorded = probe.read(stop - 12_000, 12_000)
            assert recorded[:, :2000].any()
            assert not recorded[:, -1000:].any()
            assert_smooth(recorded, stop - 12_000)
            assert start < stop


def test_nothing_is_left_behind(tcn: str) -> None:
    with live_rig(session(tcn)) as rig:
        rig.until_playing()
        pid = rig.live.engine_pid
        maps = Path("/proc/self/maps").read_text().split()
        shared = {Path(word) for word in maps if word.startswith("/dev/shm/psm_")}
        assert len(shared) == 2
    assert not [path for path in shared if path.exists()]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_no_server_is_one_line(tcn: str) -> None:
    live = Live(JackHost(server="rtsep-nowhere"), session(tcn))
    with pytest.raises(SetupError, match="no JACK server 'rtsep-nowhere' answers"):
        live.start()
    live.stop()


def test_a_server_that_goes_as_rtsep_comes_is_one_line(
    tcn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import jack

    with jack_server() as server:
        activate = jack.Client.activate

        def too_late(client: jack.Client) -> None:
            server.kill()
            activate(client)

        live = Live(JackHost(server=server.name), session(tcn))
        with monkeypatch.context() as patch:
            patch.setattr(jack.Client, "activate", too_late)
            with pytest.raises(SetupError, match="has come to no cycle with rtsep in it"):
                live.start()
            server.start()
            probe = Probe(server.name, PORTS, song(1.0), KEEP)
            with pytest.raises(SetupError, match="no cycle with rtsep-bench-sink in it"), probe:
                pass
        server.start()
        try:
            live.start()
            live.wait()
        finally:
            live.stop()
