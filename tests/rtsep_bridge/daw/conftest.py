"""The plugin for Ardour, and a moment of a song with its stems."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import mido
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


@pytest.fixture(scope="session")
def exact(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The shipped separator in 32 bits and the transcriber: "model" and "transcriber".

    JACK's way through Ardour rounds the song's last bit, which networks of 8 bits answer
    with a step of theirs.
    """
    pytest.importorskip("torch", reason="torch is not installed; pip install rtsep[train]")
    from rtsep.bundle import load_bundle, shipped_bundles
    from rtsep_export.from_onnx import load_separator
    from rtsep_export.to_onnx import export_separator

    path = tmp_path_factory.mktemp("exact") / "live.onnx"
    live = load_bundle("live")
    training, ends = live.manifest.training, live.manifest.front_ends
    export_separator(
        load_separator(live), "live", path, training, "0.0.1", front_ends=ends, int8=False
    )
    return {"model": path, "transcriber": shipped_bundles()["notes"]}


class Note(NamedTuple):
    """A note that begins; `sample` counts from the start of the song."""

    sample: float
    channel: int
    pitch: int
    velocity: int


def midi_notes(path: Path) -> list[Note]:
    """The notes of a file of one tempo, in order of their times."""
    file = mido.MidiFile(path)
    messages = [message for track in file.tracks for message in track]
    tempo = next((m.tempo for m in messages if m.type == "set_tempo"), 500_000)
    notes = []
    for track in file.tracks:
        ticks = 0
        for message in track:
            ticks += message.time
            if message.type == "note_on" and message.velocity:
                sample = mido.tick2second(ticks, file.ticks_per_beat, tempo) * RATE
                notes.append(Note(sample, message.channel, message.note, message.velocity))
    return sorted(notes)


def separated(
    folder: Path, song: Audio, before: int, models: dict[str, Path] | None = None
) -> tuple[Audio, list[Note]]:
    """What `rtsep separate` makes of a song that has silence before it; without the silence.

    With the shipped models, or those of `exact`.  The stems, [stems, 2, frames] in the order
    of the plugin's buses, and the notes.
    """
    mix = write(folder / "mix.wav", np.pad(song, ((0, 0), (before, 0))))
    words = ["separate", mix, "-o", folder / "out", "--preset", "live", "--overwrite"]
    for option, path in (models or {}).items():
        words += [f"--{option}", path]
    subprocess.run(
        [sys.executable, "-m", "rtsep", *map(str, words)],
        check=True,
        capture_output=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "bridge")))},
    )
    stems = [read(folder / "out/mix" / f"{stem}.wav") for stem in STEMS]
    notes = [note._replace(sample=note.sample - before) for note in
             midi_notes(folder / "out/mix/mix.mid")]  # fmt: skip
    return np.stack(stems)[:, :, before:], notes
