"""A long run of the real audio callback beside a load, all of it listened to."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from rtsep.bench.child import Child
from rtsep.bench.listener import Heard, Listener
from rtsep.bench.probe import Probe
from rtsep.bench.results import Soak, Spread, Trace
from rtsep.bench.server import Server
from rtsep.bench.signals import smooth_signal
from rtsep.live.status import Status

_WARM_S = 3.0
_CHUNK_S = 0.5
_KEEP_S = 10.0
_MORE_S = 60
_MEMORY_PARTS = 10
_MEMORY_WARM_S = 15


class _Report(Struct):
    """A line of `rtsep.bench.loaded`."""

    status: Status
    resident_bytes: int
    minor_faults: int | None
    major_faults: int | None
    realtime: bool


def run_soak(
    server: Server,
    preset: str,
    callbacks: int,
    loads: Sequence[str],
    on_progress: Callable[[int, Heard], None] = lambda done, heard: None,
) -> tuple[Soak, Trace]:
    """Play for a number of callbacks beside loads, and listen to every sample.

    Half seconds in which the server left out cycles cannot be judged and do not count: it goes
    on for up to a minute longer for them.

    Parameters
    ----------
    server : Server
    preset : str
    callbacks : int
    loads : sequence of str
        Some of `rtsep.bench.loads.LOADS`.
    on_progress : callable
        Gets how many callbacks are done, and what was heard so far.

    Raises
    ------
    SetupError
        It cannot be run, or breaks off.
    """
    room = callbacks + 2 * _MORE_S * server.sample_rate // server.block
    name = f"rtsep-{token_hex(3)}"
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.npz"
        arguments = ["--name", name, "--preset", preset, "--callbacks", str(room)]
        arguments += ["--log", str(log)]
        for load in loads:
            arguments += ["--load", load]
        with Child(["rtsep.bench.loaded", *arguments], server.environment) as child:
            first = _playing(child)
            reports, listener = _listen(child, first, server, name, callbacks, on_progress)
        with np.load(log) as kept:
            arrays = {key: kept[key] for key in kept.files}
    return _conclude(preset, loads, reports, listener, arrays)


def _report(child: Child) -> _Report:
    return msgspec.json.decode(child.next_line(), type=_Report)


def _playing(child: Child) -> _Report:
    report = _report(child)
    while report.status.state != "playing":
        report = _report(child)
    return report


def _listen(
    child: Child,
    first: _Report,
    server: Server,
    name: str,
    callbacks: int,
    on_progress: Callable[[int, Heard], None],
) -> tuple[list[_Report], Listener]:
    """Listen until so many callbacks are done; reports from the end of the warm-up on."""
    stems = [f"{stem.name}_{side}" for stem in first.status.stems for side in "LR"]
    channels = [*stems, "monitor_L", "monitor_R"]
    rate = server.sample_rate
    signal = smooth_signal(rate)
    chunk = int(_CHUNK_S * rate)
    with Probe(server.name, channels, signal, int(_KEEP_S * rate)) as probe:
        probe.connect(name)
        probe.wait(probe.clock + rate // 4, child.alive)
        begin = probe.play(loop=True)
        latency = first.status.latency.stated_samples
        belong = [channel in stems for channel in channels]
        listener = Listener(signal, begin, latency, belong)
        frame = begin + int(_WARM_S * rate)
        probe.wait(frame, child.alive)
        child.forget()
        reports = [_report(child)]
        last = frame + callbacks * server.block + _MORE_S * rate
        done = 0
        while done < callbacks and frame < last:
            probe.wait(frame + chunk, child.alive)
            if probe.whole(frame, frame + chunk):
                listener.listen(frame, probe.read(frame, chunk))
            else:
                listener.skip(chunk)
            frame += chunk
            reports += [_decode(line) for line in child.waiting_lines()]
            played = reports[-1].status.callbacks - reports[0].status.callbacks
            done = min(played, listener.heard.frames // server.block)
            on_progress(min(done, callbacks), listener.heard)
        listener.finish()
        child.forget()
        reports.append(_report(child))
    return reports, listener


def _decode(line: str) -> _Report:
    return msgspec.json.decode(line, type=_Report)


def _conclude(
    preset: str,
    loads: Sequence[str],
    reports: Sequence[_Report],
    listener: Listener,
    arrays: dict[str, NDArray[Any]],
) -> tuple[Soak, Trace]:
    begin, end, heard = reports[0], reports[-1], listener.heard
    since, until = begin.status.callbacks, end.status.callbacks
    times = arrays["callbacks_ns"][since:until]
    trace = Trace(times[:, 0], times[:, 1] - times[:, 0], arrays["trace"], arrays["trace_kinds"])
    furthest = max(
        heard.latencies, key=lambda latency: abs(latency - listener.latency), default=None
    )
    if heard.unknown_chunks:
        furthest = None
    missed = trace.events[trace.kinds == "miss"]
    # The engine takes its last memory in its first seconds; a report comes every second.
    memory = [report.resident_bytes for report in reports]
    memory = memory[min(_MEMORY_WARM_S, len(memory) // 2) :]
    part = max(1, len(memory) // _MEMORY_PARTS)
    soak = Soak(
        preset=preset,
        sample_rate=end.status.sample_rate,
        block=end.status.block,
        loads=list(loads),
        realtime=end.realtime,
        callbacks=until - since,
        misses=end.status.misses - begin.status.misses,
        xruns=end.status.xruns - begin.status.xruns,
        restarts=end.status.restarts - begin.status.restarts,
        stated_samples=end.status.latency.stated_samples,
        measured_samples=furthest,
        difference=None if furthest is None else furthest - end.status.latency.stated_samples,
        error=heard.error,
        inexact_frames=heard.inexact_frames,
        skipped_frames=heard.skipped_frames,
        listened_frames=heard.frames,
        clicks=heard.click_count,
        first_clicks=[
            f"port {click.port}, frame {click.frame}: {click.size:.2g} over {click.usual:.2g}"
            for click in heard.clicks[:10]
        ],
        interval_us=_spread(np.diff(trace.started_ns)),
        callback_us=_spread(trace.spent_ns),
        minor_faults=_increase(begin.minor_faults, end.minor_faults),
        major_faults=_increase(begin.major_faults, end.major_faults),
        resident_start_bytes=min(memory[:part]),
        resident_end_bytes=min(memory[-part:]),
        load=round(float(np.mean([report.status.load for report in reports])), 4),
        load_max=round(max(report.status.load_max for report in reports), 3),
        miss_frames=[int(frame) for frame in missed[:100, 0]],
    )
    return soak, trace


def _spread(nanoseconds: NDArray[np.int64]) -> Spread:
    if nanoseconds.size == 0:
        return Spread(0.0, 0.0, 0.0, 0.0)
    values = np.percentile(nanoseconds, (50, 99, 99.9, 100)) / 1000.0
    return Spread(*(round(float(value), 1) for value in values))


def _increase(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before
