"""Audio files in and out, block by block.

In: whatever pedalboard decodes (wav, flac, mp3, ogg, aiff), mono or stereo, 8 to
192 kHz, of any length.  Everything a stranger's file can get wrong is refused with
an `AudioError`; a file cut short is refused too, because its decoder would fill the
missing end with zeros (`rtsep.truncation`).

Out: WAV as 32-bit float, so that stems never clip and still sum to their mix, or
FLAC as 24-bit integers, where samples beyond full scale are clipped and counted.
"""

import contextlib
import errno
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self

import numpy as np
import numpy.typing as npt
from pedalboard.io import AudioFile

from rtsep.errors import AudioError, OutputError
from rtsep.output_file import unwritable
from rtsep.rates import FILE_RATE_RANGE
from rtsep.truncation import what_is_missing

Audio = npt.NDArray[np.float32]
Format = Literal["wav", "flac"]

BLOCK_FRAMES = 8192
# The bindings turn a Python file's error into one of these, at times as its cause.
_WRITE_ERRORS = (OSError, RuntimeError, SystemError)
_READABLE = "a wav, flac, mp3, ogg or aiff file"


class AudioReader:
    """An audio file, checked when it is opened and while it is read.

    Parameters
    ----------
    path : Path
        Of a regular file.

    Attributes
    ----------
    sample_rate : int
        In Hz.
    channels : int
        1 or 2.
    frames : int
        Length in samples; for an mp3 without a frame count, an estimate.

    Raises
    ------
    AudioError
        Missing, unreadable, a folder or a device, empty, cut short, not audio, or of
        a sample rate or channel count that cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        _check_readable(path)
        try:
            self._file: Any = AudioFile(str(path))
        except (ValueError, RuntimeError, OSError):
            raise AudioError(
                f"{path} is not audio that can be decoded", _READABLE, "convert it first"
            ) from None
        try:
            self.channels = int(self._file.num_channels)
            self.frames = int(self._file.frames)
            self._check_format()
        except BaseException:
            self.close()
            raise
        self.sample_rate = int(self._file.samplerate)

    def _check_format(self) -> None:
        rate, (low, high) = float(self._file.samplerate), FILE_RATE_RANGE
        if not low <= rate <= high or rate != int(rate):
            raise AudioError(
                f"{self.path} has a sample rate of {rate:g} Hz",
                f"{low:,} to {high:,} Hz",
                "resample it first",
            )
        if self.channels not in (1, 2):
            raise AudioError(
                f"{self.path} has {self.channels} channels",
                "mono or stereo",
                "mix it down to two channels first",
            )
        if self.frames < 1:
            raise _no_samples(self.path)

    def blocks(self, size: int = BLOCK_FRAMES) -> Iterator[Audio]:
        """The audio from the start, block by block.

        Parameters
        ----------
        size : int
            Samples a block; the last one may be shorter.

        Yields
        ------
        float32 array, shape (channels, n), C-contiguous

        Raises
        ------
        AudioError
            A sample is not finite, the decoder gives up, or nothing is decoded.
        """
        position = 0
        self._file.seek(0)
        while True:
            try:
                block = np.ascontiguousarray(self._file.read(size), dtype=np.float32)
            except (ValueError, RuntimeError, OSError):
                raise AudioError(
                    f"{self.path} cannot be decoded after {self._time(position)}",
                    remedy="repair it or convert it again from its source",
                ) from None
            if block.shape[1] == 0:
                break
            finite = np.isfinite(block).all(axis=0)
            if not finite.all():
                first = int(np.argmin(finite))
                kind = "a NaN" if np.isnan(block[:, first]).any() else "an infinite sample"
                raise AudioError(
                    f"{self.path} holds {kind} at {self._time(position + first)}",
                    "finite samples",
                    "render it again from its source",
                )
            position += block.shape[1]
            yield block
        if position == 0:
            raise _no_samples(self.path)

    def _time(self, sample: int) -> str:
        return f"{sample / self.sample_rate:.3f} s"

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AudioWriter:
    """An audio file being written.

    The caller names a temporary path and renames it when all went well (see
    `rtsep.output_folder`).

    Parameters
    ----------
    path : Path
        Written anew.
    sample_rate : int
        In Hz.
    channels : int
        1 or 2.
    file_format : {"wav", "flac"}
        32-bit float, or 24-bit integers.

    Attributes
    ----------
    clipped : int
        Samples that lay beyond what the format holds.

    Raises
    ------
    OutputError
        The file cannot be made, or the format knows no such sample rate.
    """

    def __init__(self, path: Path, sample_rate: int, channels: int, file_format: Format) -> None:
        self.path, self.clipped = path, 0
        self._integer = file_format == "flac"
        # A Python file, because pedalboard's own hides why a write failed.
        try:
            self._file: BinaryIO = path.open("wb")
        except OSError as error:
            raise unwritable(path, error) from None
        try:
            self._encoder: Any = AudioFile(
                self._file,
                "w",
                sample_rate,
                channels,
                bit_depth=24 if self._integer else 32,
                format=file_format,
            )
        except (ValueError, RuntimeError):
            self._file.close()
            raise OutputError(
                f"{file_format} cannot hold audio of {sample_rate:,} Hz",
                remedy="choose another --format, or resample the input first",
            ) from None
        except OSError as error:
            self._file.close()
            raise unwritable(path, error) from None

    def write(self, block: Audio) -> None:
        """Append a block, shape (channels, n).

        Raises
        ------
        OutputError
            The disk is full or the file cannot be written.
        """
        if self._integer:
            self.clipped += int(np.count_nonzero(np.abs(block) > 1.0))
            block = np.clip(block, -1.0, 1.0)
        try:
            self._encoder.write(block)
        except _WRITE_ERRORS as error:
            raise unwritable(self.path, _os_error(error)) from None

    def close(self) -> None:
        """Finish the file.

        Raises
        ------
        OutputError
            Its last bytes cannot be written.
        """
        try:
            self._encoder.close()
            self._file.close()
        except _WRITE_ERRORS as error:
            raise unwritable(self.path, _os_error(error)) from None
        finally:
            with contextlib.suppress(OSError):
                self._file.close()

    def abandon(self) -> None:
        """Let go of the file, whatever state it is in."""
        with contextlib.suppress(OutputError):
            self.close()


def _os_error(error: BaseException) -> OSError:
    """The operating system's word behind what the encoder's bindings raised."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        if isinstance(cause, KeyboardInterrupt | SystemExit):
            raise cause
        cause = cause.__cause__ or cause.__context__
    return cause if cause is not None else OSError(errno.EIO, "the encoder gave up")


def _check_readable(path: Path) -> None:
    try:
        status = path.stat()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise AudioError(f"{path} cannot be read ({reason})", _READABLE, "check the path") from None
    except ValueError:
        raise AudioError(f"{str(path)!r} is not a path", _READABLE, "check the path") from None
    if stat.S_ISDIR(status.st_mode):
        raise AudioError(f"{path} is a folder", _READABLE, "name the files in it")
    if not stat.S_ISREG(status.st_mode):
        raise AudioError(f"{path} is not a regular file", _READABLE, "copy it to a file first")
    try:
        if status.st_size == 0:
            missing, empty = "", True
            path.open("rb").close()
        else:
            missing, empty = what_is_missing(path), False
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise AudioError(
            f"{path} cannot be read ({reason})", "a file you may read", "check its permissions"
        ) from None
    if empty:
        raise AudioError(f"{path} is empty (0 bytes)", _READABLE, "copy it again")
    if missing:
        raise AudioError(
            f"{path} is cut short: {missing}",
            "a whole file",
            "copy it again from its source, or re-encode what is left of it",
        )


def _no_samples(path: Path) -> AudioError:
    return AudioError(f"{path} holds no audio (0 samples)", "at least one sample", "check it")
