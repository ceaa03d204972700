"""One take on disk: a file a stem and the notes, as long as the stream stays the same."""

import shutil
from array import array
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from rtsep.audio_files import AudioWriter, Format
from rtsep.errors import OutputError, RtsepError
from rtsep.midi_files import write_midi
from rtsep.note_events import Note, NoteEvent
from rtsep.output_file import unwritable
from rtsep.output_folder import OutputFolder
from rtsep_bridge.messages import Samples, Stems

MOST_GAP_S = 10.0
"""A longer gap begins another take; a shorter one becomes silence."""
MOST_FRAMES = 500_000_000
"""Frames of a take: just under the 4 GiB that a WAV file can state."""
_BUFFER = 8192
_MOST_TRACKS = 15
_RESERVE = 64 << 10


class Take:
    """Files that grow in a hidden folder, which is given its name at the end.

    Parameters
    ----------
    folder : Path
        Its own, not there yet.
    header : Stems
        Of its first block.
    wanted : sequence of str or None
        Stems to write; None for all.
    file_format : {"wav", "flac"}

    Attributes
    ----------
    folder : Path
    frames : int
        So far.
    missing : int
        Frames that never came, silent in the files.
    peaks : dict of str to float
        Of the last samples that were written, by stem.

    Raises
    ------
    RtsepError
        A wanted stem that there is not.
    OutputError
        The folder or a file cannot be made.
    """

    def __init__(
        self, folder: Path, header: Stems, wanted: Sequence[str] | None, file_format: Format
    ) -> None:
        for name in wanted or ():
            if name not in header.stems:
                raise RtsepError(f"--stems {name}", f"some of {', '.join(header.stems)}")
        self.folder, self.frames, self.missing = folder, 0, 0
        self._key = _key(header)
        self._start, self._rate = header.sample, header.sample_rate
        names = [name for name in header.stems if wanted is None or name in wanted]
        self._rows = [2 * header.stems.index(name) for name in names]
        self._tracks = list(header.stems[:_MOST_TRACKS])
        self._sounding: dict[tuple[str, int], NoteEvent] = {}
        self._notes = array("q")
        self._buffer = np.zeros((2 * len(names), _BUFFER), np.float32)
        self._filled = 0
        self.peaks = dict.fromkeys(names, 0.0)
        self._writers: list[AudioWriter] = []
        self._output = OutputFolder(folder)
        part = self._output.__enter__().path
        try:
            for name in names:
                path = part / f"{name}.{file_format}"
                self._writers.append(AudioWriter(path, self._rate, 2, file_format))
        except BaseException as error:
            self._discard(error)
            raise

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.frames / self._rate

    @property
    def notes(self) -> int:
        """How many have ended so far."""
        return len(self._notes) // 5

    @property
    def clipped(self) -> int:
        """Samples beyond what FLAC holds."""
        return sum(writer.clipped for writer in self._writers)

    def goes_on_with(self, header: Stems) -> bool:
        """Whether a block belongs to this take: the same stream, later, and not by much."""
        gap = header.sample - self._start - self.frames
        return (
            _key(header) == self._key
            and 0 <= gap <= MOST_GAP_S * self._rate
            and self.frames + gap + header.frames <= MOST_FRAMES
        )

    def add(self, header: Stems, samples: Samples, most: int) -> None:
        """Write a block that goes on with this take, and silence for what is missing before it.

        Parameters
        ----------
        most : int
            Frames that may be written.

        Raises
        ------
        OutputError
            The disk is full, or as good as; `close` still keeps what came before.
        """
        gap = min(most, header.sample - self._start - self.frames)
        for done in range(0, gap, _BUFFER):
            self._append(None, min(_BUFFER, gap - done))
        self.missing += gap
        count = min(most - gap, header.frames)
        if count > 0:
            self._append(samples[:, :count], count)

    def _append(self, samples: Samples | None, count: int) -> None:
        done = 0
        while done < count:
            n = min(count - done, _BUFFER - self._filled)
            space = self._buffer[:, self._filled : self._filled + n]
            if samples is None:
                space.fill(0.0)
            else:
                for target, row in enumerate(self._rows):
                    space[2 * target : 2 * target + 2] = samples[row : row + 2, done : done + n]
            self._filled += n
            self.frames += n
            done += n
            if self._filled == _BUFFER:
                self._flush()

    def _flush(self) -> None:
        """Put on disk what has come together."""
        block, self._filled = self._buffer[:, : self._filled], 0
        if not block.shape[1]:
            return
        try:
            self._need(block.nbytes)
            for number, (name, writer) in enumerate(zip(self.peaks, self._writers, strict=True)):
                pair = block[2 * number : 2 * number + 2]
                self.peaks[name] = float(np.abs(pair).max())
                writer.write(np.ascontiguousarray(pair))
        except OutputError:
            self.frames -= block.shape[1]
            raise

    def _need(self, size: int) -> None:
        """Refuse to write what would leave no room for the files' ends and the notes."""
        with suppress(OSError):
            free = shutil.disk_usage(self._output.path).free
            if free < size + _RESERVE + 16 * self.notes + 4096 * len(self._writers):
                raise OutputError(
                    f"the disk is full while writing {self.folder}", "more room", "free some"
                )

    def note(self, events: Sequence[NoteEvent]) -> None:
        """Take note-ons and note-offs, some of which may be missing."""
        for event in events:
            key = (event.stem, event.pitch)
            started = self._sounding.pop(key, None)
            if started is not None:
                self._keep(started, event.sample)
            if event.velocity and (event.stem in self._tracks or self._has_room()):
                if event.stem not in self._tracks:
                    self._tracks.append(event.stem)
                self._sounding[key] = event

    def _has_room(self) -> bool:
        return len(self._tracks) < _MOST_TRACKS

    def _keep(self, started: NoteEvent, stop: int) -> None:
        onset, offset = (max(0, at - self._start) for at in (started.sample, stop))
        if offset > onset:
            track = self._tracks.index(started.stem)
            self._notes.extend((track, started.pitch, started.velocity, onset, offset))

    def close(self) -> None:
        """Finish the files and give the folder its name.

        Raises
        ------
        OutputError
            Something cannot be written; what can be kept is.
        """
        trouble: OutputError | None = None
        try:
            self._flush()
        except OutputError as error:
            trouble = error
        for writer in self._writers:
            try:
                writer.close()
            except OutputError as error:
                trouble = trouble or error
        if not self.frames:
            self._discard(trouble or OutputError("nothing came"))
            if trouble is not None:
                raise trouble
            return
        for started in list(self._sounding.values()):
            self._keep(started, self._start + self.frames)
        try:
            self._write_notes()
        except OutputError as error:
            trouble = trouble or error
        self._output.__exit__(None, None, None)
        if trouble is not None:
            raise trouble

    def _write_notes(self) -> None:
        rows = np.frombuffer(self._notes, np.int64).reshape(-1, 5) if self._notes else ()
        notes = [
            Note(self._tracks[track], pitch, velocity, onset, min(offset, self.frames))
            for track, pitch, velocity, onset, offset in (map(int, row) for row in rows)
            if onset < self.frames
        ]
        path = self._output.path / f"{self.folder.name}.mid"
        write_midi(path, notes, self._rate, self._tracks)

    def _discard(self, error: BaseException) -> None:
        for writer in self._writers:
            writer.abandon()
        with suppress(OutputError):
            self._output.__exit__(type(error), error, None)


def _key(header: Stems) -> tuple[int, int, tuple[str, ...]]:
    return header.session, header.sample_rate, header.stems


def next_take(folder: Path) -> Path:
    """Where the next take of a folder goes.

    Raises
    ------
    OutputError
        It is no folder.
    """
    try:
        taken = {path.name for path in folder.iterdir()} if folder.exists() else set()
    except OSError as error:
        raise unwritable(folder, error) from None
    number = 1
    while f"take-{number}" in taken:
        number += 1
    return folder / f"take-{number}"
