"""The plugin in programs that are none of ours: validators, DawDreamer, pedalboard, an LV2 host."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.rtsep_bridge.plugin.conftest import Engine
from tests.rtsep_bridge.plugin.test_link import Audio, noise, stems_of

HOST = Path(__file__).with_name("dawdreamer_host.py")
PAIRS = [(rate, block) for rate in (44_100, 48_000, 96_000) for block in (64, 128, 256, 512, 1024)]


def dawdreamer(
    plugin: SimpleNamespace,
    address: str,
    folder: Path,
    mix: Audio,
    pairs: list[tuple[int, int]],
    **settings: float,
) -> dict[tuple[int, int], Any]:
    if importlib.util.find_spec("dawdreamer") is None:
        pytest.skip("no dawdreamer: pip install -e '.[test]'")
    np.save(folder / "mix.npy", mix)
    wanted = [json.dumps(settings), *(f"{rate}:{block}" for rate, block in pairs)]
    done = subprocess.run(
        [sys.executable, HOST, plugin.vst3, folder / "mix.npy", folder / "out", *wanted],
        env=os.environ | {"RTSEP_BRIDGE": address},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return {pair: np.load(folder / f"out-{pair[0]}-{pair[1]}.npz") for pair in pairs}


def test_every_bus_in_dawdreamer(plugin: SimpleNamespace, engine: Engine, tmp_path: Path) -> None:
    mix = noise(48_000)
    pairs = [(48_000, 128), (44_100, 441)]
    for out in dawdreamer(plugin, engine.address, tmp_path, mix, pairs).values():
        at = int(out["latency"])
        audio = out["audio"]
        assert audio.shape == (16, 48_000)
        np.testing.assert_array_equal(audio[:2, at:], mix[:, :-at])
        wanted = stems_of(mix)[:, :, :-at]
        np.testing.assert_array_equal(audio[2:, at:].reshape(7, 2, -1), wanted)


def test_gain_and_mute_change_their_stem_alone(
    plugin: SimpleNamespace, engine: Engine, tmp_path: Path
) -> None:
    mix = noise(24_000)
    db = 6.0
    settings = {"Drums gain": (db + 60.0) / 84.0, "Bass mute": 1.0, "Other gain": 0.0}
    pairs = [(48_000, 128)]
    out = dawdreamer(plugin, engine.address, tmp_path, mix, pairs, **settings)[pairs[0]]
    at = int(out["latency"])
    audio = out["audio"][:, at:]
    np.testing.assert_array_equal(audio[:2], mix[:, :-at])
    stems, wanted = audio[2:].reshape(7, 2, -1), stems_of(mix)[:, :, :-at]
    np.testing.assert_allclose(stems[0], wanted[0] * 10 ** (db / 20), rtol=1e-6)
    assert np.abs(wanted[[1, 4]]).max() > 0.1
    assert not stems[[1, 4]].any()
    np.testing.assert_array_equal(stems[[2, 3, 5, 6]], wanted[[2, 3, 5, 6]])


def test_the_latency_that_hosts_are_told_is_that_of_an_impulse(
    plugin: SimpleNamespace, engine: Engine, tmp_path: Path
) -> None:
    mix = np.zeros((2, 30_000), np.float32)
    mix[:, 5_000] = 0.5
    told = {}
    for pair, out in dawdreamer(plugin, engine.address, tmp_path, mix, PAIRS).items():
        told[pair] = int(out["latency"])
        main, drums, other = (np.flatnonzero(out["audio"][bus]) for bus in (0, 2, 10))
        assert main[0] - 5_000 == told[pair]
        # The null engine's drums are half of the sample before; other has all of this one.
        assert drums[0] - 5_001 == told[pair]
        assert other[0] - 5_000 == told[pair]
    assert told[48_000, 128] == 192 + 256
    assert told[96_000, 1024] == 192 + 1024


def pedalboard(engine: Engine, script: str, *args: Path) -> None:
    """Run a script with pedalboard in a process of its own."""
    start = "import os, sys, threading\nimport numpy, pedalboard\n"
    done = subprocess.run(
        [sys.executable, "-c", start + script, *map(str, args)],
        env=os.environ | {"RTSEP_BRIDGE": engine.address},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_main_bus_in_pedalboard(
    plugin: SimpleNamespace, engine: Engine, tmp_path: Path
) -> None:
    """Also when the host changes rate and block."""
    mix = noise(24_000)
    np.save(tmp_path / "mix.npy", mix)
    # pedalboard takes the latency out by itself: the one that it was told before it said how
    # long its blocks would be, so only from the second time on it is the right one.
    script = """
plugin = pedalboard.load_plugin(sys.argv[1])
mix = numpy.load(sys.argv[2])
for rate, block in ((48000, 256), (48000, 512), (44100, 64), (96000, 1000)):
    plugin.process(mix[:, :2000], rate, buffer_size=block)
    out = plugin.process(mix, rate, buffer_size=block)
    assert numpy.array_equal(out[:, :20000], mix[:, :20000]), (rate, block)
"""
    pedalboard(engine, script, plugin.vst3, tmp_path / "mix.npy")


def test_two_instances_of_one_process(
    plugin: SimpleNamespace, engine: Engine, tmp_path: Path
) -> None:
    mix = noise(200_000)
    np.save(tmp_path / "mix.npy", mix)
    script = """
mix = numpy.load(sys.argv[2])
plugins = [pedalboard.load_plugin(sys.argv[1]) for _ in range(2)]
results = {}
def play(n):
    own = numpy.roll(mix, 1000 * n, axis=1)
    plugins[n].process(own[:, :2000], 48000, buffer_size=256)
    results[n] = numpy.array_equal(plugins[n].process(own, 48000, buffer_size=256)[:, :190000],
                                   own[:, :190000])
