import tracemalloc
from functools import cache

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import helper, numpy_helper

from rtsep.bundle import Bundle
from rtsep.engine import MAX_BLOCK, Engine
from rtsep.errors import AudioError, BundleError
from rtsep.note_events import NoteEvent
from rtsep.presets import PRESETS
from rtsep.rates import NATIVE_RATES
from rtsep.separators import MaskSeparator
from rtsep.transcriber import Transcriber
from tests.rtsep import models

Floats = npt.NDArray[np.float32]

LOOKAHEAD = 300  # at the reference rate; in step with nothing
BUNDLES = ("taps", "taps, lookahead", "chunk", "chunk, lookahead")


@cache
def bundle(kind: str) -> Bundle:
    data = {
        "taps": lambda: models.tcn_taps(),
        "taps, lookahead": lambda: models.tcn_taps(lookahead=LOOKAHEAD),
        "taps, odd hop": lambda: models.tcn_taps(hop=150),
        "chunk": lambda: models.tcn_chunk(),
        "chunk, lookahead": lambda: models.constant_chunk(
            (0.4, 0.3, 0.1, 0.05, 0), lookahead=LOOKAHEAD
        ),
        "identity": lambda: models.constant_masks(),
        "audio": lambda: models.fir_audio(),
        "notes": lambda: models.transcriber(),
        "failing": lambda: models.failing_taps(threshold=2.0),
        "nan": lambda: spoilt(np.nan),
        "inf": lambda: spoilt(np.inf),
        "huge": lambda: spoilt(1e30),
    }[kind]()
    return models.bundle(data, kind)


def spoilt(value: float) -> bytes:
    """Identity masks, but `value` everywhere where the first feature is over 2."""

    def change(model: onnx.ModelProto) -> None:
        graph = model.graph
        del graph.node[-1]
        for name, array in (("limit", 2.0), ("spoilt", value)):
            graph.initializer.append(numpy_helper.from_array(np.float32(array), name))
        graph.initializer.append(numpy_helper.from_array(np.array([1]), "one"))
        graph.node.extend(
            [
                helper.make_node("Slice", ["features", "zero", "one", "axis"], ["first"]),
                helper.make_node("Greater", ["first", "limit"], ["loud"]),
                helper.make_node("Where", ["loud", "spoilt", "constant"], ["masks"]),
            ]
        )

    return models.edit(models.constant_masks(), change)


def make(
    kind: str | None,
    preset: str = "live",
    rate: int = 48_000,
    channels: int = 2,
    notes: bool = False,
) -> Engine:
    engine = Engine(
        bundle(kind) if kind else None,
        bundle("notes") if notes else None,
        PRESETS[preset],
        device="cpu",
    )
    engine.prepare(rate, MAX_BLOCK, channels)
    return engine


def run(engine: Engine, audio: Floats, block: int) -> tuple[Floats, list[NoteEvent]]:
    stems = np.full((len(engine.stems), *audio.shape), np.nan, np.float32)
    notes: list[NoteEvent] = []
    for start in range(0, audio.shape[1], block):
        part = slice(start, start + block)
        engine.process(audio[:, part], stems[:, :, part])
        notes += engine.take_notes()
    return stems, notes


def noise(n: int, channels: int = 2, seed: int = 0, level: float = 0.1) -> Floats:
    rng = np.random.default_rng(seed)
    return (level * rng.standard_normal((channels, n))).astype(np.float32)


def first_sound(stems: Floats) -> int:
    """First sample at which the sum of the stems is more than rounding."""
    return int(np.argmax(np.abs(stems.sum(axis=0)).max(axis=0) > 1e-5))


def delayed(audio: Floats, by: int) -> Floats:
    return np.pad(audio, ((0, 0), (by, 0)))[:, : audio.shape[1]]


