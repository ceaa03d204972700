"""The plugin without its framework: exact stems, no stuck notes, faults, a clean audio thread."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rtsep_bridge.keys import FOLDER_VARIABLE, allow, forget, make_keys
from tests.rtsep_bridge.plugin.conftest import Engine
from tests.rtsep_bridge.plugin.null_engine import LATENCY, STEMS, filtered

BUSES = ("drums", "bass", "guitar", "piano", "other", "extra 1", "extra 2")
BUS_OF = {"drums": 0, "bass": 1, "vocals": 5, "other": 4}
Audio = NDArray[np.float32]


def noise(frames: int, seed: int = 0) -> Audio:
    random = np.random.default_rng(seed)
    return (0.3 * random.standard_normal((2, frames))).clip(-0.9, 0.9).astype(np.float32)


class Play:
    """A run of `link_check`: start it, do something to the engine, read what came of it."""

    def __init__(
        self, plugin: SimpleNamespace, folder: Path, address: str, mix: Audio, *options: str
    ) -> None:
        self._out = folder / "out.f32"
        mix.T.copy().tofile(folder / "in.f32")
        self._process = subprocess.Popen(
            [
                *(plugin.link_check, "--address", address),
                *("--input", folder / "in.f32", "--output", self._out),
                *options,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self) -> tuple[dict[str, Any], Audio, Audio]:
        """What it says, the main bus, and the stems of shape (7, 2, frames)."""
        said, complaint = self._process.communicate(timeout=120)
        assert self._process.returncode == 0, complaint
        out = np.fromfile(self._out, np.float32).reshape(-1, 16).T
        return json.loads(said), out[:2], out[2:].reshape(7, 2, -1)


def stems_of(mix: Audio) -> Audio:
    """The seven buses that the null engine's stems give."""
    buses = np.zeros((7, *mix.shape), np.float32)
    for name, stem in zip(STEMS, filtered(mix, np.zeros((2, 1), np.float32)), strict=True):
        buses[BUS_OF[name]] = stem
    return buses


def assert_clean(said: dict[str, Any]) -> None:
    assert said["trapped"], "this kernel cannot trap a thread's system calls (Linux 5.11)"
    assert (said["allocations"], said["locks"], said["calls"]) == (0, 0, 0), said["first"]


