"""These tests need the [train] extra; some also FluidSynth, a font and RTSEP_DATA."""

import json
import shutil
from pathlib import Path

import numpy as np
import pretty_midi
import pytest
from pedalboard.io import AudioFile

torch = pytest.importorskip("torch", reason="torch is not installed; pip install rtsep[train]")
# Threads of many small networks get in each other's way on a busy machine.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def one_thread():
    """Commands that a test runs in this process may have set another number."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def test_font():
    """The test split's font, which is the smallest."""
    from rtsep_export.render import FONTS, TEST_FONTS

    font = TEST_FONTS[0]
    if shutil.which("fluidsynth") is None:
        pytest.skip("fluidsynth is not installed; apt-get install fluidsynth")
    if not Path(FONTS[font][0]).is_file():
        pytest.skip(f"the font is not installed; apt-get install {FONTS[font][1]}")
    return font


@pytest.fixture(scope="session")
def long_songs(data_dir, test_font, tmp_path_factory):
    """Folders of twenty seconds of three songs of the test split."""
    from rtsep_export.dataset import PLANS, plan_songs
    from rtsep_export.render import render_song

    folder = tmp_path_factory.mktemp("long")
    for song in plan_songs(data_dir, "test", PLANS["test"])[:3]:
        assert render_song(data_dir, song, folder, seconds=20.0, fonts=(test_font,))
    return sorted(folder.iterdir())


@pytest.fixture(scope="session")
def rendered(data_dir, test_font, tmp_path_factory):
    """A folder with four seconds of one song of the test split, and that song."""
    from rtsep_export.dataset import PLANS, plan_songs
    from rtsep_export.render import render_song

    font = test_font
    folder = tmp_path_factory.mktemp("rendered")
    song = plan_songs(data_dir, "test", PLANS["test"])[0]
    assert render_song(data_dir, song, folder, seconds=4.0, fonts=(font,))
    assert not render_song(data_dir, song, folder, seconds=4.0, fonts=(font,))
    return folder, song


@pytest.fixture
def tiny_songs(tmp_path):
    """Two seconds of tones as `rtsep_export.render` lays songs out, to train and to validate."""
    rng = np.random.default_rng(0)
    for name in ("train/a", "train/c", "valid/b"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        midi = pretty_midi.PrettyMIDI(resolution=960)
        stems = {"drums": rng.normal(0, 0.05, 96_000)}
        for stem, pitch in {"bass": 40, "guitar": 57, "piano": 69, "other": 84}.items():
            pitch += int(rng.integers(3))
            part = pretty_midi.Instrument(0, name=stem)
            part.notes = [pretty_midi.Note(90, pitch, 0.2 * k, 0.2 * k + 0.15) for k in range(9)]
            midi.instruments.append(part)
            time = np.arange(96_000) / 48_000
            sounding = time % 0.2 < 0.15
            stems[stem] = (
                0.1 * sounding * np.sin(2 * np.pi * pretty_midi.note_number_to_hz(pitch) * time)
            )
        midi.write(str(folder / "notes.mid"))
        (folder / "recipe.json").write_text(json.dumps({"programs": {stem: [0] for stem in stems}}))
        stems["mix"] = sum(stems.values())
        for stem, audio in stems.items():
            with AudioFile(str(folder / f"{stem}.flac"), "w", 48_000, 2) as file:
                file.write(np.stack([audio, 0.5 * audio]).astype(np.float32))
    return tmp_path
