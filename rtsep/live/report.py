"""From the counters of a callback and of engines to a `Status`."""

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rtsep.kernels import tables
from rtsep.live.engine_process import EngineProcess
from rtsep.live.handover import Handover
from rtsep.live.hosts import AudioHost
from rtsep.live.session import Session
from rtsep.live.shared import MIX_METER, meters
from rtsep.live.status import Latency, State, Status, stem_level
from rtsep.presets import PRESETS


class Reporter:
    """Counts over the whole of a player's life, engine after engine.

    Parameters
    ----------
    host : AudioHost
    handover : Handover
    """

    def __init__(self, host: AudioHost, handover: Handover) -> None:
        self._host, self._handover = host, handover
        self._past = np.zeros(2, np.int64)  # misses and bad samples of engines past
        self._misses, self._last_miss = 0, 0.0
        self._busy_ns, self._asked_at, self._pid = 0, time.monotonic(), 0

    def look(self) -> None:
        """Note when misses come; about twenty times a second."""
        if self._handover.misses != self._misses:
            self._misses, self._last_miss = self._handover.misses, time.time()

    def forget(self, engine: EngineProcess) -> None:
        """Keep the counts of an engine that is about to be closed."""
        self._past += _counts(engine)

    def status(
        self,
        state: State,
        session: Session,
        engines: Sequence[EngineProcess],
        *,
        restarts: int,
        notes: int,
        message: str,
    ) -> Status:
        """What there is to know now.

        Parameters
        ----------
        engines : sequence of EngineProcess
            The one that plays first, if one does, then one that is to follow it.
        """
        handover, rate = self._handover, self._host.sample_rate
        current = engines[0] if engines and engines[0].channels else None
        segment = current.segment if current is not None else None
        levels = np.zeros((tables.MAX_CHANNELS, 2), np.float32)
        if segment is not None and state != "waiting for server":
            levels = meters(segment).copy()
        names = [*(current.stems if current is not None else ()), "monitor"]
        rows = [stem_level(name, levels[2 * i : 2 * i + 2]) for i, name in enumerate(names)]
        counts = self._past + sum(map(_counts, engines))
        median, tail, longest = handover.callback_us()
        return Status(
            time=time.time(),
            state=state,
            host=self._host.kind,
            sample_rate=rate,
            block=handover.block,
            preset=session.preset,
            model=session.masks or session.model or PRESETS[session.preset].bundle,
            frames=handover.frames,
            latency=self._latency(state, current),
            load=self._load(current),
            load_max=current.take_worst_share() if current is not None else 0.0,
            callbacks=handover.callbacks,
            misses=handover.misses,
            xruns=handover.xruns,
            restarts=restarts,
            callback_us_p50=median,
            callback_us_p999=tail,
            callback_us_max=longest,
            engine_misses=int(counts[0]),
            bad_samples=int(counts[1]),
            stems=rows[:-1],
            monitor=rows[-1],
            mix=stem_level("mix", levels[MIX_METER : MIX_METER + 2]),
            notes=notes,
            last_miss=self._last_miss or None,
            message=message,
        )

    def _latency(self, state: State, current: EngineProcess | None) -> Latency:
        host = self._host
        stated = stated_latency(host, current)
        measured = None
        if state == "playing" and host.extra_latency_samples == 0:
            measured = self._handover.measured_latency(stated)
        return Latency(stated, 1000.0 * stated / max(1, host.sample_rate), measured)

    def _load(self, current: EngineProcess | None) -> float:
        """The engine's busy share since the last call."""
        now = time.monotonic()
        busy = current.header(tables.BUSY_NS) if current is not None else 0
        pid = current.pid if current is not None else 0
        share = (busy - self._busy_ns) / 1e9 / max(1e-3, now - self._asked_at)
        fresh = pid != self._pid
        self._busy_ns, self._asked_at, self._pid = busy, now, pid
        return 0.0 if fresh else share


def stated_latency(host: AudioHost, engine: EngineProcess | None) -> int:
    """Added latency in samples; 0 before there is an engine."""
    return max(0, engine.latency if engine is not None else 0) + host.extra_latency_samples


def _counts(engine: EngineProcess) -> NDArray[np.int64]:
    return np.array(
        [engine.header(tables.ENGINE_MISSES), engine.header(tables.BAD_SAMPLES)], np.int64
    )
