"""JACK servers of the tests' own, and a client that plays and records through them."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest

_NUMBERS = count()


class Server:
    """A dummy JACK server; `kill` and `start` again as a test likes."""

    def __init__(self, rate: int, period: int, synchronous: bool) -> None:
        self.name = f"rtsep-test-{os.getpid()}-{next(_NUMBERS)}"
        self.rate, self.period, self.synchronous = rate, period, synchronous
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        for mode in (["-R", "-P", "70"], ["-r"]):
            options = [*mode, *(["-S"] if self.synchronous else []), "-d", "dummy"]
            self.process = subprocess.Popen(
                ["jackd", "-n", self.name, *options, "-r", str(self.rate), "-p", str(self.period)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            waiting = ["jack_wait", "-s", self.name, "-w", "-t", "10"]
            answer = subprocess.run(waiting, capture_output=True, check=False)
            if answer.returncode == 0 and self.process.poll() is None:
                return
            self.kill()
        pytest.skip("no JACK server can run here (jackd -d dummy did not start)")

    def kill(self) -> None:
        """Without a farewell to its clients, and without tidying up."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def end(self) -> None:
        """End it in order: one that was killed keeps one of the eight places JACK has."""
        if self.process is None:
            self.start()
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None


@contextmanager
def jack_server(
    period: int = 128, rate: int = 48_000, *, synchronous: bool = True
) -> Iterator[Server]:
    """A server that runs until the end; skips where JACK 2 is not installed."""
    if shutil.which("jackd") is None or shutil.which("jack_wait") is None:
        pytest.skip("jackd is not installed (Debian: jackd2)")
    server = Server(rate, period, synchronous)
    server.start()
    try:
        yield server
    finally:
        server.end()
