"""A single result file that appears whole or not at all."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from rtsep.errors import OutputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Lend a temporary file beside `path`, and rename it to `path` at a clean exit.

    After an exception or an interrupt the temporary file is gone and what was at
    `path` before is untouched.

    Raises
    ------
    OutputError
        The operating system refuses, here or inside the ``with`` block.
    """
    part = path.parent / f".{path.stem[:64]}-{token_hex(4)}{path.suffix}"
    try:
        part.touch(exist_ok=False)
        yield part
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        part.replace(path)
    except OSError as error:
        raise unwritable(path, error) from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def unwritable(path: Path, error: OSError) -> OutputError:
    """The refusal for a path that the operating system will not have written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"the disk is full while writing {path}", "more room", "free some")
    reason = (error.strerror or str(error)).lower()
    return OutputError(
        f"{path} cannot be written ({reason})", "a place to write to", "choose another"
    )
