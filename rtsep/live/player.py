"""Live audio as a whole: a host, engine processes, a session, and what is known of them.

The two slots of a `Handover` hold the engine that plays and, while something changes
that an engine cannot change in itself (preset, model, the structure of effects, the
sample rate), the one that is to follow it.  The new one starts, hears the mix for a
while, and takes over in the callback under a cross-fade; then the old one ends.
"""

import time
from collections import deque
from collections.abc import Callable

import numpy as np

from rtsep.errors import RtsepError, SetupError
from rtsep.kernels import handover as ho
from rtsep.live.engine_process import EngineProcess, Task
from rtsep.live.handover import Handover, TraceEntry
from rtsep.live.hosts import AudioHost
from rtsep.live.session import Session, SessionFile, same_structure
from rtsep.live.shared import MIX_METER, meters
from rtsep.live.status import Latency, State, Status, StemStatus
from rtsep.note_events import NoteEvent
from rtsep.presets import PRESETS
from rtsep.realtime import RealTime, lock_memory

WARM_S = 0.25
"""How long a new engine hears the mix before it takes over from another."""
REOPEN_EVERY_S = 0.5
FADE_OUT_S = 0.1
STRIKES, STRIKES_S = 3, 30.0
"""An engine that ends so often in so short a time is not started again."""
QUIET_DB = -120.0


