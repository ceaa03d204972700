"""``rtsep query``: one stem by example."""

from collections.abc import Sequence
from pathlib import Path

from rtsep.bundle import load_bundle, shipped_bundles
from rtsep.cli.batch import known_format, result_names, run_batch
from rtsep.cli.console import complain, one_line, stdout
from rtsep.errors import AudioError, OutputError, RtsepError
from rtsep.query import enrolled
from rtsep.query.examples import query_vector, remarks_on, score_vector
from rtsep.query.live_model import AnyQueryModel, open_query_model
from rtsep.query.model import LIVE, Embedder, QueryModel
from rtsep.query.score import read_score
from rtsep.query.song import REST, OnProgress, Queried, Score, query_song


def query_files(
    files: Sequence[Path],
    output: Path | None,
    *,
    example: str | None,
    enroll: str | None,
    score: Path | None,
    model: str,
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
        _enrol(files, enroll, open_query_model(model), given=(output, example, score))
        return
    if example is None or output is None:
        missing = "--example" if example is None else "--output"
        raise RtsepError(f"no {missing}", "a clip of the instrument, and a folder for the results")
    names = result_names(files)
    written = known_format(file_format)
    network = open_query_model(model)
    name, vector = query_vector(network.embedder, example)
    if name == REST:
        raise OutputError(f"an example called {REST}", "another name", "rename the clip")
    played = None
    if score is not None:
        score_query = score_vector(network, example)
        played = Score(score, read_score(score), score_query)
    for remark in remarks_on(network, example, vector):
        complain(remark)

    def work(source: Path, song: str, on_progress: OnProgress) -> Queried:
        return query_song(
            network,
            source,
            output / song,
            name,
            vector,
            score=played,
            file_format=written,
            overwrite=overwrite,
            on_progress=on_progress,
        )

    def describe(song: str, done: Queried) -> str:
        return f"{done.folder}: {', '.join(done.files)} ({done.speed:.1f}x real time)"

    run_batch(files, names, work, describe)


def _enrol(
    files: Sequence[Path], name: str, model: AnyQueryModel, given: tuple[object, ...]
) -> None:
    if len(files) != 1 or any(option is not None for option in given):
        raise AudioError(
            f"{len(files)} files and other options with --enroll", "one clip and nothing else"
        )
    enrolled.check_name(name)
    clip = str(files[0])
    embedders = [model.embedder]
    if isinstance(model, QueryModel) and model.plays_scores:
        embedders.append(model.score_embedder)
    if LIVE in shipped_bundles():
        embedders.append(Embedder(load_bundle(LIVE)))
    vectors = {}
    for embedder in embedders:
        space = embedder.manifest.query_space
        if space not in vectors:
            vectors[space] = embedder.manifest, query_vector(embedder, clip)[1]
    for remark in remarks_on(model, clip, vectors[model.manifest.query_space][1]):
        complain(remark)
    path = enrolled.enrol(name, list(vectors.values()))
    stdout().print(one_line(f"{name}: {path}"), markup=False, soft_wrap=True)
