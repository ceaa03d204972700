"""Random access to stored mixes (see `rtsep_export.mixes`)."""

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rtsep.errors import SetupError

Array = npt.NDArray[np.float32]


class MixStore:
    """The mixes in a folder, memory-mapped.

    The folder is read again every `refresh` draws, so that training may begin while
    mixes are still being made.
    """

    def __init__(self, folder: Path, needs: str, refresh: int = 1000) -> None:
        self._folder, self._needs, self._refresh = folder, needs, refresh
        self._draws = 0
        self.names = self._list()
        if not self.names:
            raise SetupError(
                f"no mixes in {folder}", f"folders with {needs}.npy", "run rtsep-export mixes first"
            )

    def _list(self) -> list[str]:
        if not self._folder.is_dir():
            return []
        return sorted(
            p.name
            for p in self._folder.iterdir()
            if not p.name.startswith(".") and (p / f"{self._needs}.npy").is_file()
        )

    def draw(self, rng: np.random.Generator) -> str:
        """The name of a random mix."""
        self._draws += 1
        if self._draws % self._refresh == 0:
            self.names = self._list()
        return self.names[rng.integers(len(self.names))]

    def array(self, name: str, kind: str) -> npt.NDArray[np.float16]:
        """One array of a mix, memory-mapped."""
        array: npt.NDArray[np.float16] = np.load(self._folder / name / f"{kind}.npy", mmap_mode="r")
        return array

    def window(self, name: str, kind: str, start: int, count: int) -> Array:
        """``array(name, kind)[start : start + count]`` as float32."""
        return np.asarray(self.array(name, kind)[start : start + count], np.float32)

    @lru_cache(maxsize=4096)  # noqa: B019  (a store lives as long as the training)
    def notes(self, name: str) -> tuple[tuple[str, int, float, float, int], ...]:
        """Stem, pitch, onset and offset in seconds, velocity of every note."""
        text = (self._folder / name / "notes.json").read_text()
        return tuple((s, int(p), float(a), float(b), int(v)) for s, p, a, b, v in json.loads(text))
