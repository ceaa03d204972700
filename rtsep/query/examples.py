"""Examples of instruments, and what models make of them: one query to all of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rtsep.audio_files import AudioReader
from rtsep.errors import AudioError, BundleError
from rtsep.query import enrolled
from rtsep.query.live_model import AnyQueryModel
from rtsep.query.model import Embedder, QueryModel, Stem, check_example
from rtsep.query.several import likely_several

Floats = npt.NDArray[np.float32]

# Where an example's error is larger than what is found of it, no model knows what is in it.
LEAST_DB = 0.0
# An example that is likelier to hold several instruments is remarked on.
SEVERAL = 0.8
MOST_DB = 60.0
TINY = 1e-20


@dataclass(frozen=True)
class Clip:
    """An instrument alone.

    Attributes
    ----------
    audio : float32 [channels, samples]
    sample_rate : int
        In Hz.
    """

    name: str
    audio: Floats
    sample_rate: int

    def vector(self, embedder: Embedder) -> Floats:
        """What an embedder makes of it, ``[query]``."""
        return embedder.embed(embedder.heard(self.audio, self.sample_rate))

    def closeness_db(self, model: AnyQueryModel, vector: Floats) -> float:
        """How close what its own vector takes out of it comes to it.

        The scale-invariant SDR (Le Roux, Wisdom, Erdogan and Hershey 2019), within `MOST_DB`.
        """
        found = model.stem(self.audio, self.sample_rate, vector).audio
        alike = float((found * self.audio).sum() ** 2)
        whole = float(np.square(found).sum()) * float(np.square(self.audio).sum())
        ratio = (alike + TINY) / (max(whole - alike, 0.0) + TINY)
        return float(np.clip(10 * np.log10(ratio), -MOST_DB, MOST_DB)) if whole else -MOST_DB


Example = Clip | enrolled.Kept


def find_example(name_or_path: str) -> Example:
    """The enrolled query by this name, or the clip or query file at this path.

    Raises
    ------
    AudioError
        None of them, or a clip that names no instrument.
    """
    path = enrolled.find_enrolled(name_or_path)
    if path is not None:
        return enrolled.load_enrolled(path)
    clip = Path(name_or_path)
    if not clip.exists() and clip.name == name_or_path:
        names = ", ".join(enrolled.enrolled_names()) or "none"
        raise AudioError(
            f"no clip and no enrolled query '{name_or_path}'",
            f"a file, or one of: {names}",
            "'rtsep query --enroll NAME CLIP' keeps one",
        )
    return read_clip(clip)


def read_clip(path: Path) -> Clip:
    """A whole clip.

    Raises
    ------
    AudioError
        It cannot be read, is silent or too short.
    """
    with AudioReader(path) as reader:
        audio, rate = np.concatenate(list(reader.blocks()), axis=1), reader.sample_rate
    check_example(audio, rate, str(path))
    return Clip(path.stem, audio, rate)


@dataclass(frozen=True)
class Part:
    """What one model makes of an example.

    Attributes
    ----------
    vector : float32 [query]
    closeness_db : float
        See `Clip.closeness_db`.
    """

    model: AnyQueryModel
    vector: Floats
    closeness_db: float


@dataclass(frozen=True)
class Query:
    """What an example names, to one model or to several.

    Each takes its own stem out of a mix, and counts as much as what it takes out of the
    example is closer to that: in proportion to signal over error, in amplitude.

    Attributes
    ----------
    name : str
        Of the example.
    parts : tuple of Part
        The first one hears notes, if any does.
    """

    name: str
    parts: tuple[Part, ...]

    def stem(
        self,
        mix: Floats,
        sample_rate: int,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Stem:
        """The weighted mean of the stems, and what the first model hears in its own.

        Parameters
        ----------
        mix : float32 [channels, samples]
        sample_rate : int
            Of the mix, in Hz.
        """
        weights = np.array([10 ** (part.closeness_db / 20) for part in self.parts])
        stems = []
        for number, part in enumerate(self.parts):

            def report(done: int, total: int, before: int = number) -> None:
                if on_progress is not None:
                    on_progress(before * total + done, len(self.parts) * total)

            stems.append(part.model.stem(mix, sample_rate, part.vector, report))
        audio = np.zeros_like(stems[0].audio)
        for weight, stem in zip(weights / weights.sum(), stems, strict=True):
            audio += np.float32(weight) * stem.audio
        return Stem(audio, stems[0].magnitude, stems[0].logits)


def ask(models: Sequence[AnyQueryModel], example: Example) -> Query:
    """What an example names to some models.

    Raises
    ------
    AudioError
        It was enrolled for other ones.
    """
    parts = []
    for model in models:
        vector = example.vector(model.embedder)
        parts.append(Part(model, vector, example.closeness_db(model, vector)))
    return Query(example.name, tuple(parts))


def player_of(query: Query) -> QueryModel:
    """The model of a query that plays scores.

    Raises
    ------
    BundleError
        None does.
    """
    model = query.parts[0].model
    if isinstance(model, QueryModel) and model.plays_scores:
        return model
    raise BundleError(
        f"bundle {model.name}, which plays no scores",
        "a query model for files, with --synthesize",
        "leave --model out: the one that ships for files plays them",
    )


def remarks_on(example: Example, query: Query | None = None) -> list[str]:
    """What is odd about a clip: several instruments, or one that the models hardly know.

    Of an enrolled query it was said when it was enrolled.
    """
    if isinstance(example, enrolled.Kept):
        return []
    clip, remarks = example, []
    several = likely_several(clip.audio, clip.sample_rate)
    if several is not None and several > SEVERAL:
        remarks.append(
            f"{clip.name}: there seems to be more than one instrument in it "
            f"({100 * several:.0f}% likely); one alone names itself best"
        )
    if query is not None and max(part.closeness_db for part in query.parts) < LEAST_DB:
        remarks.append(f"{clip.name}: the model hardly knows this instrument")
    return remarks
