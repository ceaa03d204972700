"""A folder of results that appears whole or not at all."""

import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from rtsep.errors import OutputError
from rtsep.output_file import unwritable


class OutputFolder:
    """Collects results in a temporary folder, renamed when all of them are there.

    Used as a context manager: `path` is where to write.  A clean exit renames it to
    its final place in one step; an exception, an interrupt among them, removes it,
    and every parent folder made for it.

    Parameters
    ----------
    final : Path
        The folder to make.
    overwrite : bool
        Replace a folder that is already there, once its successor is complete.

    Raises
    ------
    OutputError
        `final` is there already, or cannot be made or filled.
    """

    def __init__(self, final: Path, *, overwrite: bool = False) -> None:
        self.final, self._overwrite = final, overwrite
        self.path = final
        self._made: list[Path] = []

    def __enter__(self) -> Self:
        refuse_existing(self.final, overwrite=self._overwrite)
        parent = self.final.parent
        missing = [folder for folder in (parent, *parent.parents) if not folder.exists()]
        try:
            for folder in reversed(missing):
                folder.mkdir(exist_ok=True)
                self._made.append(folder)
            self.path = Path(tempfile.mkdtemp(".part", f".{self.final.name[:64]}-", parent))
            self.path.chmod(parent.stat().st_mode & 0o777)
        except OSError as error:
            self._discard()
            raise unwritable(self.final, error) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._discard()
            if isinstance(error, OSError):
                raise unwritable(self.final, error) from None
            return
        try:
            self._install()
        except OSError as failure:
            self._discard()
            raise unwritable(self.final, failure) from None

    def _install(self) -> None:
        if not (self._overwrite and self.final.exists()):
            self.path.rename(self.final)
            return
        old = Path(tempfile.mkdtemp(".old", f".{self.final.name[:64]}-", self.final.parent))
        # Onto an empty folder, which POSIX replaces and Windows wants gone.
        old.rmdir()
        self.final.rename(old)
        self.path.rename(self.final)
        shutil.rmtree(old, ignore_errors=True)

    def _discard(self) -> None:
        if self.path != self.final:
            shutil.rmtree(self.path, ignore_errors=True)
        for folder in reversed(self._made):
            try:
                folder.rmdir()
            except OSError:
                break


def refuse_existing(final: Path, *, overwrite: bool) -> None:
    """Refuse to write over what is already there.

    Raises
    ------
    OutputError
        `final` exists and may not be replaced, or is not a folder.
    """
    if "\0" in str(final):
        raise OutputError(f"{str(final)!r} is not a path", remedy="choose another -o")
    there = os.path.lexists(final)
    if there and not final.is_dir():
        raise OutputError(f"{final} is a file", "a folder's name", "choose another -o")
    if there and not overwrite:
        raise OutputError(
            f"{final} is there already", remedy="choose another -o, or replace it with --overwrite"
        )
