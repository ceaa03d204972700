"""The networks of a query model, run on whole clips.

A model is one bundle that takes a stem out of a mixture, and beside it those of its other
parts: ``msi.onnx``, ``msi-embed.onnx`` (the query vector of an example) and, where there
is one, ``msi-synthesise.onnx`` (a score in a stem's timbre).  Where another network plays
scores better, it understands queries of its own, and ``msi-synthesise-embed.onnx`` makes
them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from rtsep.backend import Device, Session
from rtsep.bundle import Bundle, load_bundle, of_task
from rtsep.errors import AudioError, BundleError
from rtsep.manifest import Chunk, Manifest
from rtsep.query.spectra import level_gain, magnitudes, mask, masked
from rtsep.rates import native_rate
from rtsep.resample import at_rate, mono_at

Floats = npt.NDArray[np.float32]
Task = Literal["query", "embed", "synthesise"]

# The models that ship, for files and for live use.
FILES, LIVE = "query", "query-live"
SILENT_DB = -60.0
LEAST_EXAMPLE_S = 0.5


def part_path(path: Path, task: Task) -> Path:
    """Where the part for a task lies, given the one that separates."""
    return path if task == "query" else path.with_stem(f"{path.stem}-{task}")


class Embedder:
    """Makes the query vectors that a query model understands.

    Parameters
    ----------
    bundle : Bundle
        Of the task "query", for files or for live use, or "synthesise"; its own part for
        examples lies beside it.

    Raises
    ------
    BundleError
        There is none, or it makes vectors of another space.
    """

    def __init__(self, bundle: Bundle, *, device: Device = "auto") -> None:
        self.manifest = bundle.manifest
        assert bundle.path is not None
        own = of_task(load_bundle(part_path(bundle.path, "embed")), "embed")
        if own.manifest.query_space != self.manifest.query_space:
            raise BundleError(
                f"bundle {own.name}, for other query vectors than {bundle.name}",
                "the parts of one model",
                "export them together",
            )
        self._own, self._session = own.manifest, Session(own, device=device)

    @property
    def sample_rate(self) -> int:
        """In Hz, of what it hears."""
        return self._own.sample_rate

    def heard(self, audio: Floats, sample_rate: int) -> Floats:
        """The magnitudes ``[frames, bins]`` that it hears of a clip ``[channels, samples]``."""
        return _heard(self._own, audio, sample_rate)[0]

    def embed(self, magnitude: Floats) -> Floats:
        """The query vector of an example, ``[frames, bins]`` to ``[query]``.

        Longer ones are heard piece by piece and averaged, shorter ones over and over.
        """
        session = self._session
        given = session.inputs["query_spectrogram"][0, 0]
        count = max(round(len(magnitude) / len(given)), 1)
        vectors = []
        for start in np.linspace(0, max(len(magnitude) - len(given), 0), count).astype(int):
            piece = magnitude[start : start + len(given)]
            given[:] = np.resize(piece, given.shape)
            session.run()
            vectors.append(session.outputs["query"][0].copy())
        vector: Floats = np.mean(vectors, axis=0, dtype=np.float32)
        return vector


@dataclass(frozen=True)
class Stem:
    """What a query took out of a mix.

    Attributes
    ----------
    audio : float32 [channels, samples]
        In time with the mix, as long, at its rate.
    magnitude : float32 [frames, bins] or None
        Of the stem in one channel, where the model gives it.
    logits : float32 [frames, classes] or None
        Of its notes, silence last, where the model hears any.
    """

    audio: Floats
    magnitude: Floats | None = None
    logits: Floats | None = None


class QueryModel:
    """The bundles of a query model for files.

    Parameters
    ----------
    bundle : Bundle
        The one that separates.

    Attributes
    ----------
    manifest : Manifest
        Of the bundle that separates.
    embedder : Embedder

    Raises
    ------
    BundleError
        A query model for live use, or its parts do not belong together.
    """

    def __init__(self, bundle: Bundle, *, device: Device = "auto") -> None:
        self._device, self._bundle = device, bundle
        if self._bundle.manifest.domain != "spectrogram":
            raise BundleError(
                f"bundle {self._bundle.name}, a query model for live use", "one for files"
            )
        self.name, self.manifest = self._bundle.name, self._bundle.manifest
        self.embedder = Embedder(self._bundle, device=device)

    @property
    def sample_rate(self) -> int:
        """In Hz, of what the networks hear."""
        return self.manifest.sample_rate

    @property
    def n_fft(self) -> int:
        """Of the spectrograms."""
        assert self.manifest.spectrogram is not None
        return self.manifest.spectrogram.n_fft

    @property
    def bins(self) -> int:
        """Of the spectrograms."""
        assert self.manifest.spectrogram is not None
        return self.manifest.spectrogram.bins

    @property
    def plays_scores(self) -> bool:
        """Whether there is a part for it."""
        return self._part_path("synthesise").is_file()

    @cached_property
    def score_embedder(self) -> Embedder:
        """Makes the query vectors that `synthesise` understands.

        Raises
        ------
        BundleError
            The model plays no scores.
        """
        bundle = self._player
        if bundle.manifest.query_space == self.manifest.query_space:
            return self.embedder
        return Embedder(bundle, device=self._device)

    def stem(
        self,
        mix: Floats,
        sample_rate: int,
        query: Floats,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Stem:
        """The stem that a query names: the mix under a mask.

        Parameters
        ----------
        mix : float32 [channels, samples]
        sample_rate : int
            Of the mix, in Hz.
        query : float32 [query]
        """
        heard, _ = self.heard(mix, sample_rate)
        found: list[Floats] = []
        logits: list[Floats] = []

        def masks() -> Iterator[tuple[int, Floats]]:
            for first, estimate, classes in self.separate(heard, query, on_progress):
                found.append(estimate)
                if classes is not None:
                    logits.append(classes)
                yield first, mask(estimate, heard[first : first + len(estimate)])

        rate = native_rate(sample_rate)
        hop = self.manifest.hop * rate // self.sample_rate
        n_fft = 2 * round(self.n_fft * rate / self.sample_rate / 2)
        audio = masked(at_rate(mix, sample_rate, rate), masks(), n_fft, hop)
        audio = at_rate(audio, rate, sample_rate)[:, : mix.shape[1]]
        audio = np.pad(audio, ((0, 0), (0, mix.shape[1] - audio.shape[1])))
        return Stem(audio, np.concatenate(found), np.concatenate(logits) if logits else None)

    def heard(self, mix: Floats, sample_rate: int) -> tuple[Floats, float]:
        """The magnitudes ``[frames, bins]`` that the networks hear of a mix, and their gain."""
        return _heard(self.manifest, mix, sample_rate)

    def separate(
        self,
        magnitude: Floats,
        query: Floats,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[tuple[int, Floats, Floats | None]]:
        """The stem that a query names.

        Parameters
        ----------
        magnitude : float32 [frames, bins]
            Of the mixture.

        Yields
        ------
        first : int
            Frame.
        estimate : float32 [count, bins]
            Magnitudes, none below 0.
        logits : float32 [count, classes] or None
            Of the notes, silence last, where the model hears any.
        """
        session = self._separator
        session.inputs["query"][0] = query
        for first, part in self._chunks(magnitude, session.inputs["mixture"][0, 0]):
            session.run()
            estimate = np.maximum(session.outputs["separated"][0, 0, part], 0.0)
            logits = session.outputs.get("logits")
            yield first, estimate, None if logits is None else logits[0].T[part].copy()
            if on_progress is not None:
                on_progress(first + len(estimate), len(magnitude))

    def synthesise(self, magnitude: Floats, score: Floats, query: Floats) -> Floats:
        """Magnitudes ``[frames, bins]`` of a score in the stem's timbre.

        Parameters
        ----------
        magnitude : float32 [frames, bins]
            Of the mixture.
        score : float32 [frames, classes]
            One 1 a frame, silence last.
        query : float32 [query]
            From the `score_embedder`.

        Raises
        ------
        BundleError
            The model plays no scores.
        """
        session = self._player_session
        session.inputs["query"][0] = query
        given, found = session.inputs["score"][0].T, []
        scores = self._chunks(score, given)
        for (_, part), _ in zip(
            self._chunks(magnitude, session.inputs["mixture"][0, 0]), scores, strict=True
        ):
            session.run()
            found.append(np.maximum(session.outputs["synthesised"][0, 0, part], 0.0))
        return np.concatenate(found)

    def _chunks(self, rows: Floats, window: Floats) -> Iterator[tuple[int, slice]]:
        """Fill `window` with one chunk and its context after the other, zeros outside."""
        state = self.manifest.state
        assert isinstance(state, Chunk)
        for first in range(0, len(rows), state.chunk):
            start = first - state.left
            stop = min(start + len(window), len(rows))
            window.fill(0.0)
            window[max(-start, 0) : stop - start] = rows[max(start, 0) : stop]
            yield first, slice(state.left, state.left + min(state.chunk, len(rows) - first))

    @cached_property
    def _separator(self) -> Session:
        return Session(self._bundle, device=self._device)

    @cached_property
    def _player_session(self) -> Session:
        return Session(self._player, device=self._device)

    @cached_property
    def _player(self) -> Bundle:
        """The part that plays scores."""
        bundle = of_task(load_bundle(self._part_path("synthesise")), "synthesise")
        if _grid(bundle.manifest) != _grid(self.manifest):
            raise BundleError(
                f"bundle {bundle.name} works on other spectrograms than {self.name}",
                "the parts of one model",
                "export them together",
            )
        return bundle

    def _part_path(self, task: Task) -> Path:
        assert self._bundle.path is not None
        return part_path(self._bundle.path, task)


def find_query_model(name_or_path: str | Path) -> Bundle:
    """The query model named, for files or for live use.

    Raises
    ------
    BundleError
        It cannot be loaded or is no query model.
    """
    return of_task(load_bundle(name_or_path), "query")


def check_example(audio: Floats, sample_rate: int, label: str) -> None:
    """Refuse an example that names no instrument.

    Raises
    ------
    AudioError
        It is silent or too short.
    """
    seconds = audio.shape[-1] / sample_rate
    if seconds < LEAST_EXAMPLE_S:
        raise AudioError(
            f"{label} lasts {seconds:.2f} s",
            f"an example of at least {LEAST_EXAMPLE_S:g} s",
            "a few seconds of the instrument alone are best",
        )
    if np.sqrt(np.mean(audio**2)) < 10 ** (SILENT_DB / 20):
        raise AudioError(f"{label} is silent", "an example of the instrument alone")


def _heard(manifest: Manifest, audio: Floats, sample_rate: int) -> tuple[Floats, float]:
    assert manifest.spectrogram is not None
    mono = mono_at(audio, sample_rate, manifest.sample_rate)
    gain = level_gain(mono, manifest.spectrogram.level_db)
    n_fft, bins = manifest.spectrogram.n_fft, manifest.spectrogram.bins
    return magnitudes(np.float32(gain) * mono, n_fft, manifest.hop, bins), gain


def _grid(manifest: Manifest) -> tuple[object, ...]:
    return manifest.sample_rate, manifest.hop, manifest.spectrogram
