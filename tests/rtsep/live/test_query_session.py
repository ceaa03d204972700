"""A stem that follows an example, in a session that is edited while it plays on JACK."""

from pathlib import Path

import numpy as np
import pytest

from rtsep.errors import AudioError, BundleError
from rtsep.live.queries import session_query
from rtsep.live.session import Session, SessionFile, load_session, same_structure
from tests.rtsep import models
from tests.rtsep.cli import write_audio
from tests.rtsep.live.rig import RATE, bundle_file, live_rig

LOW_HZ, HIGH_HZ = 300.0, 4000.0
QUERY_PORTS = tuple(
    f"{stem}_{side}" for stem in (*models.STEMS[:-1], "query", "other") for side in "LR"
)


def sine(hertz: float, seconds: float = 3.0) -> np.ndarray:
    time = np.arange(int(seconds * RATE)) / RATE
    fade = np.clip(np.minimum(time, seconds - time) / 0.05, 0, 1)
    wave = 0.3 * np.sin(2 * np.pi * hertz * time) * fade
    return np.stack([wave, wave]).astype(np.float32)


class Player:
    """A session file, models and two clips in a folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "gig.toml"
        self.folder = folder
        self.model = bundle_file(folder, models.constant_masks((0.5, 0.2, 0.1, 0.1, 0.1)), "tiny")
        models.save(models.live_query(), folder / "asked.onnx")
        models.save(models.query_model()["embed"], folder / "asked-embed.onnx")
        for name, hertz in (("low", LOW_HZ), ("high", HIGH_HZ)):
            write_audio(folder / f"{name}.wav", sine(hertz))

    def ask(self, clip: str) -> None:
        self.path.write_text(
            f'preset = "live"\nmodel = "{self.model}"\ntranscriber = "none"\n'
            f'query = "{self.folder / clip}"\nquery_model = "{self.folder / "asked.onnx"}"\n'
        )


@pytest.fixture
def player(tmp_path: Path) -> Player:
    player = Player(tmp_path)
    player.ask("low.wav")
    return player


def test_a_clip_becomes_a_vector_and_what_cannot_is_refused(player: Player) -> None:
    session = load_session(player.path)
    assert session_query(session) == pytest.approx((1.0, 0.0), abs=0.05)
    assert session_query(Session()) == ()
    player.ask("none.wav")
    with pytest.raises(AudioError, match="cannot be read"):
        session_query(load_session(player.path))
    with pytest.raises(AudioError, match="no clip and no enrolled query 'oboe'"):
        session_query(Session(query="oboe", query_model=session.query_model))
    with pytest.raises(BundleError, match="a model to separate; expected one to query"):
        session_query(Session(query="oboe", query_model=player.model))
    (player.folder / "files").mkdir()
    for_files = models.save_query_model(player.folder / "files")
    with pytest.raises(BundleError, match="a query model for files; expected one for live use"):
        session_query(Session(query="oboe", query_model=str(for_files)))


def test_another_query_needs_no_other_engine_and_the_first_does() -> None:
    assert same_structure(Session(query="a"), Session(query="b"))
    assert not same_structure(Session(), Session(query="b"))
    assert not same_structure(Session(query="a"), Session(query="a", query_model="x"))


def share(recorded: np.ndarray, hertz: float) -> float:
    """How much of a port is a tone."""
    spectrum = np.abs(np.fft.rfft(recorded * np.hanning(len(recorded))))
    near = np.abs(np.fft.rfftfreq(len(recorded), 1 / RATE) - hertz) < 20
    return float(np.sqrt((spectrum[near] ** 2).sum() / max((spectrum**2).sum(), 1e-12)))


def test_the_query_is_changed_while_it_plays(player: Player) -> None:
    file = SessionFile(player.path)
    mix = sine(LOW_HZ, 90.0) + sine(HIGH_HZ, 90.0)
    short = RATE // 4
    with live_rig(load_session(player.path), session_file=file) as rig:
        rig.until_playing()
        engine = rig.live.engine_pid
        row = QUERY_PORTS.index("query_L")
        with rig.probe(mix, (*QUERY_PORTS, "monitor_L", "monitor_R")) as probe:
            probe.connect(rig.client)
            begin = probe.play(loop=False)
            probe.wait(begin + RATE)
            low = probe.read(rig.in_time(probe, short), short)[row]
            assert share(low, LOW_HZ) > 0.99
            assert np.abs(low).max() == pytest.approx(0.3, rel=0.1)
            player.ask("high.wav")
            rig.until(lambda: str(rig.live.session.query).endswith("high.wav"), "the other query")
            asked = probe.clock
            probe.wait(asked + RATE)
            recorded = probe.read(asked - RATE // 4, RATE)
            high = probe.read(rig.in_time(probe, short), short)[row]
            assert share(high, HIGH_HZ) > 0.99
            stems = recorded[: len(QUERY_PORTS)].astype(np.float64)
            # Beyond both tones there is nothing: no click, on any port.
            for port in stems:
                spectrum = np.abs(np.fft.rfft(port * np.hanning(len(port))))
                assert spectrum[int(8000 * len(port) / RATE) :].max() < 1e-3 * spectrum.max() + 1e-3
            player.ask("none.wav")
            rig.until_said("stays as it was")
            assert rig.live.state == "playing"
        assert rig.live.engine_pid == engine
        assert rig.live.latency_samples == 256
        assert rig.live.restarts == 0
