"""The plugin for Ardour, and a moment of a song with its stems."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rtsep.demo
from tests.rtsep_bridge.daw.ardour import RATE, ROOT, STEMS, Audio, read, write
from tests.rtsep_bridge.plugin.conftest import plugin  # noqa: F401


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the first test the time that building the plugin takes."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(scope="session")
def song() -> Audio:
    """Three seconds of the demo's clip."""
    clip = read(Path(rtsep.demo.__file__).with_name("clip.flac"))
    return np.ascontiguousarray(clip[:, : 3 * RATE])


def separated(folder: Path, audio: Audio, preset: str = "live") -> Audio:
    """What `rtsep separate` writes: [stems, 2, frames], in the order of the plugin's buses."""
    mix = write(folder / "mix.wav", audio)
    words = ("separate", mix, "-o", folder / "out", "--preset", preset, "--overwrite", "--no-midi")
    subprocess.run(
        [sys.executable, "-m", "rtsep", *map(str, words)],
        check=True,
        capture_output=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "bridge")))},
    )
    return np.stack([read(folder / "out/mix" / f"{stem}.wav") for stem in STEMS])