@pytest.mark.parametrize(
    ("rate", "block", "options"),
    [
        (48_000, 128, []),
        (48_000, 512, ["--short"]),
        (44_100, 441, []),
        (96_000, 64, []),
        (48_000, 1024, ["--short"]),
        (48_000, 7, []),
    ],
)
def test_offline_every_sample_is_the_engines(
    plugin: SimpleNamespace,
    engine: Engine,
    tmp_path: Path,
    rate: int,
    block: int,
    options: list[str],
) -> None:
    mix = noise(60_000)
    play = Play(
        plugin, tmp_path, engine.address, mix, "--offline", "--rate", str(rate),
        *("--block", str(block), *options),
    )  # fmt: skip
    said, main, stems = play.end()
    assert (said["misses"], said["gave_up"], said["engine_latency"]) == (0, 0, LATENCY)
    headroom = 256 * (2 if rate > 64_000 else 1)
    assert said["latency"] == LATENCY + -(-headroom // block) * block
    at = said["latency"]
    assert not main[:, :at].any()
    assert not stems[:, :, :at].any()
    np.testing.assert_array_equal(main[:, at:], mix[:, :-at])
    np.testing.assert_array_equal(stems[:, :, at:], stems_of(mix)[:, :, :-at])


def test_the_audio_thread_asks_nothing_of_the_system(
    plugin: SimpleNamespace, engine: Engine, tmp_path: Path
) -> None:
    mix = noise(96_000)
    mix[0, 5_000::9_600] = 0.99  # notes, too
    said, main, stems = Play(plugin, tmp_path, engine.address, mix).end()
    assert_clean(said)
    assert len(said["midi"]) > 40
    assert said["sessions"] == 1
    np.testing.assert_array_equal(main[:, said["latency"] :], mix[:, : -said["latency"]])
    np.testing.assert_allclose(stems.sum(axis=0), main, atol=1e-6)


@pytest.mark.parametrize("what", ["malloc", "mutex", "call"])
def test_the_trap_finds_what_is_planted(
    plugin: SimpleNamespace, engine: Engine, tmp_path: Path, what: str
) -> None:
    said, _, _ = Play(plugin, tmp_path, engine.address, noise(12_000), "--plant", what).end()
    counted = {"malloc": "allocations", "mutex": "locks", "call": "calls"}[what]
    assert said[counted] > 10


def tone(frames: int) -> Audio:
    """So slow that a jump shows."""
    line = 0.5 * np.sin(2 * np.pi * 60.0 / 48_000 * np.arange(frames))
    return np.stack((line, line)).astype(np.float32)


SLOPE = 2 * np.pi * 60.0 / 48_000 * 0.5


def assert_smooth(stems: Audio) -> None:
    """No step larger than the tone's own and that of a fade of 128 samples."""
    steps = np.abs(np.diff(stems.astype(np.float64), axis=-1)).max()
    assert steps < 2 * SLOPE + 0.5 * np.pi / 128, steps


HOLD = 1024 + 128  # samples of the mix after stems were missing, and the fade back
BLOCK = 128


def assert_the_engines(said: dict[str, Any], stems: Audio, mix: Audio, start: int) -> None:
    """From a frame on to the end of `stems` they are the engine's to the bit, wherever it was
    in time: others may use this machine."""
    at, stop = said["latency_end"], stems.shape[-1]
    judged = np.arange(stop) >= start
    for begin, end in said["missed"]:
        judged[begin : end + HOLD + BLOCK] = False
    assert judged.sum() > 48_000 // 4, said["missed"]
    wanted = stems_of(mix)[:, :, judged[at:].nonzero()[0]]
    np.testing.assert_array_equal(stems[:, :, judged], wanted)


def test_an_engine_that_dies_is_replaced_by_the_mix_and_comes_back(
    plugin: SimpleNamespace, engine: Engine, tmp_path: Path
) -> None:
    mix = tone(48_000 * 9)
    play = Play(plugin, tmp_path, engine.address, mix)
    time.sleep(2.0)
    engine.kill()
    time.sleep(1.0)
    engine.start()
    said, main, stems = play.end()
    at = said["latency"]
    assert said["latency_end"] == at
    assert said["sessions"] == 2
    assert said["misses"] > 100
    assert_clean(said)
    np.testing.assert_array_equal(main[:, at:], mix[:, :-at])
    np.testing.assert_allclose(stems.sum(axis=0), main, atol=1e-6)
    assert_smooth(stems)
    middle = stems[:, :, int(2.7 * 48_000) : int(2.9 * 48_000)]
    assert not np.delete(middle, BUS_OF["other"], axis=0).any()
    assert_the_engines(said, stems[:, :, : 2 * 48_000], mix, at)
    assert_the_engines(said, stems, mix, 3 * 48_000)


def test_without_an_engine_the_mix_goes_out_whole(plugin: SimpleNamespace, tmp_path: Path) -> None:
    mix = noise(48_000)
    begun = time.monotonic()
    said, main, stems = Play(plugin, tmp_path, f"ipc://{tmp_path}/nobody", mix).end()
    assert time.monotonic() - begun < 5.0
    assert_clean(said)
    assert said["sessions"] == 0
    assert said["misses"] > 300
    at = said["latency"]
    np.testing.assert_array_equal(main[:, at:], mix[:, :-at])
    np.testing.assert_array_equal(stems[BUS_OF["other"]], main)
    assert not np.delete(stems, BUS_OF["other"], axis=0).any()


def test_an_engine_that_comes_later_is_found(
    plugin: SimpleNamespace, new_engine: Callable[..., Engine], tmp_path: Path
) -> None:
    engine = new_engine("--latency", "1000")
    engine.kill()
    mix = tone(48_000 * 5)
    play = Play(plugin, tmp_path, engine.address, mix)
    time.sleep(1.0)
    engine.start()
    said, main, stems = play.end()
    assert said["sessions"] == 1
    assert said["latency_end"] == 1000 + 256
    assert said["latency"] != said["latency_end"]
    at = said["latency_end"]
    np.testing.assert_allclose(stems.sum(axis=0), main, atol=1e-6)
    assert_smooth(stems)
    np.testing.assert_array_equal(main[:, -24_000:], mix[:, -24_000 - at : -at])
    assert_the_engines(said, stems, mix, 48_000)


def test_an_offline_render_waits_for_an_engine_that_stalls(
    plugin: SimpleNamespace, engine: Engine, tmp_path: Path
) -> None:
    engine.process.send_signal(signal.SIGSTOP)
    mix = noise(48_000)
    play = Play(plugin, tmp_path, engine.address, mix, "--offline")
    time.sleep(2.0)
    engine.process.send_signal(signal.SIGCONT)
    said, _, stems = play.end()
    assert (said["misses"], said["gave_up"]) == (0, 0)
    at = said["latency_end"]
    np.testing.assert_array_equal(stems[:, :, at:], stems_of(mix)[:, :, :-at])


def test_an_offline_render_without_an_engine_ends(plugin: SimpleNamespace, tmp_path: Path) -> None:
    mix = noise(48_000)
    play = Play(plugin, tmp_path, f"ipc://{tmp_path}/nobody", mix, "--offline")
    said, main, stems = play.end()
    assert said["gave_up"] == 1
    np.testing.assert_array_equal(stems[BUS_OF["other"]], main)


def test_a_refusal_leaves_the_mix(
    plugin: SimpleNamespace, new_engine: Callable[..., Engine], tmp_path: Path
) -> None:
    engine = new_engine("--refuse", "no room for another mix")
    said, main, stems = Play(plugin, tmp_path, engine.address, noise(24_000)).end()
    assert said["sessions"] == 0
    np.testing.assert_array_equal(stems[BUS_OF["other"]], main)


def test_two_plugins_share_an_engine(
    plugin: SimpleNamespace, engine: Engine, tmp_path: Path
) -> None:
    plays = []
    for seed in (1, 2):
        folder = tmp_path / str(seed)
        folder.mkdir()
        mix = noise(48_000, seed)
        plays.append((mix, Play(plugin, folder, engine.address, mix, "--offline")))
    for mix, play in plays:
        said, _, stems = play.end()
        at = said["latency"]
        np.testing.assert_array_equal(stems[:, :, at:], stems_of(mix)[:, :, :-at])


def test_strange_stems_lose_nothing(
    plugin: SimpleNamespace, new_engine: Callable[..., Engine], tmp_path: Path
) -> None:
    engine = new_engine("--stems", "vocals,strings,brass,bass,rest")
    mix = noise(24_000)
    said, main, stems = Play(plugin, tmp_path, engine.address, mix, "--offline").end()
    at = said["latency"]
    given = filtered(
        mix, np.zeros((2, 1), np.float32), ("vocals", "strings", "brass", "bass", "rest")
    )
    order = {5: given[0], 6: given[1], 1: given[3], 4: given[2] + given[4]}
    for bus, wanted in order.items():
        np.testing.assert_allclose(stems[bus][:, at:], wanted[:, :-at], atol=1e-7)
    np.testing.assert_allclose(stems.sum(axis=0), main, atol=1e-6)


def test_notes_are_on_their_samples_and_all_end(
    plugin: SimpleNamespace, engine: Engine, tmp_path: Path
) -> None:
    mix = np.zeros((2, 48_000), np.float32)
    onsets = [10_000, 20_000, 30_001]
    mix[0, onsets] = 1.0
    said, _, _ = Play(plugin, tmp_path, engine.address, mix, "--offline").end()
    at, block = said["latency"], 256  # of an offline message
    for name, channel in (("drums", 9), ("bass", 0), ("vocals", 4), ("other", 3)):
        pitch = {"drums": 36, "bass": 40, "vocals": 60, "other": 64}[name]
        mine = [event for event in said["midi"] if event[1] & 0x0F == channel]
        wanted = []
        for onset in onsets:
            known = (onset // block + 1) * block
            wanted.append([max(onset + at, known + said["slack"]), 0x90 | channel, pitch, 100])
            off = onset + 1000
            known = -(-off // block) * block
            wanted.append([max(off + at, known + said["slack"]), 0x80 | channel, pitch, 0])
        assert mine == wanted


def test_a_note_ends_when_the_engine_dies(
    plugin: SimpleNamespace, engine: Engine, tmp_path: Path
) -> None:
    mix = np.zeros((2, 48_000 * 7), np.float32)
    # The null engine ends a note 1,000 samples after it begins: begin one in every 480.
    mix[0, ::480] = 1.0
    play = Play(plugin, tmp_path, engine.address, mix)
    time.sleep(2.0)
    engine.kill()
    said, _, _ = play.end()
    sounding = set()
    for _, status, pitch, velocity in said["midi"]:
        key = (status & 0x0F, pitch)
        if status & 0xF0 == 0x90 and velocity > 0:
            assert key not in sounding
            sounding.add(key)
        else:
            assert key in sounding
            sounding.remove(key)
    assert not sounding
    assert len(said["midi"]) > 100


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The public key of a bridge that lets this machine's clients in."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "keys"))
    allow("studio", make_keys("client").public)
    return make_keys("server").public


@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
def test_only_the_right_keys_open_a_bridge(
    plugin: SimpleNamespace,
    new_engine: Callable[..., Engine],
    tmp_path: Path,
    keys: str,
    right: bool,
) -> None:
    if not right:
        forget("studio")
    engine = new_engine("--curve")
    mix = noise(24_000)
    play = Play(plugin, tmp_path, f"{engine.address}?key={keys}", mix)
    said, main, stems = play.end()
    assert said["sessions"] == right
    if not right:
        np.testing.assert_array_equal(stems[BUS_OF["other"]], main)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "nonsense",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:65535",
        "tcp://127.0.0.1:7610?key=short",
        "tcp://192.0.2.1:7610",
        "tcp://[::1:7610",
        "ipc://",
        "ipc://" + "x" * 200,
        "http://127.0.0.1:7610",
    ],
)
def test_an_address_that_is_none_leaves_the_mix(
    plugin: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("RTSEP_BRIDGE", "also nonsense")
    said, main, stems = Play(plugin, tmp_path, address, noise(4_800)).end()
    assert said["sessions"] == 0
    np.testing.assert_array_equal(stems[BUS_OF["other"]], main)
