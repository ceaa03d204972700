"""Running ``rtsep bench latency``, and printing what it finds."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as Remaining
from rich.table import Table

from rtsep.bench.histogram import draw_histogram
from rtsep.bench.latency import LIVE_PRESETS, RATES, Cell, Row, cells, measure
from rtsep.bench.listener import Heard
from rtsep.bench.loads import check_loads
from rtsep.bench.loopback import measure_loopback
from rtsep.bench.published import PUBLISHED
from rtsep.bench.results import Soak, Spread, Trace, write_results
from rtsep.bench.server import Server, dummy_server, running_server
from rtsep.bench.soak import run_soak
from rtsep.cli.console import complain, one_line, stderr, stdout
from rtsep.errors import RtsepError, SetupError
from rtsep.output_folder import OutputFolder, refuse_existing

_SOAK_CELL = Cell("live", 48_000, 128)
_LARGEST_BLOCK = 8192


def check(
    host: str,
    presets: Sequence[str],
    rates: Sequence[int],
    blocks: Sequence[int],
    soak: int | None,
    loads: Sequence[str],
    input_device: str | None,
    output_device: str | None,
) -> None:
    """Refuse options that mean nothing, or nothing together.

    Raises
    ------
    RtsepError
    """
    if host not in ("jack", "portaudio"):
        raise RtsepError(f"--host {host}", "jack or portaudio")
    for preset in presets:
        if preset not in LIVE_PRESETS:
            raise RtsepError(f"--preset {preset}", f"one of {', '.join(LIVE_PRESETS)}")
    for rate in rates:
        if rate not in RATES:
            raise RtsepError(f"--rate {rate}", f"one of {', '.join(map(str, RATES))}")
    for block in blocks:
        if not 16 <= block <= _LARGEST_BLOCK:
            raise RtsepError(f"--block {block}", f"16 to {_LARGEST_BLOCK}")
    check_loads(loads)
    if soak is None and loads:
        raise RtsepError("--load without --soak", "a number of callbacks: --soak 200000")
    cables = input_device is not None and output_device is not None
    if host == "portaudio" and not cables:
        raise RtsepError(
            "--host portaudio without two cables",
            "--input and --output",
            "name them; 'rtsep devices' lists what there is",
        )
    if host == "jack" and (input_device is not None or output_device is not None):
        raise RtsepError("--input or --output with JACK", "--host portaudio beside them")
    if soak is not None:
        if soak < 1:
            raise RtsepError(f"--soak {soak}", "a number of callbacks")
        if host == "portaudio":
            raise RtsepError("--soak with --host portaudio", "--host jack")
        for option, values in (("preset", presets), ("rate", rates), ("block", blocks)):
            if len(values) > 1:
                raise RtsepError(f"--soak with {len(values)} times --{option}", "one of each")


def show_table(
    presets: Sequence[str], rates: Sequence[int], blocks: Sequence[int], *, as_json: bool
) -> bool:
    """Measure through JACK and print the table; whether all that was stated is proved."""
    there = running_server()
    wanted = cells(presets, rates, blocks, there)
    if there is not None and not as_json:
        complain(
            f"measuring on the JACK server '{there.name}' that runs, "
            f"at {there.sample_rate} Hz with a block of {there.block}"
        )
    rows = _measure_all(wanted, measure(wanted, there))
    _print_rows(rows, as_json=as_json)
    return all(row.proved for row in rows)


def show_loopback(
    presets: Sequence[str],
    rates: Sequence[int],
    blocks: Sequence[int],
    there: str,
    back: str,
    *,
    as_json: bool,
) -> bool:
    """Measure between two cables and print the table; whether all could be measured."""
    wanted = cells(presets, rates, blocks, None)
    rows = _measure_all(wanted, (measure_loopback(cell, there, back) for cell in wanted))
    _print_rows(rows, as_json=as_json)
    return not any(row.failure for row in rows)


def _measure_all(wanted: Sequence[Cell], rows: Iterable[Row]) -> list[Row]:
    done: list[Row] = []
    with _progress("cells") as progress:
        task = progress.add_task(_name(wanted[0]), total=len(wanted))
        for row in rows:
            done.append(row)
            following = _name(wanted[len(done)]) if len(done) < len(wanted) else ""
            progress.update(task, completed=len(done), description=following)
    return done


def _name(cell: Cell) -> str:
    return f"{cell.preset} {cell.sample_rate} Hz / {cell.block}"


def _progress(unit: str) -> Progress:
    console = stderr()
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        Remaining(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _print_rows(rows: Sequence[Row], *, as_json: bool) -> None:
    if as_json:
        stdout().print(
            msgspec.json.format(msgspec.json.encode(rows), indent=1).decode(),
            markup=False,
            soft_wrap=True,
        )
        return
    console = stdout()
    table = Table(title="added latency in samples, from input port to stem ports", box=None)
    for heading in ("", "Hz", "block"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for heading in ("stated", "ms", "measured", "diff", "jitter", "load", "misses", "xruns"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("callbacks", justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*_cells(row), style=None if row.proved else "red")
    table.add_section()
    for figure in PUBLISHED:
        block = "" if figure.block is None else str(figure.block)
        name = f"{figure.name} *"
        table.add_row(name, str(figure.sample_rate), block, "", f"{figure.latency_ms:.1f}")
    console.print(table)
    sources = "; ".join(dict.fromkeys(f"{f.name}: {f.source}" for f in PUBLISHED))
    console.print(f"* as published, not measured here ({sources})", soft_wrap=True)
    for row in rows:
        if row.failure:
            complain(f"{row.preset} {row.sample_rate} Hz / {row.block}: {row.failure}")
        elif row.reported_samples not in (None, row.stated_samples):
            complain(
                f"{row.preset} {row.sample_rate} Hz / {row.block}: JACK was told "
                f"{row.reported_samples} samples"
            )


def _cells(row: Row) -> list[str]:
    known = row.measured_samples is not None
    return [
        row.preset,
        str(row.sample_rate),
        str(row.block),
        str(row.stated_samples),
        f"{row.stated_ms:.1f}",
        str(row.measured_samples) if known else "none",
        str(row.difference) if known else "",
        str(row.jitter_samples),
        f"{row.load:.2f}",
        f"{row.misses:,}",
        f"{row.xruns:,}",
        f"{row.callbacks:,}",
    ]


def show_soak(
    presets: Sequence[str],
    rates: Sequence[int],
    blocks: Sequence[int],
    callbacks: int,
    loads: Sequence[str],
    folder: Path,
    *,
    as_json: bool,
    overwrite: bool,
) -> bool:
    """Soak, write what came of it, print the summary; whether every sample was right."""
    refuse_existing(folder, overwrite=overwrite)
    there = running_server()
    preset = presets[0] if presets else _SOAK_CELL.preset
    if there is not None:
        cells(presets, rates, blocks, there)  # refuses another rate or block
        soak, trace = _soak(there, preset, callbacks, loads)
    else:
        rate = rates[0] if rates else _SOAK_CELL.sample_rate
        with dummy_server(rate, blocks[0] if blocks else _SOAK_CELL.block) as server:
            soak, trace = _soak(server, preset, callbacks, loads)
    with OutputFolder(folder, overwrite=overwrite) as results:
        write_results(soak, trace, results.path)
        try:
            draw_histogram(results.path / "histogram.png", soak, trace)
        except SetupError as missing:
            complain(str(missing))
    if as_json:
        stdout().print(
            msgspec.json.format(msgspec.json.encode([soak]), indent=1).decode(),
            markup=False,
            soft_wrap=True,
        )
    else:
        _print_soak(soak, folder)
    return soak.proved


def _soak(server: Server, preset: str, callbacks: int, loads: Sequence[str]) -> tuple[Soak, Trace]:
    with _progress("callbacks") as progress:
        task = progress.add_task(f"{preset}, load {', '.join(loads)}", total=callbacks)

        def report(done: int, heard: Heard) -> None:
            progress.update(task, completed=done, description=f"{heard.click_count} clicks")

        return run_soak(server, preset, callbacks, loads, report)


def _print_soak(soak: Soak, folder: Path) -> None:
    console = stdout()
    table = Table(box=None, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    megabytes = [size / 1e6 for size in (soak.resident_start_bytes, soak.resident_end_bytes)]
    faults = "unknown" if soak.minor_faults is None else f"{soak.minor_faults:,} minor"
    if soak.major_faults is not None:
        faults += f", {soak.major_faults:,} major"
    priority = "real-time" if soak.realtime else "normal"
    ten_thousand = 10_000 * soak.misses / max(1, soak.callbacks)
    rows = [
        ("ran", f"{soak.preset}, {soak.sample_rate} Hz / {soak.block}, {priority} priority"),
        ("load", ", ".join(soak.loads)),
        ("callbacks", f"{soak.callbacks:,}"),
        ("misses", f"{soak.misses:,} ({ten_thousand:.2f} in 10,000)"),
        ("xruns", f"{soak.xruns:,}"),
        ("latency", f"stated {soak.stated_samples}, measured {soak.measured_samples}"),
        ("largest error", f"{soak.error:.2g} in {soak.listened_frames:,} frames"),
        ("clicks", f"{soak.clicks:,}"),
        ("interval", _spread(soak.interval_us)),
        ("callback", _spread(soak.callback_us)),
        ("page faults", f"{faults}, of the callback's thread"),
        ("memory", f"{megabytes[0]:,.1f} MB at the start, {megabytes[1]:,.1f} at the end"),
        ("engine", f"{soak.load:.3f} of one core, worst block {soak.load_max:.2f} of its time"),
        ("results", one_line(str(folder))),
    ]
    for name, text in rows:
        table.add_row(name, text)
    console.print(table)


def _spread(spread: Spread) -> str:
    return (
        f"p50 {spread.p50:,.0f}, p99 {spread.p99:,.0f}, "
        f"p99.9 {spread.p99_9:,.0f}, max {spread.max:,.0f} µs"
    )
