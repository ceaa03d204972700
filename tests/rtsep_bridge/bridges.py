"""A bridge of the tests' own, and programs that send it a mix."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import zmq

from rtsep_bridge.messages import (
    AnyHeader,
    Hello,
    Message,
    Mix,
    Notes,
    Open,
    Opened,
    Refusal,
    StatusReport,
    Stems,
    decode,
    encode,
)
from rtsep_bridge.sequence import Sender

ROOT = Path(__file__).parents[2]
RATE = 48_000
PATIENCE_S = 30.0


class Bridge:
    """``rtsep bridge serve`` in a process of its own."""

    def __init__(self, address: str, *options: str) -> None:
        self.address = address
        paths = os.pathsep.join(str(path) for path in (ROOT, ROOT / "bridge"))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rtsep", "bridge", "serve", "--bind", address, *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": paths},
        )
        assert self.process.stderr is not None
        self.said: list[str] = []
        for line in self.process.stderr:
            self.said.append(line)
            if "serving" in line:
                return
        raise AssertionError(f"no bridge: {self.said}")

    def engines(self) -> list[psutil.Process]:
        """The engine processes, those at work first (they were started first)."""
        found = []
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.NoSuchProcess):  # a zombie counts as such
                if "spawn_main" in " ".join(child.cmdline()):
                    found.append(child)
        return sorted(found, key=lambda child: (child.create_time(), child.pid))

    def rss(self) -> int:
        """Bytes of memory, its engines not counted."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def stop(self, number: int = signal.SIGINT) -> int:
        """End it; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.said += self.process.communicate(timeout=PATIENCE_S)[1].splitlines()
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        return self.process.returncode


@contextmanager
def serving(address: str, *options: str) -> Iterator[Bridge]:
    """A bridge that is ready, and is gone afterwards."""
    bridge = Bridge(address, *options)
    try:
        yield bridge
    finally:
        bridge.stop()


class Caller:
    """A program with a mix: bare sockets, so that nothing is tested against itself."""

    def __init__(self, address: str, rate: int = RATE) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.set_hwm(0)
        self.socket.connect(address)
        self.sender = Sender(rate)
        self.position = 0
        self.came: list[Message] = []

    def send(self, header: AnyHeader, samples: np.ndarray | None = None) -> None:
        self.socket.send_multipart(encode(Message(header, samples)))

    def hello(self) -> None:
        self.send(Hello(**self.sender.numbers(Hello, 0), versions=(1,), program="a test"))
        self.wait_for(Hello)

    def open(self, step: int = 128, preset: str = "live", *, hello: bool = True) -> Opened:
        if hello:
            self.hello()
        self.sender = Sender(self.sender.sample_rate)
        self.send(Open(**self.sender.numbers(Open, self.position), preset=preset, step=step))
        return self.wait_for(Opened)

    def mix(self, audio: np.ndarray, *, offline: bool = True) -> None:
        header = Mix(
            **self.sender.numbers(Mix, self.position),
            frames=audio.shape[1],
            position=self.position,
            playing=True,
            offline=offline,
        )
        self.send(header, np.ascontiguousarray(audio))
        self.position += audio.shape[1]

    def take(self, timeout_s: float = 0.0) -> bool:
        """Read what is there, or wait for something."""
        if not self.socket.poll(1000 * timeout_s):
            return False
        while self.socket.poll(0):
            self.came.append(decode([bytes(f) for f in self.socket.recv_multipart()]))
        return True

    def wait_for(self, kind: type, where: Callable[[object], bool] = lambda header: True):
        """The first message of a kind that has come, or comes; it is taken out."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            for number, message in enumerate(self.came):
                if isinstance(message.header, kind) and where(message.header):
                    del self.came[number]
                    return message.header
            assert time.monotonic() < deadline, (kind, [m.header for m in self.came][-3:])
            self.take(0.1)

    def play(self, audio: np.ndarray, block: int = 128, ahead: int = 16_384) -> None:
        """Send as fast as the stems come back; all of them are there in the end."""
        assert audio.shape[1] % block == 0
        deadline = time.monotonic() + PATIENCE_S
        for at in range(0, audio.shape[1], block):
            self.mix(audio[:, at : at + block])
            self.take()
            while self.position - self.heard > ahead:
                assert self.take(10.0), "no stems for 10 s"
        while self.position > self.heard:
            assert time.monotonic() < deadline
            self.take(0.1)

    @property
    def heard(self) -> int:
        """Where the mix is of which the last stems came."""
        ends = (
            m.header.sample + m.header.frames + m.header.latency
            for m in reversed(self.came)
            if isinstance(m.header, Stems) and m.header.session == self.sender.session
        )
        return next(ends, 0)

    def stems(self, stop: int) -> np.ndarray:
        """The stems up to a sample, by their index; NaN where none came."""
        out = np.full((1, stop), np.nan, np.float32)
        for header, samples in self.came:
            if isinstance(header, Stems) and header.session == self.sender.session:
                assert samples is not None
                if len(out) != len(samples):
                    out = np.full((len(samples), stop), np.nan, np.float32)
                end = min(stop, header.sample + header.frames)
                out[:, header.sample : end] = samples[:, : end - header.sample]
        return out

    def of(self, kind: type) -> list[AnyHeader]:
        """The headers of a kind that have come."""
        return [m.header for m in self.came if isinstance(m.header, kind)]

    def notes(self) -> list[object]:
        return [note for header in self.of(Notes) for note in header.notes]

    def status(self):
        """The next status."""
        self.came = [m for m in self.came if not isinstance(m.header, StatusReport)]
        return self.wait_for(StatusReport).status

    def refusal(self) -> str:
        return self.wait_for(Refusal).reason

    def close(self) -> None:
        self.context.destroy(linger=0)


@contextmanager
def calling(address: str, rate: int = RATE) -> Iterator[Caller]:
    """A program that is gone afterwards."""
    caller = Caller(address, rate)
    try:
        yield caller
    finally:
        caller.close()
