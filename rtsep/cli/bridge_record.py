"""``rtsep bridge record``: takes to disk until it is told to end, with a line of levels."""

import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from rtsep.cli.console import complain, one_line
from rtsep.cli.endings import Endings
from rtsep.errors import OutputError, RtsepError

if TYPE_CHECKING:
    from rtsep_bridge.record import Recorder

_SHOW_S = 0.5


@dataclass(frozen=True)
class Options:
    """What the command line said; see ``rtsep bridge record --help``."""

    address: str
    output: Path | None = None
    seconds: float | None = None
    stems: str | None = None
    file_format: str = "wav"


def record(options: Options) -> bool:
    """Record until Ctrl-C, SIGTERM, or for long enough; whether anything came.

    Raises
    ------
    RtsepError
        It cannot begin, or not go on; what was recorded is kept.
    """
    from rtsep_bridge.listener import Listener
    from rtsep_bridge.record import KINDS, QUEUE, Recorder

    if options.file_format not in ("wav", "flac"):
        raise RtsepError(f"--format {options.file_format}", "wav or flac")
    if options.seconds is not None and not 0 < options.seconds < 1e9:
        raise RtsepError(f"--seconds {options.seconds:g}", "more than 0")
    stems = None
    if options.stems is not None:
        stems = [stem.strip() for stem in options.stems.split(",")]
    folder = options.output or Path(time.strftime("recording-%Y%m%d-%H%M%S"))
    line = _Line()
    with Endings() as endings, Listener(options.address, kinds=KINDS, queue=QUEUE) as listener:
        recorder = Recorder(
            listener,
            folder,
            stems=stems,
            file_format=cast(Literal["wav", "flac"], options.file_format),
            seconds=options.seconds,
            say=line.say,
        )
        line.say(f"listening to {listener.address.mix}; Ctrl-C ends it")
        try:
            while not endings.come and not recorder.done:
                recorder.step()
                line.show(recorder)
        except OutputError as error:
            raise _kept(recorder, line, error) from None
        except RtsepError:
            _finish(recorder, line)
            raise
        try:
            recorder.finish()
        except OutputError as error:
            raise _kept(recorder, line, error) from None
        line.clear()
        return recorder.recorded.takes > 0


def _finish(recorder: "Recorder", line: "_Line") -> None:
    try:
        recorder.finish()
    except OutputError as error:
        line.say(str(error))
    line.clear()


def _kept(recorder: "Recorder", line: "_Line", error: OutputError) -> OutputError:
    """The error, and what is left."""
    _finish_quietly(recorder)
    line.clear()
    recorded = recorder.recorded
    kept = f"kept: {recorded.takes} take{'s' if recorded.takes != 1 else ''}"
    return OutputError(error.found, error.expected, f"{kept}, {recorded.seconds:.2f} s in all")


def _finish_quietly(recorder: "Recorder") -> None:
    try:
        recorder.finish()
    except OutputError:
        return


class _Line:
    """One line on a terminal, rewritten; messages go above it.  A pipe gets the messages."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._shown = False
        self._due = 0.0

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self.clear()
        complain(text)

    def show(self, recorder: "Recorder") -> None:
        """Print the time and the levels, twice a second."""
        now = time.monotonic()
        if not self._terminal or recorder.take is None or now < self._due:
            return
        self._due = now + _SHOW_S
        minutes, seconds = divmod(recorder.seconds, 60)
        levels = "  ".join(
            f"{name} {_decibels(peak)}" for name, peak in recorder.take.peaks.items()
        )
        text = one_line(f"{int(minutes)}:{seconds:04.1f}  {levels}")[:100]
        sys.stderr.write(f"\r{text}\x1b[K")
        sys.stderr.flush()
        self._shown = True

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False


def _decibels(peak: float) -> str:
    return f"{20 * math.log10(peak):.0f} dB" if peak > 1e-5 else "–"
