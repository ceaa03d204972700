"""Live audio as a whole: a host, engine processes, a session, and what is known of them.

The two slots of a `Handover` hold the engine that plays and, while something changes
that an engine cannot change in itself (preset, model, the structure of effects, the
sample rate), the one that is to follow it.  The new one starts, hears the mix for a
while, and takes over in the callback under a cross-fade; then the old one ends.
"""

import time
from collections import deque
from collections.abc import Callable

from rtsep.errors import RtsepError, SetupError
from rtsep.kernels import tables
from rtsep.live.engine_process import EngineProcess, Task
from rtsep.live.handover import Handover, TraceEntry
from rtsep.live.hosts import AudioHost
from rtsep.live.note_feed import NoteFeed
from rtsep.live.queries import session_query
from rtsep.live.report import Reporter, stated_latency
from rtsep.live.session import Session, SessionFile, same_structure
from rtsep.live.status import State, Status
from rtsep.live.stem_feed import StemBlock, StemFeed
from rtsep.note_events import NoteEvent
from rtsep.realtime import RealTime, lock_memory, unlock_memory

WARM_S = 0.25
"""How long a new engine hears the mix before it takes over from another."""
REOPEN_EVERY_S = 0.5
FADE_OUT_S = 0.1
STRIKES, STRIKES_S = 3, 30.0
"""An engine that ends so often in so short a time is not started again."""


