"""Record what a bridge says: stems and notes into takes, until there is enough.

A take is as long as the stream stays one: the same session, stems and rate, without a
step back and without a gap of more than ten seconds.  Shorter gaps become silence, so
that everything stays in its place.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rtsep.audio_files import Format
from rtsep.errors import OutputError
from rtsep_bridge.listener import Listener
from rtsep_bridge.messages import Message, Notes, Samples, StatusReport, Stems
from rtsep_bridge.reception import SILENT_S
from rtsep_bridge.take import Take, next_take

QUEUE = 8192
"""Messages that may wait while the disk stands still: twenty seconds of short blocks."""
KINDS = (Stems, Notes, StatusReport)


@dataclass
class Recorded:
    """All takes together.

    Attributes
    ----------
    seconds, missing_s : float
        How long they are, and how much of it is silence for what never came.
    """

    takes: int = 0
    seconds: float = 0.0
    missing_s: float = 0.0
    notes: int = 0


class Recorder:
    """Writes what a `Listener` hears to a folder.

    Parameters
    ----------
    listener : Listener
        Of `KINDS`, with a queue of `QUEUE`.
    folder : Path
        Gets ``take-1``, ``take-2``...; those that are there already stay.
    stems : sequence of str, optional
        To be written; all where not given.
    file_format : {"wav", "flac"}
    seconds : float, optional
        When it is enough, over all takes; measured on the stems.
    say : callable
        Gets a line whenever there is something to know.

    Attributes
    ----------
    recorded : Recorded
        What is finished.
    take : Take or None
        What is being recorded.
    """

    def __init__(
        self,
        listener: Listener,
        folder: Path,
        *,
        stems: Sequence[str] | None = None,
        file_format: Format = "wav",
        seconds: float | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._listener, self._folder = listener, folder
        self._stems, self._format, self._enough = stems, file_format, seconds
        self._say = say
        self.recorded = Recorded()
        self.take: Take | None = None
        self._heard_at = time.monotonic()
        self._waiting = False
        next_take(folder)

    @property
    def seconds(self) -> float:
        """Of all takes, with the one that is being recorded."""
        return self.recorded.seconds + (self.take.seconds if self.take is not None else 0.0)

    @property
    def done(self) -> bool:
        """Whether it is enough."""
        return self._enough is not None and self.seconds >= self._enough - 1e-9

    def step(self, timeout_s: float = 0.1) -> bool:
        """Record the next message; False where none comes in time.

        Raises
        ------
        RtsepError
            The keys do not fit, a stem is not there, or nothing can be written; what was
            recorded before is kept.
        """
        message = self._listener.receive(timeout_s)
        now = time.monotonic()
        if message is None:
            if not self._waiting and now - self._heard_at > SILENT_S:
                self._waiting = True
                self._say(f"nothing comes from {self._listener.address.out}; waiting for a bridge")
            return False
        self._heard_at = now
        if self._waiting:
            self._waiting = False
            self._say(f"the bridge at {self._listener.address.mix} is there")
        self._record(message)
        return True

    def _record(self, message: Message) -> None:
        header, samples = message
        if isinstance(header, Notes) and self.take is not None:
            self.take.note(header.notes)
        elif isinstance(header, Stems) and samples is not None and not self.done:
            self._record_stems(header, samples)

    def _record_stems(self, header: Stems, samples: Samples) -> None:
        if self.take is not None and not self.take.goes_on_with(header):
            self.finish()
        if self.take is None:
            self.take = Take(next_take(self._folder), header, self._stems, self._format)
            stems = ", ".join(self.take.peaks)
            self._say(f"{self.take.folder}: {stems} at {header.sample_rate:,} Hz")
        most = header.sample_rate * 86_400
        if self._enough is not None:
            most = round((self._enough - self.recorded.seconds) * header.sample_rate)
            most -= self.take.frames
        self.take.add(header, samples, most)

    def finish(self) -> None:
        """End the take that is being recorded, if there is one, and keep it.

        Raises
        ------
        OutputError
            Something cannot be written; what can be kept is.
        """
        take, self.take = self.take, None
        if take is None:
            return
        trouble: OutputError | None = None
        try:
            take.close()
        except OutputError as error:
            trouble = error
        if take.frames:
            recorded = self.recorded
            missing = take.missing * take.seconds / take.frames
            recorded.takes += 1
            recorded.seconds += take.seconds
            recorded.missing_s += missing
            recorded.notes += take.notes
            lost = f"; {missing:.2f} s never came and are silent" if take.missing else ""
            loud = f"; {take.clipped:,} samples clipped" if take.clipped else ""
            self._say(f"{take.folder}: {take.seconds:.2f} s, {take.notes:,} notes{lost}{loud}")
        if trouble is not None:
            raise trouble
