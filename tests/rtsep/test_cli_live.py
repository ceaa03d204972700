"""``rtsep live``: what it refuses, how it begins and ends, with a fake in place of the player."""

import json
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from rtsep import probes
from rtsep.errors import AudioError, SetupError
from rtsep.live.session import Session, load_session
from rtsep.realtime import RealTime
from tests.rtsep import models
from tests.rtsep.cli import CommandLine, write_audio
from tests.rtsep.test_cli_view import RECORDED

SERVER = {"library": True, "server": True, "rate": 48_000, "period": 128, "realtime": True}
NO_SERVER = {"library": True, "server": False}
DEVICES = {"library": True, "hosts": ["ALSA"], "devices": 2}


class Stage:
    """What the fakes do and what was asked of them."""

    def __init__(self) -> None:
        self.jack: dict[str, object] = dict(SERVER)
        self.portaudio: dict[str, object] = {"library": True, "hosts": [], "devices": 0}
        self.host: Any = None
        self.asked: dict[str, Any] = {}
        self.session = Session()
        self.sessions: list[Session] = []
        self.polls = 6
        self.at_poll: dict[int, Any] = {}
        self.failure: Exception | None = None
        self.granted: tuple[RealTime, ...] = ()
        self.remarks: tuple[str, ...] = ()
        self.stopped = 0


class FakeHost:
    def __init__(self, kind: str, stage: Stage, **asked: Any) -> None:
        self.kind, self.remarks = kind, stage.remarks
        stage.asked = asked


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage()

    class FakeLive:
        def __init__(
            self, host: Any, session: Session, *, session_file: Any = None, say: Any = None
        ) -> None:
            stage.host, stage.session, stage.stopped = host, session, 0
            self._file, self._say, self._polls = session_file, say, 0
            self.granted: tuple[RealTime, ...] = ()

        def start(self) -> None:
            if stage.failure is not None:
                raise stage.failure

        def poll(self) -> None:
            self._polls += 1
            self.granted = stage.granted
            if self._polls in stage.at_poll:
                said = stage.at_poll[self._polls]()
                if said:
                    self._say(said)
            changed = self._file.poll() if self._file else None
            if changed is not None:
                stage.sessions.append(changed)
            if self._polls == stage.polls:
                os.kill(os.getpid(), signal.SIGINT)

        def take_notes(self) -> list[object]:
            return []

        def status(self) -> object:
            assert not stage.stopped
            return msgspec.structs.replace(RECORDED, time=1e9 + self._polls, message="")

        def stop(self) -> None:
            stage.stopped += 1

    def ask(code: str) -> dict[str, object]:
        return {probes.JACK: stage.jack, probes.PORTAUDIO: stage.portaudio}[code]

    monkeypatch.setattr(probes, "ask", ask)
    for name, fakes in {
        "player": {"Live": FakeLive},
        "jack_host": {"JackHost": lambda **asked: FakeHost("jack", stage, **asked)},
        "portaudio_host": {"PortAudioHost": lambda **asked: FakeHost("portaudio", stage, **asked)},
    }.items():
        module = types.ModuleType(f"rtsep.live.{name}")
        vars(module).update(fakes)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("rtsep.cli.live._POLL_S", 0.001)
    monkeypatch.setattr("rtsep.cli.view.LineView.interval_s", 0.0)
    monkeypatch.setattr("rtsep.cli.live._StatusStream.interval_s", 0.0)
    return stage


def test_it_plays_until_it_is_interrupted(rtsep: CommandLine, stage: Stage) -> None:
    before = signal.getsignal(signal.SIGINT)
    outcome = rtsep("live", "--input", "system:capture", "--connect", "ardour:{stem}_{side}")
    assert outcome.status == 0
    assert outcome.out.splitlines()[0].startswith("rtsep  playing  jack, 48000 Hz, block 128")
    assert outcome.out.splitlines()[-1].startswith("rtsep  stopped  jack")
    assert outcome.err == "rtsep: played 0.0 minutes: 2 misses, 0 xruns\n"
    assert stage.stopped == 1
    assert stage.host.kind == "jack"
    assert stage.asked["patterns"].input == "system:capture"
    assert stage.asked["patterns"].connect == "ardour:{stem}_{side}"
    assert stage.asked["name"] == "rtsep"
    assert stage.session == Session()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_endings_are_as_clean(
    rtsep: CommandLine, stage: Stage, number: signal.Signals
) -> None:
    stage.polls = 0
    stage.at_poll = {3: lambda: os.kill(os.getpid(), number)}
    assert rtsep("live").status == 0
    assert stage.stopped == 1


def test_the_status_stream_is_lines_of_json(rtsep: CommandLine, stage: Stage) -> None:
    stage.at_poll = {2: lambda: "the audio server has gone"}
    outcome = rtsep("live", "--status")
    rows = [json.loads(line) for line in outcome.out.splitlines()]
    assert len(rows) == 7
    assert rows[0]["state"] == "playing"
    assert rows[-1]["state"] == "stopped"
    assert outcome.err.splitlines()[0] == "rtsep: the audio server has gone"


