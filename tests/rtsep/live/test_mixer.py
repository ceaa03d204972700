"""The mixer without effects: what goes out, sample by sample."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rtsep.live.mixer import RAMP_S, Mixer
from rtsep.live.session import Monitor, Session, Strip

Floats = NDArray[np.float32]

STEMS = ("drums", "bass", "other")
RATE = 48_000
RAMP = round(RAMP_S * RATE)
LENGTH = 3000


def noise(length: int = LENGTH, seed: int = 1) -> Floats:
    rng = np.random.default_rng(seed)
    return rng.uniform(-1.0, 1.0, (len(STEMS), 2, length)).astype(np.float32)


def prepared(session: Session, max_block: int = LENGTH) -> Mixer:
    mixer = Mixer(STEMS, session)
    mixer.prepare(RATE, max_block)
    return mixer


def run(
    mixer: Mixer,
    stems: Floats,
    sizes: list[int],
    changes: dict[int, Session] | None = None,
) -> Floats:
    """Mix a stream in blocks of `sizes`, again and again, and apply changes on the way."""
    changes = dict(changes or {})
    length = stems.shape[2]
    pieces, start, turn = [], 0, 0
    while start < length:
        for at in [at for at in changes if at <= start]:
            mixer.apply(changes.pop(at))
        stop = min(length, start + sizes[turn % len(sizes)], *changes, length)
        out = np.full((len(mixer.channels), stop - start), np.nan, np.float32)
        mixer.process(np.ascontiguousarray(stems[:, :, start:stop]), out)
        pieces.append(out)
        start, turn = stop, turn + 1
    return np.concatenate(pieces, axis=1)


sizes = st.lists(st.integers(1, 700), min_size=1, max_size=6)
strips = st.builds(
    Strip,
    gain_db=st.sampled_from([0.0, -6.0, 3.0]),
    mute=st.booleans(),
    solo=st.booleans(),
    invert=st.booleans(),
    delay_samples=st.sampled_from([0, 1, 100, 2000, 48_000]),
)
sessions = st.builds(
    Session,
    stems=st.fixed_dictionaries(dict.fromkeys(STEMS, strips)),
    monitor=st.builds(Monitor, gain_db=st.sampled_from([0.0, -12.0]), mute=st.booleans()),
)


@given(sizes)
def test_a_mixer_that_does_nothing_gives_the_stems_bit_for_bit(sizes: list[int]) -> None:
    mixer, stems = prepared(Session()), noise()
    out = run(mixer, stems, sizes)
    assert mixer.neutral
    assert out[:-2].tobytes() == stems.reshape(-1, LENGTH).tobytes()
    total = stems[0].copy()
    for stem in stems[1:]:
        total += stem
    assert out[-2:].tobytes() == total.tobytes()


@given(sessions, sizes)
def test_any_blocks_give_what_one_block_gives(session: Session, sizes: list[int]) -> None:
    stems = noise()
    assert np.array_equal(
        run(prepared(session), stems, sizes), run(prepared(session), stems, [LENGTH])
    )


@given(sessions, sessions, sessions, sizes)
def test_changes_go_the_same_way_in_any_blocks(
    a: Session, b: Session, c: Session, sizes: list[int]
) -> None:
    stems, changes = noise(), {700: b, 900: c, 2000: a}
    assert np.array_equal(
        run(prepared(a), stems, sizes, changes), run(prepared(a), stems, [LENGTH], changes)
    )


@given(sessions)
def test_strips_do_what_the_session_says(session: Session) -> None:
    stems = noise()
    out = run(prepared(session), stems, [LENGTH])
    soloed = any(strip.solo for strip in session.stems.values())
    total = np.zeros((2, LENGTH))
    for row, stem in enumerate(STEMS):
        strip = session.strip(stem)
        gain = 10 ** (strip.gain_db / 20) * (-1 if strip.invert else 1)
        if strip.mute or (soloed and not strip.solo):
            gain = 0.0
        late = np.zeros((2, LENGTH))
        late[:, strip.delay_samples :] = stems[row, :, : max(0, LENGTH - strip.delay_samples)]
        np.testing.assert_allclose(out[2 * row : 2 * row + 2], gain * late, rtol=1e-6, atol=1e-7)
        total += gain * late
    monitor = 0.0 if session.monitor.mute else 10 ** (session.monitor.gain_db / 20)
    np.testing.assert_allclose(out[-2:], monitor * total, rtol=1e-5, atol=1e-6)


@given(sessions, sessions, sessions, st.integers(1, RAMP))
def test_no_change_makes_a_step(a: Session, b: Session, c: Session, after: int) -> None:
    # On a constant, all that moves is the mixer; twice, so that the second change meets
    # the ramps of the first.  A delay line begins with silence: 48,000 come first.
    stems = np.ones((len(STEMS), 2, 48_000 + 6 * RAMP), np.float32)
    mixer = prepared(a, stems.shape[2])
    changes = {48_000 + RAMP: b, 48_000 + RAMP + after: c}
    out = run(mixer, stems, [stems.shape[2]], changes)[:, 48_000:]
    # The steepest of a raised cosine; gains from -g to g, a gain of 3 dB at the most.
    steepest = 0.5 * np.pi / RAMP * 2 * 10 ** (3 / 20)
    assert np.abs(np.diff(out[:-2], axis=1)).max() <= steepest * 1.001
    assert np.abs(np.diff(out[-2:], axis=1)).max() <= 2 * len(STEMS) * steepest
    fresh = run(prepared(c, stems.shape[2]), stems, [stems.shape[2]])
    np.testing.assert_array_equal(out[:, -RAMP:], fresh[:, -RAMP:])


def test_a_change_of_the_delay_is_a_cross_fade() -> None:
    # A sine does not step either: where both delays fit its period, nothing moves at all.
    t = np.arange(LENGTH)
    stems = np.tile(np.sin(2 * np.pi * t / 100).astype(np.float32), (len(STEMS), 2, 1))
    late = Session(stems={"drums": Strip(delay_samples=100)})
    later = Session(stems={"drums": Strip(delay_samples=130)})
    out = run(prepared(Session()), stems, [128], {512: late, 1536: later})
    np.testing.assert_allclose(out[0, :1536], stems[0, 0, :1536], atol=1e-5)
    assert np.abs(np.diff(out[0])).max() < 2 * np.pi / 100 + 2 * np.pi / 2 / RAMP
    np.testing.assert_array_equal(out[0, 1536 + RAMP :], stems[0, 0, 1536 + RAMP - 130 : -130])


def test_neutral_is_told_as_it_is_heard() -> None:
    mixer, stems = prepared(Session()), noise(RAMP)
    assert mixer.neutral
    run(mixer, stems, [RAMP], {0: Session(stems={"bass": Strip(mute=True)})})
    assert not mixer.neutral
    mixer.apply(Session(monitor=Monitor(-6.0)))
    run(mixer, stems, [RAMP])
    assert not mixer.neutral  # in this block it was still on its way
    run(mixer, stems, [RAMP])
    assert mixer.neutral  # the monitor is none of the stems
    for strip in (Strip(delay_samples=1), Strip(invert=True), Strip(gain_db=1)):
        changed = prepared(Session(stems={"other": strip}))
        assert not changed.neutral
        run(changed, stems, [RAMP])
        assert not changed.neutral
        changed.apply(Session())
        assert not changed.neutral
    soloed = prepared(Session(stems={"other": Strip(solo=True)}))
    assert not soloed.neutral


def test_channels_and_what_they_carry_without_stems() -> None:
    mixer = prepared(Session())
    assert mixer.channels == (
        *("drums_L", "drums_R", "bass_L", "bass_R", "other_L", "other_R"),
        *("monitor_L", "monitor_R"),
    )
    assert mixer.fallback.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    mixer.apply(
        Session(
            stems={"other": Strip(invert=True), "drums": Strip(gain_db=6)}, monitor=Monitor(-20.0)
        )
    )
    np.testing.assert_allclose(mixer.fallback, [0, 0, 0, 0, -1, -1, 0.1, 0.1], rtol=1e-6)
    mixer.apply(Session(stems={"drums": Strip(solo=True)}, monitor=Monitor(mute=True)))
    assert not mixer.fallback.any()


def test_a_reset_forgets_the_stream() -> None:
    session = Session(
        stems={"bass": Strip(delay_samples=50, gain_db=-3), "drums": Strip(mute=True)}
    )
    stems = noise()
    fresh = run(prepared(session), stems, [100])
    mixer = prepared(Session())
    run(mixer, stems, [100], {2950: session})
    mixer.reset()
    np.testing.assert_array_equal(run(mixer, stems, [100]), fresh)
    mixer.prepare(RATE, 64)
    np.testing.assert_array_equal(run(mixer, stems, [64]), fresh)


def test_a_stem_that_is_not_there_is_named() -> None:
    mixer = prepared(Session(stems={"drms": Strip(mute=True)}))
    assert mixer.complaints == ["the session names a stem drms; the model has drums, bass, other"]
    assert mixer.neutral


def test_a_mixer_takes_only_what_it_says() -> None:
    mixer = prepared(Session())
    with pytest.raises(TypeError):
        mixer.process(noise().astype(np.float64), np.zeros((8, LENGTH), np.float32))
    for stems, channels, n in (
        (noise(10), 8, 9),
        (noise(10), 6, 10),
        (noise()[:2], 8, LENGTH),
        (noise(LENGTH + 1), 8, LENGTH + 1),
        (noise(0), 8, 0),
    ):
        with pytest.raises(ValueError, match="do not fit"):
            mixer.process(stems, np.zeros((channels, n), np.float32))
