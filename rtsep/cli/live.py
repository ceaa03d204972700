"""``rtsep live``: what is asked for is checked, then it plays until it is told to end."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from rtsep.cli.console import complain, stdout
from rtsep.cli.endings import Endings
from rtsep.cli.systems import choose_system
from rtsep.cli.view import TerminalView, View, choose_view
from rtsep.engine import with_query
from rtsep.errors import RtsepError
from rtsep.live.listeners import Listener, Listeners
from rtsep.live.queries import session_query
from rtsep.live.session import (
    LIVE_PRESETS,
    NO_TRANSCRIBER,
    Session,
    SessionFile,
    load_session,
    save_session,
)
from rtsep.live.status import Status, encode_status
from rtsep.mask_file import read_masks
from rtsep.played_masks import REST
from rtsep.presets import PRESETS
from rtsep.query.examples import find_example, remarks_on
from rtsep.songs import find_separator, find_transcriber

if TYPE_CHECKING:
    from rtsep.live.hosts import AudioHost
    from rtsep.live.player import Live

_POLL_S = 0.05
#: For PortAudio, where the player says nothing.
_RATE, _BLOCK = 48_000, 128


@dataclass(frozen=True)
class Options:
    """What the command line said; see ``rtsep live --help``."""

    host: str = "auto"
    input: str | None = None
    output: str | None = None
    rate: int | None = None
    block: int | None = None
    model: str | None = None
    preset: str | None = None
    session: Path | None = None
    notes: bool = True
    connect: str | None = None
    name: str = "rtsep"
    status: bool = False
    midi_out: str | None = None
    bridge: bool = False
    bind: str | None = None
    query: str | None = None
    query_model: str | None = None
    masks: str | None = None


def play(options: Options) -> None:
    """Play until Ctrl-C, SIGTERM, or the end of whoever reads what is printed.

    Raises
    ------
    RtsepError
        It cannot start, with what to do about it.
    """
    decided = decide(options)
    if options.bind is not None and not options.bridge:
        raise RtsepError(f"--bind {options.bind} without --bridge", "both, or none")
    host = choose_host(options)
    with Listeners() as listeners:
        for listener in _open_listeners(options):
            listeners.add(listener)
        session, file = choose_session(options.session, decided)
        view: View = _StatusStream(sys.stdout) if options.status else choose_view(stdout())
        _play(host, session, file, view, listeners)


def _open_listeners(options: Options) -> Iterator[Listener]:
    """Where notes and stems go beside the audio host, each as soon as it is open."""
    if options.midi_out is not None:
        from rtsep_bridge.midi_out import MidiOut

        yield MidiOut(options.midi_out)
    if options.bridge:
        from rtsep_bridge.addresses import DEFAULT, parse_address
        from rtsep_bridge.live_bridge import LiveBridge

        yield LiveBridge(parse_address(options.bind or DEFAULT))


def decide(options: Options) -> dict[str, str]:
    """What of a session the command line leaves no choice about.

    Raises
    ------
    RtsepError
        A preset that there is not, or not for live use.
    """
    choices = f"{', '.join(LIVE_PRESETS[:-1])} or {LIVE_PRESETS[-1]}"
    if options.preset == "offline":
        raise RtsepError("--preset offline is for files", choices)
    if options.preset is not None and options.preset not in LIVE_PRESETS:
        raise RtsepError(f"--preset {options.preset}", choices)
    decided = {
        "preset": options.preset,
        "model": options.model,
        "transcriber": None if options.notes else NO_TRANSCRIBER,
        "query": options.query,
        "query_model": options.query_model,
        "masks": options.masks,
    }
    return {key: value for key, value in decided.items() if value is not None}


def choose_session(
    path: Path | None, decided: dict[str, str]
) -> tuple[Session, SessionFile | None]:
    """What is to be played: the file's session, but for what is `decided`.

    A file that is not there is written, with every stem as it is.

    Raises
    ------
    RtsepError
        A session file or a model that cannot be used.
    """
    session, file = Session(), None
    if path is not None and path.exists():
        file = _OverriddenFile(path, decided)
        session = load_session(path)
        for key, value in decided.items():
            if getattr(session, key) not in (None, value):
                complain(f"{path} says {key} {getattr(session, key)}; {value} is taken instead")
    try:
        session = msgspec.structs.replace(session, **decided)
        session.__post_init__()
    except ValueError as error:
        raise RtsepError(f"{error}") from None
    stems = find_stems(session)
    if session.transcriber != NO_TRANSCRIBER:
        find_transcriber(session.transcriber)
    if session.query is not None:
        session_query(session)
        for remark in remarks_on(find_example(session.query)):
            complain(remark)
    if path is not None and file is None:
        save_session(session, path, stems)
        file = _OverriddenFile(path, decided)
        complain(f"{path} is new; edit it while this plays")
    return session, file


def find_stems(session: Session) -> tuple[str, ...]:
    """The stems of a session, whose models or masks are looked at.

    Raises
    ------
    RtsepError
        They cannot be used.
    """
    if session.masks is not None:
        return (*read_masks(Path(session.masks)).header.tags, REST)
    stems = find_separator(session.model or PRESETS[session.preset].bundle).manifest.stems
    return stems if session.query is None else with_query(stems)


class _OverriddenFile(SessionFile):
    """A session file, some of which the command line has decided otherwise."""

    def __init__(self, path: Path, decided: dict[str, str]) -> None:
        super().__init__(path)
        self._decided = decided

    def poll(self) -> Session | None:
        """See `SessionFile.poll`."""
        session = super().poll()
        return None if session is None else msgspec.structs.replace(session, **self._decided)


def choose_host(options: Options) -> "AudioHost":
    """JACK where a server answers, else PortAudio, unless one of them is asked for.

    Raises
    ------
    RtsepError
        Options that do not go together.
    SetupError
        Neither is there.
    """
    system, server = choose_system(options.host)
    return _jack_host(options, server) if system == "jack" else _portaudio_host(options)


def _jack_host(options: Options, server: dict[str, object]) -> "AudioHost":
    for option, wanted, key, remedy in (
        ("--rate", options.rate, "rate", "another -r"),
        ("--block", options.block, "period", "another -p"),
    ):
        if wanted is not None and server.get(key, wanted) != wanted:
            raise RtsepError(
                f"{option} {wanted}, while the JACK server runs with {server[key]}",
                "the server to decide",
                f"leave {option} out, or start the server with {remedy}",
            )
    if server.get("realtime") is False:
        complain("the JACK server has no real-time priority: expect misses; start it with -R")
    from rtsep.live.jack_connections import Patterns
    from rtsep.live.jack_host import JackHost

    patterns = Patterns(options.input, options.output, options.connect)
    return JackHost(name=options.name, patterns=patterns)


def _portaudio_host(options: Options) -> "AudioHost":
    if options.connect is not None:
        raise RtsepError(
            "--connect without JACK",
            "a JACK server, which has ports to connect",
            "use --output, a device whose channel pairs take the stems",
        )
    from rtsep.live.portaudio_host import PortAudioHost

    return PortAudioHost(
        input=options.input,
        output=options.output,
        sample_rate=options.rate,
        block=options.block,
    )


class _StatusStream:
    """One line of JSON a second."""

    interval_s = 1.0

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def open(self) -> None:
        """Do nothing: lines need no place of their own."""

    def show(self, status: Status) -> None:
        """Write it."""
        self._file.write(encode_status(status) + "\n")
        self._file.flush()

    def say(self, text: str) -> None:
        """Write to standard error, which is for people."""
        complain(text)

    def close(self) -> None:
        """Do nothing."""


def _play(
    host: "AudioHost",
    session: Session,
    file: SessionFile | None,
    view: View,
    listeners: Listeners,
) -> None:
    from rtsep.live.player import Live

    messages: list[str] = []
    live = Live(host, session, session_file=file, say=messages.append)
    started = time.monotonic()
    with Endings() as endings:
        reader = _Reader()
        try:
            live.start()
            listeners.start(live)
            reader.give(view.open)
            due, told = time.monotonic(), set[str]()
            while not endings.come and reader.there:
                live.poll()
                messages += listeners.poll()
                messages += [line for line in _remarks(host, live) if line not in told]
                told.update(messages)
                while messages:
                    reader.give(view.say, messages.pop(0))
                now = time.monotonic()
                if now >= due:
                    due = max(due, now - view.interval_s) + view.interval_s
                    status = live.status()
                    reader.give(view.show, status)
                    listeners.show(status)
                time.sleep(_POLL_S)
            last = msgspec.structs.replace(live.status(), state="stopped")
        finally:
            reader.give(view.close)
            listeners.close()
            live.stop()
        if not isinstance(view, TerminalView):
            reader.give(view.show, last)
        complain(_summary(last, time.monotonic() - started))


def _remarks(host: "AudioHost", live: "Live") -> Iterator[str]:
    """What the player should know once: of the devices, and what the system refused."""
    yield from host.remarks
    for grant in live.granted:
        if grant.reason:
            yield (
                f"{grant.found} ({grant.reason}): expect misses; "
                "'rtsep doctor' tells how to get more"
            )


class _Reader:
    """Whoever reads what is printed, and may leave."""

    def __init__(self) -> None:
        self.there = True

    def give(self, write: Callable[..., None], *what: object) -> None:
        """Write, unless nobody reads any more."""
        if not self.there:
            return
        try:
            write(*what)
        except OSError:
            self.there = False
            # Keep the interpreter's last flush quiet.
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _summary(status: Status, seconds: float) -> str:
    return f"played {seconds / 60:.1f} minutes: {status.misses:,} misses, {status.xruns:,} xruns"