def test_a_status_is_told_once_a_second(
    rtsep: CommandLine, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(10**6))
    monkeypatch.setattr("rtsep.cli.live._StatusStream.interval_s", 1.0)
    fake = types.SimpleNamespace(monotonic=lambda: next(clock) * 0.049, sleep=lambda _: None)
    monkeypatch.setattr("rtsep.cli.live.time", fake)
    stage.polls = 200
    rows = rtsep("live", "--status").out.splitlines()
    assert len(rows) == 11  # at once, nine times in 200 × 49 ms, and at the end
    assert "stopped" in rows[-1]


def test_messages_and_refusals_of_the_system_are_lines(rtsep: CommandLine, stage: Stage) -> None:
    stage.granted = (
        RealTime(True, "memory locked"),
        RealTime(False, "normal priority", "operation not permitted", "limits"),
    )
    stage.at_poll = {3: lambda: "one\nline"}
    stage.remarks = ("two devices drift",)
    lines = rtsep("live").out.splitlines()
    assert lines[0] == "two devices drift"
    assert lines[1].startswith("normal priority (operation not permitted): expect misses;")
    assert "rtsep doctor" in lines[1]
    assert "one\\nline" in lines
    assert len(set(lines)) == len(lines)


def test_a_server_without_real_time_priority_is_told(rtsep: CommandLine, stage: Stage) -> None:
    stage.jack["realtime"] = False
    outcome = rtsep("live")
    assert outcome.status == 0
    assert outcome.err.splitlines()[0].startswith("rtsep: the JACK server has no real-time")


def test_the_command_line_wins_over_the_session_file(rtsep: CommandLine, stage: Stage) -> None:
    path = rtsep.folder / "set.toml"
    path.write_text('preset = "relaxed"\nmodel = "live"\n[monitor]\nmute = true\n')
    edited = 'preset = "relaxed"\n[monitor]\ngain_db = -3\n'
    stage.at_poll = {2: lambda: path.write_text(edited) and None}
    outcome = rtsep("live", "--session", "set.toml", "--preset", "lowest", "--no-notes")
    assert outcome.status == 0
    assert "set.toml says preset relaxed; lowest is taken instead" in outcome.err
    assert stage.session.preset == "lowest"
    assert stage.session.model == "live"
    assert stage.session.transcriber == "none"
    assert stage.session.monitor.mute
    (changed,) = stage.sessions
    assert (changed.preset, changed.transcriber) == ("lowest", "none")
    assert changed.monitor.gain_db == -3
    assert path.read_text() == edited


def test_a_session_file_that_is_not_there_is_written(rtsep: CommandLine, stage: Stage) -> None:
    outcome = rtsep("live", "--session", "new.toml", "--preset", "lowest")
    assert outcome.status == 0
    assert "new.toml is new" in outcome.err
    session = load_session(rtsep.folder / "new.toml")
    assert session.preset == "lowest"
    assert tuple(session.stems) == models.STEMS
    assert stage.session.preset == "lowest"


def test_portaudio_is_taken_where_there_is_no_server(rtsep: CommandLine, stage: Stage) -> None:
    stage.jack, stage.portaudio = NO_SERVER, DEVICES
    assert rtsep("live", "--output", "BlackHole", "--rate", "44100").status == 0
    assert stage.host.kind == "portaudio"
    assert stage.asked["output"] == "BlackHole"
    assert stage.asked["sample_rate"] == 44_100
    stage.jack = dict(SERVER)
    assert rtsep("live").status == 0
    assert stage.host.kind == "jack"
    assert rtsep("live", "--host", "portaudio").status == 0
    assert stage.host.kind == "portaudio"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--preset", "offline"], ["for files", "lowest, live or relaxed"]),
        (["--preset", "fast"], ["fast", "lowest, live or relaxed"]),
        (["--host", "alsa"], ["alsa", "auto, jack or portaudio"]),
        (["--model", "none-such"], ["none-such"]),
        (["--model", "notes"], ["to transcribe", "to separate"]),
        (["--query", "oboe.wav"], ["no bundle at query-live"]),
        (["--masks", "none.masks"], ["cannot be read", "a mask file"]),
        (["--masks", "bad.toml"], ["is no mask file"]),
        (["--masks", "x.masks", "--model", "live"], ["masks take no model"]),
        (["--query", "oboe.wav", "--query-model", "live"], ["to separate", "to query"]),
        (["--query", "oboe", "--query-model", ".models/asked.onnx"], ["enrolled query 'oboe'"]),
        (["--input", "(["], ["--input", "regular expression"]),
        (["--connect", "{stem}("], ["--connect", "regular expression"]),
        (["--rate", "44100"], ["--rate 44100", "48000", "leave --rate out"]),
        (["--block", "64"], ["--block 64", "128", "another -p"]),
        (["--host", "portaudio", "--connect", "x"], ["--connect", "JACK", "--output"]),
        (["--session", "bad.toml"], ["bad.toml", "line 2"]),
        (["--session", "unknown.toml"], ["gain_dB"]),
        (["--session", "."], ["cannot be read"]),
        (["--session", "none/such.toml"], ["none"]),
    ],
)
def test_what_cannot_be_used_is_refused_with_one_line(
    rtsep: CommandLine, stage: Stage, arguments: list[str], told: list[str]
) -> None:
    (rtsep.folder / "bad.toml").write_text('preset = "live"\nmute = maybe\n')
    (rtsep.folder / "unknown.toml").write_text("[stems.drums]\ngain_dB = 1\n")
    models.save(models.live_query(), rtsep.folder / ".models" / "asked.onnx")
    models.save(models.query_model()["embed"], rtsep.folder / ".models" / "asked-embed.onnx")
    line = rtsep.refuses("live", *arguments)
    for part in told:
        assert part in line
    assert stage.host is None
    assert not (rtsep.folder / "none").exists()


