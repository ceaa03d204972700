"""The measures against what museval and mir_eval give, and against closed forms."""

import warnings

import mir_eval
import numpy as np
import pytest

from benchmarks.metrics import (
    Counts,
    TimedNote,
    note_counts,
    onset_counts,
    pooled,
)
from rtsep_export.measures import is_silent, museval_sdr, si_sdr

RATE = 500


def _sources(silence: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    reference = rng.standard_normal((3, 2, 4 * RATE + 120))
    levels = np.array([0.2, 0.5, 1.5])[:, None, None]
    estimate = reference + levels * rng.standard_normal(reference.shape) + 0.3 * reference[::-1]
    if silence:
        reference[1, :, RATE : 2 * RATE] = 0
    return reference, estimate


def test_sdr_is_what_museval_reported() -> None:
    reference, estimate = _sources(silence=True)
    # museval 0.4.1: bss_eval(window=hop=500, filters_len=16), median over the windows;
    # the window in which a reference is silent is NaN for all three.
    expected = [8.503923240427545, 4.5607243894237, -3.5557154272634213]
    np.testing.assert_allclose(museval_sdr(reference, estimate, RATE), expected, rtol=1e-12)


def test_sdr_is_the_image_sdr_of_mir_eval() -> None:
    reference, estimate = (audio[:2, :1, :RATE] for audio in _sources())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected, *_ = mir_eval.separation.bss_eval_images(
            reference.swapaxes(1, 2), estimate.swapaxes(1, 2), compute_permutation=False
        )
    np.testing.assert_allclose(museval_sdr(reference, estimate, RATE), expected, rtol=1e-6)


def test_sdr_without_a_window_that_counts_is_nan() -> None:
    reference, estimate = _sources()
    estimate[0] = 0
    assert np.isnan(museval_sdr(reference, estimate, RATE)).all()


def test_si_sdr_forgets_scale_and_offset() -> None:
    rng = np.random.default_rng(1)
    reference, noise = rng.standard_normal((2, 2, 4000)).astype(np.float32)
    estimate = reference + 0.1 * noise
    figure = si_sdr(reference, estimate)
    assert figure == pytest.approx(20.0, abs=0.3)
    assert si_sdr(reference, np.float32(-7) * estimate + 3) == pytest.approx(figure, abs=1e-3)


def test_si_sdr_uses_one_scale_for_both_channels() -> None:
    rng = np.random.default_rng(2)
    reference = rng.standard_normal((2, 4000)).astype(np.float32)
    estimate = reference * np.array([[1.0], [0.5]], np.float32)
    assert 5.0 < si_sdr(reference, estimate) < 12.0


def test_si_sdr_is_held_within_limits() -> None:
    reference = np.sin(np.arange(2000, dtype=np.float32)).reshape(2, -1)
    assert si_sdr(reference, reference) == 80.0
    assert si_sdr(reference, np.zeros_like(reference)) == -80.0


def test_silence_is_below_minus_60_db() -> None:
    assert is_silent(np.full((2, 100), 0.9e-3, np.float32))
    assert not is_silent(np.full((2, 100), 1.1e-3, np.float32))


def _note(onset_s: float, pitch: int = 60, stem: str = "bass") -> TimedNote:
    return TimedNote(stem, pitch, onset_s, onset_s + 0.2)


def test_notes_match_within_the_tolerance_and_once() -> None:
    reference = [_note(1.0), _note(2.0), _note(3.0), _note(4.0, 61)]
    estimated = [_note(1.03), _note(1.04), _note(2.019), _note(3.2), _note(4.0, 62)]
    assert note_counts(reference, estimated, 0.05) == Counts(2, 4, 5)
    assert note_counts(reference, estimated, 0.02) == Counts(1, 4, 5)


def test_counts_without_notes() -> None:
    assert note_counts([], [_note(1.0)], 0.05) == Counts(0, 0, 1)
    assert np.isnan(Counts().f1)
    counts = Counts(1, 2, 2)
    counts += Counts(1, 1, 3)
    assert (counts.precision, counts.recall, counts.f1) == (0.4, 2 / 3, 0.5)


def test_strokes_of_several_drums_count_once() -> None:
    reference = [_note(1.0, 36), _note(1.005, 42), _note(2.0, 38)]
    estimated = [_note(1.01, 49), _note(2.1, 38)]
    assert onset_counts(reference, estimated, 0.05) == Counts(1, 2, 2)


def test_pooling_merges_the_same_pitch_of_two_stems() -> None:
    notes = [_note(1.0), _note(1.03, stem="piano"), _note(1.0, 61), _note(1.2)]
    assert [(note.pitch, note.onset_s) for note in pooled(notes)] == [
        (60, 1.0),
        (61, 1.0),
        (60, 1.2),
    ]
