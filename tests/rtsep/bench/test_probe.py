"""The probe measures a known delay, to the sample, through a real JACK server."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from rtsep.bench import signals
from rtsep.bench.listener import Listener
from rtsep.bench.processes import family
from rtsep.bench.server import Server, dummy_server, running_server
from rtsep.errors import SetupError

if TYPE_CHECKING:
    from rtsep.bench.probe import Probe

pytestmark = [
    pytest.mark.skipif(shutil.which("jackd") is None, reason="jackd is not installed"),
]
LONGEST = 4_000
TRIES = 20


@pytest.fixture(scope="module", params=[64, 256])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with dummy_server(48_000, request.param) as running:
        yield running


def played_whole(probe: "Probe", frames: int, *, loop: bool = False) -> int:
    """Play until so many frames were heard of which no cycle was left out; where they begin."""
    for _ in range(TRIES):
        start = probe.play(loop=loop)
        probe.wait(start + frames)
        if probe.whole(start, start + frames):
            return start
    raise AssertionError(f"cycles were left out {TRIES} times in a row")


@pytest.mark.parametrize("delay", [0, 129, 3_999])
def test_the_measured_delay_is_the_delay(server: Server, delay: int) -> None:
    from rtsep.bench.probe import Probe
    from tests.rtsep.bench.delay_client import CHANNELS, delay_client

    signal = signals.measuring_signal(LONGEST)
    frames = signal.mix.shape[1]
    with (
        delay_client(server.name, "delay", delay) as name,
        Probe(server.name, CHANNELS, signal.mix, 2 * frames) as probe,
    ):
        assert (probe.sample_rate, probe.block) == (48_000, server.block)
        probe.connect(name)
        start = played_whole(probe, frames)
        heard = probe.read(start, frames)
        total = np.stack((heard[0] + heard[2], heard[1] + heard[3]))
        found = signals.find_delays(signal, total)
        assert set(found.found) == {delay}
        assert found.whole
        probe.silence()
        assert probe.reported_latency(name, "other_R") == delay
        assert probe.reported_latency(name, "nothing") == -1


def test_what_was_overwritten_is_not_whole(server: Server) -> None:
    from rtsep.bench.probe import Probe

    with Probe(server.name, ("in",), np.zeros((2, 1_000), np.float32), 8_192) as probe:
        start = probe.clock
        probe.wait(start + 8_192 + 2 * probe.block)
        assert not probe.whole(start, start + 1)
        assert not probe.whole(probe.clock, probe.clock + 48_000)
        with pytest.raises(ValueError, match="not in the ring"):
            probe.read(start, 1)


def test_clicks_in_the_ports_are_found_where_they_were_played(server: Server) -> None:
    from rtsep.bench.probe import Probe
    from tests.rtsep.bench.delay_client import CHANNELS, delay_client

    rate, delay, clicks = 48_000, 300, (40_000, 70_003)
    clean = signals.smooth_signal(rate)
    played = clean.copy()
    played[0, list(clicks)] += 0.05
    with (
        delay_client(server.name, "delay", delay) as name,
        Probe(server.name, CHANNELS, played, 4 * rate) as probe,
    ):
        probe.connect(name)
        begin = played_whole(probe, 2 * rate, loop=True)
        frames = 2 * rate - delay
        heard = Listener(played, begin, delay, [True] * 4)
        heard.listen(begin + delay, probe.read(begin + delay, frames))
        heard.finish()
    assert heard.heard.latencies == {delay}
    assert heard.heard.error <= signals.EXACT
    found = {(click.port, round(click.frame - begin - delay, -1)) for click in heard.heard.clicks}
    # Both stems take the left side with them, on every second port.
    assert found == {(port, round(place, -1)) for port in (0, 2) for place in clicks}


def test_a_server_that_runs_is_found(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JACK_DEFAULT_SERVER", server.name)
    there = running_server()
    assert there is not None
    assert (there.name, there.sample_rate, there.block) == (server.name, 48_000, server.block)
    assert not there.ours
    assert there.environment["JACK_DEFAULT_SERVER"] == server.name
    monkeypatch.setenv("JACK_DEFAULT_SERVER", "rtsep-no-such")
    assert running_server() is None


def test_without_jackd_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SetupError, match="jackd is missing"), dummy_server(48_000, 128):
        pass


def test_a_server_that_cannot_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("jackd", "jack_wait"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\necho no sound today\nexit 1\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(SetupError, match="no sound today"), dummy_server(48_000, 128):
        pass


def test_the_server_is_gone_afterwards() -> None:
    before = set(family(os.getpid()))

    def interrupt() -> None:
        with dummy_server(44_100, 128) as running:
            assert running.ours
            assert set(family(os.getpid())) - before
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert set(family(os.getpid())) <= before
