"""Many files, one after the other: what fails is reported, the rest goes on."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import typer
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from rtsep.audio_files import Format
from rtsep.cli.console import complain, one_line, stderr, stdout
from rtsep.cli.endings import Endings
from rtsep.engine import Engine
from rtsep.errors import OutputError, RtsepError
from rtsep.mask_file import read_masks
from rtsep.output_file import unwritable
from rtsep.played_masks import Place
from rtsep.presets import PRESETS
from rtsep.songs import (
    OnProgress,
    Song,
    check_same_song,
    find_separator,
    find_transcriber,
    separate_song,
    transcribe_song,
)

_FORMATS: dict[str, Format] = {"wav": "wav", "flac": "flac"}


class Result(Protocol):
    """What became of one file."""

    @property
    def remarks(self) -> Sequence[str]:
        """What the listener should know."""


Done = TypeVar("Done", bound=Result)


def separate_files(
    files: Sequence[Path],
    output: Path,
    *,
    stems: Sequence[str] | None,
    model: str | None,
    masks: Path | None,
    preset: str,
    file_format: str,
    transcriber: str | None,
    midi: bool,
    overwrite: bool,
) -> None:
    """See ``rtsep separate --help``.

    Raises
    ------
    RtsepError
        Something that concerns all files.
    typer.Exit
        With status 2, after all files, when some could not be used.
    """
    names = result_names(files)
    if preset not in PRESETS:
        raise RtsepError(f"--preset {preset}", f"one of {', '.join(PRESETS)}")
    written = known_format(file_format)
    if masks is not None and (model is not None or len(files) > 1):
        found = "--model and --masks" if model is not None else f"--masks for {len(files)} songs"
        raise RtsepError(found, "the song of the masks, and no model")
    listener = find_transcriber(transcriber) if midi else None
    if masks is not None:
        file = read_masks(masks)
        check_same_song(file, files[0])
        engine = Engine(file, listener, PRESETS[preset])
        engine.locate(Place(0, 0.0))
    else:
        separator = find_separator(model if model is not None else PRESETS[preset].bundle)
        engine = Engine(separator, listener, PRESETS[preset])
    known = engine.stems
    if stems is not None and (not stems or set(stems) - set(known)):
        unknown = ", ".join(stem or "''" for stem in stems if stem not in known)
        raise RtsepError(f"--stems {unknown}", f"some of {','.join(known)}")
    wanted = None if stems is None else list(dict.fromkeys(stems))

    def work(source: Path, name: str, on_progress: OnProgress) -> Song:
        return separate_song(
            engine,
            listener,
            source,
            output / name,
            stems=wanted,
            file_format=written,
            overwrite=overwrite,
            on_progress=on_progress,
        )

    def describe(name: str, song: Song) -> str:
        notes = "" if song.midi is None else f" and {len(song.notes):,} notes"
        return f"{output / name}: {', '.join(song.stems)}{notes} ({song.speed:.1f}x real time)"

    run_batch(files, names, work, describe)


def transcribe_files(
    files: Sequence[Path], output: Path, *, transcriber: str | None, overwrite: bool
) -> None:
    """See ``rtsep transcribe --help``; raises as `separate_files`."""
    names = result_names(files)
    listener = find_transcriber(transcriber)
    engine = Engine(None, listener, PRESETS["offline"])

    def work(source: Path, name: str, on_progress: OnProgress) -> Song:
        target = output / f"{name}.mid"
        if target.exists() and not overwrite:
            raise OutputError(
                f"{target} is there already",
                remedy="choose another -o, or replace it with --overwrite",
            )
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(output, error) from None
        return transcribe_song(engine, listener, source, target, on_progress=on_progress)

    def describe(name: str, song: Song) -> str:
        return f"{song.midi}: {len(song.notes):,} notes ({song.speed:.1f}x real time)"

    run_batch(files, names, work, describe)


def known_format(name: str) -> Format:
    """A format by the name that was asked for.

    Raises
    ------
    RtsepError
        There is none of that name.
    """
    if name not in _FORMATS:
        raise RtsepError(f"--format {name}", " or ".join(_FORMATS))
    return _FORMATS[name]


def result_names(files: Sequence[Path]) -> list[str]:
    """What each file's results are called; no two alike."""
    names: dict[str, Path] = {}
    for file in files:
        if not file.stem:
            raise OutputError(f"{file} has no name to call its results by", "a file")
        if file.stem in names:
            raise OutputError(
                f"{names[file.stem]} and {file} would both be called {file.stem}",
                "inputs of different names",
                "rename one, or run them with different -o",
            )
        names[file.stem] = file
    return list(names)


def run_batch(
    files: Sequence[Path],
    names: Sequence[str],
    work: Callable[[Path, str, OnProgress], Done],
    describe: Callable[[str, Done], str],
) -> None:
    """Do all files with a progress bar; what cannot be used is reported, the rest goes on.

    Parameters
    ----------
    names : sequence of str
        From `result_names`.
    work, describe : callable
        Given the file, its name and a function for progress; then the name and the result.

    Raises
    ------
    typer.Exit
        With status 2, after all files, when some could not be used.
    """
    results, failed = stdout(), 0
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=stderr(),
        transient=True,
        disable=not stderr().is_terminal,
    )
    with Endings() as endings, progress:
        for source, name in zip(files, names, strict=True):
            endings.leave()
            task = progress.add_task(one_line(source.name), total=None)

            def report(done: int, total: int, task: TaskID = task) -> None:
                endings.leave()
                progress.update(task, completed=done, total=total)

            try:
                song = work(source, name, report)
            except RtsepError as error:
                failed += 1
                progress.remove_task(task)
                complain(str(error))
                continue
            progress.remove_task(task)
            results.print(one_line(describe(name, song)), markup=False, soft_wrap=True)
            for remark in song.remarks:
                complain(f"{source.name}: {remark}")
    if failed:
        if 1 < len(files) != failed:
            complain(f"{failed} of {len(files)} files could not be used; the others are done")
        raise typer.Exit(2)
