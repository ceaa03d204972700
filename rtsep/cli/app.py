"""The commands and their options, and the one place where errors become lines.

Everything heavy is imported inside the command that needs it.
"""

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from rtsep.cli import bench, bridge
from rtsep.cli.console import complain
from rtsep.errors import RtsepError
from rtsep.presets import PRESETS

app = typer.Typer(
    name="rtsep",
    help="A mix in, its stems and its notes out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(bench.app, name="bench")
app.add_typer(bridge.app, name="bridge")

Files = Annotated[
    list[Path], typer.Argument(help="Audio: wav, flac, mp3, ogg, aiff.", show_default=False)
]
OutputDir = Annotated[
    Path, typer.Option("--output", "-o", help="Folder for the results.", show_default=False)
]
TranscriberOption = Annotated[
    str | None,
    typer.Option("--transcriber", help="Bundle for the notes, by name or path.", metavar="BUNDLE"),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace results already there.")]


@app.command()
def separate(
    files: Files,
    output: OutputDir,
    stems: Annotated[
        str | None, typer.Option(help="Write these only, e.g. drums,bass.", metavar="A,B")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Bundle, by name or path.", metavar="BUNDLE")
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(help="Masks of this song, made ahead, instead of a model.", metavar="FILE"),
    ] = None,
    preset: Annotated[
        str, typer.Option(help=f"Position of the latency dial: {', '.join(PRESETS)}.")
    ] = "offline",
    file_format: Annotated[
        str, typer.Option("--format", help="wav (32-bit float) or flac (24 bits).")
    ] = "wav",
    no_midi: Annotated[bool, typer.Option("--no-midi", help="Stems only, no notes.")] = False,
    transcriber: TranscriberOption = None,
    overwrite: Overwrite = False,
) -> None:
    """Take songs apart: OUTPUT/<song>/<stem>.wav and OUTPUT/<song>/<song>.mid."""
    from rtsep.cli.batch import separate_files

    separate_files(
        files,
        output,
        stems=None if stems is None else [stem.strip() for stem in stems.split(",")],
        model=model,
        masks=masks,
        preset=preset,
        file_format=file_format,
        transcriber=transcriber,
        midi=not no_midi,
        overwrite=overwrite,
    )


@app.command()
def transcribe(
    files: Files,
    output: OutputDir,
    transcriber: TranscriberOption = None,
    overwrite: Overwrite = False,
) -> None:
    """Write songs' notes as MIDI, one track a stem: OUTPUT/<song>.mid."""
    from rtsep.cli.batch import transcribe_files

    transcribe_files(files, output, transcriber=transcriber, overwrite=overwrite)


@app.command()
def query(
    files: Files,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the results.")
    ] = None,
    example: Annotated[
        str | None,
        typer.Option(
            help="A clip of the instrument alone, or the name of an enrolled one.",
            metavar="CLIP|NAME",
        ),
    ] = None,
    synthesize: Annotated[
        Path | None,
        typer.Option(help="Play this score in the stem's timbre too.", metavar="SCORE.mid"),
    ] = None,
    enroll: Annotated[
        str | None,
        typer.Option(help="Keep the clip's query under this name instead.", metavar="NAME"),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Query model, by name or path.", metavar="BUNDLE", show_default="query, query-live"
        ),
    ] = None,
    file_format: Annotated[
        str, typer.Option("--format", help="wav (32-bit float) or flac (24 bits).")
    ] = "wav",
    overwrite: Overwrite = False,
) -> None:
    r"""Take one instrument out of songs, named by an example of it.

    OUTPUT/<song>/ holds <example>.wav, rest.wav and the instrument's notes, <song>.mid.
    'query' knows two players at once and hears notes; 'query-live' knows bands,
    as 'rtsep live --query' hears them. Both are asked; in the mean that comes out
    each counts by how close it comes to the example alone.

    
    rtsep query duo.wav --example oboe.wav -o out
    rtsep query --enroll my-oboe oboe.wav
    rtsep query duo.wav --example my-oboe --synthesize tune.mid -o out
    """
    from rtsep.cli.query import query_files

    query_files(
        files,
        output,
        example=example,
        enroll=enroll,
        score=synthesize,
        model=model,
        file_format=file_format,
        overwrite=overwrite,
    )


