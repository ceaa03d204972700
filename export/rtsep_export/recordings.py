"""Recordings of a data set, at the rate and with the one channel that a network hears."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from pedalboard.io import AudioFile

from rtsep.errors import AudioError


def read_mono(path: Path, sample_rate: int) -> npt.NDArray[np.float32]:
    """All of a recording, shape (frames,).

    Raises
    ------
    AudioError
        It cannot be decoded, or its own rate is lower than that asked for.
    """
    try:
        with AudioFile(str(path)) as file:
            if file.samplerate < sample_rate:
                raise AudioError(
                    f"{path} has a sample rate of {file.samplerate:g} Hz",
                    f"{sample_rate:,} Hz or more",
                )
            with file.resampled_to(sample_rate) as resampled:
                audio = resampled.read(resampled.frames)
    except (ValueError, RuntimeError, OSError) as error:
        if isinstance(error, AudioError):
            raise
        raise AudioError(f"{path}: {error}", "audio that can be decoded") from None
    mono: npt.NDArray[np.float32] = np.asarray(audio, np.float32).mean(axis=0)
    return mono