@pytest.mark.parametrize("rate", NATIVE_RATES)
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("kind", BUNDLES)
def test_latency_is_where_an_impulse_comes_out(kind: str, preset: str, rate: int) -> None:
    engine = make(kind, preset, rate)
    latency = engine.latency_samples
    for block, at in ((1, 0), (37, 1001), (64, 640), (1000, 2047), (MAX_BLOCK, 5003)):
        if block == 1 and latency > 3000:
            block = 13  # the same in a tenth of the time
        engine.reset()
        audio = np.zeros((2, at + latency + 300), np.float32)
        audio[:, at] = 1.0
        stems, _ = run(engine, audio, block)
        assert first_sound(stems) == at + latency
        np.testing.assert_allclose(stems.sum(axis=0), delayed(audio, latency), atol=1e-5)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("block", [1, 128, 777, MAX_BLOCK])
def test_latency_of_an_audio_model(preset: str, block: int) -> None:
    engine = make("audio", preset)
    for at in (0, 5, 700):
        engine.reset()
        audio = np.zeros((2, at + engine.latency_samples + 50), np.float32)
        audio[:, at] = 1.0
        stems, _ = run(engine, audio, block)
        assert first_sound(stems) == at + engine.latency_samples


def test_an_audio_model_gives_its_own_stems() -> None:
    audio = noise(6000)
    engine = make("audio", "lowest")
    stems, _ = run(engine, audio, 500)
    expected = models.fir_stems(audio, models.fir_kernels())
    late = engine.latency_samples
    np.testing.assert_allclose(stems[:, :, late:], expected[:, :, :-late], atol=1e-5)


def test_an_audio_model_in_mono() -> None:
    audio = noise(4000, channels=1)
    engine = make("audio", "lowest", channels=1)
    stems, _ = run(engine, audio, 500)
    expected = models.fir_stems(audio, models.fir_kernels())
    late = engine.latency_samples
    np.testing.assert_allclose(stems[:, :, late:], expected[:, :, :-late], atol=1e-5)


def test_an_audio_model_runs_at_its_own_rate_only() -> None:
    engine = Engine(bundle("audio"), None, PRESETS["live"], device="cpu")
    assert engine.native_rates == (48_000,)
    with pytest.raises(AudioError, match="44100 Hz; expected one of 48000"):
        engine.prepare(44_100, 512)


def test_presets_promise_what_the_engine_keeps() -> None:
    for preset in PRESETS.values():
        assert make("taps", preset.name).latency_samples == preset.latency_samples(0)
        engine = make("taps, lookahead", preset.name, 96_000)
        assert engine.latency_samples == preset.latency_samples(2 * LOOKAHEAD)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("kind", [*BUNDLES, "taps, odd hop", "audio"])
def test_stems_sum_to_the_delayed_mix(kind: str, channels: int) -> None:
    engine = make(kind, "live", 48_000, channels)
    audio = noise(20_000, channels, level=0.3)
    stems, _ = run(engine, audio, 1111)
    np.testing.assert_allclose(stems.sum(axis=0), delayed(audio, engine.latency_samples), atol=1e-5)
    if kind != "audio":
        # The masks do something: no stem is silent or all there is.
        assert (np.abs(stems[:, :, 12_000:]).max(axis=(1, 2)) > 1e-3).all()


def test_identity_masks_give_the_mix_in_the_first_stem() -> None:
    engine = make("identity")
    audio = noise(8000)
    stems, _ = run(engine, audio, 512)
    late = engine.latency_samples
    # From the first frame that a network frame serves.
    start = 256 + late
    np.testing.assert_allclose(stems[0, :, start:], delayed(audio, late)[:, start:], atol=1e-5)
    assert np.abs(stems[1:4]).max() == 0


def test_masks_wait_for_their_lookahead() -> None:
    # A chunk model and its taps twin differ only in the delay of their masks.
    audio = noise(30_000)
    late, _ = run(chunk := make("chunk"), audio, 512)
    soon, _ = run(taps := make("taps"), audio, 512)
    shift = chunk.latency_samples - taps.latency_samples
    assert shift > 0
    start = 20_000  # both histories are full of sound
    np.testing.assert_allclose(late[:, :, start + shift :], soon[:, :, start:-shift], atol=1e-4)