class Live:
    """Plays until it is stopped.

    Engines are processes that import the program's main module anew: a script keeps what
    it does under ``if __name__ == "__main__":``.

    Parameters
    ----------
    host : AudioHost
    session : Session
    session_file : SessionFile, optional
        Watched for changes.
    say : callable
        Gets lines for the player.
    log_callbacks : int
        Keep start and end of as many callbacks.

    Attributes
    ----------
    handover : Handover
    restarts : int
        Engines started because one had ended by itself.
    """

    def __init__(
        self,
        host: AudioHost,
        session: Session,
        *,
        session_file: SessionFile | None = None,
        say: Callable[[str], None] = lambda line: None,
        log_callbacks: int = 0,
    ) -> None:
        self.host, self.session = host, session
        self.handover = Handover(log_callbacks=log_callbacks)
        self.restarts = 0
        self._file = session_file
        self._query: tuple[float, ...] = ()
        self._tell = say
        self._message = ""
        self._current: EngineProcess | None = None
        self._next: EngineProcess | None = None
        self._ports_of: EngineProcess | None = None
        self._open = False
        self._opened_at = 0.0
        self._refusal = ""
        self._stated = -1
        self._deaths: deque[float] = deque(maxlen=STRIKES)
        self._given_up = False
        self._report = Reporter(host, self.handover)
        self._notes = NoteFeed(lambda: self.handover.frames)
        self._stems = StemFeed()

    def start(self) -> None:
        """Open the host and start the engine; it plays once `poll` has seen it ready.

        Raises
        ------
        RtsepError
            The session's query names nothing, or the host cannot be opened.
        """
        self._query = session_query(self.session)
        self.host.open(self.handover)
        self._open = True
        lock_memory()  # of the callback; what an engine is granted, it tells itself
        self._next = self._launch(self.session)

    def wait(self, timeout_s: float = 60.0) -> None:
        """Poll until stems play.

        Raises
        ------
        RtsepError
            The engine did not start, or not in time; the line says why.
        """
        deadline = time.monotonic() + timeout_s
        while self.handover.source != "stems":
            self.poll()
            if time.monotonic() > deadline:
                raise SetupError(f"no stems after {timeout_s:g} s", "an engine that keeps up")
            time.sleep(0.02)

    def _say(self, line: str) -> None:
        self._message = line
        self._tell(line)

    def _launch(self, session: Session) -> EngineProcess:
        slot = 1 - self._current.slot if self._current is not None else 0
        rate, priority = self.host.sample_rate, self.host.priority
        task = Task(session, rate, priority, self.handover.mix.name, self._query)
        return EngineProcess(self.handover, slot, task, self._say)

    def _engines(self) -> list[EngineProcess]:
        """The one that plays, then the one that is to follow."""
        return [engine for engine in (self._current, self._next) if engine is not None]

    def poll(self) -> None:
        """Look after everything; about twenty times a second.

        Raises
        ------
        SetupError
            The first engine, or the first one for another sample rate, cannot be started.
        """
        self._look_at_file()
        self._look_at_host()
        self._look_at_engines()
        self._report.look()

    def _look_at_file(self) -> None:
        if self._file is None:
            return
        try:
            session = self._file.poll()
        except RtsepError as error:
            self._say(f"{error} The session stays as it was.")
            return
        if session is not None:
            self.change(session)

    def change(self, session: Session) -> None:
        """Play by another session from now on, at once or, with another engine, soon."""
        if (session.query, session.query_model) != (self.session.query, self.session.query_model):
            try:
                self._query = session_query(session)
            except RtsepError as error:
                self._say(f"{error} The session stays as it was.")
                return
        old, self.session = self.session, session
        newest = self._next or self._current
        if newest is None or self._given_up or not same_structure(old, session):
            self._given_up = False
            self._deaths.clear()
            self._drop_next()
            if self._open:
                self._next = self._launch(session)
            return
        for engine in self._engines():
            engine.apply(session, self._query)

    def _drop_next(self) -> None:
        if self._next is not None:
            self._retire(self._next)
            self._next = None

    def _retire(self, engine: EngineProcess) -> None:
        """Close an engine whose slot the callback does not show; keep its counts."""
        self._leave(engine)
        self._report.forget(engine)
        engine.close()

    def _leave(self, engine: EngineProcess) -> None:
        """Read an engine's memory no more."""
        self._notes.leave(engine)
        self._stems.leave(engine)

    def _look_at_host(self) -> None:
        if self._open and self.host.alive():
            self.host.poll()
            return
        now = time.monotonic()
        if self._open:
            self._open = False
            self.host.close()
            self.handover.want(None)
            self._notes.hush()
            self._say("the audio server has gone; waiting for it")
        elif now - self._opened_at < REOPEN_EVERY_S:
            return
        self._opened_at = now
        try:
            self.host.open(self.handover)
        except RtsepError as error:
            if self._refusal != str(error):  # it is tried again and again
                self._refusal = str(error)
                self._say(self._refusal)
            return
        self._open = True
        self._refusal = ""
        self._stated = -1
        self._say("the audio server is back")
        rates = {engine.task.sample_rate for engine in self._engines()}
        if self._current is not None and rates == {self.host.sample_rate}:
            self.handover.want(self._current.slot)
            return
        self._drop_next()
        if self._current is not None:  # one is prepared for another rate
            self._retire(self._current)
            self._current = None
        self._next = self._launch(self.session)

    def _look_at_engines(self) -> None:
        for engine in self._engines():
            engine.poll()
        if self._next is not None:
            if self._open:
                self._show_ports(self._next)
            if self._next.state == "ended":
                self._next_failed(self._next)
            elif self._open and self._next.delivers(self._warm_frames()):
                self._switch(self._next)
        current = self._current
        if current is not None and current.state == "ended":
            self._leave(current)
            if self._next is None:
                self._strike(current)
        if current is not None and current.latency >= 0 and current.latency != self._stated:
            self._stated = current.latency
            self.host.latency_changed()

    def _warm_frames(self) -> int:
        """Another engine must know the song before it takes over; the first one need not."""
        return int(WARM_S * self.host.sample_rate) if self._current is not None else 0

    def _next_failed(self, engine: EngineProcess) -> None:
        self._next = None
        if self._current is not None and self._current.state != "ended":
            self._say(f"{engine.failure.rstrip('.')}; what played before goes on.")
            self._retire(engine)
            return
        self._retire(engine)
        self._strike(engine)

    def _strike(self, engine: EngineProcess) -> None:
        """Start an engine in place of one that has ended, unless that has come too often."""
        why = engine.failure.rstrip(".")
        now = time.monotonic()
        self._deaths.append(now)
        often = len(self._deaths) == STRIKES and now - self._deaths[0] < STRIKES_S
        if self._given_up:
            return
        if self._current is None and (engine.refused or often):
            raise SetupError(why)  # nothing has played yet
        if often:
            self._given_up = True
            self._say(f"{why}; the mix plays on until the session changes.")
            return
        self.restarts += 1
        self._say(f"{why}; starting it anew.")
        self._next = self._launch(self.session)

    def _show_ports(self, engine: EngineProcess) -> None:
        """Have the first engine's ports before it plays, so that others may connect."""
        if self._current is None and engine.channels and self._ports_of is not engine:
            self._ports_of = engine
            self.host.set_channels(engine.channels)

    def _switch(self, engine: EngineProcess) -> None:
        """Let a new engine take over; ports that it has not got go once they are silent."""
        old = self._current
        names = old.channels if old is not None else ()
        self.host.set_channels(tuple(dict.fromkeys((*engine.channels, *names))))
        self.handover.want(engine.slot)
        self._current, self._next = engine, None
        self._notes.follow(engine)
        self._stems.follow(engine)
        self._stated = engine.latency
        self.host.latency_changed()
        if old is None:
            return
        deadline = time.monotonic() + 1.0
        while self.handover.shows(old.slot) and self.host.alive():
            if time.monotonic() > deadline:
                break  # the host stands still; nothing reads the slot
            time.sleep(0.002)
        time.sleep((tables.FADE + 2 * self.host.block) / self.host.sample_rate)
        self.host.set_channels(engine.channels)
        self._retire(old)

    def take_notes(self) -> list[NoteEvent]:
        """Notes since the last call, in frames of the host's stream; from any thread.

        Every note that is switched on is switched off once, also where its engine ends.
        """
        return self._notes.take()

    def take_stems(self, most: int) -> StemBlock | None:
        """The next stems of at most so many frames, as they leave the mixer; any thread.

        They are there before they are heard, and whole also where they came too late to
        be.  None where there are none yet.
        """
        return self._stems.take(most)

    def trace(self) -> list[TraceEntry]:
        """The callback's last events, oldest first."""
        return self.handover.trace()

    @property
    def engine_pid(self) -> int:
        """Process that makes the stems; 0 where there is none."""
        return self._current.pid if self._current is not None else 0

    @property
    def granted(self) -> tuple[RealTime, ...]:
        """What the system granted the engine, as `rtsep.realtime` tells it."""
        return self._current.granted if self._current is not None else ()

    @property
    def latency_samples(self) -> int:
        """Stated added latency; 0 before there is one."""
        return stated_latency(self.host, self._current)

    @property
    def note_delay_samples(self) -> int:
        """No note-on is known later than this behind its sample; 0 before it is known."""
        return self._current.header(tables.NOTE_DELAY) if self._current is not None else 0

    @property
    def state(self) -> State:
        """What goes on, in a word."""
        if not self._open:
            return "waiting for server" if self._opened_at else "stopped"
        if self.handover.source == "stems":
            return "playing"
        return "starting" if self._current is None else "bypassed"

    def status(self) -> Status:
        """Everything that a player wants to know; once a second."""
        return self._report.status(
            self.state,
            self.session,
            self._engines(),
            restarts=self.restarts,
            notes=self._notes.notes,
            message=self._message,
        )

    def stop(self) -> None:
        """Fade out, close the host, end the engines and let go of the memory."""
        if self._open and self.host.alive():
            self.handover.want(None)
            deadline = time.monotonic() + 1.0
            while self.handover.source != "silence" and time.monotonic() < deadline:
                time.sleep(0.005)
            time.sleep(FADE_OUT_S)
        self._open = False
        self._opened_at = 0.0
        self.host.close()
        for engine in self._engines():
            self._retire(engine)
        self._next = self._current = None
        self.handover.close()
        unlock_memory()