threads = [threading.Thread(target=play, args=(n,)) for n in range(2)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert results == {0: True, 1: True}, results
"""
    pedalboard(engine, script, plugin.vst3, tmp_path / "mix.npy")


def test_state_comes_back_and_garbage_changes_nothing(
    plugin: SimpleNamespace, engine: Engine, tmp_path: Path
) -> None:
    script = """
plugin = pedalboard.load_plugin(sys.argv[1])
plugin.preset, plugin.bass_mute, plugin.drums_gain_db = "lowest", True, -6.0
state = plugin.raw_state
other = pedalboard.load_plugin(sys.argv[1])
other.raw_state = state
assert str(other.preset) == "lowest" and bool(other.bass_mute)
assert str(other.drums_gain_db) == "-6.0", other.drums_gain_db
random = numpy.random.default_rng(1)
silence = numpy.zeros((2, 256), numpy.float32)
for n in range(300):
    damaged = bytearray(state)
    for at in random.integers(0, len(damaged), 1 + n % 8):
        damaged[at] = random.integers(0, 256)
    try:
        other.raw_state = bytes(damaged[: random.integers(1, len(damaged) + 1)])
    except Exception as error:
        assert "state" in str(error).lower(), error
    if n % 50 == 0:
        other.process(silence, 48000, buffer_size=256)
other.raw_state = state
assert str(other.preset) == "lowest" and bool(other.bass_mute)
assert str(other.drums_gain_db) == "-6.0", other.drums_gain_db
"""
    pedalboard(engine, script, plugin.vst3)


def hosted(
    plugin: SimpleNamespace, kind: str, address: str, blocks: int
) -> "subprocess.Popen[str]":
    """The whole plugin in a small host of ours that traps its audio thread."""
    check = {"lv2": plugin.lv2_check, "vst3": plugin.vst3_check}[kind]
    library = {"lv2": plugin.lv2 / "rtsep.so", "vst3": plugin.vst3_library}[kind]
    return subprocess.Popen(
        [check, library, "256", str(blocks)],
        env=os.environ | {"RTSEP_BRIDGE": address},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(host: "subprocess.Popen[str]") -> dict[str, Any]:
    """What the host says; its audio thread asked nothing of the system, nothing is lost."""
    out, complaint = host.communicate(timeout=100)
    assert host.returncode == 0, complaint
    said: dict[str, Any] = json.loads(out)
    assert said["trapped"], "this kernel cannot trap a thread's system calls (Linux 5.11)"
    assert (said["allocations"], said["locks"], said["calls"]) == (0, 0, 0), said["first"]
    assert said["difference"] < 1e-6
    return said


@pytest.mark.parametrize("kind", ["lv2", "vst3"])
def test_the_whole_plugin_asks_nothing_of_the_system(
    plugin: SimpleNamespace, engine: Engine, kind: str
) -> None:
    said = ended(hosted(plugin, kind, engine.address, 408))
    assert said["latency"] == 192 + 256
    assert said["midi"] > 40


@pytest.mark.parametrize("kind", ["lv2", "vst3"])
def test_a_host_plays_on_when_the_engine_is_killed(
    plugin: SimpleNamespace, engine: Engine, kind: str
) -> None:
    host = hosted(plugin, kind, engine.address, 1000)
    time.sleep(1.5)
    engine.kill()
    time.sleep(0.5)
    engine.start()
    ended(host)


def test_the_lv2_is_valid(plugin: SimpleNamespace) -> None:
    if shutil.which("lv2_validate") is None or shutil.which("sord_validate") is None:
        pytest.skip("no lv2_validate: sudo apt-get install lv2-dev sordi")
    done = subprocess.run(
        ["lv2_validate", *map(str, sorted(plugin.lv2.glob("*.ttl")))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Found 0 errors" in done.stdout + done.stderr, done.stdout + done.stderr


def test_ardour_takes_the_vst3(plugin: SimpleNamespace, tmp_path: Path) -> None:
    scanner = next(Path("/usr/lib").glob("ardour*/ardour-vst3-scanner"), None)
    if scanner is None:
        pytest.skip("no Ardour: sudo apt-get install ardour")
    done = subprocess.run(
        [scanner, "-f", "-v", plugin.vst3],
        env=os.environ | {"LD_LIBRARY_PATH": str(scanner.parent), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    found = done.stdout + done.stderr
    assert 'n_outputs="2" n_aux_inputs="0" n_aux_outputs="14"' in found, found
    assert 'n_midi_outputs="1"' in found


@pytest.fixture
def display() -> Iterator[str]:
    """An X display with a window manager, without which JUCE opens no window."""
    if shutil.which("Xvfb") is None or shutil.which("openbox") is None:
        pytest.skip("no display to try: sudo apt-get install xvfb openbox")
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", "1", "-screen", "0", "640x300x24"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    name = f":{int(server.stdout.readline())}"
    manager = subprocess.Popen(
        ["openbox"], env=os.environ | {"DISPLAY": name}, stderr=subprocess.DEVNULL
    )
    time.sleep(1.0)
    yield name
    for process in (manager, server):
        process.terminate()
        process.wait()
    server.stdout.close()


def test_the_window_opens_and_draws(plugin: SimpleNamespace, engine: Engine, display: str) -> None:
    done = subprocess.run(
        [plugin.window_check, plugin.lv2 / "rtsep.so", "2"],
        env=os.environ | {"RTSEP_BRIDGE": engine.address, "DISPLAY": display},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20  # colours: letters have edges
