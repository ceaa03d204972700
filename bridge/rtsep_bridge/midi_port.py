"""The player's handle on the process that owns the MIDI port."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress

from rtsep.errors import SetupError
from rtsep_bridge.midi_records import SIZE, Record

START_S = 15.0
END_S = 3.0
_WHOLE = 4096 // SIZE * SIZE
"""A pipe takes as many bytes whole or not at all, also when it is not to wait."""


class MidiPort:
    """A MIDI port that outlives this process by as long as it takes to end all notes.

    Parameters
    ----------
    name : str
        See `rtsep_bridge.midi_guard.open_port`.
    connected : sequence of str
        What a port of this name was connected to before; JACK's is so again.

    Attributes
    ----------
    api : str
        What it is a port of, such as "JACK".
    connected : sequence of str
        What JACK's port is connected to.

    Raises
    ------
    SetupError
        There is no MIDI system, or no such port.
    """

    def __init__(self, name: str, connected: Sequence[str] = ()) -> None:
        self.connected = connected
        code = (
            f"import sys\nsys.path[:] = {sys.path!r}\n"  # of the rtsep that asks
            f"from rtsep_bridge.midi_guard import main\nmain({name!r}, {list(connected)!r})"
        )
        # A session of its own: what ends the player, and its terminal, does not end it.
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # MIDI systems print as they like
            bufsize=0,
            start_new_session=True,
        )
        self._reader: threading.Thread | None = None
        try:
            self.api = self._hear()
        except BaseException:
            self.kill()
            raise
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()
        if os.name == "posix":
            os.set_blocking(self._input(), False)

    def _hear(self) -> str:
        """Wait for its word that the port is there."""
        assert self._process.stdout is not None
        patience = threading.Timer(START_S, self._process.kill)
        patience.start()
        line = self._process.stdout.readline()
        patience.cancel()
        answer = json.loads(line) if line else {}
        if "refused" in answer:
            raise SetupError(*answer["refused"])
        if "api" not in answer:
            raise SetupError(
                "the process for the MIDI port did not start",
                "it within a few seconds",
                "'rtsep doctor' tells what this machine has",
            )
        return str(answer["api"])

    def _listen(self) -> None:
        """Learn what the port is connected to."""
        assert self._process.stdout is not None
        with suppress(OSError, ValueError):
            for line in self._process.stdout:
                self.connected = json.loads(line).get("connected", self.connected)

    def _input(self) -> int:
        assert self._process.stdin is not None
        return self._process.stdin.fileno()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether it still takes what is sent."""
        return self._process.poll() is None

    def send(self, sent: Iterable[Record]) -> bool:
        """Hand over records without waiting.

        Returns
        -------
        bool
            False where the process is gone, or takes nothing any more: then it has been
            ended, and with it all notes.
        """
        data = b"".join(record.encode() for record in sent)
        try:
            for at in range(0, len(data), _WHOLE):
                part = data[at : at + _WHOLE]
                if os.write(self._input(), part) != len(part):
                    raise BlockingIOError
        except (OSError, ValueError):
            self.kill()
            return False
        return True

    def close(self) -> None:
        """End all notes, then the port."""
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S)
        self.kill()

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()
        if self._reader is not None:
            self._reader.join(END_S)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
