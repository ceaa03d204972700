"""Stated latency against measured latency, through the ports of the real ``rtsep live``."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from secrets import token_hex

import numpy as np
from msgspec import Struct

from rtsep.bench.child import LiveProcess
from rtsep.bench.probe import Floats, Probe
from rtsep.bench.server import Server, dummy_server
from rtsep.bench.signals import Delays, find_delays, measuring_signal
from rtsep.errors import SetupError
from rtsep.live.status import Status
from rtsep.presets import PRESETS
from rtsep.rates import NATIVE_RATES

LIVE_PRESETS = tuple(name for name in PRESETS if name != "offline")
BLOCKS = (64, 128, 256, 512)
RATES = tuple(NATIVE_RATES)
STARTS = 2
"""How often each cell is measured, each time with rtsep started anew."""
_TRIES = 3
_SETTLE_S = 0.3


class Row(Struct):
    """What a cell of the table came to.

    Attributes
    ----------
    stated_samples, stated_ms : int, float
        What ``rtsep live --status`` says.
    reported_samples : int or None
        What the host's latency API tells other programs; None where it has none.
    measured_samples : int or None
        From a sample that went into ``mix_L/R`` to the same sample out of the stems'
        ports; None where it did not come out.
    difference : int or None
        The one of all measurements that is furthest from what is stated.
    jitter_samples : int
        Largest measurement minus smallest.
    measurements : int
        How many there were: impulses and pseudo-random sequences, in several starts.
    error : float or None
        Largest distance of the sum of the stems from the delayed mix, in any sample.
    load : float
        The engine's share of one core.
    misses, callbacks, xruns : int
    failure : str
        Why there is nothing to be said, else empty.
    """

    preset: str
    sample_rate: int
    block: int
    stated_samples: int = 0
    stated_ms: float = 0.0
    reported_samples: int | None = None
    measured_samples: int | None = None
    difference: int | None = None
    jitter_samples: int = 0
    measurements: int = 0
    error: float | None = None
    load: float = 0.0
    misses: int = 0
    callbacks: int = 0
    xruns: int = 0
    failure: str = ""

    @property
    def proved(self) -> bool:
        """Whether everything measured is what was stated, and what JACK was told."""
        told = self.reported_samples in (None, self.stated_samples)
        return not self.failure and self.difference == 0 and told


@dataclass(frozen=True)
class Cell:
    """A preset at a rate with a block."""

    preset: str
    sample_rate: int
    block: int


def cells(
    presets: Sequence[str], rates: Sequence[int], blocks: Sequence[int], there: Server | None
) -> list[Cell]:
    """What is to be measured, with a server that runs already deciding rate and block.

    Parameters
    ----------
    presets, rates, blocks : sequence
        Empty: all.
    there : Server or None

    Raises
    ------
    SetupError
        The server that runs has another rate or block than was asked for.
    """
    if there is not None:
        for option, asked, found in (
            ("--rate", rates, there.sample_rate),
            ("--block", blocks, there.block),
        ):
            if asked and found not in asked:
                raise SetupError(
                    f"a JACK server runs with {option} {found}",
                    f"{option} {' or '.join(map(str, asked))}",
                    "end it, or name one that does not run by JACK_DEFAULT_SERVER",
                )
        rates, blocks = (there.sample_rate,), (there.block,)
    return [
        Cell(preset, rate, block)
        for rate in rates or RATES
        for block in blocks or BLOCKS
        for preset in presets or LIVE_PRESETS
    ]


def measure(wanted: Sequence[Cell], there: Server | None) -> Iterator[Row]:
    """Measure cells one after the other, on the server that runs or on servers of our own.

    A cell that cannot be measured says why in its row.

    Raises
    ------
    SetupError
        No server can be started.
    """
    if there is not None:
        for cell in wanted:
            yield _measure_cell(cell, there)
        return
    for (rate, block), group in groupby(wanted, lambda cell: (cell.sample_rate, cell.block)):
        with dummy_server(rate, block) as server:
            for cell in group:
                yield _measure_cell(cell, server)


def _measure_cell(cell: Cell, server: Server) -> Row:
    row = Row(cell.preset, cell.sample_rate, cell.block)
    delays: list[Delays] = []
    reported: list[int] = []
    for _ in range(STARTS):
        name = f"rtsep-{token_hex(3)}"
        try:
            with LiveProcess(name, cell.preset, server.environment) as live:
                status, found, told = measure_once(live, server)
        except SetupError as failure:
            row.failure = str(failure)
            return row
        delays += found
        reported += told
        _add_status(row, status)
    _add_delays(row, delays)
    # The one that is wrong, if there is one.
    row.reported_samples = max(reported, key=lambda samples: abs(samples - row.stated_samples))
    return row


def measure_once(live: LiveProcess, server: Server) -> tuple[Status, list[Delays], list[int]]:
    """Measure a process that plays: its status, what was found, what JACK was told.

    Raises
    ------
    SetupError
        It does not play, or not without gaps.
    """
    status = live.playing()
    channels = [f"{stem.name}_{side}" for stem in status.stems for side in "LR"]
    signal = measuring_signal(2 * (status.latency.stated_samples + status.block) + 512)
    frames = signal.mix.shape[1]
    with Probe(server.name, channels, signal.mix, frames + status.sample_rate) as probe:
        probe.connect(live.name)
        probe.wait(probe.clock + int(_SETTLE_S * probe.sample_rate), live.alive)
        for _ in range(_TRIES):
            start = probe.play()
            probe.wait(start + frames, live.alive)
            if probe.whole(start, start + frames):
                break
        else:
            raise SetupError("the JACK server left out cycles every time", "a calmer machine")
        found = find_delays(signal, total(probe.read(start, frames)))
        told = [probe.reported_latency(live.name, channel) for channel in channels]
        return live.newest_status(), [found], told


def total(heard: Floats) -> Floats:
    """The sum of stereo stems, [stems left and right in turn, frames] to [2, frames]."""
    summed: Floats = heard.reshape(-1, 2, heard.shape[1]).sum(axis=0, dtype=np.float64)
    return summed.astype(np.float32)


def _add_status(row: Row, status: Status) -> None:
    row.stated_samples = status.latency.stated_samples
    row.stated_ms = round(status.latency.stated_ms, 3)
    row.load = round(max(row.load, status.load), 4)
    row.misses += status.misses
    row.callbacks += status.callbacks
    row.xruns += status.xruns


def _add_delays(row: Row, delays: Sequence[Delays]) -> None:
    """Sum up all measurements of a cell; one that is missing makes it unknown."""
    found = [lag for delay in delays for lag in delay.found]
    row.measurements = len(found)
    row.error = max(delay.error for delay in delays)
    if found:
        row.jitter_samples = max(found) - min(found)
    if all(delay.whole for delay in delays):
        row.measured_samples = int(np.median(found))
        row.difference = max((lag - row.stated_samples for lag in found), key=abs)
