"""A query model for live use, run on whole files: what they would hear live, in time."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from rtsep.backend import Device
from rtsep.bundle import Bundle, load_bundle
from rtsep.engine import MAX_BLOCK, QUERIED, Engine
from rtsep.presets import PRESETS
from rtsep.query.model import FILES, LIVE, Embedder, QueryModel, Stem, find_query_model
from rtsep.separate import separate_audio

Floats = npt.NDArray[np.float32]

# The preset, and the separator by that name, beside which a live query model plays.
PRESET = "live"
# Silence before a file, in which the engine goes over to the query.
LEAD_S = 0.5


class LiveModel:
    """The bundles of a query model for live use.

    Parameters
    ----------
    separator : Bundle, optional
        Beside which it plays, else the one that ships.

    Attributes
    ----------
    name : str
    manifest : Manifest
    embedder : Embedder

    Raises
    ------
    BundleError
        A query model for files, or one that does not go with the separator.
    """

    def __init__(
        self, bundle: Bundle, *, device: Device = "auto", separator: Bundle | None = None
    ) -> None:
        self.name, self.manifest = bundle.name, bundle.manifest
        self.embedder = Embedder(bundle, device=device)
        separator = separator or load_bundle(PRESET)
        self._engine = Engine(separator, None, PRESETS[PRESET], query=bundle, device=device)

    def stem(
        self,
        mix: Floats,
        sample_rate: int,
        query: Floats,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Stem:
        """The stem that a query names.

        Parameters
        ----------
        mix : float32 [channels, samples]
            One or two channels.
        sample_rate : int
            Of the mix, in Hz.
        query : float32 [query]
        """
        channels, samples = mix.shape
        lead = round(LEAD_S * sample_rate)

        def heard() -> Iterator[Floats]:
            yield np.zeros((channels, lead), np.float32)
            for start in range(0, samples, MAX_BLOCK):
                yield np.ascontiguousarray(mix[:, start : start + MAX_BLOCK])

        blocks = separate_audio(self._engine, heard(), sample_rate, channels)
        self._engine.ask(query)
        row, found = self._engine.stems.index(QUERIED), []
        for block in blocks:
            found.append(block.stems[row].copy())
            if on_progress is not None:
                on_progress(min(block.start, samples), samples)
        return Stem(np.concatenate(found, axis=1)[:, lead:])


AnyQueryModel: TypeAlias = QueryModel | LiveModel


def open_query_models(
    name_or_path: str | Path | None, *, device: Device = "auto"
) -> tuple[AnyQueryModel, ...]:
    """The query model named, or both that ship, the one for files first.

    Raises
    ------
    BundleError
        As of `open_query_model`.
    """
    names = (FILES, LIVE) if name_or_path is None else (name_or_path,)
    return tuple(open_query_model(name, device=device) for name in names)


def open_query_model(name_or_path: str | Path, *, device: Device = "auto") -> AnyQueryModel:
    """The query model named, for files or for live use.

    Raises
    ------
    BundleError
        It cannot be loaded, or is no query model.
    """
    bundle = find_query_model(name_or_path)
    if bundle.manifest.domain == "mask":
        return LiveModel(bundle, device=device)
    return QueryModel(bundle, device=device)