@app.command()
def steer(
    songs: Annotated[
        list[Path],
        typer.Argument(help="Audio; of several songs, or folders, -o is a folder.", metavar="SONG"),
    ],
    tag: Annotated[
        list[str], typer.Option(help="An instrument, or any tag that the taggers know.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The mask file.", show_default=False)
    ],
    autoencoder: Annotated[
        str,
        typer.Option(help="A bundle, or published weights: vqvae.pth.tar.", metavar="FILE"),
    ] = "autoencoder",
    tagger: Annotated[
        list[str] | None,
        typer.Option(
            help="A bundle, or published weights, e.g. mtat-fcn.pth; one or several.  "
            "[default: tagger]",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Of gradient ascent, each segment.")] = 10,
    rate: Annotated[float, typer.Option(min=0.0, help="Of Adam.")] = 5.0,
    fft: Annotated[
        list[int] | None, typer.Option(help="Sizes of the masks' transforms; the first is kept.")
    ] = None,
    removed: Annotated[
        bool,
        typer.Option("--removed", help="The paper's reading: keep what the masks take away."),
    ] = False,
    cluster: Annotated[
        str | None,
        typer.Option(
            help="Spread songs over a Ray cluster; auto: this machine's.", metavar="ADDRESS"
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    r"""Make masks of a song's tags ahead, for 'rtsep separate --masks'.

    A frozen tagger steers a frozen autoencoder (TagBox): minutes a song. What is done
    is kept as it goes: a run that was ended goes on where it was. It takes torch:
    pip install 'rtsep\[train]'.

    
    rtsep steer song.wav --tag guitar -o song.masks
    rtsep separate song.wav --masks song.masks -o out
    rtsep steer song.wav --tag opera -o opera.masks \
        --autoencoder vqvae.pth.tar --tagger mtat-fcn.pth
    """
    from rtsep_export.steer.command import Order, catalogue, steer_file, steer_files
    from rtsep_export.steer.steering import Settings

    settings = Settings(tuple(fft or (1024,)), steps, rate)
    order = Order(tuple(tag), autoencoder, tuple(tagger or ["tagger"]), settings, removed)
    if cluster is None and len(songs) == 1 and not songs[0].is_dir():
        steer_file(songs[0], output, order, overwrite=overwrite)
        return
    steer_files(catalogue(songs, output), order, cluster, overwrite=overwrite)


@app.command()
def live(
    host: Annotated[str, typer.Option(help="auto, jack or portaudio.")] = "auto",
    input: Annotated[  # noqa: A002
        str | None,
        typer.Option(
            help="Where the mix comes from. JACK: a pattern of ports. PortAudio: a device.",
            metavar="PATTERN|DEVICE",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            help="JACK: a pattern of the ports to hear the monitor mix on. "
            "PortAudio: the device whose channel pairs take the stems.",
            metavar="PATTERN|DEVICE",
        ),
    ] = None,
    connect: Annotated[
        str | None,
        typer.Option(
            help="JACK: a pattern of the ports to give the stems to, in order, or by name "
            "with {stem} and {side} in it.",
            metavar="PATTERN",
        ),
    ] = None,
    rate: Annotated[
        int | None,
        typer.Option(help="PortAudio: sample rate. JACK's server decides.", metavar="HZ"),
    ] = None,
    block: Annotated[
        int | None,
        typer.Option(help="PortAudio: block size. JACK's server decides.", metavar="FRAMES"),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="Latency: lowest, live (where nothing else is said) or relaxed."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Bundle, by name or path; else the preset's own.", metavar="BUNDLE"),
    ] = None,
    session: Annotated[
        Path | None,
        typer.Option(
            help="Gains, mutes, effects: a TOML file to edit while it plays. Written where it "
            "is not there yet. The options above win over it.",
            metavar="FILE",
        ),
    ] = None,
    query: Annotated[
        str | None,
        typer.Option(
            help="One more stem, of the instrument in this clip or of this enrolled name.",
            metavar="CLIP|NAME",
        ),
    ] = None,
    query_model: Annotated[
        str | None,
        typer.Option(help="Model that hears the query, by name or path.", metavar="BUNDLE"),
    ] = None,
    masks: Annotated[
        str | None,
        typer.Option(
            help="Masks of one song, from 'rtsep steer': its place is found by its sound.",
            metavar="FILE",
        ),
    ] = None,
    no_notes: Annotated[bool, typer.Option("--no-notes", help="Stems only.")] = False,
    midi_out: Annotated[
        str | None,
        typer.Option(
            help="Play the notes at a MIDI port of this name, a channel a stem. It is made; "
            "on Windows it is one that is there, such as loopMIDI's.",
            metavar="NAME",
        ),
    ] = None,
    bridge: Annotated[
        bool,
        typer.Option(
            "--bridge", help="Give stems and notes to 'rtsep bridge record' and 'play' too."
        ),
    ] = False,
    bind: Annotated[
        str | None,
        typer.Option(
            help="With --bridge: tcp://HOST:PORT or ipc://PATH; beyond this machine it takes keys.",
            metavar="ADDRESS",
            show_default="tcp://127.0.0.1:7610",
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="JACK: the client's name.")] = "rtsep",
    status: Annotated[
        bool, typer.Option("--status", help="One JSON line a second instead of the view.")
    ] = False,
) -> None:
    r"""Play: a mix in, its stems out, a few milliseconds later. Ctrl-C ends it.

    With JACK or PipeWire it has the inputs mix_L and mix_R, two outputs a stem,
    and their sum on monitor_L and monitor_R. Without, it plays through a sound
    card or a virtual cable ('rtsep devices' lists them). When stems are late,
    the mix goes out whole on the last one: nothing is lost, misses are counted.

    
    rtsep live
    rtsep live --input system:capture --output system:playback
    rtsep live --connect 'ardour:{stem}/audio_in' --session set.toml
    rtsep live --host portaudio --input 'USB Audio' --output BlackHole --block 128
    rtsep live --midi-out notes
    rtsep live --status | jq .misses
    """
    from rtsep.cli.live import Options, play

    play(
        Options(
            host=host,
            input=input,
            output=output,
            rate=rate,
            block=block,
            model=model,
            preset=preset,
            session=session,
            notes=not no_notes,
            connect=connect,
            name=name,
            status=status,
            midi_out=midi_out,
            bridge=bridge,
            bind=bind,
            query=query,
            query_model=query_model,
            masks=masks,
        )
    )


@app.command()
def devices(
    json: Annotated[bool, typer.Option("--json", help="One line of JSON.")] = False,
) -> None:
    """List what there is to play through, and suggest a command."""
    from rtsep.cli.devices import show_devices

    show_devices(json=json)


@app.command()
def models() -> None:
    """List the models that come with rtsep."""
    from rtsep.cli.models import show_models

    show_models()


@app.command()
def info(
    bundle: Annotated[str, typer.Argument(help="Name or path.", show_default=False)],
) -> None:
    """Show what a bundle states: tensors, latency, training data, measured quality."""
    from rtsep.cli.models import show_bundle

    show_bundle(bundle)


@app.command()
def doctor() -> None:
    """Check this machine, with the fix for what is missing."""
    from rtsep.cli.checkup import show_checkup

    if not show_checkup():
        raise typer.Exit(1)


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from rtsep import __version__

        typer.echo(f"rtsep {__version__}")
        raise typer.Exit


def main() -> NoReturn:
    """Run the command line and leave with its exit status."""
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _terminate)
    sys.exit(_run())


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    # Unwinds, so that half-written results are removed.
    raise SystemExit(128 + number)


def _run() -> int:
    try:
        app()
    except SystemExit as end:
        if end.code == 130:
            complain("interrupted; what was unfinished is removed")
        return end.code if isinstance(end.code, int) else 1
    except RtsepError as error:
        complain(str(error))
        return 2
    except BrokenPipeError:
        # The reader of our output has left; keep the interpreter's last flush quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ImportError as error:
        complain(f"a library is missing here ({error}); 'rtsep doctor' tells which and the fix")
        return 2
    except MemoryError:
        complain("out of memory; close other programs, or process fewer stems")
        return 2
    except Exception as error:
        if os.environ.get("RTSEP_TRACEBACK"):
            raise
        complain(
            f"a mistake in rtsep itself ({type(error).__name__}: {error}); "
            "run again with RTSEP_TRACEBACK=1 and report what it prints"
        )
        return 70
    return 0
