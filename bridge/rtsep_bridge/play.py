"""Play what a bridge says: a buffer for the network, a clock for the drift.

The callback is compiled and touches a ring only; this thread fills the ring.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from rtsep.errors import AudioError, RtsepError, SetupError
from rtsep.live.hosts import AudioHost
from rtsep_bridge.jitter import JitterBuffer
from rtsep_bridge.listener import Listener
from rtsep_bridge.messages import Samples, Stems
from rtsep_bridge.reception import SILENT_S

KINDS = (Stems,)
QUEUE = 512
AGAIN_S = 1.0


class MakeHost(Protocol):
    """Makes a host whose ports follow a jitter buffer."""

    def __call__(self, jitter: JitterBuffer) -> AudioHost:
        """The host, not open yet."""


@dataclass
class Played:
    """What came of it so far.

    Attributes
    ----------
    seconds : float
        Put out, silence included.
    underruns : int
        How often nothing was there that was due; faded, and silent until it was.
    lost : int
        Frames that never came; silent, and faded at their ends.
    breaks : int
        How often the stream went on elsewhere.
    xruns : int
        What the host calls so.
    """

    seconds: float = 0.0
    underruns: int = 0
    lost: int = 0
    breaks: int = 0
    xruns: int = 0


class Player:
    """Puts out what a `Listener` hears.

    Parameters
    ----------
    listener : Listener
        Of `KINDS`, with a queue of `QUEUE`.
    make_host : callable
    buffer_s : float
        Between arrival and output.
    say : callable
        Gets a line whenever there is something to know.
    """

    def __init__(
        self,
        listener: Listener,
        make_host: MakeHost,
        buffer_s: float,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._listener, self._make_host = listener, make_host
        self._buffer_s, self._say = buffer_s, say
        self._host: AudioHost | None = None
        self._jitter: JitterBuffer | None = None
        self._key: tuple[int, tuple[str, ...]] = (0, ())
        self._past = Played()
        self._heard_at = time.monotonic()
        self._waiting = False
        self._again_at = 0.0
        self._polled_at = 0.0
        self._opened_once = False
        self._refusal = ""

    @property
    def jitter(self) -> JitterBuffer | None:
        """The buffer in use; None as long as nothing plays."""
        return self._jitter

    @property
    def in_step(self) -> bool:
        """Whether stems are heard."""
        return self._jitter is not None and self._jitter.drift.in_step

    def played(self) -> Played:
        """What came of it so far."""
        past, jitter, host = self._past, self._jitter, self._host
        if jitter is None or host is None:
            return past
        return Played(
            past.seconds + jitter.handover.frames / max(1, host.sample_rate),
            past.underruns + jitter.drift.shortages,
            past.lost + jitter.lost,
            past.breaks + jitter.breaks,
            past.xruns + jitter.handover.xruns,
        )

    def step(self, timeout_s: float = 0.05) -> None:
        """Play the next message, if one comes in time.

        Raises
        ------
        RtsepError
            The keys do not fit, or there is no way to play what comes.
        """
        message = self._listener.receive(timeout_s)
        now_ns = time.monotonic_ns()
        now = now_ns / 1e9
        if now - self._polled_at >= timeout_s:
            self._polled_at = now
            self._look_after(now)
        if message is None:
            return
        header, samples = message
        if not isinstance(header, Stems) or samples is None:
            return
        self._heard_at = now
        if self._waiting:
            self._waiting = False
            self._say(f"stems come from {self._listener.address.out}")
        key = header.sample_rate, header.stems
        if self._jitter is not None and key != self._key:
            self._say("the stems are others now")
            self._stop()
        if self._jitter is None:
            if now < self._again_at:
                return
            self._start(header, samples, now)
        if self._jitter is not None:
            self._jitter.take(header.sample, samples, now_ns)

    def _look_after(self, now: float) -> None:
        if not self._waiting and now - self._heard_at > SILENT_S:
            self._waiting = True
            self._say(f"no stems come from {self._listener.address.out}; waiting for them")
        if self._host is None:
            return
        if self._host.alive():
            self._host.poll()
        else:
            self._say("the audio server has gone; waiting for it")
            self._stop()
            self._again_at = now + AGAIN_S

    def _start(self, header: Stems, samples: Samples, now: float) -> None:
        jitter = JitterBuffer(header.stems, header.sample_rate, samples.shape[1], self._buffer_s)
        host = self._make_host(jitter)
        try:
            host.open(jitter.handover)
            if host.sample_rate != header.sample_rate:
                raise AudioError(
                    f"stems at {header.sample_rate:,} Hz, while JACK runs at "
                    f"{host.sample_rate:,} Hz",
                    "one rate",
                    f"start JACK with -r {header.sample_rate}, or the mix at JACK's rate",
                )
            host.set_channels(jitter.channels)
        except RtsepError as error:
            host.close()
            jitter.close()
            if not (isinstance(error, SetupError) and self._opened_once):
                raise
            self._again_at = now + AGAIN_S  # the server that has gone is not back yet
            if str(error) != self._refusal:
                self._refusal = str(error)
                self._say(self._refusal)
            return
        self._host, self._jitter = host, jitter
        self._key = header.sample_rate, header.stems
        self._opened_once, self._refusal = True, ""
        for remark in host.remarks:
            self._say(remark)
        milliseconds = 1000.0 * jitter.buffer / header.sample_rate
        longer = ""
        if milliseconds > 1000.0 * self._buffer_s + 0.1:
            longer = f", what blocks of {samples.shape[1]} samples need"
        self._say(
            f"playing {', '.join(header.stems)}: {jitter.buffer} samples ({milliseconds:.1f} ms) "
            f"after they come{longer}"
        )

    def _stop(self) -> None:
        """Let go of the ports, and keep the counts."""
        self._past = self.played()
        host, jitter = self._host, self._jitter
        self._host = self._jitter = None
        if host is not None:
            host.close()
        if jitter is not None:
            jitter.close()

    def close(self) -> None:
        """Stop playing."""
        self._stop()
