"""The note tracker's frame step, compiled: probabilities in, note events out.

Every note (a stem's pitch) has a column in four arrays, so that one frame costs one
pass and a call hands over few objects.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

# Rows of `levels` (float32): what a probability is compared with.
ONSET, FRAME_ON, FRAME_OFF = range(3)
N_LEVELS = 3

# Rows of `limits` (int64): lengths in samples, and frames.
MIN_LENGTH, MAX_LENGTH, RELEASE_FRAMES = range(3)
N_LIMITS = 3

# Rows of `past` (float32): cleaned probabilities of the frames before this one.
ONSET_2, ONSET_1, FRAME_1, VELOCITY_1 = range(4)
N_PAST = 4

# Rows of `state` (int64).  START is -1 while the note is silent; LAST_OFF is where it
# last ended; BELOW counts frames under FRAME_OFF in a row; FELL is where that began.
START, LAST_OFF, BELOW, FELL = range(4)
N_STATE = 4

# Columns of `events` (int64).  A note gives at most three in one frame: the end of a
# note that is struck again, the new note, and its end where lengths are very short.
SAMPLE, COLUMN, VELOCITY = range(3)
MAX_EVENTS_PER_NOTE = 3


@njit(nogil=True, cache=True)
def clean(probability: np.float32) -> np.float32:
    """Clip to 0..1; what is not a number is 0."""
    if probability > np.float32(0.0):
        return min(probability, np.float32(1.0))
    return np.float32(0.0)


@njit(nogil=True, cache=True)
def peak_shift(before: np.float32, peak: np.float32, after: np.float32) -> float:
    """Where between -0.5 and 0.5 frames from a local maximum the true maximum lies.

    The vertex of the symmetric triangle through three samples: equation 7 of Kong et
    al. 2021 (arXiv 2010.01815), within 0.05 frames for Gaussian peaks as well.
    """
    low = min(before, after)
    if peak <= low:
        return 0.0
    return 0.5 * float(after - before) / float(peak - low)


@njit(nogil=True, cache=True)
def track_frame(
    onset: Floats,
    frame: Floats,
    velocity: Floats,
    moment: int,
    hop: int,
    levels: Floats,
    limits: Ints,
    past: Floats,
    state: Ints,
    events: Ints,
) -> int:
    """Advance every note by one frame.

    Parameters
    ----------
    onset, frame, velocity : float32 [N]
        Network outputs; anything that is not a number from 0 to 1 is made one.
    moment : int
        The sample that this frame describes; the one before it lies `hop` earlier.
    hop : int
    levels, limits, past, state
        As laid out at the top of this module; `past` and `state` are updated.
    events : int64 [3 * N, 3]
        Receives sample, column and velocity (0 to 127; 0 is off) of each event.

    Returns
    -------
    int
        Events written.
    """
    count = 0
    for i in range(onset.shape[0]):
        onset_0 = clean(onset[i])
        frame_0 = clean(frame[i])
        start = state[START, i]

        # Onsets: was the frame before this one a local maximum?
        peak = past[ONSET_1, i]
        if (
            peak >= levels[ONSET, i]
            and peak > past[ONSET_2, i]
            and peak >= onset_0
            and max(past[FRAME_1, i], frame_0) >= levels[FRAME_ON, i]
        ):
            shift = peak_shift(past[ONSET_2, i], peak, onset_0)
            struck = moment - hop + int(np.rint(shift * hop))
            struck = max(struck, state[LAST_OFF, i])
            if start < 0 or struck - start >= limits[MIN_LENGTH, i]:
                if start >= 0:
                    end = min(struck, start + limits[MAX_LENGTH, i])
                    if state[BELOW, i] > 0:
                        end = min(end, max(state[FELL, i], start + limits[MIN_LENGTH, i]))
                    events[count, SAMPLE] = end
                    events[count, COLUMN] = i
                    events[count, VELOCITY] = 0
                    count += 1
                start = struck
                state[START, i] = start
                state[BELOW, i] = 0
                events[count, SAMPLE] = start
                events[count, COLUMN] = i
                loudness = int(np.rint(past[VELOCITY_1, i] * 127.0))
                events[count, VELOCITY] = max(loudness, 1)
                count += 1

        if start >= 0:
            if frame_0 < levels[FRAME_OFF, i]:
                if state[BELOW, i] == 0:
                    # The fall crossed the level somewhere between the two frames.
                    over = max(past[FRAME_1, i] - levels[FRAME_OFF, i], np.float32(0.0))
                    part = over / (levels[FRAME_OFF, i] + over - frame_0)
                    state[FELL, i] = moment - hop + int(np.rint(part * hop))
                state[BELOW, i] += 1
            else:
                state[BELOW, i] = 0
            end = np.int64(-1)
            if state[BELOW, i] >= limits[RELEASE_FRAMES, i]:
                end = max(state[FELL, i], start + limits[MIN_LENGTH, i])
            longest = start + limits[MAX_LENGTH, i]
            if end < 0 or end > longest:
                end = longest
            # An end that lies ahead may yet be taken back, so it waits.
            if end <= moment:
                events[count, SAMPLE] = end
                events[count, COLUMN] = i
                events[count, VELOCITY] = 0
                count += 1
                state[START, i] = -1
                state[LAST_OFF, i] = end

        past[ONSET_2, i] = past[ONSET_1, i]
        past[ONSET_1, i] = onset_0
        past[FRAME_1, i] = frame_0
        past[VELOCITY_1, i] = clean(velocity[i])
    return count
