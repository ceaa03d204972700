"""The engine process: waits for blocks of the mix, gives blocks of stems.

It owns nothing that the audio callback needs: when it stalls, fails or dies, the
callback goes on with the mix.  It starts anew where it fell too far behind, where the
host changed its block size, and a second after a model has failed.
"""

import math
import os
import queue
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from rtsep import realtime
from rtsep.bundle import Bundle, load_bundle
from rtsep.engine import Engine
from rtsep.errors import RtsepError
from rtsep.kernels import atomics, clock, publish, streams, tables
from rtsep.latency import added_latency, working_time
from rtsep.live.engine_process import Semaphore, Task
from rtsep.live.mixer import Mixer
from rtsep.live.queries import live_query_model
from rtsep.live.session import NO_TRANSCRIBER, Session
from rtsep.live.shared import (
    MIX_CAPACITY,
    MIX_METER,
    NOTE_CAPACITY,
    Segment,
    fallback_gains,
    meters,
    mix_segment,
    slot_segment,
)
from rtsep.live.song_finder import SongFinder
from rtsep.mask_file import MaskFile, read_masks
from rtsep.note_events import NoteEvent
from rtsep.presets import PRESETS

METER_FALL_S = 0.3
"""Time in which a meter falls to 1/e."""
RETRY_S = 1.0


def open_engine(session: Session) -> Engine:
    """Load what a session names.

    Raises
    ------
    BundleError
        A bundle that cannot be used.
    """
    preset = PRESETS[session.preset]
    separator: Bundle | MaskFile
    if session.masks is not None:
        separator = read_masks(Path(session.masks))
    else:
        separator = load_bundle(session.model or preset.bundle)
    named = session.transcriber or "notes"
    transcriber = None if named == NO_TRANSCRIBER else load_bundle(named)
    query = None if session.query is None else live_query_model(session)
    return Engine(separator, transcriber, preset, query=query)


