"""``rtsep bridge``: its commands and their options.

Everything heavy is imported inside the command that needs it, the bridge's own package
with it.
"""

from typing import Annotated

import typer

from rtsep.errors import RtsepError

app = typer.Typer(
    help="Stems and notes between programs and machines.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
    no_notes: Annotated[bool, typer.Option("--no-notes", help="Stems only.")] = False,
    sessions: Annotated[int, typer.Option(help="How many mixes at once, at most.")] = 8,
) -> None:
    """Take mixes from plugins and programs, give them their stems and notes.

    A mix of the DAW comes from rtsep's plugin there, which finds the bridge at its usual
    address by itself. Ends with Ctrl-C.
    """
    from rtsep.cli.bridge_serve import Options
    from rtsep.cli.bridge_serve import serve as run

    run(Options(bind=bind, model=model, notes=not no_notes, sessions=sessions))


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
