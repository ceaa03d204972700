"""These tests need the [train] extra; some also FluidSynth, a font and RTSEP_DATA."""

import shutil
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; pip install rtsep[train]")
# Threads of many small networks get in each other's way on a busy machine.
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