class Live:
    """Plays until it is stopped.

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
        self._ended = np.zeros(3, np.int64)  # misses, bad samples, notes of engines past
        self._notes: list[NoteEvent] = []
        self._note_ons = 0
        self._busy = (0, time.monotonic(), 0)
        self._last_miss: tuple[int, float | None] = (0, None)

    def start(self) -> None:
        """Open the host and start the engine; it plays once `poll` has seen it ready.

        Raises
        ------
        RtsepError
            The host cannot be opened.
        """
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
            if self._given_up:
                raise SetupError(self._message.rstrip("."))
            if time.monotonic() > deadline:
                raise SetupError(f"no stems after {timeout_s:g} s", "an engine that keeps up")
            time.sleep(0.02)

    def _say(self, line: str) -> None:
        self._message = line
        self._tell(line)

    def _launch(self, session: Session) -> EngineProcess:
        slot = 1 - self._current.slot if self._current is not None else 0
        task = Task(session, self.host.sample_rate, self.host.priority, self.handover.mix.name)
        return EngineProcess(self.handover, slot, task, self._say)

    def poll(self) -> None:
        """Look after everything; about twenty times a second.

        Raises
        ------
        SetupError
            The first engine cannot be started, and no session file could change that.
        """
        self._look_at_file()
        self._look_at_host()
        self._look_at_engines()
        self._look_at_misses()

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
        old, self.session = self.session, session
        newest = self._next or self._current
        if newest is None or self._given_up or not same_structure(old, session):
            self._given_up = False
            self._deaths.clear()
            self._drop_next()
            if self._open:
                self._next = self._launch(session)
            return
        for engine in (self._current, self._next):
            if engine is not None:
                engine.apply(session)

    def _drop_next(self) -> None:
        if self._next is not None:
            self._retire(self._next)
            self._next = None

    def _retire(self, engine: EngineProcess) -> None:
        """Close an engine whose slot the callback does not show; keep its counts."""
        self._collect_notes(engine)
        self._ended += [engine.header(ho.ENGINE_MISSES), engine.header(ho.BAD_SAMPLES), 0]
        engine.close()

    def _look_at_host(self) -> None:
        if self._open and self.host.alive():
            self.host.poll()
            return
        now = time.monotonic()
        if self._open:
            self._open = False
            self.host.close()
            self.handover.want(None)
            self._say("the audio server has gone; waiting for it")
        elif now - self._opened_at < REOPEN_EVERY_S:
            return
        self._opened_at = now
        rate = self.host.sample_rate
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
        if self._current is not None and self.host.sample_rate == rate:
            self.handover.want(self._current.slot)
            return
        self._drop_next()
        if self._current is not None:  # it is prepared for another rate
            self._retire(self._current)
            self._current = None
        self._next = self._launch(self.session)

    def _look_at_engines(self) -> None:
        for engine in (self._current, self._next):
            if engine is not None:
                engine.poll()
                self._collect_notes(engine)
        if self._next is not None:
            if self._open:
                self._show_ports(self._next)
            if self._next.state == "ended":
                self._next_failed(self._next)
            elif self._open and self._next.delivers(self._warm_frames()):
                self._switch(self._next)
        current = self._current
        if current is not None and current.state == "ended" and self._next is None:
            self._current_died(current)
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
        why = engine.failure
        self._retire(engine)
        self._strike(why)

    def _current_died(self, engine: EngineProcess) -> None:
        self._strike(engine.failure)

    def _strike(self, why: str) -> None:
        """Start an engine in place of one that has ended, unless that has come too often."""
        now = time.monotonic()
        self._deaths.append(now)
        often = len(self._deaths) == STRIKES and now - self._deaths[0] < STRIKES_S
        never_ran = self._current is None
        if self._given_up:
            return
        if never_ran and self._file is None:
            raise SetupError(why.rstrip("."))  # there is nothing to wait for
        if often or never_ran:
            self._given_up = True
            self._say(f"{why.rstrip('.')}; the mix plays on until the session changes.")
            return
        self.restarts += 1
        self._say(f"{why.rstrip('.')}; starting it anew.")
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
        self._stated = engine.latency
        self.host.latency_changed()
        if old is None:
            return
        deadline = time.monotonic() + 1.0
        while self.handover.shows(old.slot) and self.host.alive():
            if time.monotonic() > deadline:
                break  # the host stands still; nothing reads the slot
            time.sleep(0.002)
        time.sleep((ho.FADE + 2 * self.host.block) / self.host.sample_rate)
        self.host.set_channels(engine.channels)
        self._retire(old)

    def _look_at_misses(self) -> None:
        misses = self.handover.misses
        if misses != self._last_miss[0]:
            self._last_miss = misses, time.time()

    def _collect_notes(self, engine: EngineProcess) -> None:
        events = engine.take_notes()
        if engine is not self._current:
            return  # the engine that plays tells the notes
        self._note_ons += sum(event.velocity > 0 for event in events)
        self._notes = (self._notes + events)[-4096:]

    def take_notes(self) -> list[NoteEvent]:
        """Notes since the last call, in frames of the host's stream; at most 4096."""
        notes, self._notes = self._notes, []
        return notes

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
        stated = self._current.latency if self._current is not None else 0
        return max(0, stated) + self.host.extra_latency_samples

    @property
    def state(self) -> State:
        """What goes on, in a word."""
        if not self._open:
            return "waiting for server" if self._opened_at else "stopped"
        if self.handover.source == "stems":
            return "playing"
        return "starting" if self._current is None and not self._given_up else "bypassed"

    def status(self) -> Status:
        """Everything that a player wants to know; once a second."""
        current, rate = self._current, self.host.sample_rate
        segment = current.segment if current is not None else None
        levels = np.zeros((ho.MAX_CHANNELS, 2), np.float32)
        if segment is not None and self._open:
            levels = meters(segment).copy()
        stems = current.stems if current is not None else ()
        names = [*stems, "monitor"] if stems else ["monitor"]
        rows = [_level(name, levels[2 * i : 2 * i + 2]) for i, name in enumerate(names)]
        median, tail, longest = self.handover.callback_us()
        latency = self.latency_samples
        measured = None
        if self.state == "playing" and self.host.extra_latency_samples == 0:
            measured = self.handover.measured_latency(latency)
        counted = self._ended.copy()
        for engine in (self._current, self._next):
            if engine is not None:
                counted += [engine.header(ho.ENGINE_MISSES), engine.header(ho.BAD_SAMPLES), 0]
        return Status(
            time=time.time(),
            state=self.state,
            host=self.host.kind,
            sample_rate=rate,
            block=self.handover.block,
            preset=self.session.preset,
            model=self.session.model or PRESETS[self.session.preset].bundle,
            frames=self.handover.frames,
            latency=Latency(latency, 1000.0 * latency / rate if rate else 0.0, measured),
            load=self._load(),
            load_max=current.take_worst_share() if current is not None else 0.0,
            callbacks=self.handover.callbacks,
            misses=self.handover.misses,
            xruns=self.handover.xruns,
            restarts=self.restarts,
            callback_us_p50=median,
            callback_us_p999=tail,
            callback_us_max=longest,
            engine_misses=int(counted[0]),
            bad_samples=int(counted[1]),
            stems=rows[:-1],
            monitor=rows[-1],
            mix=_level("mix", levels[MIX_METER : MIX_METER + 2]),
            notes=self._note_ons,
            last_miss=self._last_miss[1],
            message=self._message,
        )

    def _load(self) -> float:
        """The engine's busy share since the last call."""
        pid, now, busy = self.engine_pid, time.monotonic(), 0
        if self._current is not None:
            busy = self._current.header(ho.BUSY_NS)
        before, since, last_pid = self._busy
        self._busy = busy, now, pid
        if pid != last_pid or now <= since:
            return 0.0
        return (busy - before) / 1e9 / (now - since)

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
        for engine in (self._next, self._current):
            if engine is not None:
                self._retire(engine)
        self._next = self._current = None
        self.handover.close()


def _level(name: str, rows: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> StemStatus:
    """A stereo pair's meters in dB."""

    def decibels(power: float) -> float | None:
        db = 10.0 * np.log10(max(power, 1e-30))
        return round(float(db), 1) if db > QUIET_DB else None

    return StemStatus(name, decibels(float(rows[:, 0].max()) ** 2), decibels(rows[:, 1].mean()))
