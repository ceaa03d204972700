"""Fixtures that every test may use."""

import ctypes
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.rtsep.cli import CommandLine


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of recordings and MIDI files named by RTSEP_DATA."""
    named = os.environ.get("RTSEP_DATA")
    if not named:
        pytest.skip("RTSEP_DATA is not set; it names the folder of recordings and MIDI files")
    folder = Path(named)
    if not folder.is_dir():
        pytest.skip(f"RTSEP_DATA names {folder}, which is not a folder")
    return folder


@pytest.fixture
def rtsep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> "CommandLine":
    """The command line, in an empty folder."""
    from tests.rtsep.cli import CommandLine

    return CommandLine(tmp_path, monkeypatch, capsys)


@pytest.fixture(autouse=True)
def default_float_environment() -> Iterator[None]:
    """Give the thread its denormals back: opening a network takes them away.

    Hypothesis refuses to draw numbers without them.
    """
    yield
    if platform.libc_ver()[0] == "glibc":
        default = ctypes.c_void_p(-1)  # FE_DFL_ENV
        ctypes.CDLL("libm.so.6").fesetenv(default)
