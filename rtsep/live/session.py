"""The session file: what a player sets, in TOML, edited while it plays.

The file is read; it is never rewritten, so that what a player wrote in it stays as it
is.  Where there is none, `save_session` makes one with a comment at every value.
"""

import math
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from rtsep.errors import SessionError
from rtsep.general_midi import PROGRAMS, assign_channels
from rtsep.output_file import replacing
from rtsep.presets import PRESETS

MAX_DELAY_SAMPLES = 48_000
LATENCY_PARAMETERS = {
    "lookahead_ms",
    "target_sample_rate",
    "quality",
    "vbr_quality",
    "impulse_response_filename",
}
"""Parameters of built-in effects that change their latency, or take long to change."""
LIVE_PRESETS = tuple(name for name in PRESETS if name != "offline")

NO_TRANSCRIBER = "none"
"""What a session says in place of a transcriber to have no notes."""

Decibels = Annotated[float, Meta(ge=-120.0, le=24.0)]
TIMINGS = ("steady", "earliest")
NoteNumber = Annotated[int, Meta(ge=0, le=127)]


class Effect(Struct, frozen=True, forbid_unknown_fields=True):
    """One effect of a chain: a built-in `type`, or a `plugin`.

    Attributes
    ----------
    type : str or None
        Name of a class of pedalboard, such as "Compressor".
    plugin : str or None
        Path of a VST3 or Audio Unit; after a "#", the name of one of several inside.
    parameters : dict of str to float, bool or str
        As pedalboard names them.
    """

    type: str | None = None
    plugin: str | None = None
    parameters: dict[str, float | bool | str] = {}

    def __post_init__(self) -> None:
        if (self.type is None) == (self.plugin is None):
            raise ValueError("an effect has either `type` or `plugin`")
        for name, value in self.parameters.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"`{name}` is not a finite number")

    @property
    def label(self) -> str:
        """How messages call it."""
        return self.type or str(self.plugin)


class Strip(Struct, frozen=True, forbid_unknown_fields=True):
    """What happens to one stem.

    Attributes
    ----------
    gain_db : float
    mute, solo : bool
        Where any strip has `solo`, those without are muted.
    invert : bool
        Reversed polarity.
    delay_samples : int
        How much later than the other stems.
    effects : tuple of Effect
        In order, before the gain.
    channel, program : int or None
        Of its notes at the MIDI port, counted from 1 as players show them; None is
        General MIDI's channel and instrument for it, and program 0 leaves the
        instrument as it is.
    """

    gain_db: Decibels = 0.0
    mute: bool = False
    solo: bool = False
    invert: bool = False
    delay_samples: Annotated[int, Meta(ge=0, le=MAX_DELAY_SAMPLES)] = 0
    effects: tuple[Effect, ...] = ()
    channel: Annotated[int, Meta(ge=1, le=16)] | None = None
    program: Annotated[int, Meta(ge=0, le=128)] | None = None


class Monitor(Struct, frozen=True, forbid_unknown_fields=True):
    """The sum of all stems, as they leave their strips."""

    gain_db: Decibels = 0.0
    mute: bool = False


class Midi(Struct, frozen=True, forbid_unknown_fields=True):
    """How notes leave at the MIDI port.

    Attributes
    ----------
    timing : {"steady", "earliest"}
        "steady": all with the same delay, so that the rhythm is exact.  "earliest": as
        soon as they are known, yet not before their stem sounds.
    drum_map : dict of str to int
        What is played for a drum, both as note numbers; a drum that is not named keeps
        General MIDI's.
    """

    timing: str = TIMINGS[0]
    drum_map: dict[str, NoteNumber] = {}

    def __post_init__(self) -> None:
        if self.timing not in TIMINGS:
            known = " or ".join(TIMINGS)
            raise ValueError(f"no timing is called `{self.timing}`; there is {known}")
        wrong = [key for key in self.drum_map if key not in map(str, range(128))]
        if wrong:
            raise ValueError(f"`{wrong[0]}` is no drum's note; drums are numbers from 0 to 127")

    def drum(self, note: int) -> int:
        """What is played for a drum."""
        return self.drum_map.get(str(note), note)