@pytest.mark.parametrize("kind", ["nan", "inf", "huge", "failing"])
def test_unusable_masks_leave_the_mix_in_the_residual(kind: str) -> None:
    engine = make(kind)
    rumble = np.sin(2 * np.pi * 50 * np.arange(24_000) / 48_000)
    audio = np.tile(0.001 * rumble, (2, 1)).astype(np.float32)
    audio[:, 8_000:12_000] *= 1000.0
    stems, _ = run(engine, audio, 300)
    late = engine.latency_samples
    assert np.isfinite(stems).all()
    np.testing.assert_allclose(stems.sum(axis=0), delayed(audio, late), atol=1e-5)
    # Loud for 4000 samples, and then until the feature window has forgotten it.
    assert 10 <= engine.misses <= 25
    loud = stems[:, :, 10_000:12_000]
    assert np.abs(loud[0]).max() == 0
    assert np.abs(loud[-1]).max() > 0.5
    quiet = stems[:, :, 18_000:]
    np.testing.assert_allclose(quiet[0], delayed(audio, late)[:, 18_000:], atol=1e-5)
    engine.reset()
    assert engine.misses == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_bad_samples_count_as_silence(value: float) -> None:
    spoilt_audio, clean = noise(16_000), noise(16_000)
    spoilt_audio[0, 3000:3007] = value
    spoilt_audio[1, 5000] = value
    clean[0, 3000:3007] = 0
    clean[1, 5000] = 0
    engine = make("taps", notes=True)
    stems, notes = run(engine, spoilt_audio, 640)
    assert engine.bad_samples == 8
    engine.reset()
    assert engine.bad_samples == 0
    expected, expected_notes = run(engine, clean, 640)
    np.testing.assert_array_equal(stems, expected)
    assert notes == expected_notes


