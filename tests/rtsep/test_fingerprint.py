"""Finding a place in a song by its sound."""

import numpy as np
import pytest

from rtsep.fingerprint import FRAMES_PER_S, Listener, find, fingerprint
from rtsep.resample import Resampler

RATE = 48_000


def song(seconds: float = 40.0, seed: int = 0) -> np.ndarray:
    """Random notes over noise that comes and goes."""
    rng = np.random.default_rng(seed)
    audio = 0.02 * rng.standard_normal(round(seconds * RATE))
    for start in np.arange(0.0, seconds - 0.5, 0.11):
        length = int(rng.uniform(0.1, 0.5) * RATE)
        time = np.arange(length) / RATE
        hz = 110.0 * 2 ** (rng.integers(0, 48) / 12)
        note = sum(np.sin(2 * np.pi * k * hz * time) / k for k in range(1, 6)) * np.exp(-5 * time)
        first = round(start * RATE)
        audio[first : first + length] += 0.1 * note[: len(audio) - first]
    return np.stack([audio, 0.5 * audio]).astype(np.float32)


@pytest.fixture(scope="module")
def music():
    audio = song()
    return audio, fingerprint(audio, RATE)


def heard(audio: np.ndarray, rate: int = RATE, seconds: float = 2.0) -> np.ndarray:
    """The words of the last seconds of what was played."""
    return Listener(rate).push(audio.mean(axis=0, dtype=np.float32))[
        -round(seconds * FRAMES_PER_S) :
    ]


def error_frames(found, end_s: float) -> float:
    return found[0] + 1 - end_s * FRAMES_PER_S


@pytest.mark.parametrize("end_s", [5.0, 17.3, 39.9])
def test_a_place_is_found_to_the_frame(music, end_s):
    audio, words = music
    part = audio[:, round((end_s - 2.5) * RATE) : round(end_s * RATE)]
    found = find(heard(part), words)
    assert abs(error_frames(found, end_s)) <= 0.51


@pytest.mark.parametrize("offset", [100, 240, 379])
def test_it_does_not_matter_where_between_two_frames_one_starts(music, offset):
    audio, words = music
    stop = 20 * RATE + offset
    found = find(heard(audio[:, stop - round(2.5 * RATE) : stop]), words)
    assert abs(error_frames(found, stop / RATE)) <= 1.0


def test_level_equaliser_and_noise_do_not_matter(music):
    audio, words = music
    part = 0.1 * audio[:, 10 * RATE : round(12.5 * RATE)]
    part = part + 0.5 * np.roll(part, 7, axis=1)  # a comb
    part = part + 0.002 * np.random.default_rng(1).standard_normal(part.shape).astype(np.float32)
    assert abs(error_frames(find(heard(part), words), 12.5)) <= 1.0


def test_another_rate_is_the_same_song(music):
    audio, words = music
    resampler = Resampler(RATE, 44_100, 2)
    part = resampler.process(audio[:, 8 * RATE : 11 * RATE])
    end_s = 8 + part.shape[1] / 44_100
    assert abs(error_frames(find(heard(part, 44_100), words), end_s)) <= 1.0


def test_other_music_silence_and_repeats_are_nowhere(music):
    audio, words = music
    assert find(heard(song(4.0, seed=9)), words) is None
    assert find(heard(np.zeros((2, 3 * RATE), np.float32)), words) is None
    twice = np.concatenate([words[:1000], words[:1000]])
    assert find(words[500:700], twice) is None
    assert find(words[500:700], words) == (699, 0.0)
    assert find(words, words[:10]) is None
    assert find(words[:0], words) is None
    assert audio.shape[0] == 2


def test_blocks_of_any_size_give_the_same_words(music):
    audio, words = music
    mono, listener = audio.mean(axis=0, dtype=np.float32), Listener(RATE)
    found, rng, at = [], np.random.default_rng(0), 0
    while at < 5 * RATE:
        size = int(rng.integers(1, 2000))
        found.extend(listener.push(mono[at : at + size]))
        at += size
    np.testing.assert_array_equal(found, words[: len(found)])
    listener.reset()
    np.testing.assert_array_equal(listener.push(mono[:RATE]), words[:100])
    with pytest.raises(ValueError, match="expected a multiple"):
        Listener(22_050 + 1)
