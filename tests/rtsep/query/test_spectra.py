"""Transforms there and back, at any rate."""

import librosa
import numpy as np
import pytest

from rtsep.query.spectra import (
    OverlapAdd,
    centred,
    frame_count,
    invert,
    magnitudes,
    mask,
    masked,
    spectrum,
)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, shape).astype(np.float32)


def test_magnitudes_are_those_of_a_centred_transform():
    audio = noise(9000)
    expected = np.abs(librosa.stft(audio, n_fft=2048, hop_length=160, pad_mode="reflect"))
    found = magnitudes(audio, 2048, 160, 1024)
    np.testing.assert_allclose(found, expected[:-1].T, atol=1e-4)


@pytest.mark.parametrize(("n_fft", "hop"), [(6144, 480), (5644, 441), (2048, 160)])
@pytest.mark.parametrize("samples", [1, 500, 20_011])
def test_there_and_back_is_exact(n_fft, hop, samples):
    audio = noise(2, samples)
    out, padded = OverlapAdd(audio.shape, n_fft, hop), centred(audio, n_fft)
    total = frame_count(samples, hop)
    for first in range(0, total, 7):
        count = min(7, total - first)
        out.add(spectrum(padded, n_fft, hop, first, count), first)
    np.testing.assert_allclose(out.audio(), audio, atol=2e-6)


def test_a_mask_of_ones_changes_nothing_and_one_of_halves_takes_a_half():
    audio = noise(2, 48_000)
    frames = frame_count(48_000, 480)
    for share in (1.0, 0.5):
        parts = (
            (k, np.full((min(30, frames - k), 1024), share, "f4")) for k in range(0, frames, 30)
        )
        np.testing.assert_allclose(masked(audio, parts, 6144, 480), share * audio, atol=1e-6)


def test_masks_work_where_they_were_made_and_their_upper_end_speaks_for_all_above():
    time = np.arange(96_000) / 48_000
    sines = {
        hz: np.sin(2 * np.pi * hz * time).astype(np.float32) for hz in (500, 3000, 7000, 15_000)
    }
    audio = np.stack([sum(sines.values()), sines[500]]).astype(np.float32)
    part = np.zeros((frame_count(96_000, 480), 1024), np.float32)
    part[:, 384 - 30 : 384 + 30] = 1.0  # 3 kHz
    part[:, 768:] = 1.0  # 6 kHz and above
    found = masked(audio, iter([(0, part)]), 6144, 480)
    middle = slice(10_000, 86_000)
    wanted = sines[3000] + sines[7000] + sines[15_000]
    np.testing.assert_allclose(found[0, middle], wanted[middle], atol=1e-3)
    assert np.abs(found[1, middle]).max() < 1e-3


def test_masks_lie_between_nothing_and_all():
    estimate = np.array([[0.0, 1.0, 2.0, 5.0]], np.float32)
    mixture = np.array([[1.0, 2.0, 2.0, 0.0]], np.float32)
    np.testing.assert_allclose(mask(estimate, mixture), [[0.0, 0.5, 1.0, 1.0]], atol=1e-6)


def test_magnitudes_become_audio_again():
    time = np.arange(16_000) / 16_000
    audio = (0.3 * np.sin(2 * np.pi * 440 * time) + 0.2 * np.sin(2 * np.pi * 1234 * time)).astype(
        "f4"
    )
    wanted = magnitudes(audio, 2048, 160, 1024)
    found = invert(wanted, 2048, 160, 30, 0.99)
    error = np.linalg.norm(magnitudes(found, 2048, 160, 1024) - wanted) / np.linalg.norm(wanted)
    assert error < 0.15


@pytest.mark.parametrize("more", [-1, 0, 1, 5])
def test_one_frame_more_or_less_does_not_matter(more):
    audio = noise(2, 440 + 441 * 40)
    frames = frame_count(audio.shape[1], 441)
    whole = np.ones((frames + more, 1024), np.float32)
    parts = ((k, whole[k : k + 10]) for k in range(0, len(whole), 10))
    found = masked(audio, parts, 5644, 441)
    assert found.shape == audio.shape
    np.testing.assert_allclose(found, audio, atol=1e-5)
