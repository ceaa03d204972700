"""What a soak comes to, and the files that keep it."""

import json
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from rtsep.bench.signals import EXACT


class Spread(Struct):
    """Percentiles of a duration, in µs."""

    p50: float
    p99: float
    p99_9: float
    max: float


class Soak(Struct):
    """What a soak came to.

    Attributes
    ----------
    preset, sample_rate, block, loads
        What ran; `realtime`: whether the callback had real-time priority.
    callbacks, misses, xruns, restarts : int
        After the warm-up of three seconds, as all that follows.
    stated_samples, measured_samples, difference : int or None
        Of every half second listened to, the measurement furthest from what is stated;
        None where the mix could not be found in what came out.
    error : float
        Largest distance of the sum of the stems from the delayed mix, in any sample.
    inexact_frames, skipped_frames, listened_frames : int
        Frames with an error of more than 1e-4; frames in which the server left out
        cycles; all frames.
    clicks : int
        Steps on any port, by `rtsep.bench.clicks`.
    first_clicks : list of str
    interval_us, callback_us : Spread
        From one callback to the next, and how long it takes.
    minor_faults, major_faults : int or None
        Page faults of the callback's thread.
    resident_start_bytes, resident_end_bytes : int
        Memory of the player and its engine: the least of the first and of the last
        tenth of the run, without its first 15 seconds.
    load, load_max : float
        The engine's share of one core: mean, and the worst block's share of its length.
    miss_frames : list of int
        The first of them, in frames of the stream.
    """

    preset: str
    sample_rate: int
    block: int
    loads: list[str]
    realtime: bool
    callbacks: int
    misses: int
    xruns: int
    restarts: int
    stated_samples: int
    measured_samples: int | None
    difference: int | None
    error: float
    inexact_frames: int
    skipped_frames: int
    listened_frames: int
    clicks: int
    first_clicks: list[str]
    interval_us: Spread
    callback_us: Spread
    minor_faults: int | None
    major_faults: int | None
    resident_start_bytes: int
    resident_end_bytes: int
    load: float
    load_max: float
    miss_frames: list[int]

    @property
    def proved(self) -> bool:
        """Whether every sample was exact, as late as stated, and without a step."""
        return self.difference == 0 and self.error <= EXACT and self.clicks == 0


@dataclass(frozen=True)
class Trace:
    """All callbacks after the warm-up, and what happened in them.

    Attributes
    ----------
    started_ns, spent_ns : int64 array, shape (callbacks,)
    events : int64 array, shape (events, 3)
        Frame, time in ns and number of misses and changes of what goes out.
    kinds : array of str, shape (events,)
    """

    started_ns: NDArray[np.int64]
    spent_ns: NDArray[np.int64]
    events: NDArray[np.int64]
    kinds: NDArray[np.str_]


def write_results(soak: Soak, trace: Trace, folder: Path) -> list[Path]:
    """Write ``summary.json`` and ``trace.npz`` into a folder that is there.

    Returns
    -------
    list of Path
    """
    summary, raw = folder / "summary.json", folder / "trace.npz"
    text = json.dumps(msgspec.to_builtins(soak), indent=1)
    summary.write_text(text + "\n", encoding="utf-8")
    np.savez_compressed(
        raw,
        callback_started_ns=trace.started_ns,
        callback_spent_ns=trace.spent_ns,
        event_frame=trace.events[:, 0],
        event_time_ns=trace.events[:, 1],
        event_number=trace.events[:, 2],
        event_kind=trace.kinds,
    )
    return [summary, raw]