class Session(Struct, frozen=True, forbid_unknown_fields=True):
    """All that a session file holds.

    Attributes
    ----------
    preset : str
        A position of the latency dial that works live.
    model, transcriber : str or None
        Names or paths; None is the one that ships.  The transcriber "none" gives no
        notes.
    query : str or None
        An example, by its clip or the name it was enrolled by: one more stem of that
        instrument.
    query_model : str or None
        Name or path of the model that hears it.
    masks : str or None
        A mask file, instead of a model: its tags are the stems, wherever in its song the
        mix is.
    stems : dict of str to Strip
        A stem that is not named has a strip that changes nothing.
    monitor : Monitor
    midi : Midi
    """

    preset: str = "live"
    model: str | None = None
    transcriber: str | None = None
    query: str | None = None
    query_model: str | None = None
    masks: str | None = None
    stems: dict[str, Strip] = {}
    monitor: Monitor = Monitor()
    midi: Midi = Midi()

    def __post_init__(self) -> None:
        if self.preset not in LIVE_PRESETS:
            known = ", ".join(LIVE_PRESETS)
            raise ValueError(f"no live preset is called `{self.preset}`; there are {known}")
        if self.masks is not None and (self.model is not None or self.query is not None):
            raise ValueError("masks take no model and no query beside them")

    def strip(self, stem: str) -> Strip:
        """The strip of a stem, also of one that is not named."""
        return self.stems.get(stem, Strip())


def same_structure(a: Session, b: Session) -> bool:
    """Whether `Mixer.apply` can go from one to the other; else it takes a new engine."""
    return _engine(a) == _engine(b) and all(
        [_kind(effect) for effect in a.strip(stem).effects]
        == [_kind(effect) for effect in b.strip(stem).effects]
        for stem in a.stems.keys() | b.stems.keys()
    )


def _engine(session: Session) -> tuple[object, ...]:
    """All that an engine is made of; which query it follows may change."""
    models = (session.model, session.transcriber, session.query_model, session.masks)
    return (session.preset, *models, session.query is None)


def _kind(effect: Effect) -> tuple[Any, ...]:
    """All of an effect that cannot change while it plays."""
    slow = LATENCY_PARAMETERS if effect.type else set()
    fixed = [item for item in effect.parameters.items() if item[0] in slow]
    return effect.type, effect.plugin, sorted(fixed)


def load_session(path: Path) -> Session:
    """Read a session file.

    Raises
    ------
    SessionError
        It cannot be read, is no TOML (with the line), or holds what a session does not
        have (with the key).
    """
    try:
        return parse_session(path.read_bytes(), path.name)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SessionError(f"{path} cannot be read ({reason})", "a session file") from None


