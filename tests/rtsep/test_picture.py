"""The overview picture: what is where in it, and how it refuses."""

import sys

import numpy as np
import pytest

from rtsep.errors import OutputError, SetupError
from rtsep.note_events import Note
from rtsep.picture import _octaves, _spectrogram, draw_overview

pytest.importorskip("matplotlib", reason="the picture needs the [demo] extra")
from matplotlib.image import imread

RATE = 48_000


def tone(hz, seconds=1.0):
    time = np.arange(round(seconds * RATE)) / RATE
    return np.tile(0.2 * np.sin(2 * np.pi * hz * time), (2, 1)).astype(np.float32)


@pytest.mark.parametrize("hz", [55.0, 440.0, 3_000.0])
@pytest.mark.parametrize("rate", [8_000, 44_100, 96_000])
def test_a_tone_lies_in_its_row(hz, rate):
    time = np.arange(rate) / rate
    levels = _spectrogram(np.sin(2 * np.pi * hz * time, dtype=np.float32)[None], rate)
    row = np.argmax(levels[:, levels.shape[1] // 2])
    lowest, highest = _octaves(rate)
    found = lowest + (row + 0.5) / levels.shape[0] * (highest - lowest)
    assert found == pytest.approx(np.log2(hz), abs=0.06)


def test_notes_are_drawn_at_their_time_and_pitch(tmp_path):
    mix = np.zeros((2, 2 * RATE), np.float32)
    stems = {"bass": mix, "drums": mix}
    notes = [Note("bass", 57, 127, RATE // 2, RATE), Note("drums", 36, 127, RATE, RATE + 2400)]
    draw_overview(tmp_path / "with.png", mix, stems, notes, RATE)
    draw_overview(tmp_path / "without.png", mix, stems, [], RATE)
    drawn, empty = imread(tmp_path / "with.png"), imread(tmp_path / "without.png")
    assert drawn.shape == empty.shape
    assert empty[..., :3].mean() < 0.15  # silence is dark
    differs = np.abs(drawn - empty).max(axis=2) > 0.3
    height, width = differs.shape
    left, right = round(0.065 * width), round(0.985 * width)

    # The bass panel is the second of three; its note takes a quarter of two seconds.
    top = 0.45 + (height / 110 - 1.0) * 0.45
    bass = differs[round(110 * top) : round(110 * (top + 1.6)), left:right]
    columns = np.flatnonzero(bass[len(bass) // 4 :].any(axis=0)) / (right - left)
    assert columns.min() == pytest.approx(0.25, abs=0.01)
    assert columns.max() == pytest.approx(0.5, abs=0.01)

    # The drum's tick in the last panel is narrow and half way.
    drums = differs[-round(110 * 1.6) :, left:right]
    columns = np.flatnonzero(drums.any(axis=0)) / (right - left)
    assert columns.min() == pytest.approx(0.5, abs=0.01)
    assert columns.max() == pytest.approx(0.5, abs=0.01)


def test_short_mono_and_unknown_stems_are_drawn(tmp_path):
    path = tmp_path / "a.png"
    path.write_text("old")
    stems = {f"stem{i}": tone(440.0, 0.001)[:1] for i in range(7)}
    draw_overview(path, tone(440.0, 0.001)[:1], stems, [], RATE)
    assert imread(path).shape[2] == 4
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("rate", [8_000, 192_000])
def test_nothing_but_the_mix(tmp_path, rate):
    draw_overview(tmp_path / "a.png", tone(440.0), {}, [], rate)
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(SetupError, match=r"rtsep\[demo\]"):
        draw_overview(tmp_path / "a.png", tone(440.0), {}, [], RATE)


def test_a_path_that_cannot_be_written(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        draw_overview(tmp_path / "missing" / "a.png", tone(440.0), {}, [], RATE)


@pytest.mark.parametrize(
    ("mix", "stems"),
    [
        (np.zeros((2, 0), np.float32), {}),
        (np.zeros(100, np.float32), {}),
        (np.zeros((2, 100), np.float32), {"bass": np.zeros((2, 99), np.float32)}),
    ],
)
def test_arrays_of_the_wrong_shape(tmp_path, mix, stems):
    with pytest.raises(ValueError, match="expected"):
        draw_overview(tmp_path / "a.png", mix, stems, [], RATE)
