"""The real ``rtsep live`` (or what carries a load beside it) as a child process."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

import rtsep
from rtsep.bench.processes import end
from rtsep.errors import SetupError
from rtsep.live.status import Status

_PATIENCE_S = 120.0
_ENDING_S = 5.0


class Child:
    """A Python process of this installation that prints a line of JSON now and then.

    Used as a context manager: at its end the process is asked to end, and made to.

    Parameters
    ----------
    arguments : sequence of str
        What comes behind ``python -m``.
    environment : mapping of str to str
        All of it.

    Attributes
    ----------
    pid : int
    """

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        home = str(Path(rtsep.__file__).parents[1])
        paths = [home, *filter(None, [environment.get("PYTHONPATH")])]
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        # A session of its own: an interrupt from the terminal is ours to pass on.
        self._process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            env={**environment, "PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._lines: list[str] = []
        self._heard = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> int:
        """End it; its exit status."""
        try:
            return end(self._process, 15)
        finally:
            self._reader.join(5)
            for stream in (self._process.stdout, self._complaints):
                if stream is not None and not stream.closed:
                    stream.close()

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._heard:
                if line.startswith("{"):
                    self._lines.append(line)
                    self._heard.notify_all()
        with self._heard:
            self._heard.notify_all()

    def next_line(self, patience_s: float = _PATIENCE_S) -> str:
        """The next line of JSON that has not been asked for yet.

        Raises
        ------
        SetupError
            The process has ended, or says nothing.
        """
        deadline = time.monotonic() + patience_s
        with self._heard:
            while not self._lines:
                if not self._reader.is_alive():
                    # It has closed its output; that it has ended is known a moment later.
                    with suppress(subprocess.TimeoutExpired):
                        self._process.wait(_ENDING_S)
                    raise SetupError(f"it has ended ({self.complaint()})")
                if time.monotonic() > deadline:
                    raise SetupError(f"it has said nothing for {patience_s:g} s")
                self._heard.wait(0.1)
            return self._lines.pop(0)

    def waiting_lines(self) -> list[str]:
        """The lines of JSON that have not been asked for yet."""
        with self._heard:
            lines, self._lines = self._lines, []
        return lines

    def forget(self) -> None:
        """Let go of the lines that came so far."""
        with self._heard:
            self._lines.clear()

    def complaint(self) -> str:
        """The last line of its standard error."""
        end_of_file = self._complaints.seek(0, os.SEEK_END)
        self._complaints.seek(max(0, end_of_file - 4096))
        lines = self._complaints.read().decode(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("rtsep: ") if lines else "without a word"


class LiveProcess(Child):
    """``rtsep live`` with a preset's own model and notes on.

    Parameters
    ----------
    name : str
        Of its JACK client.
    preset : str
    environment : mapping of str to str
    host : sequence of str
        Options that choose the audio host.
    """

    def __init__(
        self,
        name: str,
        preset: str,
        environment: Mapping[str, str],
        host: Sequence[str] = ("--host", "jack"),
    ) -> None:
        self.name = name
        options = [*host, "--name", name, "--preset", preset, "--status"]
        super().__init__(["rtsep", "live", *options], environment)

    def playing(self, patience_s: float = _PATIENCE_S) -> Status:
        """Wait until stems come out, and give the status.

        Raises
        ------
        SetupError
            It ends, or does not come to play.
        """
        deadline = time.monotonic() + patience_s
        status = self.status()
        while status.state != "playing":
            if time.monotonic() > deadline:
                said = status.message or f"it is {status.state}"
                raise SetupError(f"no stems after {patience_s:g} s ({said.rstrip('.')})")
            status = self.status()
        return status

    def status(self) -> Status:
        """The next line of its status.

        Raises
        ------
        SetupError
            It has ended.
        """
        return msgspec.json.decode(self.next_line(), type=Status)

    def newest_status(self) -> Status:
        """The next line that is written from now on."""
        self.forget()
        return self.status()
