"""Whatever the sizes of the blocks, the stems and notes are the same."""

from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsep.bundle import Bundle
from rtsep.engine import MAX_BLOCK, Engine
from rtsep.note_events import NoteEvent, collect_notes
from rtsep.presets import PRESETS
from tests.rtsep import models

Floats = npt.NDArray[np.float32]
Result = tuple[Floats, list[NoteEvent]]

N = 30_000
# What is prepared once: separator, preset, sample rate, channels.
CASES = [
    ("taps", "lowest", 48_000, 2),
    ("taps", "live", 44_100, 1),
    ("lookahead", "relaxed", 96_000, 2),
    ("taps", "offline", 88_200, 1),
    ("chunk", "live", 48_000, 2),
    ("odd", "lowest", 48_000, 2),
    ("audio", "live", 48_000, 2),
    ("audio", "relaxed", 48_000, 1),
    (None, "live", 48_000, 2),
]
CASE_IDS = [f"{kind or 'notes only'}-{preset}" for kind, preset, _, _ in CASES]


@cache
def bundle(kind: str) -> Bundle:
    data = {
        "taps": lambda: models.tcn_taps(),
        "lookahead": lambda: models.tcn_taps(lookahead=300),
        "odd": lambda: models.tcn_taps(hop=150, lookahead=77),
        "chunk": lambda: models.tcn_chunk(),
        "audio": lambda: models.fir_audio(),
        "notes": lambda: models.transcriber(lookahead=200),
    }[kind]()
    return models.bundle(data, kind)


@cache
def engine_for(case: int) -> Engine:
    kind, preset, rate, channels = CASES[case]
    separator = bundle(kind) if kind else None
    engine = Engine(separator, bundle("notes"), PRESETS[preset], device="cpu")
    engine.prepare(rate, MAX_BLOCK, channels)
    return engine


def song(channels: int) -> Floats:
    """Beeps at the transcriber's notes over a little noise."""
    rng = np.random.default_rng(7)
    t = np.arange(N) / 48_000
    audio = 0.01 * rng.standard_normal((channels, N))
    for i, pitch in enumerate((45, 60, 76, 81)):
        gate = (np.arange(N) // 3000) % (i + 2) == 0
        audio += 0.2 * gate * np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * t)
    return audio.astype(np.float32)


def run(engine: Engine, audio: Floats, sizes: list[int]) -> Result:
    """All of `audio`, in blocks of `sizes` over and over, from a reset engine."""
    engine.reset()
    stems = np.full((len(engine.stems), *audio.shape), np.nan, np.float32)
    notes: list[NoteEvent] = []
    start = turn = 0
    while start < audio.shape[1]:
        part = slice(start, start + sizes[turn % len(sizes)])
        engine.process(audio[:, part], stems[:, :, part])
        if turn % 3 == 0:
            notes += engine.take_notes()
        start, turn = part.stop, turn + 1
    return stems, notes + engine.flush_notes()


@cache
def whole(case: int) -> tuple[Floats, Result]:
    engine = engine_for(case)
    audio = song(engine.channels)
    return audio, run(engine, audio, [MAX_BLOCK])


BLOCK_SIZES = st.lists(
    st.one_of(st.integers(1, 40), st.sampled_from([64, 128, 256, 512]), st.integers(1, MAX_BLOCK)),
    min_size=1,
    max_size=12,
)


@pytest.mark.parametrize("case", range(len(CASES)), ids=CASE_IDS)
@settings(deadline=None, max_examples=15)
@given(sizes=BLOCK_SIZES)
def test_streamed_is_offline(case: int, sizes: list[int]) -> None:
    # Tiny blocks only would take long; after a while of them come larger ones.
    sizes = [*sizes, 997] if max(sizes) > 16 else [*sizes * 40, 997]
    audio, (stems, notes) = whole(case)
    streamed_stems, streamed_notes = run(engine_for(case), audio, sizes)
    np.testing.assert_array_equal(streamed_stems, stems)
    assert streamed_notes == notes


@pytest.mark.parametrize("case", range(len(CASES)), ids=CASE_IDS)
def test_the_reference_has_something_to_compare(case: int) -> None:
    _, (stems, notes) = whole(case)
    assert len(collect_notes(notes)) >= 4
    assert np.isfinite(stems).all()
    assert all(np.abs(stem).max() > 1e-4 for stem in stems)


@pytest.mark.parametrize("case", range(len(CASES)), ids=CASE_IDS)
def test_reset_restores_a_new_engine(case: int) -> None:
    kind, preset, rate, channels = CASES[case]
    separator = bundle(kind) if kind else None
    fresh = Engine(separator, bundle("notes"), PRESETS[preset], device="cpu")
    fresh.prepare(rate, MAX_BLOCK, channels)
    audio = song(channels)
    expected_stems = np.empty((len(fresh.stems), *audio.shape), np.float32)
    expected_notes: list[NoteEvent] = []
    for start in range(0, N, 1000):
        part = slice(start, start + 1000)
        fresh.process(audio[:, part], expected_stems[:, :, part])
        expected_notes += fresh.take_notes()
    used = engine_for(case)
    out = np.empty((len(used.stems), channels, 5003), np.float32)
    used.process(np.full((channels, 5003), np.nan, np.float32), out)
    used.process(audio[:, :5003] * 3, out)
    stems, notes = run(used, audio, [1000])
    np.testing.assert_array_equal(stems, expected_stems)
    assert notes == expected_notes + fresh.flush_notes()


@pytest.mark.parametrize("case", [0, 4, 6], ids=lambda case: CASE_IDS[case])
def test_preparing_again_starts_again(case: int) -> None:
    audio, (stems, notes) = whole(case)
    engine = engine_for(case)
    kind, _, rate, channels = CASES[case]
    if kind != "audio":
        engine.prepare(96_000, 512, 3 - channels)
        engine.process(audio[:1, :100], np.empty((len(engine.stems), 1, 100), np.float32))
    engine.prepare(rate, MAX_BLOCK, channels)
    again_stems, again_notes = run(engine, audio, [4000])
    np.testing.assert_array_equal(again_stems, stems)
    assert again_notes == notes
