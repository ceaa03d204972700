"""One mix and the engine that takes it apart: messages in, messages out, no sockets."""

import math
import time

import msgspec
import numpy as np

from rtsep.engine import MAX_BLOCK, Engine
from rtsep.errors import RtsepError
from rtsep.kernels import publish
from rtsep.live.mixer import Mixer
from rtsep.live.session import LIVE_PRESETS, Session, Strip
from rtsep.live.shared import MIX_METER
from rtsep.live.song_finder import SongFinder
from rtsep.live.status import Latency, Status, stem_level
from rtsep.live.worker import METER_FALL_S, open_engine
from rtsep.mask_file import MaskFile
from rtsep.note_events import NoteEvent
from rtsep_bridge.messages import (
    MAX_NOTES,
    MAX_STEMS,
    Control,
    Message,
    Mix,
    Notes,
    Open,
    Opened,
    Samples,
    Stems,
    is_name,
)
from rtsep_bridge.sequence import Sender

GAP_S = 1.0
"""Missing samples of a mix count as silence up to here; after more it starts anew."""
PIECE = 1024
"""Longer blocks are taken apart piece by piece."""


class Stream:
    """An engine and a mixer for the mix of one session.

    Parameters
    ----------
    model, transcriber, masks : str or None
        As in `rtsep.live.session.Session`.

    Attributes
    ----------
    sender : Sender
        Numbers the messages; anew at every `open`.
    """

    def __init__(
        self,
        model: str | None = None,
        transcriber: str | None = None,
        masks: str | None = None,
    ) -> None:
        self._asked = Session(model=model, transcriber=transcriber, masks=masks)
        self._session = self._asked
        self._engine: Engine
        self._loaded: Engine | None = None
        self._finder: SongFinder | None = None
        self._header: Open | None = None
        self.sender = Sender(48_000)

    def warm_up(self) -> None:
        """Load and compile what a first mix will need; a quarter of a second to nobody."""
        sender = Sender(48_000)
        self.open(Open(**sender.numbers(Open, 0), preset="live", step=1))
        block = np.zeros((2, PIECE), np.float32)
        for sample in range(0, 12_000, PIECE):
            header = Mix(
                **sender.numbers(Mix, sample),
                frames=PIECE,
                position=0,
                playing=False,
                offline=False,
            )
            self.take(header, block)
        self._header = None

    @property
    def position(self) -> int:
        """Sample of the mix that comes next."""
        return self._next

    def open(self, header: Open, counts: dict[str, int] | None = None) -> Opened:
        """Get ready for a mix; the session's strips start neutral.

        Parameters
        ----------
        header : Open
        counts : dict of str to int, optional
            `Sender.counts` of the engine that was here before, in the same session.

        Raises
        ------
        RtsepError
            A preset, a rate or a model that cannot be used.
        """
        if header.preset not in LIVE_PRESETS:
            raise RtsepError(f"preset {header.preset}", f"one of {', '.join(LIVE_PRESETS)}")
        session = msgspec.structs.replace(self._asked, preset=header.preset)
        self.sender = Sender(header.sample_rate, header.session)
        self.sender.counts.update(counts or {})
        return self._prepare(header, session)

    def _prepare(self, header: Open, session: Session) -> Opened:
        engine = self._loaded
        if engine is None or engine.preset.name != session.preset:
            engine = self._loaded = open_engine(session)
        if not 1 <= len(engine.stems) <= MAX_STEMS:
            raise RtsepError(f"a model of {len(engine.stems)} stems", f"at most {MAX_STEMS}")
        for stem in engine.stems:
            if not is_name(stem):
                raise RtsepError(f"a stem called '{stem}'", "letters a to z, digits, . _ and -")
        mixer = Mixer(engine.stems, session)
        engine.prepare(header.sample_rate, MAX_BLOCK, 2, step=header.step)
        mixer.prepare(header.sample_rate, MAX_BLOCK)
        if self._finder is not None:
            self._finder.close()
        masks = engine.separator if isinstance(engine.separator, MaskFile) else None
        self._finder = None if masks is None else SongFinder(masks, header.sample_rate)
        self._engine, self._mixer, self._session, self._header = engine, mixer, session, header
        self._latency = engine.latency_samples + mixer.latency_samples
        self._stems = np.zeros(len(engine.stems) * 2 * MAX_BLOCK, np.float32)
        self._out = np.zeros(len(mixer.channels) * MAX_BLOCK, np.float32)
        self._meters = np.zeros((MIX_METER + 2, 2), np.float32)
        self._start: int | None = None
        self._next = header.sample
        self._block = self._blocks = self._note_ons = 0
        self._misses = self._bad_samples = 0
        self._busy_s = self._worst = 0.0
        self._asked_at = time.monotonic()
        return Opened(
            **self.sender.numbers(Opened, self._next),
            preset=session.preset,
            latency=self._latency,
            note_delay=engine.note_delay_samples,
            stems=engine.stems,
        )

    def take(self, header: Mix, samples: Samples) -> list[Message]:
        """The stems and notes that a block of the mix gives.

        Raises
        ------
        RtsepError
            A block of another rate, or that breaks the promise of `Open.step`.
        """
        opened = self._header
        if opened is None or header.session != opened.session:
            raise RtsepError("a mix that was not opened", "open first")
        if header.sample_rate != opened.sample_rate or header.frames % opened.step:
            raise RtsepError(
                f"a block of {header.frames} samples at {header.sample_rate} Hz",
                f"multiples of {opened.step} at {opened.sample_rate} Hz, as opened",
            )
        given: list[Message] = []
        gap = header.sample - self._next
        if self._start is None:
            self._begin(header.sample)
        elif gap < 0 or gap % opened.step or gap > GAP_S * opened.sample_rate:
            given += self._notes(self._engine.flush_notes())
            self._begin(header.sample)
        assert self._start is not None
        # Sample of the host's timeline at the stream's first one, for masks of a song.
        transport = float(header.position - (header.sample - self._start))
        missing = np.zeros((2, max(0, header.sample - self._next)), np.float32)
        for audio in (missing, samples):
            for at in range(0, audio.shape[1], PIECE):
                # A copy: what came cannot be written to, and may lie at an odd address.
                piece = audio[:, at : at + PIECE].astype(np.float32, order="C")
                if self._finder is not None:
                    place = transport if header.playing else None
                    self._finder.lead(self._engine, piece, place)
                given += self._process(piece)
        return given

    def _begin(self, sample: int) -> None:
        """Start anew with the mix from `sample` on."""
        self._count()
        self._engine.reset()
        self._mixer.reset()
        if self._finder is not None:
            self._finder.restart()
        self._start = self._next = sample

    def _process(self, block: Samples) -> list[Message]:
        started = time.perf_counter()
        engine, mixer = self._engine, self._mixer
        n = block.shape[1]
        stems = self._stems[: len(engine.stems) * 2 * n].reshape(len(engine.stems), 2, n)
        out = self._out[: len(mixer.channels) * n].reshape(len(mixer.channels), n)
        engine.process(block, stems)
        mixer.process(stems, out)
        self._next += n
        assert self._start is not None
        at = self._next - n - self._latency
        skip = min(n, max(0, self._start - at))
        given = []
        if skip < n:
            channels = 2 * len(engine.stems)
            header = Stems(
                **self.sender.numbers(Stems, at + skip),
                frames=n - skip,
                latency=self._latency,
                stems=engine.stems,
            )
            given.append(Message(header, out[:channels, skip:].copy()))
        given += self._notes(engine.take_notes())
        self._block, self._blocks = n, self._blocks + 1
        rate = self._header.sample_rate if self._header is not None else 1
        keep = math.exp(-n / (METER_FALL_S * rate))
        publish.meter(out, self._meters, 0, keep)
        publish.meter(block, self._meters, MIX_METER, keep)
        spent = time.perf_counter() - started
        self._busy_s += spent
        self._worst = max(self._worst, spent * rate / n)
        return given

    def _notes(self, events: list[NoteEvent]) -> list[Message]:
        """Notes on the clock of the mix."""
        start = self._start or 0
        moved = tuple(
            NoteEvent(e.sample + start, e.known_at + start, e.stem, e.pitch, e.velocity)
            for e in events
        )
        self._note_ons += sum(event.velocity > 0 for event in events)
        return [
            Message(Notes(**self.sender.numbers(Notes, self._next), notes=moved[i : i + MAX_NOTES]))
            for i in range(0, len(moved), MAX_NOTES)
        ]

    def control(self, header: Control) -> list[Message]:
        """Do what somebody turned; the answer says what holds now.

        Raises
        ------
        RtsepError
            There is no such preset or stem.
        """
        opened = self._header
        if opened is None:
            raise RtsepError("a control before a mix was opened", "open first")
        given: list[Message] = []
        session = self._session
        if header.stem is not None:
            if header.stem not in self._engine.stems:
                raise RtsepError(f"stem {header.stem}", f"one of {', '.join(self._engine.stems)}")
            strip = session.strip(header.stem)
            gain = strip.gain_db if header.gain_db is None else header.gain_db
            mute = strip.mute if header.mute is None else header.mute
            strip = msgspec.structs.replace(strip, gain_db=gain, mute=mute)
            strips: dict[str, Strip] = session.stems | {header.stem: strip}
            session = msgspec.structs.replace(session, stems=strips)
        if header.preset is not None and header.preset != session.preset:
            if header.preset not in LIVE_PRESETS:
                raise RtsepError(f"preset {header.preset}", f"one of {', '.join(LIVE_PRESETS)}")
            given += self._notes(self._engine.flush_notes()) if self._start is not None else []
            session = msgspec.structs.replace(session, preset=header.preset)
            opened = msgspec.structs.replace(opened, preset=header.preset, sample=self._next)
            given.append(Message(self._prepare(opened, session)))
        else:
            self._mixer.apply(session)
            self._session = session
        answer = Control(
            **self.sender.numbers(Control, self._next),
            preset=header.preset,
            stem=header.stem,
            gain_db=header.gain_db,
            mute=header.mute,
        )
        return [*given, Message(answer)]

    def end(self) -> list[Message]:
        """Switch off what sounds; the mix has ended."""
        if self._header is None or self._start is None:
            return []
        given = self._notes(self._engine.flush_notes())
        self._header = None
        return given

    def _count(self) -> None:
        if self._start is not None:
            self._misses += self._engine.misses
            self._bad_samples += self._engine.bad_samples

    def status(self, *, misses: int, restarts: int, message: str) -> Status | None:
        """What there is to know now; None as long as nothing is open.

        Parameters
        ----------
        misses : int
            Blocks of the mix that never came here.
        restarts : int
            Engines before this one in its session.
        message : str
        """
        header = self._header
        if header is None:
            return None
        engine = self._engine
        now = time.monotonic()
        load, worst = self._busy_s / max(1e-3, now - self._asked_at), self._worst
        self._busy_s, self._worst, self._asked_at = 0.0, 0.0, now
        names = (*engine.stems, "monitor")
        rows = [stem_level(n, self._meters[2 * i : 2 * i + 2]) for i, n in enumerate(names)]
        start = self._next if self._start is None else self._start
        blank = blank_status(header, misses=misses, restarts=restarts, message=message)
        return msgspec.structs.replace(
            blank,
            state="starting" if self._start is None else "playing",
            block=self._block,
            preset=self._session.preset,
            model=self._session.model or engine.preset.bundle,
            frames=self._next - start,
            latency=Latency(self._latency, 1000.0 * self._latency / header.sample_rate, None),
            load=load,
            load_max=worst,
            callbacks=self._blocks,
            engine_misses=self._misses + engine.misses,
            bad_samples=self._bad_samples + engine.bad_samples,
            stems=rows[:-1],
            monitor=rows[-1],
            mix=stem_level("mix", self._meters[MIX_METER : MIX_METER + 2]),
            notes=self._note_ons,
        )


def blank_status(header: Open, *, misses: int, restarts: int, message: str) -> Status:
    """The status of a session that has no engine."""
    silence = np.zeros((2, 2), np.float32)
    return Status(
        time=time.time(),
        state="bypassed",
        host="bridge",
        sample_rate=header.sample_rate,
        block=0,
        preset=header.preset,
        model="",
        frames=0,
        latency=Latency(0, 0.0, None),
        load=0.0,
        load_max=0.0,
        callbacks=0,
        misses=misses,
        xruns=0,
        restarts=restarts,
        callback_us_p50=0.0,
        callback_us_p999=0.0,
        callback_us_max=0.0,
        engine_misses=0,
        bad_samples=0,
        stems=[],
        monitor=stem_level("monitor", silence),
        mix=stem_level("mix", silence),
        notes=0,
        last_miss=None,
        message=message,
    )
