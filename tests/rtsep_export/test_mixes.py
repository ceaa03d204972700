"""Mixes made in training: parts of songs, strangers together, and what networks get of them."""

import numpy as np
import pytest
import torch
from pedalboard.io import AudioFile

from rtsep.errors import SetupError
from rtsep_export.features import (
    HEADS,
    SEPARATOR_FRONT_ENDS,
    TRANSCRIBER_FRONT_ENDS,
    features,
    mask_targets,
    target_frames,
)
from rtsep_export.mixes import Mixes, RandomSegments, own_mix, random_mix
from rtsep_export.note_rolls import rolls
from rtsep_export.rendered import RenderedSongs, read_notes
from rtsep_export.segments import HISTORY, SeparatorSegment, TranscriberSegment
from rtsep_export.stems import STEMS
from tests.rtsep_export.reading import read_stems

START = 8192  # of network frame 64, after the history


@pytest.fixture
def songs(tiny_songs):
    return RenderedSongs(tiny_songs / "train")


def test_parts_are_parts_and_silence_around_them(songs):
    whole = read_stems(songs.folders[0])
    bass = STEMS.index("bass")
    assert songs.length(0) == whole.shape[2]
    assert np.array_equal(songs.part(0, "bass", 500, 900), whole[bass, :, 500:1400])
    early = songs.part(0, "bass", -100, 300)
    assert not early[:, :100].any()
    assert np.array_equal(early[:, 100:], whole[bass, :, :200])
    late = songs.part(0, "bass", songs.length(0) - 100, 300)
    assert np.array_equal(late[:, :100], whole[bass, :, -100:])
    assert not late[:, 100:].any()
    assert not songs.part(0, "bass", 10 * songs.length(0), 300).any()


@pytest.mark.parametrize("scored", [False, True])
def test_a_segment_is_a_part_of_the_whole_song(songs, scored):
    whole = torch.from_numpy(read_stems(songs.folders[0]))
    heads = ("live", "relaxed") if scored else ("live", "relaxed", "offline")
    prepare = SeparatorSegment(heads, 160, scored=scored)
    part = prepare(*own_mix(songs, 0, START, prepare.samples))
    first = (START + HISTORY) // 256
    heard = features(whole.sum(0), SEPARATOR_FRONT_ENDS, 256)[first : first + 160]
    assert torch.allclose(part["features"], heard, atol=1e-4)
    names = ("energy", "ratio", "floor")
    for name, found in zip(
        names, mask_targets(whole, "live", *target_frames("live"), 1.0), strict=True
    ):
        span = slice(None) if scored else slice(0, None, 2)
        wanted = found[first : first + 160][span]
        assert torch.allclose(part[name][span], wanted, rtol=1e-3, atol=1e-4)
    if scored:
        wanted, _, _ = rolls(read_notes(songs.folders[0]), 180)
        second = (START + HISTORY) // 512
        assert torch.allclose(
            part["onset"], torch.from_numpy(wanted[second : second + 80]), atol=1e-4
        )
        return
    wanted = mask_targets(whole, "offline", *target_frames("offline"), 1.0)[1]
    count = 40 - 2 * HEADS["offline"].lookahead // 1024
    assert len(part["ratio4"]) == count
    assert torch.allclose(part["ratio4"], wanted[first // 4 :][:count], rtol=1e-3, atol=1e-3)


def test_a_transcriber_hears_and_is_told_the_same_moments(songs):
    whole, prepare = read_stems(songs.folders[0]), TranscriberSegment(64)
    part = prepare(*own_mix(songs, 0, START, prepare.samples))
    first = (START + HISTORY) // 512
    mix = torch.from_numpy(whole).sum(0)
    heard = features(mix, TRANSCRIBER_FRONT_ENDS, 512)[first : first + 64]
    assert torch.allclose(part["features"], heard, atol=1e-4)
    onset, _, velocity = (
        torch.from_numpy(roll[first : first + 64])
        for roll in rolls(read_notes(songs.folders[0]), 180)
    )
    assert torch.allclose(part["onset"], onset, atol=1e-4)
    struck = onset > 0.01
    assert struck.any()
    assert torch.equal(part["velocity"][struck], velocity[struck])


def test_random_mixes_differ_and_silent_stems_have_no_notes(songs):
    rng = np.random.default_rng(2)
    mixes = [random_mix(songs, 20_000, rng) for _ in range(24)]
    assert len({stems.tobytes() for stems, _ in mixes}) == len(mixes)
    silent = 0
    for stems, notes in mixes:
        for stem, audio in zip(STEMS, stems, strict=True):
            if not audio.any():
                silent += 1
                assert stem not in {note[0] for note in notes}
    assert 0 < silent < 24
    again = random_mix(songs, 20_000, np.random.default_rng(2))
    assert np.array_equal(again[0], mixes[0][0])


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_come_from_here_or_from_a_process_beside(tiny_songs, workers):
    prepare = TranscriberSegment(16)
    mixes = Mixes(tiny_songs / "train", RandomSegments(prepare), batch=4, workers=workers)
    rng = np.random.default_rng(0)
    one, two = mixes.draw(rng), mixes.draw(rng)
    assert one["features"].shape[:2] == one["onset"].shape[:2] == (4, 16)
    assert not torch.equal(one["features"], two["features"])


def test_no_songs_is_one_clear_line(tmp_path):
    with pytest.raises(SetupError, match="run rtsep-export render first"):
        RenderedSongs(tmp_path)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda song: (song / "bass.flac").unlink(), r"no .*bass\.flac"),
        (lambda song: (song / "recipe.json").write_text("{"), r"recipe\.json: JSONDecodeError"),
        (lambda song: (song / "recipe.json").unlink(), r"recipe\.json: FileNotFoundError"),
        (lambda song: write_mono(song / "bass.flac"), "at 44100 Hz with 1 channels"),
    ],
)
def test_a_damaged_song_is_named_in_one_line(tiny_songs, damage, said):
    damage(tiny_songs / "train" / "c")
    with pytest.raises(SetupError, match=said) as caught:
        RenderedSongs(tiny_songs / "train")
    assert "\n" not in str(caught.value)
    assert "render this song again" in str(caught.value)


def write_mono(path):
    with AudioFile(str(path), "w", 44_100, 1) as file:
        file.write(np.zeros((1, 1000), np.float32))
