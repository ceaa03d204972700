"""``rtsep query``: one stem by example."""

from collections.abc import Sequence
from pathlib import Path

from rtsep.bundle import shipped_bundles
from rtsep.cli.batch import known_format, result_names, run_batch
from rtsep.cli.console import complain, one_line, stdout
from rtsep.errors import AudioError, OutputError, RtsepError
from rtsep.query import enrolled
from rtsep.query.examples import ask, find_example, player_of, read_clip, remarks_on
from rtsep.query.live_model import AnyQueryModel, open_query_model, open_query_models
from rtsep.query.model import LIVE, QueryModel
from rtsep.query.score import read_score
from rtsep.query.song import REST, OnProgress, Queried, Score, query_song


def query_files(
    files: Sequence[Path],
    output: Path | None,
    *,
    example: str | None,
    enroll: str | None,
    score: Path | None,
    model: str | None,
    file_format: str,
    overwrite: bool,
) -> None:
    """See ``rtsep query --help``.

    Raises
    ------
    RtsepError
        Something that concerns all files.
    typer.Exit
        With status 2, after all files, when some could not be used.
    """
    if enroll is not None:
        _enrol(files, enroll, open_query_models(model), given=(output, example, score))
        return
    if example is None or output is None:
        missing = "--example" if example is None else "--output"
        raise RtsepError(f"no {missing}", "a clip of the instrument, and a folder for the results")
    names = result_names(files)
    written = known_format(file_format)
    heard = find_example(example)
    if heard.name == REST:
        raise OutputError(f"an example called {REST}", "another name", "rename the clip")
    query = ask(open_query_models(model), heard)
    played = None
    if score is not None:
        player = player_of(query)
        played = Score(score, read_score(score), player, heard.vector(player.score_embedder))
    for remark in remarks_on(heard, query):
        complain(remark)

    def work(source: Path, song: str, on_progress: OnProgress) -> Queried:
        return query_song(
            query,
            source,
            output / song,
            score=played,
            file_format=written,
            overwrite=overwrite,
            on_progress=on_progress,
        )

    def describe(song: str, done: Queried) -> str:
        return f"{done.folder}: {', '.join(done.files)} ({done.speed:.1f}x real time)"

    run_batch(files, names, work, describe)


def _enrol(
    files: Sequence[Path],
    name: str,
    models: Sequence[AnyQueryModel],
    given: tuple[object, ...],
) -> None:
    if len(files) != 1 or any(option is not None for option in given):
        raise AudioError(
            f"{len(files)} files and other options with --enroll", "one clip and nothing else"
        )
    enrolled.check_name(name)
    clip = read_clip(files[0])
    query = ask(models, clip)
    for remark in remarks_on(clip, query):
        complain(remark)
    parts = list(query.parts)
    if LIVE in shipped_bundles() and LIVE not in {part.model.name for part in parts}:
        parts += ask([open_query_model(LIVE)], clip).parts
    vectors = [(part.model.manifest, part.vector) for part in parts]
    for part in parts:
        if isinstance(part.model, QueryModel) and part.model.plays_scores:
            player = part.model.score_embedder
            vectors.append((player.manifest, clip.vector(player)))
    closeness_db = {part.model.name: part.closeness_db for part in parts}
    path = enrolled.enrol(name, vectors, closeness_db)
    stdout().print(one_line(f"{name}: {path}"), markup=False, soft_wrap=True)