class Worker:
    """An engine and a mixer between two rings.

    Parameters
    ----------
    engine, mixer
        Not yet prepared.
    mix, slot : Segment
        Shared with the host process.
    sample_rate : int
    """

    def __init__(
        self, engine: Engine, mixer: Mixer, mix: Segment, slot: Segment, sample_rate: int
    ) -> None:
        self.engine, self.mixer = engine, mixer
        self.complaints: list[str] = []
        self._sample_rate = sample_rate
        self._mix_ring, self._mix_header = mix["ring"], mix["header"]
        self._mix_words = mix.address("header")
        self._ring, self._header, self._notes = slot["ring"], slot["header"], slot["notes"]
        self._words = slot.address("header")
        self._meters, self._fallback = meters(slot), fallback_gains(slot)
        self._finder: SongFinder | None = None
        if isinstance(engine.separator, MaskFile):
            self._finder = SongFinder(engine.separator, sample_rate)
        self._stem_numbers = {stem: number for number, stem in enumerate(engine.stems)}
        self._epoch = -1
        self._block = 0
        self._position = self._start = 0
        self._resume_at: int | None = None
        self._misses = self._bad_samples = 0

    def prepare(self, block: int) -> None:
        """Size everything for a host's block, and run once through it all."""
        self.engine.prepare(self._sample_rate, block, 2, step=block)
        self.mixer.prepare(self._sample_rate, block)
        self._block = block
        self._delay = self.engine.latency_samples + self.mixer.latency_samples
        self._block_in = np.zeros((2, block), np.float32)
        self._stems = np.zeros((len(self.engine.stems), 2, block), np.float32)
        self._out = np.zeros((len(self.mixer.channels), block), np.float32)
        self._keep = math.exp(-block / (METER_FALL_S * self._sample_rate))
        self._behind = max(4 * block, self._sample_rate // 5)

    def warm_up(self, seconds: float) -> None:
        """Play silence to nobody, so that everything is compiled, loaded and touched."""
        for _ in range(max(2, int(seconds * self._sample_rate / self._block))):
            self.engine.process(self._block_in, self._stems)
            self.mixer.process(self._stems, self._out)
            publish.meter(self._out, self._meters, 0, self._keep)
            publish.write_ring(self._out, self._ring, 0)
        self.engine.take_notes()
        self._ring.fill(0.0)

    def apply(self, session: Session, query: tuple[float, ...] = ()) -> None:
        """Take over a session of the same structure, and the vector of its query."""
        try:
            self.mixer.apply(session)
            if query:
                self.engine.ask(np.array(query, np.float32))
        except RtsepError as error:
            self.complaints.append(str(error))

    def catch_up(self) -> None:
        """Work until there is no whole block left."""
        epoch = atomics.load(self._mix_words, tables.EPOCH)
        if epoch != self._epoch:
            self._enter(epoch)
        while True:
            written = atomics.load(self._mix_words, tables.WRITTEN_MIX)
            waiting = written - self._position
            if self._resume_at is not None:
                # A model that failed rests for a while; its stems are missing meanwhile.
                self._position = written
                if written < self._resume_at:
                    return
                self._begin(written)
            elif waiting < self._block:
                return
            elif waiting > self._behind:
                self._header[tables.JUMPS] += 1
                self._begin(written)
            else:
                self._work()

    def _enter(self, epoch: int) -> None:
        """Start with the host's block size, at a boundary of its blocks."""
        block = int(self._mix_header[tables.BLOCK])
        if block != self._block:
            self.prepare(block)
        self._epoch = epoch
        written = atomics.load(self._mix_words, tables.WRITTEN_MIX)
        start = int(self._mix_header[tables.EPOCH_START])
        self._begin(start if written - start <= self._behind else written)

    def _begin(self, position: int) -> None:
        """Start anew with the mix from `position` on."""
        self._keep_notes(self.engine.flush_notes())
        self._count()
        self.engine.reset()
        if self._finder is not None:
            self._finder.restart()
        self.mixer.reset()
        self._misses = self._bad_samples = 0
        self._position = self._start = position
        self._resume_at = None
        self._state_mixer()
        atomics.store(self._words, tables.VALID_FROM, tables.NEVER)
        hop = self.engine.preset.hop
        latency = added_latency(self._delay, self._block, hop, self._sample_rate)
        atomics.store(self._words, tables.LATENCY, latency)
        work = working_time(self._block, hop, self._sample_rate)
        self._header[tables.NOTE_DELAY] = self.engine.note_delay_samples + work
        atomics.store(self._words, tables.WRITTEN, position - self._delay)
        atomics.store(self._words, tables.VALID_FROM, position)
        atomics.store(self._words, tables.READY_EPOCH, self._epoch)

    def _work(self) -> None:
        """One block: mix in, stems out."""
        started = clock.now_ns()
        position, block = self._position, self._block
        ring_at = position % MIX_CAPACITY
        streams.read_ring(self._mix_ring, ring_at, self._block_in)
        try:
            if self._finder is not None:
                self._finder.lead(self.engine, self._block_in, self._transport())
            self.engine.process(self._block_in, self._stems)
            self.mixer.process(self._stems, self._out)
        except Exception as error:  # whatever a model or an effect raises, the mix plays on
            self._fail(error)
            return
        at = position - self._delay
        publish.write_ring(self._out, self._ring, at)
        atomics.store(self._words, tables.WRITTEN, at + block)
        self._position = position + block
        publish.meter(self._out, self._meters, 0, self._keep)
        publish.meter(self._block_in, self._meters, MIX_METER, self._keep)
        self._keep_notes(self.engine.take_notes())
        self._count()
        self._state_mixer()
        header = self._header
        header[tables.HEARD] = self._position
        spent = clock.now_ns() - started
        header[tables.BUSY_NS] += spent
        share = spent * self._sample_rate // (block * 1000)
        if share > header[tables.WORST_PPM]:
            header[tables.WORST_PPM] = share

    def _transport(self) -> float | None:
        """Sample of a song at the stream's first one, by the host's transport if it rolls."""
        offset = atomics.load(self._mix_words, tables.TRANSPORT)
        return None if offset == tables.NEVER else float(offset + self._start)

    def _fail(self, error: Exception) -> None:
        self._header[tables.FAILURES] += 1
        self._resume_at = self._position + int(RETRY_S * self._sample_rate)
        what = str(error) if isinstance(error, RtsepError) else f"{type(error).__name__}: {error}"
        self.complaints.append(f"no stems for a second: {what}")

    def _state_mixer(self) -> None:
        self._header[tables.NEUTRAL] = int(self.mixer.neutral)
        self._fallback[: len(self.mixer.fallback)] = self.mixer.fallback
        if self.mixer.complaints:
            self.complaints += self.mixer.complaints
            self.mixer.complaints.clear()

    def _count(self) -> None:
        misses, bad = self.engine.misses, self.engine.bad_samples
        self._header[tables.ENGINE_MISSES] += misses - self._misses
        self._header[tables.BAD_SAMPLES] += bad - self._bad_samples
        self._misses, self._bad_samples = misses, bad

    def _keep_notes(self, events: list[NoteEvent]) -> None:
        """Put notes where the host process finds them, on the host's clock."""
        for event in events:
            count = int(self._header[tables.NOTES])
            row = self._notes[count % NOTE_CAPACITY]
            row[0], row[1] = event.sample + self._start, event.known_at + self._start
            row[2] = self._stem_numbers.get(event.stem, -1)
            row[3], row[4] = event.pitch, event.velocity
            atomics.store(self._words, tables.NOTES, count + 1)


def run(task: Task, semaphore: Semaphore, parent: "Connection[Any, Any]") -> None:
    """Be an engine process until the host process says so, or ends.

    It answers with messages, in this order: ("channels", names), then, once it was given
    the name of its memory, ("ready", what the system granted), and ("said", a line for
    the player) at any time.  What cannot be used ends it with ("failed", the line).
    """
    try:
        engine = open_engine(task.session)
        if task.query:
            engine.ask(np.array(task.query, np.float32))
        mixer = Mixer(engine.stems, task.session)
        parent.send(("channels", mixer.channels))
        name = parent.recv()
    except RtsepError as error:
        parent.send(("failed", str(error)))
        return
    mix, slot = mix_segment(task.mix), slot_segment(len(mixer.channels), name)
    slot["header"][tables.RESIDUAL] = 2 * (len(engine.stems) - 1)
    worker = Worker(engine, mixer, mix, slot, task.sample_rate)
    try:
        worker.prepare(int(mix["header"][tables.BLOCK]))
        worker.warm_up(0.25)
    except RtsepError as error:
        parent.send(("failed", str(error)))
        return
    wishes: queue.SimpleQueue[tuple[Session, tuple[float, ...]]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(parent, wishes), daemon=True).start()
    granted = (
        realtime.lock_memory(),
        realtime.freeze_garbage(),
        realtime.make_realtime(task.priority),
    )
    parent.send(("ready", granted))
    while True:
        semaphore.acquire()
        while not wishes.empty():
            worker.apply(*wishes.get())
        worker.catch_up()
        if worker.complaints:
            for line in worker.complaints:
                parent.send(("said", line))
            worker.complaints.clear()


def _listen(parent: "Connection[Any, Any]", wishes: "queue.SimpleQueue[Any]") -> None:
    """Take the host process's messages, and end with it."""
    while True:
        try:
            wishes.put(parent.recv())
        except (EOFError, OSError):
            os._exit(0)
