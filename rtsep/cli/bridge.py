"""``rtsep bridge``: its commands and their options.

Everything heavy is imported inside the command that needs it, the bridge's own package
with it.
"""

from pathlib import Path
from typing import Annotated

import typer

from rtsep.cli.console import complain
from rtsep.errors import RtsepError

app = typer.Typer(
    help="Stems and notes between programs and machines.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Address = Annotated[
    str,
    typer.Option(
        help="Of the bridge: tcp://HOST:PORT or ipc://PATH, with its key where it is on "
        "another machine.",
        metavar="ADDRESS",
    ),
]


@app.callback()
def _bridge() -> None:
    # With a callback, a command that is alone keeps its name.
    pass


@app.command()
def serve(
    bind: Annotated[
        str,
        typer.Option(
            help="tcp://HOST:PORT or ipc://PATH; beyond this machine it takes keys.",
            metavar="ADDRESS",
        ),
    ] = "tcp://127.0.0.1:7610",
    model: Annotated[
        str | None,
        typer.Option(help="Bundle, by name or path; else each preset's own.", metavar="BUNDLE"),
    ] = None,
    masks: Annotated[
        str | None,
        typer.Option(
            help="Masks of a song by 'rtsep steer', in place of a model; they follow the play "
            "head of the DAW, else the sound.",
            metavar="FILE",
        ),
    ] = None,
    no_notes: Annotated[bool, typer.Option("--no-notes", help="Stems only.")] = False,
    sessions: Annotated[int, typer.Option(help="How many mixes at once, at most.")] = 8,
    keyed: Annotated[
        bool, typer.Option("--keys", help="Let in only who has a key, on this machine too.")
    ] = False,
) -> None:
    """Take mixes from plugins and programs, give them their stems and notes.

    A mix of the DAW comes from rtsep's plugin there, which finds the bridge at its usual
    address by itself. Ends with Ctrl-C.
    """
    from rtsep.cli.bridge_serve import Options
    from rtsep.cli.bridge_serve import serve as run

    options = Options(
        bind=bind, model=model, masks=masks, notes=not no_notes, sessions=sessions, keyed=keyed
    )
    run(options)


@app.command()
def record(
    address: Address = "tcp://127.0.0.1:7610",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder for the takes; those that are there stay.",
            show_default="recording-DATE-TIME",
        ),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Enough after so long, measured on the stems.")
    ] = None,
    stems: Annotated[
        str | None, typer.Option(help="Write these only, e.g. drums,bass.", metavar="A,B")
    ] = None,
    file_format: Annotated[
        str, typer.Option("--format", help="wav (32-bit float) or flac (24 bits).")
    ] = "wav",
) -> None:
    """Write what a bridge says to disk: OUTPUT/take-1/<stem>.wav and take-1.mid.

    Ends with Ctrl-C. What gets lost on the way is silent in the files, so that all stays
    in its place, and is said in the end. Another mix, rate or set of stems begins another take.
    When the disk is full it ends, and keeps what came before.
    """
    from rtsep.cli.bridge_record import Options
    from rtsep.cli.bridge_record import record as run

    if not run(Options(address, output, seconds, stems, file_format)):
        complain("no stems came; nothing is recorded")
        raise typer.Exit(1)


@app.command()
def play(
    address: Address = "tcp://127.0.0.1:7610",
    host: Annotated[str, typer.Option(help="auto, jack or portaudio.")] = "auto",
    output: Annotated[
        str | None,
        typer.Option(
            help="JACK: a pattern of the ports to hear the sum of the stems on. "
            "PortAudio: the device whose channel pairs take the stems.",
            metavar="PATTERN|DEVICE",
        ),
    ] = None,
    connect: Annotated[
        str | None,
        typer.Option(
            help="JACK: a pattern of the ports to give the stems to, in order, or by name with "
            "{stem} and {side} in it.",
            metavar="PATTERN",
        ),
    ] = None,
    block: Annotated[
        int | None,
        typer.Option(help="PortAudio: block size. JACK's server decides.", metavar="FRAMES"),
    ] = None,
    buffer: Annotated[
        float | None,
        typer.Option(
            help="Milliseconds between arrival and output.",
            show_default="20, from another machine 60",
            metavar="MS",
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="JACK: the client's name.")] = "rtsep-stems",
) -> None:
    """Put a bridge's stems out through JACK or a sound card, here or elsewhere. Ctrl-C ends it.

    The sender's clock is followed. What comes too late fades out and in again, in its
    place, and is counted.

    \b
    rtsep bridge play --output system:playback
    rtsep bridge play --address 'tcp://HOST:7610?key=KEY' --connect 'ardour:{stem}/audio_in'
    rtsep bridge play --host portaudio --output 'USB Audio'
    """  # noqa: D301
    from rtsep.cli.bridge_play import Options
    from rtsep.cli.bridge_play import play as run

    run(Options(address, host, output, connect, block, buffer, name))


@app.command()
def keys(
    allow: Annotated[
        tuple[str, str] | None,
        typer.Option(help="Let the clients that have a public key in.", metavar="NAME KEY"),
    ] = None,
    forget: Annotated[
        str | None, typer.Option(help="Do not let them in any more.", metavar="NAME")
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="Show who is let in.")] = False,
) -> None:
    """Make this machine's keys, for a bridge that other machines reach.

    Keys hold characters that shells read: put them in single quotes.

    \b
    rtsep bridge keys
    rtsep bridge keys --allow stage 'PUBLIC KEY OF THE CLIENTS THERE'
    rtsep bridge keys --forget stage
    """  # noqa: D301
    from rtsep_bridge import keys as store

    if (allow is not None) + (forget is not None) + show > 1:
        raise RtsepError("several of --allow, --forget and --list", "one at a time")
    if allow is not None:
        store.allow(*allow)
        typer.echo(f"{allow[0]} is let in from now on")
    elif forget is not None:
        store.forget(forget)
        typer.echo(f"{forget} is not let in any more; who is connected is, until the next time")
    elif show:
        for name, public in store.allowed().items():
            typer.echo(f"{name}  {public}")
    else:
        server, client = store.make_keys("server"), store.make_keys("client")
        typer.echo(
            f"bridge   {server.public}  clients elsewhere write "
            f"'tcp://THIS-MACHINE:7610?key={server.public}' for --address\n"
            f"clients  {client.public}  where the bridge runs: "
            f"rtsep bridge keys --allow NAME '{client.public}'\n"
            f"Both are public; the secret ones stay in {store.keys_folder()}"
        )