def parse_session(content: bytes, name: str) -> Session:
    """Read the content of a session file that messages call `name`."""
    try:
        table = tomllib.loads(content.decode("utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        place = re.search(r"\(at (?:line (\d+), column \d+|end of document)\)", message)
        line = place[1] if place and place[1] else 1 + content.rstrip().count(b"\n")
        reason = message.split(" (at ")[0]
        raise SessionError(
            f"{name}, line {line}: {reason[:1].lower()}{reason[1:]}", "TOML", "mend that line"
        ) from None
    except UnicodeDecodeError as error:
        line = 1 + content[: error.start].count(b"\n")
        raise SessionError(f"{name}, line {line}: no text", "TOML in UTF-8") from None
    strips = table.pop("stems", {})
    if not isinstance(strips, dict):
        raise SessionError(f"{name}: stems is no table", "tables such as [stems.drums]")
    stems = {key: _convert(value, Strip, name, f"stems.{key}") for key, value in strips.items()}
    session: Session = _convert(table, Session, name, "")
    return msgspec.structs.replace(session, stems=stems)


def _convert(value: Any, kind: Any, name: str, prefix: str) -> Any:
    """A part of the file as a Struct; `prefix` is where in the file it stands."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        inner = where.rstrip("`").lstrip(".").replace("[...]", "")
        key = ".".join(part for part in (prefix, inner) if part)
        found = f"{name}: {key}" if key else name
        unknown = re.match(r"Object contains unknown field `(.*)`", what)
        wrong_type = re.match(r"Expected (.*), got (.*)", what)
        if unknown:
            place = f"{key}.{unknown[1]}" if key else unknown[1]
            at = _struct_at(kind, inner)
            raise SessionError(
                f"{name}: {place} is not known", f"one of {', '.join(at.__struct_fields__)}"
            ) from None
        if wrong_type:
            raise SessionError(
                f"{found} is {_words(wrong_type[2])}", _words(wrong_type[1])
            ) from None
        if what.startswith("Expected "):
            raise SessionError(f"{found} cannot be that", _words(what[9:])) from None
        what = what.replace("`", "")
        raise SessionError(f"{found}: {what[:1].lower()}{what[1:]}") from None


def _struct_at(kind: Any, inner: str) -> Any:
    """The Struct at a place inside another one."""
    if kind is Strip and inner.startswith("effects["):
        return Effect
    return {"monitor": Monitor, "midi": Midi}.get(inner, kind)


def _words(types: str) -> str:
    """Types as a player calls them."""
    plain = {"object": "a table", "array": "a list", "str": "text", "bool": "true or false"}
    plain |= {"float": "a number", "int": "a whole number", "null": "nothing"}
    words = types.replace("`", "").split(" | ")
    return " or ".join(re.sub(r"^\w+", lambda m: plain.get(m[0], m[0]), word) for word in words)


def save_session(session: Session, path: Path, stems: tuple[str, ...]) -> None:
    """Write a session file with comments where there is none.

    Parameters
    ----------
    stems : tuple of str
        All stems of the model, in their order.

    Raises
    ------
    SessionError
        There is a file already; it is the player's.
    OutputError
        The file cannot be written.
    """
    if path.exists():
        raise SessionError(f"{path} exists", "no file there", "choose another name")
    with replacing(path) as part:
        part.write_text(session_text(session, stems), "utf-8")


def session_text(session: Session, stems: tuple[str, ...]) -> str:
    """A session as commented TOML."""

    def entry(key: str, value: Any, comment: str) -> str:
        return f"{key} = {_toml(value)}".ljust(24) + f"  # {comment}"

    def optional(key: str, value: str | None, example: str, comment: str) -> str:
        return (
            f'# {key} = "{example}"'.ljust(24) + f"  # {comment}"
            if value is None
            else entry(key, value, comment)
        )

    def number(key: str, value: int | None, example: int, comment: str) -> str:
        mark = "# " if value is None else ""
        return f"{mark}{key} = {example if value is None else value}".ljust(24) + f"  # {comment}"

    mapped = ", ".join(f"{drum} = {note}" for drum, note in session.midi.drum_map.items())
    drum_map = f"drum_map = {{ {mapped} }}" if mapped else "# drum_map = { 42 = 44 }"
    lines = [
        "# rtsep session.  Change it while rtsep plays: it is read again at every save.",
        entry("preset", session.preset, ", ".join(LIVE_PRESETS)),
        optional("model", session.model, "live", "name or path of a model"),
        optional("transcriber", session.transcriber, "none", '"none": no notes'),
        optional("masks", session.masks, "song.masks", "of one song, instead of a model"),
        optional("query", session.query, "oboe.wav", "one more stem: a clip, or an enrolled name"),
        "",
        "[monitor]  # the sum of all stems below",
        entry("gain_db", session.monitor.gain_db, "-120 to 24"),
        entry("mute", session.monitor.mute, "true or false"),
        "",
        "[midi]  # notes at the port of --midi-out",
        entry("timing", session.midi.timing, "steady: with one delay; earliest: once known"),
        drum_map.ljust(24) + "  # what is played for a drum, as note numbers",
    ]
    names = (*stems, *(name for name in session.stems if name not in stems))
    channels = assign_channels(names, ("drums",))
    for stem in names:
        strip, program = session.strip(stem), PROGRAMS.get(stem, 0) + 1
        lines += [
            "",
            f"[stems.{_key(stem)}]",
            entry("gain_db", strip.gain_db, "-120 to 24"),
            entry("mute", strip.mute, "true or false"),
            entry("solo", strip.solo, "true: only stems with solo are heard"),
            entry("invert", strip.invert, "true: reversed polarity"),
            entry("delay_samples", strip.delay_samples, f"0 to {MAX_DELAY_SAMPLES}, later"),
            number("channel", strip.channel, channels[stem] + 1, "of its notes, 1 to 16"),
            number("program", strip.program, program, "its instrument, 1 to 128; 0: as it is"),
        ]
        for effect in strip.effects:
            kind, value = ("type", effect.type) if effect.type else ("plugin", effect.plugin)
            pairs = (f"{_key(k)} = {_toml(v)}" for k, v in effect.parameters.items())
            lines += [
                f"[[stems.{_key(stem)}.effects]]",
                f"{kind} = {_toml(value)}",
                f"parameters = {{ {', '.join(pairs)} }}",
            ]
    lines += [
        "",
        "# Effects of a stem, in their order; any effect of pedalboard, or a VST3 or Audio Unit:",
        f"# [[stems.{_key(stems[0]) if stems else 'drums'}.effects]]",
        '# type = "Compressor"',
        "# parameters = { threshold_db = -18, ratio = 4 }",
        f"# [[stems.{_key(stems[0]) if stems else 'drums'}.effects]]",
        '# plugin = "/path/to/a/plugin.vst3"',
        "",
    ]
    return "\n".join(lines)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


def _toml(value: Any) -> str:
    """A value in TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda m: f"\\u{ord(m[0]):04x}", escaped) + '"'
    return repr(value)


class SessionFile:
    """A session file that is looked at again and again.

    Parameters
    ----------
    path : Path
        It counts as read: the first change is the first one after this.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = self._seen = self._stamp()

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def poll(self) -> Session | None:
        """What the file holds, if it has changed and come to rest since it was last read.

        A file that has gone, as for a moment while an editor replaces it, is waited for;
        one that still changes between two polls is left to be finished.

        Raises
        ------
        SessionError
            It holds no session; said once for every change.
        """
        stamp = self._stamp()
        settled = stamp == self._seen
        self._seen = stamp
        if stamp is None or not settled or stamp == self._read:
            return None
        self._read = stamp
        return load_session(self.path)
