"""A place found, kept, lost and found again, from blocks as they come."""

import time

import numpy as np
import pytest

from rtsep.fingerprint import fingerprint
from rtsep.live.song_finder import SongFinder
from rtsep.mask_file import Header, MaskFile
from rtsep.played_masks import Place
from tests.rtsep.test_fingerprint import song

RATE, BLOCK = 48_000, 480


@pytest.fixture(scope="module")
def known():
    audio = song(30.0)
    words = fingerprint(audio, RATE)
    header = Header(
        sample_rate=RATE,
        samples=audio.shape[1],
        n_fft=1024,
        hop=512,
        frames=1,
        tags=("a",),
        fingerprint_frames=len(words),
        sizes=(1,),
    )
    return audio, MaskFile(header, np.zeros((1, 1, 513), np.uint8), words)


class Stream:
    """Plays audio into a finder, a little faster than in time, and keeps what it found."""

    def __init__(self, file):
        self.finder = SongFinder(file, RATE)
        self.position = 0
        self.found = []  # (stream position, place)

    def play(self, audio):
        for start in range(0, audio.shape[1] - BLOCK + 1, BLOCK):
            self.finder.hear(audio[:, start : start + BLOCK])
            self.position += BLOCK
            time.sleep(0.0015)
            changed, place = self.finder.take()
            if changed:
                self.found.append((self.position, place))


@pytest.fixture
def stream(known):
    stream = Stream(known[1])
    yield stream
    stream.finder.close()


def test_a_place_is_found_in_two_seconds_and_kept(stream, known):
    audio, _ = known
    stream.play(audio[:, 7 * RATE : 14 * RATE])
    ((position, place),) = stream.found
    assert position <= 2.0 * RATE
    # Sample 0 of the stream is second 7 of the song, to a hop of the masks.
    assert abs(place.song - place.stream - 7 * RATE) <= 512


def test_after_a_jump_it_is_lost_and_found_again(stream, known):
    audio, _ = known
    stream.play(audio[:, 5 * RATE : 9 * RATE])
    stream.play(audio[:, 20 * RATE : 24 * RATE])
    places = [place for _, place in stream.found]
    assert places[1] is None
    lost_at, found_at = stream.found[1][0] - 4 * RATE, stream.found[2][0] - 4 * RATE
    assert 0 < lost_at <= 1.0 * RATE
    assert found_at <= 2.0 * RATE
    assert abs(places[-1].song - (20 - 4) * RATE) <= 512
    assert len(places) == 3


def test_what_comes_while_it_looks_is_not_lost(stream, known, monkeypatch):
    audio, _ = known
    finder = stream.finder
    position = [7 * RATE]

    def hear():
        finder.hear(audio[:, position[0] : position[0] + BLOCK])
        position[0] += BLOCK

    push = finder._listener.push

    def push_slowly(mono):
        words = push(mono)
        hear()  # the engine's loop does not wait for the finder
        return words

    monkeypatch.setattr(finder._listener, "push", push_slowly)
    for _ in range(100):
        hear()
        time.sleep(0.003)
    finder.close()
    place = finder.take()[1]
    assert abs(place.song - 7 * RATE) <= 512


def test_other_music_and_silence_are_no_place(stream, known):
    stream.play(song(3.0, seed=5))
    stream.play(np.zeros((2, RATE), np.float32))
    assert stream.found == []


def test_a_new_stream_is_counted_from_its_own_start(stream, known):
    audio, _ = known
    stream.play(audio[:, : 3 * RATE])
    stream.finder.restart()
    assert stream.finder.take() == (True, None)
    assert stream.finder.take() == (False, None)
    stream.play(audio[:, 10 * RATE : 13 * RATE])
    assert abs(stream.found[-1][1].song - 10 * RATE) <= 512


def test_a_transport_is_believed_until_the_sound_says_otherwise(stream, known):
    audio, _ = known
    finder = stream.finder
    assert finder.take(123.0) == (True, Place(0, 123.0))
    assert finder.take(None) == (True, None)
    # It agrees: it gives the place to the sample, and a jump at once.
    exact = 7.0 * RATE + 3
    stream.play(audio[:, 7 * RATE : 10 * RATE])
    assert finder.take(exact) == (True, Place(0, exact))
    assert finder.take(exact + 5 * RATE) == (True, Place(0, exact + 5 * RATE))
    assert finder.take(exact + 5 * RATE) == (False, Place(0, exact + 5 * RATE))


def test_a_transport_of_another_time_line_is_not_believed(stream, known):
    audio, _ = known
    stream.play(audio[:, 7 * RATE : 10 * RATE])
    found = stream.found[-1][1]
    for transport in (0.0, 3.0 * RATE):
        assert stream.finder.take(transport) == (False, found)
