"""Piano rolls: what the transcriber is to say of some notes, on its frames.

Onset and activity after "Onsets and Frames" (Hawthorne et al., ISMIR 2018).  The network
may listen `LOOKAHEAD` samples past the moment a frame describes; an onset between two
frames is shared out between them, so that its time can be read more finely than a frame.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rtsep.manifest import Notes
from rtsep.rates import REFERENCE_RATE
from rtsep_export.features import TRANSCRIBER_HOP
from rtsep_export.stems import DRUM_CLASS_OF_KEY, DRUM_CLASSES, PITCHED, PITCHES

LOOKAHEAD = 3 * TRANSCRIBER_HOP
ONSET_WIDTH = 1.5  # frames from an onset's middle to where its target reaches zero
# Of sounding columns in cross-entropies, which are rare.
POSITIVE_WEIGHTS = {"onset": 3.0, "frame": 1.5}

Array = npt.NDArray[np.float32]

NOTES = (
    *(Notes(stem=s, pitches=tuple(PITCHES[s]), drums=False) for s in PITCHED),
    Notes(stem="drums", pitches=tuple(DRUM_CLASSES), drums=True),
)
N_NOTES = sum(len(n.pitches) for n in NOTES)


def _columns() -> dict[tuple[str, int], int]:
    columns: dict[tuple[str, int], int] = {}
    offset = 0
    for part in NOTES:
        columns |= {(part.stem, pitch): offset + i for i, pitch in enumerate(part.pitches)}
        offset += len(part.pitches)
    return columns


COLUMN = _columns()


def rolls(
    notes: Sequence[tuple[str, int, float, float, int]], n_frames: int
) -> tuple[Array, Array, Array]:
    """Onset, activity and velocity targets, ``[n_frames, N_NOTES]`` each.

    Parameters
    ----------
    notes : sequence
        Stem, pitch, onset and offset in seconds, MIDI velocity.
    """
    onset = np.zeros((n_frames, N_NOTES), np.float32)
    frame, velocity = np.zeros_like(onset), np.zeros_like(onset)
    for stem, pitch, start_s, stop_s, strength in notes:
        key = DRUM_CLASS_OF_KEY.get(pitch, -1) if stem == "drums" else pitch
        column = COLUMN.get((stem, key))
        if column is None:
            continue
        middle = (start_s * REFERENCE_RATE + LOOKAHEAD) / TRANSCRIBER_HOP - 1
        last = (stop_s * REFERENCE_RATE + LOOKAHEAD) / TRANSCRIBER_HOP - 1
        low, high = int(np.ceil(middle - ONSET_WIDTH)), int(np.floor(middle + ONSET_WIDTH))
        for k in range(max(low, 0), min(high + 1, n_frames)):
            share = 1 - abs(k - middle) / ONSET_WIDTH
            if share >= onset[k, column]:
                onset[k, column], velocity[k, column] = share, strength / 127
        frame[max(round(middle), 0) : max(round(last), 0), column] = 1.0
    return onset, frame, velocity
