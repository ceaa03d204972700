"""Effects of a stem: in time, as pedalboard gives them, changed and failing without a click."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsep.errors import SessionError
from rtsep.live import effects as module
from rtsep.live import plugins
from rtsep.live.chain_latency import first_arrival
from rtsep.live.effects import BYPASS_FADE, SETTLE, cut
from rtsep.live.mixer import RAMP_S, Mixer
from rtsep.live.session import Effect, Session, Strip, same_structure
from tests.rtsep.live.effects import (
    RATE,
    STEMS,
    Board,
    Floats,
    boards,
    chain,
    effect,
    noise,
    prepared,
    stream,
)

pedalboard = pytest.importorskip("pedalboard")

__all__ = ["boards"]

RAMP = round(RAMP_S * RATE)
BLOCK = 512
COMPRESSOR = effect("Compressor", threshold_db=-30.0, ratio=4.0)
REVERB = effect("Reverb", room_size=0.3)
LIMITER = effect("BrickwallLimiter", ceiling_db=-30.0)

sizes = st.lists(st.integers(1, BLOCK), min_size=1, max_size=6)
chains = st.lists(
    st.sampled_from(
        [
            COMPRESSOR,
            REVERB,
            LIMITER,
            effect("Delay", delay_seconds=0.005, mix=0.5, feedback=0.3),
            effect("HighpassFilter", cutoff_frequency_hz=200.0),
            effect("LadderFilter", mode="HPF24", cutoff_hz=500.0),
            effect("Chorus"),
            effect("Phaser"),
            effect("NoiseGate", threshold_db=-20.0),
        ]
    ),
    min_size=1,
    max_size=3,
).map(tuple)


def whole(effects: tuple[Effect, ...], signal: Floats) -> Floats:
    """What pedalboard makes of a signal in one piece, after a block of silence."""
    board = pedalboard.Pedalboard([plugins.make_builtin(e, "") for e in effects])
    silence = np.zeros((2, BLOCK), np.float32)
    out = board.process(np.concatenate([silence, signal], axis=1), RATE, buffer_size=BLOCK)
    return np.asarray(out[:, BLOCK : BLOCK + signal.shape[1]])


@settings(deadline=None, max_examples=30)
@given(chains, sizes)
def test_effects_in_blocks_are_what_pedalboard_makes_of_the_whole(
    effects: tuple[Effect, ...], sizes: list[int]
) -> None:
    mixer, stems = prepared(chain(*effects)), noise(3000)
    late = mixer.latency_samples
    assert late == 240 * effects.count(LIMITER)
    out = stream(mixer, stems, sizes)
    expected = whole(effects, stems[0])
    np.testing.assert_array_equal(out[:2, late:], expected[:, : 3000 - late])
    assert not out[:2, :late].any()
    for row in (1, 2):
        np.testing.assert_array_equal(
            out[2 * row : 2 * row + 2, late:], stems[row, :, : 3000 - late]
        )
    assert (mixer.bad_blocks, mixer.complaints, mixer.neutral) == (0, [], False)


@pytest.mark.parametrize("held", [1, 240, 1000])
@pytest.mark.parametrize("delay", [0, 7])
def test_stems_stay_in_time_with_one_that_a_latent_effect_delays(
    boards: dict[str, Any], held: int, delay: int
) -> None:
    boards |= {"A": lambda: Board(held=held), "B": lambda: Board(held=17)}
    session = Session(
        stems={
            "drums": Strip(effects=(effect("A"),)),
            "bass": Strip(effects=(effect("B"),), delay_samples=delay),
        }
    )
    mixer, stems = prepared(session), noise(3000)
    assert mixer.latency_samples == max(held, 17)
    late = mixer.latency_samples
    out = stream(mixer, stems, [1, 512, 100, 3])
    for row, more in ((0, 0), (1, delay), (2, 0)):
        np.testing.assert_array_equal(
            out[2 * row : 2 * row + 2, late + more :], stems[row, :, : 3000 - late - more]
        )
        assert not out[2 * row : 2 * row + 2, : late + more].any()
    mixer.reset()
    np.testing.assert_array_equal(stream(mixer, stems, [64]), out)


def test_a_latency_that_pedalboard_knows_is_compensated(monkeypatch: pytest.MonkeyPatch) -> None:
    internal = pytest.importorskip("pedalboard_native._internal")
    kinds = {**plugins._builtins(), "AddLatency": internal.AddLatency}
    monkeypatch.setattr(plugins, "_builtins", lambda: kinds)
    mixer, stems = prepared(chain(effect("AddLatency", samples=333))), noise(2000)
    assert mixer.latency_samples == 333
    out = stream(mixer, stems, [100, 3, 512])
    np.testing.assert_array_equal(out[:-2, 333:], stems.reshape(-1, 2000)[:, :-333])


def test_no_builtin_effect_is_late_unless_it_says_so() -> None:
    latent = {"BrickwallLimiter": 240, "MP3Compressor": None, "Resample": None}
    for kind in sorted(plugins._builtins().keys() - {"Convolution"}):
        if kind == "PitchShift":
            with pytest.raises(SessionError, match="falls ever further behind"):
                prepared(chain(effect(kind)))
            continue
        mixer = prepared(chain(effect(kind)))
        if latent.get(kind, 0) is not None:
            assert mixer.latency_samples == latent.get(kind, 0), kind
        stems = np.zeros((len(STEMS), 2, 8192), np.float32)
        stems[:, :, 1000] = 0.5
        out = np.abs(stream(mixer, stems, [BLOCK])[0])
        # A filter's answer rises for a while.
        assert 0 <= int(out.argmax()) - 1000 - mixer.latency_samples < 64, kind


def test_an_echo_is_no_latency() -> None:
    mixer = prepared(chain(effect("Delay", delay_seconds=0.03125, mix=1.0)))
    assert mixer.latency_samples == 0
    stems = noise(3000)
    np.testing.assert_array_equal(stream(mixer, stems, [77])[:2, 1500:], stems[0, :, :-1500])


@pytest.mark.parametrize("held", [0, 100])
@pytest.mark.parametrize("late", [0, 1, 333])
def test_what_a_plugin_does_not_say_is_measured(
    monkeypatch: pytest.MonkeyPatch, held: int, late: int
) -> None:
    plugin = SimpleNamespace(parameters={}, reported_latency_samples=held)
    monkeypatch.setattr(module, "load_plugin", lambda effect, where: plugin)
    board = Board(held=held, late=late)
    monkeypatch.setattr(pedalboard, "Pedalboard", lambda plugins: board)
    mixer, stems = prepared(chain(Effect(plugin="a.vst3"))), noise(2000)
    assert mixer.latency_samples == held + late
    out = stream(mixer, stems, [50, 7])
    ends = 2000 - held - late
    np.testing.assert_array_equal(out[:-2, held + late :], stems.reshape(-1, 2000)[:, :ends])


def test_an_answer_that_is_no_impulse_is_measured_by_its_first_arrival() -> None:
    rng = np.random.default_rng(3)
    tail = rng.standard_normal(4000) * np.exp(-np.arange(4000) / 800)
    tail[0] = 6.0

    def reverb(signal: Floats) -> Floats:
        late = [np.convolve(row, tail)[: row.size] for row in signal]
        return np.roll(np.array(late), 123, axis=1).astype(np.float32)

    white = noise(32_768)[0]
    assert first_arrival(white, reverb) == 123
    assert first_arrival(white, lambda x: x * (np.abs(x) > 0.1)) == 0
    assert first_arrival(white, np.zeros_like) == 0
    assert first_arrival(white, lambda x: noise(x.shape[1], seed=9)[1]) == 0


def test_changed_parameters_are_faded_in() -> None:
    signal = np.ones((len(STEMS), 2, 12_000), np.float32)
    half, tenth = (effect("Gain", gain_db=value) for value in (-6.0206, -20.0))
    mixer = prepared(chain(half))
    out = stream(mixer, signal, [128], {1280: lambda: mixer.apply(chain(tenth))})[0]
    assert np.allclose(out[: 1280 + SETTLE], 0.5, atol=1e-4)
    assert np.allclose(out[1280 + SETTLE + RAMP :], 0.1, atol=1e-4)
    assert np.abs(np.diff(out)).max() < 0.4 * np.pi / 2 / RAMP * 1.01
    assert (np.diff(out) <= 1e-6).all()


def test_a_change_before_the_start_holds_from_the_first_sample_on() -> None:
    half, tenth = (effect("Gain", gain_db=value) for value in (-6.0206, -20.0))
    signal = np.ones((len(STEMS), 2, 1000), np.float32)
    mixer = Mixer(STEMS, chain(half))
    mixer.apply(chain(tenth))
    mixer.prepare(RATE, BLOCK)
    assert np.allclose(stream(mixer, signal, [128])[0], 0.1, atol=1e-4)
    mixer.apply(chain(half))
    mixer.reset()
    assert np.allclose(stream(mixer, signal, [128])[0], 0.5, atol=1e-4)


def test_a_plugin_that_now_takes_longer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plugin:
        parameters = ("look_ahead",)
        look_ahead = 0.0
        reported_latency_samples = property(lambda self: int(self.look_ahead))

    monkeypatch.setattr(module, "load_plugin", lambda effect, where: Plugin())
    monkeypatch.setattr(pedalboard, "Pedalboard", lambda plugins: Board())
    one = Effect(plugin="a.vst3")
    mixer = prepared(chain(one))
    mixer.apply(chain(Effect(plugin="a.vst3", parameters={"look_ahead": 99.0})))
    stream(mixer, noise(10), [10])
    assert [line.split(";")[0] for line in mixer.complaints] == [
        "stems.drums.effects: a.vst3 takes 99 samples now"
    ]


def test_changes_in_quick_succession_end_with_the_last_one() -> None:
    signal = np.ones((len(STEMS), 2, 3 * SETTLE), np.float32)

    def gain(db: float) -> Session:
        return chain(effect("Gain", gain_db=db))

    mixer = prepared(gain(0.0))
    changes = {128 * k: lambda k=k: mixer.apply(gain(-float(k))) for k in range(1, 21)}
    out = stream(mixer, signal, [128], changes)[0]
    assert out[-1] == pytest.approx(10 ** (-20 / 20))
    assert np.abs(np.diff(out)).max() < 1.0 * np.pi / 2 / RAMP
    assert mixer.bad_blocks == 0


@settings(deadline=None, max_examples=20)
@given(chains, sizes)
def test_a_changed_effect_ends_as_one_that_always_was_so(
    effects: tuple[Effect, ...], sizes: list[int]
) -> None:
    # The compressor and the reverb forget what they heard before in time.
    stems = noise(3 * SETTLE)
    start = (effect("Compressor", threshold_db=-10.0, ratio=2.0, release_ms=10.0), effect("Gain"))
    end = (effect("Compressor", threshold_db=-20.0, ratio=8.0, release_ms=10.0), effect("Gain"))
    mixer = prepared(chain(*start, *effects))
    later = chain(*end, *effects)
    assert same_structure(chain(*start, *effects), later)
    out = stream(mixer, stems, [*sizes, BLOCK], {0: lambda: None, 1000: lambda: mixer.apply(later)})
    assert np.isfinite(out).all()
    assert mixer.complaints == []
    late = mixer.latency_samples
    np.testing.assert_array_equal(out[4:6, late:], stems[2, :, : stems.shape[2] - late])
    fixed = prepared(chain(*end))
    settled = prepared(chain(*start))
    a = stream(fixed, stems, [BLOCK])
    b = stream(settled, stems, [BLOCK], {1024: lambda: settled.apply(chain(*end))})
    np.testing.assert_allclose(a[:2, -2000:], b[:2, -2000:], atol=1e-5)


def test_parameters_that_change_the_latency_need_a_new_engine() -> None:
    for a, b in (
        (effect("BrickwallLimiter"), effect("BrickwallLimiter", lookahead_ms=9.0)),
        (effect("Resample"), effect("Resample", quality="ZeroOrderHold")),
    ):
        assert not same_structure(chain(a), chain(b))
    a, b = effect("BrickwallLimiter"), effect("BrickwallLimiter", ceiling_db=-2.0)
    assert same_structure(chain(a), chain(b))


def test_a_change_that_would_take_longer_is_refused(boards: dict[str, Any]) -> None:
    boards["A"] = Board
    mixer, stems = prepared(chain(effect("A", held=100))), noise(20_000)
    out = stream(mixer, stems, [128], {1280: lambda: mixer.apply(chain(effect("A", held=101)))})
    assert ["would take longer" in line for line in mixer.complaints] == [True]
    np.testing.assert_array_equal(out[0, 100:], stems[0, 0, :-100])
    mixer.apply(chain(effect("A", held=40, gain=0.5)))
    out = stream(mixer, stems, [128])
    np.testing.assert_array_equal(out[0, 10_000:], 0.5 * stems[0, 0, 9_900:-100])


FAULTS = {
    "not a number": lambda out: np.where(np.arange(out.shape[1]) == 3, np.nan, out),
    "infinite": lambda out: out / np.float32(0.0),
    "too few": lambda out: out[:, 1:].copy(),
    "none": lambda out: out[:, :0].copy(),
    "too many": lambda out: np.zeros((2, 1 << 20), np.float32),
    "mono": lambda out: out[0],
    "raises": lambda out: [][0],
}


@pytest.mark.parametrize("held", [0, 200])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.filterwarnings("ignore:(divide|invalid)")
def test_an_effect_that_fails_is_left_out_without_a_click(
    boards: dict[str, Any], fault: str, held: int
) -> None:
    made: list[Board] = []

    def make(gain: float) -> Board:
        made.append(Board(gain, held=held))
        return made[-1]

    def fail() -> None:
        made[-1].fault = lambda out: np.asarray(FAULTS[fault](out), np.float32)

    boards["A"] = make
    session = chain(effect("A", gain=0.5))
    t = np.arange(24_000)
    wave = np.sin(2 * np.pi * t / 400).astype(np.float32)
    stems = np.tile(wave, (len(STEMS), 2, 1))
    mixer = prepared(session)
    out = stream(
        mixer,
        stems,
        [128],
        {3840: fail, 3840 + 1280: lambda: mixer.apply(session)},
    )
    assert mixer.bad_blocks == 1
    (line,) = mixer.complaints
    assert line.startswith("stems.drums.effects: A gave no usable sound")
    start, ready = 3840, 3840 + 1280 + SETTLE + held
    assert np.isfinite(out).all()
    dry = stems[0, 0, : t.size - held]
    np.testing.assert_allclose(out[0, held:start], 0.5 * dry[: start - held], atol=1e-6)
    np.testing.assert_array_equal(
        out[0, start + BYPASS_FADE : ready], dry[start + BYPASS_FADE - held : ready - held]
    )
    np.testing.assert_allclose(out[0, ready + RAMP :], 0.5 * dry[ready + RAMP - held :], atol=1e-6)
    # Neither a step in value nor one in slope.
    assert np.abs(np.diff(out[0, held:])).max() < 2 * np.pi / 400 + 2 * np.pi / 2 / BYPASS_FADE
    assert np.abs(np.diff(out[0, held:], n=2)).max() < 3 * (np.pi / BYPASS_FADE) ** 2
    np.testing.assert_array_equal(out[4, held:], dry)


def test_chains_are_cut_at_plugins() -> None:
    a, b, p, q = COMPRESSOR, REVERB, Effect(plugin="p"), Effect(plugin="q")
    assert cut((a, b, p, q, a)) == [(a, b), (p,), (q,), (a,)]
    assert cut(()) == []
    assert cut((p, a, b)) == [(p,), (a, b)]


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (effect("Compresor"), "no effect is called Compresor; expected one of Bitcrush, "),
        (effect("Chain"), "no effect is called Chain"),
        (effect("Compressor", treshold=1.0), "no parameter treshold; expected one of threshold_db"),
        (effect("Compressor", ratio="much"), "Compressor refuses this"),
        (
            effect("LadderFilter", mode="LPF13"),
            "mode of LadderFilter is LPF13; expected one of LPF",
        ),
        (effect("Convolution", impulse_response_filename="none.wav"), "Convolution refuses this"),
        (effect("Invert", x=1.0), "Invert has no parameter x; expected one of none"),
        (Effect(plugin="none.vst3"), "there is no plug-in none.vst3"),
        (Effect(plugin="none.vst3#name"), "there is no plug-in none.vst3"),
    ],
)
def test_what_there_is_not_is_refused_in_one_line(one: Effect, message: str) -> None:
    with pytest.raises(SessionError) as raised:
        Mixer(STEMS, chain(one))
    assert message in str(raised.value)
    assert str(raised.value).startswith("stems.drums.effects: ")
    assert "\n" not in str(raised.value)


def test_a_refused_change_leaves_all_as_it_was() -> None:
    good, bad = effect("Gain", gain_db=-6.0), effect("Gain", gain="x")

    def session(drums: float, last: Effect) -> Session:
        return Session(
            stems={
                "drums": Strip(effects=(effect("Gain", gain_db=drums),)),
                "bass": Strip(effects=(last,), gain_db=drums),
            }
        )

    mixer, stems = prepared(session(-6.0, good)), noise(12_000)

    def change() -> None:
        with pytest.raises(SessionError, match="no parameter gain"):
            mixer.apply(session(0.0, bad))

    out = stream(mixer, stems, [100], {1000: change})
    fresh = stream(prepared(session(-6.0, good)), stems, [100])
    np.testing.assert_allclose(out, fresh, atol=1e-6)


CRASH = "import ctypes; ctypes.string_at(0)"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (CRASH, "crashes when it is loaded"),
        ("import sys; sys.exit(3)", "crashes when it is loaded"),
        ("print('rtsep: refuses stereo')", "refuses stereo"),
        ("import time; time.sleep(60)", "does not load within 1 s"),
        (f"print('noise'); print('rtsep: good', flush=True); {CRASH}", ""),
    ],
)
def test_a_plugin_is_tried_in_a_process_of_its_own(
    code: str, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = plugins.subprocess.run

    def run(command: list[str], **options: Any) -> Any:
        assert command[1:3] == ["-m", "rtsep.live.plugins"]
        return real([sys.executable, "-c", code], **options)

    monkeypatch.setattr(plugins.subprocess, "run", run)
    monkeypatch.setattr(plugins, "TRIAL_TIMEOUT_S", 1.0)
    monkeypatch.setattr(plugins, "_open", lambda path, name: None)
    path = tmp_path / "some.vst3"
    path.touch()
    if message:
        with pytest.raises(SessionError, match=message):
            plugins.load_plugin(Effect(plugin=str(path)), "here")
    else:
        plugins.load_plugin(Effect(plugin=str(path)), "here")
