"""Examples of instruments: clips, enrolled names and query files, as query vectors."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from rtsep.audio_files import AudioReader
from rtsep.errors import AudioError, BundleError
from rtsep.query import enrolled
from rtsep.query.live_model import AnyQueryModel, LiveModel
from rtsep.query.model import Embedder, check_example

Floats = npt.NDArray[np.float32]

# Of an example's energy, the share that its own query has to bring back.
LEAST_SHARE = 0.45


def query_vector(embedder: Embedder, example: str) -> tuple[str, Floats]:
    """Name and vector of an example: a clip, a query file or an enrolled name.

    Raises
    ------
    AudioError
        None of them, or one that names no instrument.
    """
    path = enrolled.find_enrolled(example)
    if path is not None:
        name = path.name.removesuffix(enrolled.SUFFIX)
        return name, enrolled.load_enrolled(path, embedder.manifest)
    clip = Path(example)
    if not clip.exists() and clip.name == example:
        names = ", ".join(enrolled.enrolled_names()) or "none"
        raise AudioError(
            f"no clip and no enrolled query '{example}'",
            f"a file, or one of: {names}",
            "'rtsep query --enroll NAME CLIP' keeps one",
        )
    return clip.stem, embedder.embed(read_example(embedder, clip))


def score_vector(model: AnyQueryModel, example: str) -> Floats:
    """The vector of an example for the part of a model that plays scores.

    Raises
    ------
    AudioError
        As of `query_vector`.
    BundleError
        The model plays none.
    """
    if isinstance(model, LiveModel) or not model.plays_scores:
        raise BundleError(
            f"bundle {model.name}, which plays no scores",
            "a query model for files, with --synthesize",
            "leave --model out: the one that ships for files plays them",
        )
    return query_vector(model.score_embedder, example)[1]


def read_example(embedder: Embedder, clip: Path) -> Floats:
    """The magnitudes of a clip, as an embedder hears them.

    Raises
    ------
    AudioError
        The clip cannot be read, is silent or too short.
    """
    audio, rate = read_clip(clip)
    check_example(audio, rate, str(clip))
    return embedder.heard(audio, rate)


def read_clip(clip: Path) -> tuple[Floats, int]:
    """A whole clip, [channels, samples], and its rate.

    Raises
    ------
    AudioError
        It cannot be read.
    """
    with AudioReader(clip) as reader:
        return np.concatenate(list(reader.blocks()), axis=1), reader.sample_rate


def remarks_on(model: AnyQueryModel, example: str, vector: Floats) -> list[str]:
    """What is odd about an example: a clip in which more sounds than its query names."""
    clip = Path(example)
    if enrolled.find_enrolled(example) is not None or not clip.is_file():
        return []
    audio, rate = read_clip(clip)
    found = model.stem(audio, rate, vector).audio
    energies = [float(np.square(a).sum()) for a in (found, audio)]
    share = energies[0] / max(energies[1], 1e-12)
    if share >= LEAST_SHARE:
        return []
    return [
        f"{clip.name}: the model finds only {100 * share:.0f}% of it in what it names; "
        "is there more than one instrument in it, or one that it does not know?"
    ]
