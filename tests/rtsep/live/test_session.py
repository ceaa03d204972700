"""The session file: read, refused, written, watched."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtsep.errors import OutputError, SessionError
from rtsep.live.session import (
    LIVE_PRESETS,
    TIMINGS,
    Effect,
    Midi,
    Monitor,
    Session,
    SessionFile,
    Strip,
    load_session,
    parse_session,
    same_structure,
    save_session,
    session_text,
)

STEMS = ("drums", "bass", "other")

decibels = st.floats(-120.0, 24.0)
text = st.text(max_size=12)
effects = st.builds(
    lambda plugin, name, parameters: Effect(
        **{"plugin" if plugin else "type": name}, parameters=parameters
    ),
    st.booleans(),
    st.text(min_size=1, max_size=12),
    st.dictionaries(
        text, st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | text, max_size=3
    ),
)
sessions = st.builds(
    Session,
    preset=st.sampled_from(LIVE_PRESETS),
    model=st.none() | text,
    transcriber=st.none() | text,
    monitor=st.builds(Monitor, gain_db=decibels, mute=st.booleans()),
    midi=st.builds(
        Midi,
        timing=st.sampled_from(TIMINGS),
        drum_map=st.dictionaries(st.integers(0, 127).map(str), st.integers(0, 127), max_size=3),
    ),
    stems=st.dictionaries(
        st.sampled_from(STEMS) | text,
        st.builds(
            Strip,
            gain_db=decibels,
            mute=st.booleans(),
            solo=st.booleans(),
            invert=st.booleans(),
            delay_samples=st.integers(0, 48_000),
            effects=st.lists(effects, max_size=2).map(tuple),
            channel=st.none() | st.integers(1, 16),
            program=st.none() | st.integers(0, 128),
        ),
        max_size=3,
    ),
)


@given(sessions)
def test_what_is_written_is_read_again(session: Session) -> None:
    read = parse_session(session_text(session, STEMS).encode(), "s.toml")
    assert read.stems.keys() == {*STEMS, *session.stems}
    assert all(read.strip(stem) == session.strip(stem) for stem in read.stems)
    assert (read.preset, read.model, read.transcriber) == (
        session.preset,
        session.model,
        session.transcriber,
    )
    assert (read.monitor, read.midi) == (session.monitor, session.midi)


def test_every_line_of_the_template_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "session.toml"
    save_session(Session(), path, STEMS)
    for line in path.read_text("utf-8").splitlines():
        assert not line or "#" in line or line.startswith("[")
    read = load_session(path)
    assert read == Session(stems={stem: Strip() for stem in STEMS})
    # Its example works as soon as its marks are taken away.
    lines = path.read_text("utf-8").splitlines()
    start = lines.index("# [[stems.drums.effects]]")
    example = "\n".join(line.removeprefix("# ") for line in lines[start:])
    chain = parse_session(("[stems.drums]\n" + example).encode(), "s").strip("drums").effects
    assert chain[0] == Effect(type="Compressor", parameters={"threshold_db": -18, "ratio": 4})
    assert chain[1].plugin


def test_a_file_that_is_there_is_never_written(tmp_path: Path) -> None:
    path = tmp_path / "session.toml"
    path.write_text("# mine\n")
    with pytest.raises(SessionError, match="exists"):
        save_session(Session(), path, STEMS)
    assert path.read_text() == "# mine\n"
    with pytest.raises(OutputError):
        save_session(Session(), tmp_path / "none/session.toml", STEMS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("gain", "s.toml, line 1: "),
        ("preset = 'live'\n\n[stems.drums]\ngain_db = 1 2\n", "s.toml, line 4: "),
        ("preset = 'live'\npreset = 'live'\n", "s.toml, line 2: cannot overwrite a value"),
        ("[stems.drums\n", "s.toml, line 1: "),
        ("preset = '\xff", "s.toml, line 1: "),
        ("presett = 'live'", "s.toml: presett is not known; expected one of preset, model, "),
        ("preset = 'offline'", "no live preset is called offline; there are lowest, live, "),
        ("preset = 3", "s.toml: preset is a whole number; expected text"),
        ("[stems.drums]\ngian_db = 3", "s.toml: stems.drums.gian_db is not known; expected one"),
        ("[stems.drums]\ngain_db = 'x'", "stems.drums.gain_db is text; expected a number"),
        ("[stems.drums]\ngain_db = 25", "stems.drums.gain_db cannot be that; expected a number <="),
        ("[stems.drums]\ngain_db = nan", "stems.drums.gain_db cannot be that"),
        ("[stems.drums]\ngain_db = -inf", "stems.drums.gain_db cannot be that"),
        ("[stems.drums]\ndelay_samples = -1", "stems.drums.delay_samples cannot be that"),
        ("[stems.drums]\ndelay_samples = 1.5", "stems.drums.delay_samples is a number"),
        ("[stems.drums]\nmute = 1", "stems.drums.mute is a whole number; expected true or false"),
        ("stems = 3", "s.toml: stems is no table"),
        ("[stems]\ndrums = 3", "s.toml: stems.drums is a whole number; expected a table"),
        ("monitor = 3", "s.toml: monitor is a whole number; expected a table"),
        ("[monitor]\nsolo = true", "s.toml: monitor.solo is not known; expected one of gain_db"),
        ("[midi]\ntiming = 'fast'", "s.toml: midi: no timing is called fast; there is steady or"),
        ("[midi]\ntime = 'x'", "s.toml: midi.time is not known; expected one of timing, drum_map"),
        ("[midi.drum_map]\nkick = 3", "s.toml: midi: kick is no drum's note; drums are numbers"),
        ("[midi.drum_map]\n200 = 3", "s.toml: midi: 200 is no drum's note; drums are numbers"),
        ("[midi.drum_map]\n38 = 200", "s.toml: midi.drum_map cannot be that; expected a whole"),
        ("[stems.bass]\nchannel = 17", "stems.bass.channel cannot be that; expected a whole"),
        ("[stems.bass]\nprogram = -1", "stems.bass.program cannot be that; expected a whole"),
        ("[[stems.drums.effects]]\n", "stems.drums.effects[0]: an effect has either type or"),
        (
            "[[stems.drums.effects]]\ntype = 'A'\nplugin = 'B'\n",
            "stems.drums.effects[0]: an effect has either type or plugin",
        ),
        (
            "[[stems.drums.effects]]\ntype = 'A'\n[[stems.drums.effects]]\nkind = 'B'\n",
            "stems.drums.effects[1].kind is not known; expected one of type, plugin, parameters",
        ),
        (
            "[[stems.drums.effects]]\ntype = 'A'\nparameters = { a = [1] }\n",
            "stems.drums.effects[0].parameters is a list; expected",
        ),
        (
            "[[stems.drums.effects]]\ntype = 'A'\nparameters = { a = inf }\n",
            "stems.drums.effects[0]: a is not a finite number",
        ),
    ],
)
def test_nonsense_is_refused_in_one_line_with_its_place(content: str, message: str) -> None:
    with pytest.raises(SessionError) as raised:
        parse_session(content.encode("latin-1"), "s.toml")
    said = str(raised.value)
    assert message in said
    assert "\n" not in said
    assert "$" not in said
    assert "`" not in said


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_a_file_holds_there_is_a_session_or_a_refusal(content: bytes) -> None:
    said = ""
    try:
        parse_session(content, "s.toml")
    except SessionError as error:
        said = str(error)
    assert "\n" not in said


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(SessionError, match="cannot be read"):
            load_session(path)


def test_what_can_change_in_place() -> None:
    chain = (Effect(type="Compressor", parameters={"ratio": 2.0}), Effect(plugin="a.vst3"))
    a = Session(stems={"drums": Strip(effects=chain)})
    other_values = (Effect(type="Compressor"), Effect(plugin="a.vst3", parameters={"x": 1.0}))
    strip = Strip(gain_db=3, delay_samples=4, effects=other_values)
    assert same_structure(a, Session(stems={"drums": strip, "bass": Strip(mute=True)}))
    assert same_structure(Session(), Session(stems={"drums": Strip()}, monitor=Monitor(3)))
    for b in (
        Session(stems={"drums": Strip(effects=chain[:1])}),
        Session(stems={"drums": Strip(effects=chain[::-1])}),
        Session(stems={"bass": Strip(effects=chain)}),
        Session("lowest", stems=a.stems),
        Session(model="x", stems=a.stems),
        Session(transcriber="none", stems=a.stems),
    ):
        assert not same_structure(a, b)
        assert not same_structure(b, a)


class Edited:
    """A session file, and a clock that gives every save another time."""

    def __init__(self, path: Path) -> None:
        self.path, self._time = path, 1_000_000_000_000_000_000

    def write(self, content: str) -> None:
        self.path.write_text(content)
        self._time += 1_000_000
        os.utime(self.path, ns=(self._time, self._time))

    def replace(self, content: str) -> None:
        """Save as many editors do: into another file, which takes the place of the old one."""
        part = Edited(self.path.with_suffix(".part"))
        part._time = self._time
        part.write(content)
        part.path.replace(self.path)


@pytest.fixture
def edited(tmp_path: Path) -> Edited:
    file = Edited(tmp_path / "session.toml")
    file.write("preset = 'live'\n")
    return file


def polled(file: SessionFile, times: int = 4) -> list[Session]:
    return [session for _ in range(times) if (session := file.poll()) is not None]


def test_a_change_is_seen_once(edited: Edited) -> None:
    file = SessionFile(edited.path)
    assert polled(file) == []
    edited.write("preset = 'lowest'\n")
    assert polled(file) == [Session("lowest")]
    assert polled(file) == []
    edited.replace("preset = 'live'\n\n")
    assert polled(file) == [Session("live")]


def test_a_file_that_is_being_written_is_left_to_be_finished(edited: Edited) -> None:
    file = SessionFile(edited.path)
    edited.write("")
    assert file.poll() is None
    edited.write("preset = ")
    assert file.poll() is None
    edited.path.unlink()
    assert file.poll() is None
    edited.write("preset = 'relaxed'")
    assert file.poll() is None
    assert polled(file) == [Session("relaxed")]


def test_nonsense_is_said_once_and_mended_later(edited: Edited) -> None:
    file = SessionFile(edited.path)
    edited.write("nonsense")
    assert file.poll() is None
    with pytest.raises(SessionError, match="line 1"):
        file.poll()
    assert polled(file) == []
    edited.write("preset = 'lowest'")
    assert polled(file) == [Session("lowest")]


def test_a_file_that_comes_later_is_read(tmp_path: Path) -> None:
    edited = Edited(tmp_path / "session.toml")
    file = SessionFile(edited.path)
    assert polled(file) == []
    edited.write("preset = 'lowest'")
    assert polled(file) == [Session("lowest")]