def test_an_example_of_several_instruments_is_remarked_on(rtsep: CommandLine, stage: Stage) -> None:
    folder = rtsep.folder / ".models"
    models.save(models.live_query(), folder / "query-live.onnx")
    models.save(models.query_model()["embed"], folder / "query-live-embed.onnx")
    models.save(models.several(threshold=0.5), folder / "several.onnx")
    for name, level in (("oboe", 0.3), ("band", 0.9)):
        write_audio(rtsep.folder / f"{name}.wav", np.full((1, 48_000), level, np.float32))
    remark = "band: there seems to be more than one instrument in it"
    for name in ("oboe", "band"):
        outcome = rtsep("live", "--query", f"{name}.wav")
        assert outcome.status == 0
        assert (remark in outcome.err) == (name == "band")


@pytest.mark.parametrize(
    ("jack", "portaudio", "told"),
    [
        (NO_SERVER, {"library": True, "hosts": [], "devices": 0}, "finds no device"),
        (NO_SERVER, {"library": False}, "PortAudio is not there"),
        ({"library": False}, {"library": False}, "there is no JACK"),
        ({"error": "no answer"}, {"error": "it crashed"}, "no audio system"),
    ],
)
def test_no_audio_system_at_all(
    rtsep: CommandLine,
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    jack: dict[str, object],
    portaudio: dict[str, object],
    told: str,
) -> None:
    monkeypatch.setenv("JACK_DEFAULT_SERVER", "stage-left")
    stage.jack, stage.portaudio = jack, portaudio
    line = rtsep.refuses("live", "--session", "new.toml")
    assert told in line
    assert "rtsep doctor" in line
    assert "stage-left" in line or "there is no JACK" in line
    assert not (rtsep.folder / "new.toml").exists()


@pytest.mark.parametrize("error", [SetupError("it has gone"), AudioError("a rate of 16000 Hz")])
def test_a_host_that_cannot_be_opened_is_refused(
    rtsep: CommandLine, stage: Stage, error: Exception
) -> None:
    stage.failure = error
    assert str(error) in rtsep.refuses("live")
    assert stage.stopped == 1


def test_a_reader_that_leaves_ends_it(
    rtsep: CommandLine, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(view: object, status: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("rtsep.cli.live._StatusStream.show", leave)
    stage.polls = 0
    outcome = rtsep("live", "--status")
    assert outcome.status == 0
    assert outcome.err.startswith("rtsep: played")
    assert stage.stopped == 1


def test_help_teaches(rtsep: CommandLine) -> None:
    text = rtsep("live", "--help").out
    for part in ("mix_L", "--session", "rtsep live --connect", "rtsep devices", "Ctrl-C"):
        assert part in text


@pytest.fixture
def playing(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start ``rtsep live`` for real, as a shell would."""
    if not probes.ask(probes.JACK).get("server"):
        pytest.skip("no JACK server answers, so nothing can play; .ci/run starts one")
    children = []

    def start(*arguments: str) -> "subprocess.Popen[str]":
        child = subprocess.Popen(
            [sys.executable, "-m", "rtsep", "live", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()


@pytest.mark.parametrize("arguments", [[], ["--status"]])
def test_it_plays_for_real_and_ends_when_nobody_reads(
    playing: Callable[..., "subprocess.Popen[str]"], arguments: list[str]
) -> None:
    child = playing(*arguments)
    assert child.stdout is not None
    assert next(line for line in child.stdout if "playing" in line)
    child.stdout.close()
    # Lines are only written where something changes; a status comes by itself.
    if not arguments:
        child.terminate()
    assert child.stderr is not None
    said = child.stderr.read()
    child.stdout = None
    assert child.wait() == 0
    assert said.splitlines()[-1].startswith("rtsep: played")
    assert "Traceback" not in said


def test_an_interrupt_from_the_terminal_is_clean_while_it_starts(
    playing: Callable[..., "subprocess.Popen[str]"],
) -> None:
    child = playing()
    assert child.stdout is not None
    assert next(line for line in child.stdout if "starting" in line)
    os.killpg(child.pid, signal.SIGINT)  # the terminal sends it to all
    out, said = child.communicate()
    assert child.returncode == 0
    assert "stopped" in out
    assert said.splitlines()[-1].startswith("rtsep: played")
    assert "Traceback" not in said
