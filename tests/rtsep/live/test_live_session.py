"""A session file edited while it plays, on a real JACK server."""

import time
from pathlib import Path

import numpy as np
import pytest

from rtsep.bench.probe import Probe
from rtsep.live.session import SessionFile, load_session
from tests.rtsep import models
from tests.rtsep.live.rig import PORTS, RATE, Rig, bundle_file, live_rig, tone
from tests.rtsep.live.test_live_jack import assert_reported, assert_smooth_since

DRUMS, BASS = PORTS.index("drums_L"), PORTS.index("bass_L")


class Editor:
    """A session file of a model that gives the drums three quarters and the bass a quarter."""

    def __init__(self, folder: Path) -> None:
        self.model = bundle_file(folder, models.constant_masks((0.75, 0.25, 0, 0, 0)))
        self.path = folder / "gig.toml"

    def write(self, strips: str) -> None:
        head = f'preset = "live"\nmodel = "{self.model}"\ntranscriber = "none"\n'
        self.path.write_text(head + strips)


@pytest.fixture
def editor(tmp_path: Path) -> Editor:
    editor = Editor(tmp_path)
    editor.write("")
    return editor


def rms(recorded: np.ndarray) -> np.ndarray:
    return np.sqrt((recorded.astype(np.float64) ** 2).mean(axis=1))


def listen(rig: Rig, probe: Probe, seconds: float = 0.5) -> np.ndarray:
    frames = int(seconds * RATE)
    return rms(probe.read(rig.in_time(probe, frames), frames))


def test_edits_are_heard_and_nonsense_is_not(editor: Editor) -> None:
    file = SessionFile(editor.path)
    with live_rig(load_session(editor.path), session_file=file) as rig:
        rig.until_playing()
        engine = rig.live.engine_pid
        with rig.probe(tone(60.0)) as probe:
            probe.connect(rig.client)
            begin = probe.play(loop=False)
            probe.wait(begin + RATE)
            before = listen(rig, probe)
            editor.write("[stems.drums]\ngain_db = -6.0\n[stems.bass]\ninvert = true\n")
            rig.until(lambda: rig.live.session.strip("drums").gain_db == -6.0, "the edit")
            time.sleep(0.2)
            after = listen(rig, probe)
            assert after[DRUMS] / before[DRUMS] == pytest.approx(10 ** (-6 / 20), rel=0.03)
            assert after[BASS] / before[BASS] == pytest.approx(1.0, rel=0.03)
            editor.write("[stems.drums]\ngain_db = [loud]\n")
            rig.until_said("stays as it was")
            lines = len(rig.said)
            again = listen(rig, probe)
            assert again[DRUMS] == pytest.approx(after[DRUMS], rel=0.03)
            assert len(rig.said) == lines  # once is enough
            assert "gig.toml" in rig.said[-1]
            editor.write("")
            rig.until(lambda: rig.live.session.strip("drums").gain_db == 0.0, "the repair")
            time.sleep(0.2)
            assert_smooth_since(probe, begin + RATE)
        assert rig.live.engine_pid == engine
        assert rig.live.restarts == 0


def test_effects_come_with_another_engine_and_stay_in_time(editor: Editor) -> None:
    file = SessionFile(editor.path)
    mix = tone(60.0)
    with live_rig(load_session(editor.path), session_file=file) as rig:
        rig.until_playing()
        engine = rig.live.engine_pid
        with rig.probe(mix) as probe:
            probe.connect(rig.client)
            begin = probe.play()
            probe.wait(begin + RATE)
            editor.write(
                '[stems.drums]\neffects = [{ type = "BrickwallLimiter" }]\n'
                '[stems.bass]\neffects = [{ type = "Gain", parameters = { gain_db = 6.0 } }]\n'
            )
            rig.until(lambda: rig.live.engine_pid != engine, "another engine")
            rig.until(lambda: rig.live.latency_samples == 256 + 240, "the limiter's latency")
            rig.until_playing()
            assert_reported(rig, probe, "bass_L", 496)
            start = rig.in_time(probe, RATE // 2)
            recorded = probe.read(start, RATE // 2)
            at = start - begin - 496
            expected = 2.0 * 0.25 * mix[0, at : at + RATE // 2]
            np.testing.assert_allclose(recorded[BASS], expected, atol=2e-3)
            assert_smooth_since(probe, begin + RATE)
        assert rig.live.restarts == 0


def test_a_plugin_that_is_missing_changes_nothing(editor: Editor) -> None:
    file = SessionFile(editor.path)
    with live_rig(load_session(editor.path), session_file=file) as rig:
        rig.until_playing()
        engine = rig.live.engine_pid
        editor.write('[stems.drums]\neffects = [{ plugin = "/nowhere/Reverb.vst3" }]\n')
        rig.until_said("what played before goes on")
        assert any("/nowhere/Reverb.vst3" in line for line in rig.said)
        assert rig.live.engine_pid == engine
        assert rig.live.state == "playing"
