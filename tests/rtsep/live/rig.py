"""Live audio on a JACK server of its own, with something that plays into it and records."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rtsep.bench.probe import Probe
from rtsep.live.jack_host import JackHost
from rtsep.live.player import Live
from rtsep.live.session import Session, SessionFile
from tests.rtsep import models
from tests.rtsep.live.servers import Server, jack_server

Floats = npt.NDArray[np.float32]
RATE = 48_000
STEM_PORTS = tuple(f"{stem}_{side}" for stem in models.STEMS for side in "LR")
PORTS = (*STEM_PORTS, "monitor_L", "monitor_R")
KEEP = 1 << 20
TRIES = 40


class Rig:
    """A player that is polled beside the test, and a probe on all of its ports."""

    def __init__(self, server: Server, live: Live, said: list[str]) -> None:
        self.server, self.live, self.said = server, live, said
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self.trouble: list[BaseException] = []

    def _poll(self) -> None:
        while not self._stop.wait(0.02):
            try:
                with self._lock:
                    self.live.poll()
            except BaseException as error:
                self.trouble.append(error)
                return

    def start(self) -> None:
        self.live.start()
        self._thread.start()

    def change(self, session: Session) -> None:
        with self._lock:
            self.live.change(session)

    def until(self, condition: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert not self.trouble, self.trouble
            assert time.monotonic() < deadline, f"waited for {what}; said: {self.said}"
            time.sleep(0.01)

    def until_playing(self) -> None:
        self.until(lambda: self.live.state == "playing", "stems")

    def until_said(self, text: str) -> None:
        self.until(lambda: any(text in line for line in self.said), f"a line with {text!r}")

    def in_time(self, probe: Probe, frames: int) -> int:
        """Where so many frames begin, the next of which no stem was late.

        A machine that others use may keep the engine from its deadlines; the mix is heard
        then, which has tests of its own.  What is judged is what the engine was in time for.
        """
        for _ in range(TRIES):
            self.until_playing()
            misses, start = self.live.handover.misses, probe.clock + RATE // 10
            probe.wait(start + frames)
            if self.live.handover.misses == misses and probe.whole(start, start + frames):
                return start
        raise AssertionError(f"stems were late in {TRIES} stretches of {frames} frames in a row")

    @property
    def client(self) -> str:
        host = self.live.host
        assert isinstance(host, JackHost)
        return host.name

    def probe(self, signal: Floats, ports: tuple[str, ...] = PORTS) -> Probe:
        return Probe(self.server.name, ports, signal, KEEP)

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self.live.stop()
        assert not self.trouble, self.trouble


@contextmanager
def live_rig(
    session: Session,
    *,
    period: int = 128,
    rate: int = RATE,
    session_file: SessionFile | None = None,
    server: Server | None = None,
    **host: object,
) -> Iterator[Rig]:
    if server is None:
        with jack_server(period, rate) as own:
            with live_rig(session, session_file=session_file, server=own, **host) as rig:
                yield rig
            return
    said: list[str] = []
    jack_host = JackHost(name="rtsep-test", server=server.name, **host)  # type: ignore[arg-type]
    live = Live(jack_host, session, session_file=session_file, say=said.append)
    rig = Rig(server, live, said)
    rig.start()
    try:
        yield rig
    finally:
        rig.close()


def bundle_file(folder: Path, data: bytes, name: str = "test") -> str:
    """A bundle's path."""
    return str(models.save(data, folder / f"{name}.onnx"))


def song(seconds: float, rate: int = RATE, seed: int = 3) -> Floats:
    """Beeps over noise: [2, frames]."""
    n = int(seconds * rate)
    t = np.arange(n) / rate
    rng = np.random.default_rng(seed)
    beeps = sum(
        np.sin(2 * np.pi * hertz * t) * ((np.arange(n) // step) % 2)
        for hertz, step in ((110, 9000), (440, 6000), (2500, 3500))
    )
    audio = 0.1 * beeps + 0.05 * rng.standard_normal((2, n))
    return audio.astype(np.float32)


def tone(seconds: float, rate: int = RATE) -> Floats:
    """A smooth signal that never repeats itself: two slow sweeps."""
    t = np.arange(int(seconds * rate)) / rate
    phase = 2 * np.pi * (180 * t + 15 * t**2)
    return (0.4 * np.stack([np.sin(phase), np.sin(1.3 * phase)])).astype(np.float32)