def melody(rate: int = 48_000) -> Floats:
    """A note of the transcriber's guitar at 0.25 s and one of its piano at 1 s."""
    t = np.arange(rate // 2) / rate
    fade = np.minimum(1, np.minimum(t, t[::-1]) * 50)
    beeps = [0.3 * fade * np.sin(2 * np.pi * f * t) for f in (261.6, 880.0)]
    silence = np.zeros(rate // 4)
    line = np.concatenate([silence, beeps[0], silence, beeps[1], silence])
    return np.tile(line, (2, 1)).astype(np.float32)


@pytest.mark.parametrize("kind", [None, "taps", "taps, lookahead"])
@pytest.mark.parametrize("rate", NATIVE_RATES)
def test_notes_come_in_time_and_end(kind: str | None, rate: int) -> None:
    audio = melody(rate)
    engine = make(kind, "live", rate, notes=True)
    sounding: set[tuple[str, int]] = set()
    onsets: dict[tuple[str, int], list[float]] = {}
    for start in range(0, audio.shape[1], 100):
        block = audio[:, start : start + 100]
        engine.process(block, np.empty((len(engine.stems), *block.shape), np.float32))
        position = start + block.shape[1]
        for event in engine.take_notes():
            assert position - 100 < event.known_at <= position
            key = (event.stem, event.pitch)
            if event.velocity:
                assert position - event.sample < engine.note_delay_samples + 100
                sounding.add(key)
                onsets.setdefault(key, []).append(event.sample / rate)
            else:
                sounding.remove(key)
    for event in engine.flush_notes():
        sounding.remove((event.stem, event.pitch))
    assert not sounding
    # The toy transcriber hears neighbours too.
    for key, seconds in ((("guitar", 60), 0.25), (("piano", 81), 1.0)):
        assert min(abs(onset - seconds) for onset in onsets[key]) < 0.03


def test_without_a_separator_there_are_notes_only() -> None:
    engine = make(None, notes=True)
    assert engine.stems == ()
    assert engine.latency_samples == 0
    _, notes = run(engine, melody(), 512)
    assert notes


def test_a_separator_beside_it_changes_no_note() -> None:
    _, alone = run(make(None, notes=True), melody(), 512)
    beside = make("taps", notes=True)
    _, notes = run(beside, melody(), 512)
    late = PRESETS["live"].hop
    assert notes == [event._replace(known_at=event.known_at + late) for event in alone]
    assert beside.note_delay_samples == make(None, notes=True).note_delay_samples + late


@pytest.mark.parametrize("preset", ["lowest", "live"])
@pytest.mark.parametrize("rate", NATIVE_RATES)
def test_no_hop_pays_for_two_networks(
    preset: str, rate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make("taps", preset, rate, notes=True)
    calls: list[str] = []
    for owner in (MaskSeparator, Transcriber):
        feed = owner.feed

        def spy(stage, audio, feed=feed):  # type: ignore[no-untyped-def]
            calls.append(type(stage).__name__)
            return feed(stage, audio)

        monkeypatch.setattr(owner, "feed", spy)
    hop = PRESETS[preset].hop
    block_in, block_out = noise(hop), np.empty((5, 2, hop), np.float32)
    seen = set()
    for _ in range(200):
        calls.clear()
        engine.process(block_in, block_out)
        assert len(calls) <= 1
        seen.update(calls)
    assert seen == {"MaskSeparator", "Transcriber"}


def test_process_allocates_nothing_that_stays() -> None:
    engine = make("taps", notes=True)
    block_in, block_out = noise(128), np.empty((5, 2, 128), np.float32)

    def hops(count: int) -> None:
        for _ in range(count):
            engine.process(block_in, block_out)
            engine.take_notes()

    hops(200)
    tracemalloc.start()
    try:
        hops(200)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        hops(2000)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 2_000
    # And nothing of the size of a block in passing.
    assert peak - before < block_out.nbytes // 2


def test_strided_and_read_only_blocks() -> None:
    audio = noise(4000)
    engine = make("taps")
    expected, _ = run(engine, audio, 500)
    engine.reset()
    frames_first = np.ascontiguousarray(audio.T)
    frames_first.flags.writeable = False
    out = np.empty((4000, 2, 5), np.float32)
    for start in range(0, 4000, 500):
        part = slice(start, start + 500)
        engine.process(frames_first[part].T, out[part].T)
    np.testing.assert_array_equal(out.T, expected)


def test_refuses_what_it_cannot_run() -> None:
    live = PRESETS["live"]
    with pytest.raises(BundleError, match="no model"):
        Engine(None, None, live)
    with pytest.raises(BundleError, match="a model to transcribe; expected one to separate"):
        Engine(bundle("notes"), None, live)
    with pytest.raises(BundleError, match="expected one to transcribe"):
        Engine(None, bundle("taps"), live)
    engine = Engine(bundle("taps"), None, live, device="cpu")
    with pytest.raises(RuntimeError, match="call prepare first"):
        engine.process(noise(10), np.empty((5, 2, 10), np.float32))
    with pytest.raises(AudioError, match="22050 Hz; expected one of 44100"):
        engine.prepare(22_050, 512)
    with pytest.raises(ValueError, match="expected 1 to 8192"):
        engine.prepare(48_000, 8193)
    with pytest.raises(ValueError, match="3 channels"):
        engine.prepare(48_000, 512, 3)


def test_refuses_blocks_of_another_shape_or_type() -> None:
    engine = make("taps")
    out = np.empty((5, 2, 10), np.float32)
    with pytest.raises(TypeError, match="float64"):
        engine.process(np.zeros((2, 10)), out)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="input block"):
        engine.process(noise(10, channels=1), out)
    with pytest.raises(ValueError, match="output block"):
        engine.process(noise(11), out)
    with pytest.raises(ValueError, match="input block"):
        engine.process(noise(0), out[:, :, :0])
