"""Trained query models as bundles, each with its origin in its manifest."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from rtsep.errors import RtsepError
from rtsep.query.model import Task, part_path
from rtsep_export.origin import parts_record
from rtsep_export.query.checkpoints import load_query_model
from rtsep_export.query.networks import MODELS
from rtsep_export.query.to_onnx import PARTS, export_query_model
from rtsep_export.to_onnx import LICENCE

# About that of two parts at once (`rtsep_export.query.parts.LEVEL_DB`).
LEVEL_DB = -20.0
# Parts of a model whose scores another one plays, and of that one.
OWN: Sequence[Task] = ("query", "embed")
PLAYER: Sequence[Task] = ("synthesise", "embed")


def write_query_bundles(
    run: Path, parts: Path, output: Path, version: str, player: Path | None
) -> list[Path]:
    """Write what ``rtsep-export learn-query`` came to.

    Parameters
    ----------
    run : Path
        A folder by its model's name.
    parts : Path
        What it learnt from.
    output : Path
        The bundle that separates; the others lie beside it.
    player : Path, optional
        Another run, whose model plays the scores, by queries of its own.

    Raises
    ------
    RtsepError
        A run of no model that can do it, or one that has not been trained.
    """
    name = _model(run, [name for name, model in MODELS.items() if model.separates])
    if player is None:
        return _write(run, name, parts, output, version, PARTS)
    other = _model(player, [name for name, model in MODELS.items() if model.disentangles])
    beside = part_path(output, "synthesise")
    written = _write(run, name, parts, output, version, OWN)
    return written + _write(player, other, parts, beside, version, PLAYER)


def _model(run: Path, able: Iterable[str]) -> str:
    name = run.resolve().name
    if name not in able:
        raise RtsepError(f"a run called {name}", f"one of {', '.join(able)}")
    return name


def _write(
    run: Path, model: str, parts: Path, path: Path, version: str, tasks: Sequence[Task]
) -> list[Path]:
    record = parts_record(run, parts)
    network = load_query_model(run / "model.pt", MODELS[model])
    return export_query_model(
        network,
        path,
        path.stem,
        record,
        version,
        LICENCE,
        bits=16,
        tasks=tasks,
        level_db=LEVEL_DB,
    )
