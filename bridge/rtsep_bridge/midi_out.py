"""``rtsep live --midi-out``: the notes of live audio at a MIDI port, a channel a stem.

Three processes have a part in it.  An engine decides the notes; this one gives each the
moment at which it is to leave; a third one owns the port and sends them then
(`rtsep_bridge.midi_guard`).  The third is there for the notes' end: it sees this one die,
however that happens, and switches off what sounds.
"""

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rtsep.errors import RtsepError, SetupError
from rtsep.general_midi import DRUM_CHANNEL, PROGRAMS, assign_channels
from rtsep.live.session import NO_TRANSCRIBER, Session
from rtsep.live.status import Status
from rtsep.note_events import NoteEvent
from rtsep.songs import find_transcriber
from rtsep_bridge.midi_port import MidiPort
from rtsep_bridge.midi_records import ALIVE, HUSH, NO_PROGRAM, OFF, ON, STEM, Record
from rtsep_bridge.midi_timing import HostClock, Timing

if TYPE_CHECKING:
    from rtsep.live.player import Live

ALIVE_EVERY_NS = 200_000_000
REOPEN_EVERY_S = 2.0


class MidiOut:
    """A listener that plays notes at a MIDI port.

    Parameters
    ----------
    name : str
        Of the port.

    Attributes
    ----------
    late : int
        Notes that came too late for their moment, and left at once.

    Raises
    ------
    SetupError
        There is no MIDI system, or no such port.
    """

    def __init__(self, name: str) -> None:
        if not name.strip() or not name.isprintable():
            raise SetupError(f"--midi-out {name!r}", "a name for the port", "--midi-out notes")
        self.late = 0
        self._name = name
        self._lock = threading.Lock()
        self._port: MidiPort | None = MidiPort(name)
        self._api = self._port.api
        self._opened_at = time.monotonic()
        self._refusal = ""
        self._connected: Sequence[str] = ()
        self._live: Live | None = None
        self._away = self._still = False
        self._clock = HostClock()
        self._timing = Timing(self._clock)
        self._session = Session()
        self._stems: dict[str, bool] = {}
        self._numbers: dict[str, int] = {}
        self._told_ns = 0

    @property
    def pid(self) -> int:
        """Of the process that owns the port; 0 while there is none."""
        port = self._port
        return port.pid if port is not None else 0

    @property
    def delay_samples(self) -> int:
        """From a note's sample in the mix to the moment at which it leaves."""
        return self._timing.delay_samples

    def start(self, live: "Live") -> None:
        """See `rtsep.live.listeners.Listener.start`."""
        self._live = live
        self._look_at_session(live.session, anew=True)

    def hear(self, notes: list[NoteEvent]) -> None:
        """See `rtsep.live.listeners.Listener.hear`."""
        live = self._live
        if live is None:
            return
        handover, now = live.handover, time.monotonic_ns()
        with self._lock:
            self._clock.look(handover.frames, handover.block, live.host.sample_rate, now)
            told = [record for event in notes if (record := self._record(event, now))]
            still = self._clock.stands_still(now)
            if still and not self._still:
                told.append(Record(HUSH))  # nobody plays on to end what sounds
            self._still = still
            if not told and now - self._told_ns > ALIVE_EVERY_NS:
                told.append(Record(ALIVE))
            if told:
                self._told_ns = now
                self._send(told)

    def _record(self, event: NoteEvent, now_ns: int) -> Record | None:
        if event.velocity == 0:
            end = self._timing.note_off(event, now_ns)
            return Record(OFF, end[1], end[0]) if end is not None else None
        number = self._numbers.get(event.stem)
        if number is None:
            return None  # of an engine that the session does not name any more
        serial, due = self._timing.note_on(event, now_ns)
        self.late += self._timing.steady and due == now_ns
        note = self._session.midi.drum(event.pitch) if self._stems[event.stem] else event.pitch
        return Record(ON, due, serial, number, note, event.velocity)

    def _send(self, told: list[Record]) -> None:
        if self._port is not None and not self._port.send(told):
            self._port = None

    def show(self, status: Status) -> None:
        """See `rtsep.live.listeners.Listener.show`; there is nobody to show it to."""

    def poll(self) -> list[str]:
        """See `rtsep.live.listeners.Listener.poll`."""
        live = self._live
        if live is None:
            return []
        with self._lock:
            self._timing.rate = live.host.sample_rate
            self._timing.latency = live.latency_samples
            self._timing.note_delay = live.note_delay_samples
        if live.session is not self._session:
            self._look_at_session(live.session)
        away = live.state == "waiting for server"
        back, self._away = self._away and not away, away
        if back and self._api == "JACK":
            self._drop_port()  # the port went with the server
        if self._port is not None and not self._port.alive():
            self._drop_port()
        if self._port is not None:
            self._connected = self._port.connected
        return self._open_again() if self._port is None and not away else []

    def _drop_port(self) -> None:
        with self._lock:
            port, self._port = self._port, None
        if port is not None:
            port.kill()

    def _open_again(self) -> list[str]:
        now = time.monotonic()
        if now - self._opened_at < REOPEN_EVERY_S:
            return []
        self._opened_at = now
        try:
            port = MidiPort(self._name, self._connected)
        except SetupError as error:
            told, self._refusal = self._refusal, str(error)
            return [] if told == self._refusal else [f"the MIDI port has gone: {error}"]
        self._refusal = ""
        self._api = port.api
        with self._lock:
            self._port = port
            self._tell_stems()
        return [f"the MIDI port '{self._name}' had gone and was opened anew"]

    def _look_at_session(self, session: Session, *, anew: bool = False) -> None:
        """Follow what the session says of stems, and of the transcriber that names them."""
        stems = self._stems
        if anew or session.transcriber != self._session.transcriber:
            stems = _stems_of(session) or stems
        with self._lock:
            self._session, self._stems = session, stems
            self._timing.steady = session.midi.timing == "steady"
            self._numbers = {stem: number for number, stem in enumerate(stems)}
            self._tell_stems()

    def _tell_stems(self) -> None:
        drums = [stem for stem, is_drums in self._stems.items() if is_drums]
        channels = assign_channels(list(self._stems), drums)
        told = []
        for stem, number in self._numbers.items():
            strip = self._session.strip(stem)
            channel = channels[stem] if strip.channel is None else strip.channel - 1
            if strip.program is not None:
                program = strip.program - 1 if strip.program > 0 else NO_PROGRAM
            else:
                program = NO_PROGRAM if channel == DRUM_CHANNEL else PROGRAMS.get(stem, 0)
            told.append(Record(STEM, 0, 0, number, channel, program))
        self._send(told)

    def close(self) -> None:
        """See `rtsep.live.listeners.Listener.close`."""
        with self._lock:
            port, self._port, self._live = self._port, None, None
        if port is not None:
            port.close()


def _stems_of(session: Session) -> dict[str, bool]:
    """The stems whose notes a session's transcriber hears, and which of them are drums."""
    if session.transcriber == NO_TRANSCRIBER:
        return {}
    try:
        heard = find_transcriber(session.transcriber).manifest.notes
    except RtsepError:
        return {}  # the player refuses it, too, and says so
    return {notes.stem: notes.drums for notes in heard}
