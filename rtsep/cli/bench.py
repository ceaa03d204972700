"""``rtsep bench``: its commands and their options.

Everything heavy is imported inside the command that needs it.
"""

from pathlib import Path
from typing import Annotated

import typer

from rtsep.presets import PRESETS

app = typer.Typer(
    help="Measure rtsep on this machine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _bench() -> None:
    # With a callback, the one command there is keeps its name.
    pass


@app.command()
def latency(
    host: Annotated[
        str, typer.Option(help="jack, or portaudio with a cable (see below).")
    ] = "jack",
    preset: Annotated[
        list[str] | None,
        typer.Option(
            help=f"One of {', '.join(name for name in PRESETS if name != 'offline')}; repeatable.",
            show_default="all",
        ),
    ] = None,
    rate: Annotated[
        list[int] | None,
        typer.Option(help="Sample rate in Hz; repeatable.", show_default="all"),
    ] = None,
    block: Annotated[
        list[int] | None,
        typer.Option(help="Frames a block; repeatable.", show_default="64, 128, 256, 512"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON array of rows.")] = False,
    soak: Annotated[
        int | None, typer.Option(help="Run for N callbacks instead, and listen.", metavar="N")
    ] = None,
    load: Annotated[
        list[str] | None,
        typer.Option(
            help="With --soak: none, python (a busy thread), process, gc or memory; repeatable.",
            show_default="none",
        ),
    ] = None,
    to: Annotated[
        Path, typer.Option("--to", help="With --soak: folder for summary, trace and picture.")
    ] = Path("rtsep-soak"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace that folder.")] = False,
    input_device: Annotated[
        str | None,
        typer.Option("--input", help="With portaudio: cable that leads to rtsep.", metavar="DEV"),
    ] = None,
    output_device: Annotated[
        str | None,
        typer.Option("--output", help="With portaudio: cable that leads back.", metavar="DEV"),
    ] = None,
) -> None:
    """Send signals through rtsep's real ports, and find them to the sample.

    Uses the JACK server that runs, at its rate and with its block. Where
    there is none, starts servers without a sound card, one after the other.
    Exit status 1 where a measured latency is not the stated one.

    \b
    rtsep bench latency --preset live --rate 48000 --block 128
    rtsep bench latency --soak 200000 --load python --preset live
    rtsep bench latency --host portaudio --input 'CABLE-A' --output 'CABLE-B'
    """  # noqa: D301
    from rtsep.cli import bench_run

    presets, rates, blocks = preset or [], rate or [], block or []
    bench_run.check(host, presets, rates, blocks, soak, load or [], input_device, output_device)
    if soak is not None:
        proved = bench_run.show_soak(
            presets, rates, blocks, soak, load or ["none"], to, as_json=as_json, overwrite=overwrite
        )
    elif host == "portaudio":
        proved = bench_run.show_loopback(
            presets, rates, blocks, str(input_device), str(output_device), as_json=as_json
        )
    else:
        proved = bench_run.show_table(presets, rates, blocks, as_json=as_json)
    if not proved:
        raise typer.Exit(1)
