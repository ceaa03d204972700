"""Whole rendered songs, which training reads in parts."""

import numpy as np
from pedalboard.io import AudioFile

from rtsep_export.stems import STEMS


def read_stems(folder):
    """The stems of a rendered song, ``[n_stems, 2, samples]``."""
    parts = []
    for stem in STEMS:
        with AudioFile(str(folder / f"{stem}.flac")) as file:
            parts.append(file.read(file.frames))
    return np.stack(parts)
