"""Stems from mixtures and scores: near the truth, made once, and never the truth itself."""

import numpy as np
import pytest

from rtsep_export.scores.clips import Clips
from rtsep_export.scores.factorised import factorise_songs, factorised, with_factorised
from rtsep_export.scores.songs import load_songs, store_song
from tests.rtsep_export.scores.test_settings import tones


@pytest.fixture
def folder(tmp_path):
    store_song(tmp_path, "a", *tones(6), {})
    return tmp_path


def db(power):
    return 10 * np.log10(power)


def test_factorised_stems_are_nearer_than_the_mixture(folder):
    (song,) = load_songs(folder)
    true = song.stems.astype(np.float64)
    found = factorised(song).astype(np.float64)
    mixture = true.sum(0)
    np.testing.assert_allclose(found.sum(0), mixture, atol=4.0)
    for own, guess in zip(true, found, strict=True):
        before = (own**2).sum() / ((mixture - own) ** 2).sum()
        after = (own**2).sum() / ((guess - own) ** 2).sum()
        assert db(after) - db(before) > 6.0


def test_an_instrument_without_notes_gets_next_to_nothing(folder):
    (song,) = load_songs(folder)
    song.notes[:] = [note for note in song.notes if note[0] != 1]
    found = factorised(song).astype(np.float64)
    assert (found[1] ** 2).sum() < 1e-4 * (found**2).sum()


def test_batches_learn_from_them_and_hear_the_true_mixture(folder):
    songs = load_songs(folder)
    made = list(factorise_songs(folder, songs))
    assert [name for *_, name in made] == ["a"]
    assert list(factorise_songs(folder, songs)) == []
    assert [song.name for song in load_songs(folder)] == ["a"]
    own, true = Clips(with_factorised(folder, songs)), Clips(songs)
    batch, truth = own.batch([0, 1], sources=True), true.batch([0, 1], sources=True)
    assert (batch.mixture == truth.mixture).all()
    assert (batch.sources != truth.sources).any()
    stored = np.load(folder / "factorised" / "a.npy")
    assert (stored == factorised(songs[0])).all()
