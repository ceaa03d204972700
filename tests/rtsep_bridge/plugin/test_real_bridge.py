"""A song through the plugin, the bridge and the real engine is what `rtsep separate` writes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import rtsep.demo
from rtsep.audio_files import AudioReader, AudioWriter
from rtsep.fingerprint import fingerprint
from rtsep.mask_file import write_masks
from tests.rtsep_bridge.plugin.conftest import ROOT
from tests.rtsep_bridge.plugin.test_hosts import dawdreamer
from tests.rtsep_bridge.plugin.test_link import BUSES, Audio, Play

FRAMES = 4 * 48_000
PRESET = "live"


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "rtsep", *map(str, words)]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "bridge")))}


def read(path: Path, frames: int) -> Audio:
    with AudioReader(path) as reader:
        return np.concatenate(list(reader.blocks()), axis=1)[:, :frames]


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> tuple[Audio, dict[str, Audio]]:
    """A moment of the demo's clip, and its stems as `rtsep separate` writes them."""
    folder = tmp_path_factory.mktemp("song")
    mix = read(Path(rtsep.demo.__file__).with_name("clip.flac"), FRAMES)
    writer = AudioWriter(folder / "mix.wav", 48_000, 2, "wav")
    writer.write(np.ascontiguousarray(mix))
    writer.close()
    words = command(
        "separate", folder / "mix.wav", "-o", folder / "out", "--preset", PRESET, "--no-midi"
    )
    subprocess.run(words, check=True, capture_output=True, env=environment())
    stems = {path.stem: read(path, FRAMES) for path in (folder / "out").rglob("*.wav")}
    assert len(stems) > 2
    return mix, stems


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("bridge")) as address:
        yield address


@contextmanager
def serving(folder: Path, *options: str | Path) -> Iterator[str]:
    address = f"ipc://{folder}/real"
    server = subprocess.Popen(
        command("bridge", "serve", "--bind", address, *options),
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert server.stderr is not None
    said = ""
    while "serving at" not in said:
        line = server.stderr.readline()
        assert line, said
        said += line
    yield address
    server.terminate()
    server.communicate(timeout=30)
    assert server.returncode == 0


def assert_same(stems: Audio, wanted: dict[str, Audio], latency: int) -> None:
    for name, stem in wanted.items():
        bus = stems[BUSES.index(name)]
        np.testing.assert_allclose(bus[:, latency:], stem[:, :-latency], atol=1e-6, rtol=0)
    assert np.abs(stems).max() > 0.1


@pytest.mark.parametrize("block", [128, 441])
def test_an_offline_render_is_what_separate_writes(
    plugin: SimpleNamespace,
    bridge: str,
    song: tuple[Audio, dict[str, Audio]],
    tmp_path: Path,
    block: int,
) -> None:
    mix, wanted = song
    play = Play(
        plugin, tmp_path, bridge, mix, "--offline", "--preset", PRESET, "--block", str(block)
    )
    said, main, stems = play.end()
    at = said["latency"]
    assert (said["misses"], said["latency_end"]) == (0, at)
    assert said["midi"]
    np.testing.assert_array_equal(main[:, at:], mix[:, :-at])
    assert_same(stems, wanted, at)


def test_dawdreamer_renders_what_separate_writes(
    plugin: SimpleNamespace, bridge: str, song: tuple[Audio, dict[str, Audio]], tmp_path: Path
) -> None:
    mix, wanted = song
    found = dawdreamer(plugin, bridge, tmp_path, mix, [(48_000, 512)])
    out = found[48_000, 512]
    stems = out["audio"][2:].reshape(7, 2, -1)
    assert_same(stems, wanted, int(out["latency"]))


def test_masks_follow_the_play_head_of_the_host(
    plugin: SimpleNamespace, song: tuple[Audio, dict[str, Audio]], tmp_path: Path
) -> None:
    """What DawDreamer renders by a song's masks is what `rtsep separate --masks` writes."""
    mix, _ = song
    rng = np.random.default_rng(0)
    mask = rng.random((FRAMES // 512 + 1, 513), np.float32)
    sizes = {"sample_rate": 48_000, "samples": FRAMES, "n_fft": 1024, "hop": 512}
    words = fingerprint(mix, 48_000)
    masks = tmp_path / "song.masks"
    write_masks(masks, {"guitar": mask}, words, **sizes, settings={})
    writer = AudioWriter(tmp_path / "mix.wav", 48_000, 2, "wav")
    writer.write(np.ascontiguousarray(mix))
    writer.close()
    words = command("separate", tmp_path / "mix.wav", "--masks", masks, "-o", tmp_path / "out")
    words += ["--preset", PRESET, "--no-midi"]
    subprocess.run(words, check=True, capture_output=True, env=environment())
    (folder,) = (tmp_path / "out").iterdir()
    wanted = {"guitar": folder / "guitar.wav", "other": folder / "rest.wav"}
    with serving(tmp_path, "--masks", masks, "--no-notes") as address:
        found = dawdreamer(plugin, address, tmp_path, mix, [(48_000, 512)])
    out = found[48_000, 512]
    stems = out["audio"][2:].reshape(7, 2, -1)
    at = int(out["latency"])
    assert_same(stems, {name: read(path, FRAMES) for name, path in wanted.items()}, at)


def test_another_preset_while_it_plays(
    plugin: SimpleNamespace, bridge: str, song: tuple[Audio, dict[str, Audio]], tmp_path: Path
) -> None:
    """Its latency is told, its stems come, and the stems add up to the main bus all along."""
    mix = np.concatenate((song[0], song[0]), axis=1)
    play = Play(plugin, tmp_path, bridge, mix, "--preset", "lowest", "--then", "live")
    said, main, stems = play.end()
    assert said["sessions"] == 2
    assert said["latency_end"] == said["engine_latency"] + said["slack"] != said["latency"]
    np.testing.assert_allclose(stems.sum(axis=0), main, atol=1e-5, rtol=0)
    at = said["latency_end"]
    np.testing.assert_array_equal(main[:, -48_000:], mix[:, -48_000 - at : -at])
    drums = BUSES.index("drums")
    assert np.abs(stems[drums, :, -48_000:]).max() > 0.01
