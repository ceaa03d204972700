"""Query vectors kept under a name: small JSON files, one a name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt
import typer
from msgspec import Meta

from rtsep.errors import AudioError, OutputError
from rtsep.manifest import Manifest
from rtsep.output_file import replacing, unwritable
from rtsep.query.live_model import AnyQueryModel
from rtsep.query.model import Embedder

FORMAT_VERSION = 1
SUFFIX = ".query.json"
MAX_BYTES = 1 << 20

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$")]
Value = Annotated[float, Meta(ge=-1e6, le=1e6)]
Decibels = Annotated[float, Meta(ge=-200, le=200)]
Vector = Annotated[tuple[Value, ...], Meta(min_length=1, max_length=4096)]


class Enrolled(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The query vectors of a clip.

    Attributes
    ----------
    vectors : dict of str to tuple of float
        By the space that they are of (`rtsep.manifest.Manifest.query_space`): models for
        files and for live use may understand different ones.
    models : dict of str to str
        Names of the models that made them, by space.
    closeness_db : dict of str to float
        Of what its vector takes out of the clip, by the name of the model that takes stems
        by it (`rtsep.query.examples.Clip.closeness_db`).
    """

    rtsep_query: int
    name: Name
    vectors: Annotated[dict[str, Vector], Meta(min_length=1, max_length=64)]
    models: dict[str, str]
    closeness_db: dict[str, Decibels]


def query_folder() -> Path:
    """Where enrolled queries lie, by the system's custom for a program's own files."""
    return Path(typer.get_app_dir("rtsep")) / "queries"


def check_name(name: str) -> None:
    """Refuse what cannot be a query's name.

    Raises
    ------
    OutputError
    """
    try:
        msgspec.convert(name, Name)
    except msgspec.ValidationError:
        raise OutputError(
            f"{name!r} cannot be a query's name", "letters, digits, spaces, dots and dashes"
        ) from None


def enrol(
    name: str,
    vectors: Sequence[tuple[Manifest, npt.NDArray[np.float32]]],
    closeness_db: Mapping[str, float],
) -> Path:
    """Keep a clip's query vectors; those of the same name are replaced.

    Parameters
    ----------
    vectors : sequence of (Manifest, float32 array)
        Of every model that is to understand the name.
    closeness_db : mapping of str to float
        See `Enrolled`.

    Raises
    ------
    OutputError
        The name cannot be a file's, or the file cannot be written.
    """
    check_name(name)
    kept = Enrolled(
        rtsep_query=FORMAT_VERSION,
        name=name,
        vectors={m.query_space: tuple(float(value) for value in v) for m, v in vectors},
        models={m.query_space: m.name for m, _ in vectors},
        closeness_db=dict(closeness_db),
    )
    data = msgspec.json.format(msgspec.json.encode(kept)) + b"\n"
    path = query_folder() / f"{name}{SUFFIX}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path.parent, error) from None
    with replacing(path) as scratch:
        scratch.write_bytes(data)
    return path


def enrolled_names() -> list[str]:
    """Names of all queries that are kept."""
    folder = query_folder()
    return sorted(path.name.removesuffix(SUFFIX) for path in folder.glob(f"[!.]*{SUFFIX}"))


def find_enrolled(name_or_path: str) -> Path | None:
    """The file of a query by its name or path; None where it is neither."""
    path = Path(name_or_path)
    if name_or_path.endswith(SUFFIX) and path.is_file():
        return path
    path = query_folder() / f"{name_or_path}{SUFFIX}"
    return path if Path(name_or_path).name == name_or_path and path.is_file() else None


@dataclass(frozen=True)
class Kept:
    """An example that was enrolled.

    Attributes
    ----------
    name : str
    path : Path
        Of the query file.
    contents : Enrolled
    """

    name: str
    path: Path
    contents: Enrolled

    def vector(self, embedder: Embedder) -> npt.NDArray[np.float32]:
        """The vector ``[query]`` that a model understands.

        Raises
        ------
        AudioError
            It was enrolled for other models.
        """
        manifest = embedder.manifest
        vector = self.contents.vectors.get(manifest.query_space, ())
        if len(vector) != manifest.query:
            raise self._of_another_model(manifest)
        return np.array(vector, np.float32)

    def closeness_db(self, model: AnyQueryModel, vector: npt.NDArray[np.float32]) -> float:
        """How close what its vector took out of the clip came to that.

        Raises
        ------
        AudioError
            It was enrolled for other models.
        """
        found = self.contents.closeness_db.get(model.name)
        if found is None:
            raise self._of_another_model(model.manifest)
        return found

    def _of_another_model(self, manifest: Manifest) -> AudioError:
        return AudioError(
            f"{self.path} is a query of another model ({', '.join(self.contents.models.values())})",
            f"one for {manifest.name}",
            "enroll the clip again with this model",
        )


def load_enrolled(path: Path) -> Kept:
    """What is in a query file.

    Raises
    ------
    AudioError
        It is none.
    """
    try:
        with path.open("rb") as file:
            kept = msgspec.json.decode(file.read(MAX_BYTES), type=Enrolled)
    except (OSError, msgspec.DecodeError) as error:
        raise AudioError(f"{path} is no query file ({error})", "one from --enroll") from None
    if kept.rtsep_query != FORMAT_VERSION:
        raise AudioError(f"{path} is of version {kept.rtsep_query}", f"version {FORMAT_VERSION}")
    return Kept(path.name.removesuffix(SUFFIX), path, kept)
