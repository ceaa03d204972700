"""Added latency on sound cards, through cables: PortAudio.

A signal is played to a cable and recorded from its other end; then rtsep listens at
that end and plays to a second cable, and the signal is recorded from there.  What the
second way takes longer is rtsep and its devices' buffers, which PortAudio does not tell
to the sample, so that here a difference is no mistake.  The cables may be virtual
(BlackHole, VB-Cable), two of a kind.

Not tested with a device: none was to be had.
"""

import os
from collections.abc import Sequence

import numpy as np

from rtsep.bench.child import LiveProcess
from rtsep.bench.latency import Cell, Row
from rtsep.bench.signals import Floats, find_delays, measuring_signal
from rtsep.errors import SetupError

_PLAYS = 3


def play_and_record(signal: Floats, play_to: str, record_from: str, sample_rate: int) -> Floats:
    """Play to one device while recording from another.

    Parameters
    ----------
    signal : float32 array, shape (2, frames)
    play_to, record_from : str
        Names, or parts of them.
    sample_rate : int

    Returns
    -------
    float32 array, shape (2, frames)
        The sum of the device's odd channels, and of its even ones.

    Raises
    ------
    SetupError
        PortAudio, or what is asked of it, is not there.
    """
    try:
        import sounddevice
    except OSError:
        raise SetupError("PortAudio is not installed", remedy="see 'rtsep doctor'") from None
    try:
        channels = int(sounddevice.query_devices(record_from, "input")["max_input_channels"])
        channels -= channels % 2
        heard = sounddevice.playrec(
            signal.T, sample_rate, channels, device=(record_from, play_to), blocking=True
        )
    except (sounddevice.PortAudioError, ValueError) as error:
        raise SetupError(f"{play_to} to {record_from}: {error}", "two cables") from None
    summed: Floats = heard.T.reshape(-1, 2, heard.shape[0]).sum(axis=0)
    return summed


def measure_loopback(cell: Cell, there: str, back: str) -> Row:
    """Measure one cell between two cables; what fails is said in the row.

    Parameters
    ----------
    cell : Cell
    there, back : str
        The cable that leads to rtsep, and the one that leads from it.
    """
    row = Row(cell.preset, cell.sample_rate, cell.block)
    signal = measuring_signal(cell.sample_rate // 2)
    options = ["--host", "portaudio", "--input", there, "--output", back]
    options += ["--rate", str(cell.sample_rate), "--block", str(cell.block)]
    try:
        before = _lags(signal.mix, there, there, cell.sample_rate)
        with LiveProcess("rtsep", cell.preset, os.environ, options) as live:
            live.playing()
            after = _lags(signal.mix, there, back, cell.sample_rate)
            status = live.newest_status()
    except SetupError as failure:
        row.failure = str(failure)
        return row
    row.stated_samples = status.latency.stated_samples
    row.stated_ms = round(status.latency.stated_ms, 3)
    row.load = round(status.load, 4)
    row.misses, row.callbacks, row.xruns = status.misses, status.callbacks, status.xruns
    row.measurements = len(after)
    row.measured_samples = int(np.median(after) - np.median(before))
    row.difference = row.measured_samples - row.stated_samples
    row.jitter_samples = max(after) - min(after)
    return row


def _lags(signal: Floats, play_to: str, record_from: str, sample_rate: int) -> Sequence[int]:
    """The delay of every one of a few plays."""
    lags = []
    for _ in range(_PLAYS):
        heard = play_and_record(signal, play_to, record_from, sample_rate)
        found = find_delays(measuring_signal(sample_rate // 2), heard).sequence
        if found is None:
            raise SetupError(
                f"what is played to {play_to} does not come out of {record_from}",
                "a cable between them",
            )
        lags.append(found)
    return lags
