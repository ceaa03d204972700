"""What live audio is doing: the line a second for other programs, which the view draws too."""

from typing import Literal

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

State = Literal["starting", "playing", "bypassed", "waiting for server", "stopped"]
VERSION = 1
QUIET_DB = -120.0


class StemStatus(Struct):
    """The level of one stereo pair.

    Attributes
    ----------
    name : str
    peak_db, rms_db : float or None
        Over the last second, in dB of full scale; None where there was silence.
    """

    name: str
    peak_db: float | None
    rms_db: float | None


def stem_level(name: str, rows: NDArray[np.float32]) -> StemStatus:
    """A stereo pair's meters in dB.

    Parameters
    ----------
    name : str
    rows : float32 [2, 2]
        Left and right: peak and mean square, as `rtsep.kernels.publish.meter` keeps them.
    """

    def decibels(power: float) -> float | None:
        db = 10.0 * np.log10(max(power, 1e-30))
        return round(float(db), 1) if db > QUIET_DB else None

    return StemStatus(name, decibels(float(rows[:, 0].max()) ** 2), decibels(rows[:, 1].mean()))


class Latency(Struct):
    """How far the stems are behind the mix.

    Attributes
    ----------
    stated_samples : int
    stated_ms : float
    measured_samples : int or None
        From what went in and out; None where that shows nothing, as with silence, or
        with stems that gains or effects have changed.
    """

    stated_samples: int
    stated_ms: float
    measured_samples: int | None


class Status(Struct):
    """The state of live audio at one moment.

    Attributes
    ----------
    version : int
        Of this format.
    time : float
        Seconds since 1970.
    state : str
        "starting", "playing", "bypassed" (the mix goes out instead of stems),
        "waiting for server" or "stopped".
    host : str
        "jack" or "portaudio"; "bridge" for a mix that comes over the bridge.
    sample_rate, block : int
        In Hz and in frames.
    frames : int
        Frames since the start.
    load : float
        The share of the last second in which the engine was at work.
    load_max : float
        The longest that a block took, as a share of its length, since the last status.
    callbacks, misses, xruns, restarts : int
        Since the start: of the host; callbacks whose stems were not there in time; the
        host's own count of trouble; engines started anew.
    callback_us_p50, callback_us_p999, callback_us_max : float
        What a callback takes: median, 99.9th percentile, longest; in µs.
    engine_misses : int
        Outputs of networks that were not usable.
    bad_samples : int
        Samples of the mix that were not finite numbers.
    notes : int
        Notes switched on since the start.
    last_miss : float or None
        When, in seconds since 1970.
    message : str
        The last thing that the player should know; empty where there is none.
    """

    time: float
    state: State
    host: str
    sample_rate: int
    block: int
    preset: str
    model: str
    frames: int
    latency: Latency
    load: float
    load_max: float
    callbacks: int
    misses: int
    xruns: int
    restarts: int
    callback_us_p50: float
    callback_us_p999: float
    callback_us_max: float
    engine_misses: int
    bad_samples: int
    stems: list[StemStatus]
    monitor: StemStatus
    mix: StemStatus
    notes: int
    last_miss: float | None
    message: str
    version: int = VERSION


def encode_status(status: Status) -> str:
    """One line of JSON, without the line break."""
    return msgspec.json.encode(status).decode()
