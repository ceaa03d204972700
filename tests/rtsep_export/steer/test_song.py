"""Whole songs: segments that join, runs that go on, tags by their names."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from rtsep.errors import AudioError, RtsepError
from rtsep.mask_file import read_masks
from rtsep_export.steer import song, tags
from rtsep_export.steer.steering import Settings, Target
from tests.rtsep.cli import write_audio
from tests.rtsep_export.steer.test_steering import Ear, Echo

TAGGERS = Path(os.environ.get("RTSEP_DATA", "")) / "taggers"
RATE = 44_100
SETTINGS = Settings(steps=8, rate=0.06)


@pytest.mark.parametrize("seconds", [3.0, 10.0, 12.5, 30.0])
def test_segments_cover_a_song_and_join_to_what_they_were_cut_from(seconds):
    samples, hop = round(seconds * RATE), 512
    places = list(song.segments(samples, hop))
    total = samples // hop + 1
    assert places[0].first == 0
    assert places[-1].first + places[-1].frames == total
    assert max(p.samples for p in places) <= song.SEGMENT_S * RATE + hop
    whole = np.random.default_rng(0).random((total, 5), np.float32)
    parts = [whole[p.first : p.first + p.frames] for p in places]
    np.testing.assert_allclose(song.join(parts, places, 86), whole, atol=1e-6)
    ones = [np.full_like(part, k) for k, part in enumerate(parts)]
    steps = np.abs(np.diff(song.join(ones, places, 86)[:, 0]))
    assert steps.max(initial=0.0) <= 1.2 / 43


@pytest.fixture
def duo(tmp_path):
    time = np.arange(round(13.0 * RATE)) / RATE
    audio = [0.3 * np.sin(2 * np.pi * hz * time) for hz in (300.0, 4000.0)]
    stereo = np.stack([sum(audio), sum(audio)]).astype(np.float32)
    return write_audio(tmp_path / "duo.wav", stereo, RATE)


def run(duo, output, *, removed=False, on_progress=lambda *_: None, settings=SETTINGS):
    wanted = {
        "low": [Target(Ear(2), torch.tensor([1.0, 0.0]))],
        "high": [Target(Ear(2), torch.tensor([0.0, 1.0]))],
    }
    return song.steer_song(
        duo,
        output,
        wanted,
        Echo(),
        settings,
        removed=removed,
        about={"steps": str(settings.steps)},
        on_progress=on_progress,
    )


def test_a_song_becomes_masks_of_its_tags(duo, tmp_path):
    seen = []
    size = run(duo, tmp_path / "duo.masks", on_progress=lambda *done: seen.append(done))
    assert size < (tmp_path / "duo.masks").stat().st_size
    assert seen == [(1, 4, "low"), (2, 4, "low"), (3, 4, "high"), (4, 4, "high")]
    found = read_masks(tmp_path / "duo.masks")
    assert found.header.tags == ("low", "high")
    assert found.header.settings == {"steps": "8"}
    low_bin, high_bin = round(300 * 1024 / RATE), round(4000 * 1024 / RATE)
    low, high = found.masks.astype(float)[:, 50:-50]
    assert low[:, low_bin].mean() > 2 * low[:, high_bin].mean()
    assert high[:, high_bin].mean() > 2 * high[:, low_bin].mean()
    assert {p.name for p in tmp_path.iterdir()} == {"duo.masks", "duo.wav"}
    run(duo, tmp_path / "other.masks", removed=True)
    other = read_masks(tmp_path / "other.masks").masks.astype(float)
    np.testing.assert_allclose(other + found.masks, 255, atol=1.01)


def test_a_run_that_was_ended_goes_on_where_it_was(duo, tmp_path, monkeypatch):
    class EndedError(Exception):
        pass

    def end(done, total, tag):
        if done == 3:
            raise EndedError

    with pytest.raises(EndedError):
        run(duo, tmp_path / "duo.masks", on_progress=end)
    assert not (tmp_path / "duo.masks").exists()
    steered = []
    real = song.steer
    monkeypatch.setattr(song, "steer", lambda *a, **k: steered.append(1) or real(*a, **k))
    run(duo, tmp_path / "duo.masks")
    assert len(steered) == 1
    first = read_masks(tmp_path / "duo.masks").masks
    # Other settings begin anew.
    run(duo, tmp_path / "again.masks", settings=Settings(steps=2, rate=0.06))
    assert len(steered) == 5
    assert first.shape == read_masks(tmp_path / "again.masks").masks.shape


def test_silence_is_refused(tmp_path):
    write_audio(tmp_path / "silent.wav", np.zeros((2, RATE), np.float32), RATE)
    with pytest.raises(AudioError, match="is silent"):
        run(tmp_path / "silent.wav", tmp_path / "x.masks")
    with pytest.raises(AudioError, match="cannot be read"):
        run(tmp_path / "none.wav", tmp_path / "x.masks")
    assert {p.name for p in tmp_path.iterdir()} == {"silent.wav"}


@pytest.mark.skipif(not TAGGERS.is_dir(), reason="needs RTSEP_DATA with taggers")
def test_the_lists_are_those_of_the_published_taggers():
    for name, listed in tags.TAG_LISTS.items():
        published = (TAGGERS / f"{name}-tags.txt").read_text().splitlines()
        assert list(listed) == published


def test_instruments_mean_tags_that_there_are():
    for name, instruments in tags.INSTRUMENTS.items():
        for instrument in instruments:
            found = tags.target([instrument], tags.TAG_LISTS[name], instruments)
            assert int(found.sum()) == len(instruments[instrument])
    mtat = tags.target(["piano", "opera"], tags.MTAT, tags.INSTRUMENTS["mtat"])
    assert [tags.MTAT[i] for i in np.flatnonzero(mtat)] == ["piano", "opera"]
    assert len(tags.INSTRUMENTS["mtat"]["vocals"]) == 14


def test_an_unknown_tag_is_told_with_the_nearest():
    with pytest.raises(RtsepError, match="tag pianno") as caught:
        tags.target(["pianno"], tags.MTAT, tags.INSTRUMENTS["mtat"])
    assert "the nearest: piano" in str(caught.value)
    assert "harpsichord" in str(caught.value)
