"""A JACK server without a sound card, for as long as it is needed.

Linux's ``jackd`` brings the dummy driver; macOS and Windows have ``jackd`` too, where
this has not been tested.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from secrets import token_hex

from rtsep import probes
from rtsep.bench.processes import end, realtime_threads
from rtsep.errors import SetupError

_PATIENCE_S = 10
_PRIORITY = 70


@dataclass(frozen=True)
class Server:
    """A JACK server.

    Attributes
    ----------
    name : str
        What ``JACK_DEFAULT_SERVER`` is for its clients.
    sample_rate, block : int
        In Hz and in frames.
    realtime : bool
        Whether its threads have real-time priority.
    ours : bool
        Whether it was started here.
    """

    name: str
    sample_rate: int
    block: int
    realtime: bool
    ours: bool

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a child process that is to use this server."""
        return {**os.environ, "JACK_DEFAULT_SERVER": self.name, "JACK_NO_START_SERVER": "1"}


def running_server() -> Server | None:
    """The server that clients would find now, if there is one.

    Raises
    ------
    SetupError
        There is no JACK library.
    """
    answer = probes.ask(probes.JACK)
    if not answer.get("library", True):
        raise SetupError(
            "the JACK library is missing", remedy="install JACK (Debian: apt-get install jackd2)"
        )
    rate, period = answer.get("rate"), answer.get("period")
    if not (isinstance(rate, int) and isinstance(period, int)):
        return None
    name = os.environ.get("JACK_DEFAULT_SERVER", "default")
    return Server(name, rate, period, bool(answer.get("realtime")), ours=False)


@contextmanager
def dummy_server(sample_rate: int, block: int) -> Iterator[Server]:
    """Run a server with JACK's dummy driver, ended at the end whatever happens.

    It is synchronous: a client that is late delays the cycle and loses no samples.  It
    has real-time priority where that is granted.

    Raises
    ------
    SetupError
        There is no ``jackd`` here, or it does not start.
    """
    program, wait = shutil.which("jackd"), shutil.which("jack_wait")
    if program is None or wait is None:
        missing = "jackd" if program is None else "jack_wait"
        raise SetupError(
            f"{missing} is missing",
            remedy="start a JACK server, or install one (Debian: apt-get install jackd2)",
        )
    name = f"rtsep-bench-{os.getpid()}-{token_hex(2)}"
    driver = ["-d", "dummy", "-r", str(sample_rate), "-p", str(block)]
    reason = "it does not say why; JACK 2 runs eight servers, and keeps the places of killed ones"
    for mode in (["-R", "-P", str(_PRIORITY)], ["-r"]):
        with tempfile.TemporaryFile() as said:
            # A session of its own: an interrupt from the terminal reaches the clients first.
            process = subprocess.Popen(
                [program, "-n", name, *mode, "-S", *driver],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                if _answers(wait, name, process):
                    realtime = bool(realtime_threads(process.pid))
                    yield Server(name, sample_rate, block, realtime, ours=True)
                    return
            finally:
                end(process)
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines()
            if lines and "COPYING" not in lines[-1]:
                reason = lines[-1]
    raise SetupError(
        f"jackd does not start at {sample_rate} Hz with a block of {block} ({reason})",
        remedy="start a JACK server yourself, which is then used",
    )


def _answers(wait: str, name: str, process: "subprocess.Popen[bytes]") -> bool:
    """Whether the server is there soon."""
    for _ in range(_PATIENCE_S):
        asked = subprocess.run(
            [wait, "-s", name, "-w", "-t", "1"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        if process.poll() is not None:
            return False
        if asked.returncode == 0:
            return True
    return False
