"""Real plug-ins of others: Debian's zam-plugins."""

from pathlib import Path

import numpy as np
import pytest

from rtsep.errors import SessionError
from rtsep.live.mixer import Mixer
from rtsep.live.session import Effect, Session, Strip
from tests.rtsep.live.effects import STEMS, chain, effect, noise, prepared, stream

FOLDER = Path("/usr/lib/vst3")


def zam(name: str, **parameters: float | bool | str) -> Effect:
    path = FOLDER / f"{name}.vst3"
    if not path.exists():
        pytest.skip(f"{path} is not there; Debian's zam-plugins brings it")
    return Effect(plugin=str(path), parameters=parameters)


def test_a_limiter_that_looks_ahead_keeps_all_stems_in_time() -> None:
    mixer, stems = prepared(chain(zam("ZaMaximX2"))), noise(20_000, level=0.1)
    late = mixer.latency_samples
    assert late == 480  # 10 ms, which it states
    out = stream(mixer, stems, [128])
    np.testing.assert_array_equal(out[2:-2, late:], stems[1:].reshape(4, -1)[:, :-late])
    spectra = np.fft.rfft(out[0], 65_536) * np.conj(np.fft.rfft(stems[0, 0], 65_536))
    assert int(np.abs(np.fft.irfft(spectra)).argmax()) == late
    mixer.reset()
    np.testing.assert_allclose(stream(mixer, stems, [128]), out, atol=1e-4)


def test_between_builtin_effects_and_on_several_stems() -> None:
    session = Session(
        stems={
            "drums": Strip(effects=(effect("Gain"), zam("ZaMaximX2"), effect("BrickwallLimiter"))),
            "other": Strip(effects=(zam("ZamCompX2"),)),
        }
    )
    mixer, stems = prepared(session), noise(4000, level=0.01)
    assert mixer.latency_samples == 480 + 240
    out = stream(mixer, stems, [128])
    np.testing.assert_array_equal(out[2:4, 720:], stems[1, :, :-720])
    for row in (0, 4):
        spectra = np.fft.rfft(out[row], 8192) * np.conj(np.fft.rfft(stems[row // 2, 0], 8192))
        assert int(np.abs(np.fft.irfft(spectra)).argmax()) == 720
    assert mixer.bad_blocks == 0


def test_parameters_are_set_in_place() -> None:
    def at(makeup: float) -> Session:
        return chain(zam("ZamCompX2", makeup_db=makeup))

    mixer, stems = prepared(at(0.0)), noise(20_000, level=0.001)
    out = stream(mixer, stems, [128], {10_240: lambda: mixer.apply(at(6.0206))})
    before, after = (np.abs(out[0, part]).max() for part in (slice(0, 10_000), slice(15_000, None)))
    assert after / before == pytest.approx(2.0, rel=0.1)
    with pytest.raises(SessionError, match="has no parameter makup; expected one of"):
        mixer.apply(chain(zam("ZamCompX2", makup=0.0)))
    with pytest.raises(SessionError, match="cannot be 1000"):
        mixer.apply(chain(zam("ZamCompX2", makeup_db=1000.0)))
    again = stream(mixer, stems, [128])
    assert np.abs(again[0, -5000:]).max() == pytest.approx(np.abs(out[0, -5000:]).max(), rel=0.1)
    # A line that has gone from the session is as if it had never been.
    mixer.apply(chain(zam("ZamCompX2")))
    without = stream(mixer, stems, [128])
    assert np.abs(without[0, -5000:]).max() == pytest.approx(before, rel=0.1)


def test_one_that_refuses_stereo_is_refused() -> None:
    with pytest.raises(SessionError, match=r"ZamComp\.vst3 refuses stereo"):
        Mixer(STEMS, chain(zam("ZamComp")))


def test_one_that_is_no_plugin_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.vst3"
    path.write_text("no plug-in")
    with pytest.raises(SessionError, match="cannot be loaded"):
        Mixer(STEMS, chain(Effect(plugin=str(path))))
