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

# A model that brings back less of an example's energy hardly knows what is in it.
LEAST_SHARE = 0.2
# An example that is likelier to hold several instruments is remarked on.
SEVERAL = 0.5


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

    def share(self, model: AnyQueryModel, vector: Floats) -> float:
        """How much of its energy its own vector brings back out of it."""
        found = model.stem(self.audio, self.sample_rate, vector).audio
        energies = [float(np.square(a).sum()) for a in (found, self.audio)]
        return energies[0] / max(energies[1], 1e-12)


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
    share : float
        See `Clip.share`.
    """

    model: AnyQueryModel
    vector: Floats
    share: float


@dataclass(frozen=True)
class Query:
    """What an example names, to one model or to several.

    Each takes its own stem out of a mix, and counts as much as the share of the example
    that it brings back: one that does not know an instrument says so by this.

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
        shares = np.array([max(part.share, 1e-6) for part in self.parts])
        stems = []
        for number, part in enumerate(self.parts):

            def report(done: int, total: int, before: int = number) -> None:
                if on_progress is not None:
                    on_progress(before * total + done, len(self.parts) * total)

            stems.append(part.model.stem(mix, sample_rate, part.vector, report))
        audio = np.zeros_like(stems[0].audio)
        for weight, stem in zip(shares / shares.sum(), stems, strict=True):
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
        parts.append(Part(model, vector, example.share(model, vector)))
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


def remarks_on(clip: Clip, query: Query) -> list[str]:
    """What is odd about an example: several instruments, or one that no model knows."""
    remarks = []
    several = likely_several(clip.audio, clip.sample_rate)
    if several is not None and several > SEVERAL:
        remarks.append(
            f"{clip.name}: there seems to be more than one instrument in it "
            f"({100 * several:.0f}% likely); one alone names itself best"
        )
    share = max(part.share for part in query.parts)
    if share < LEAST_SHARE:
        remarks.append(
            f"{clip.name}: only {100 * share:.0f}% of it is found again by what it names; "
            "the model hardly knows this instrument"
        )
    return remarks
