"""Folders of results: whole or not at all, and never over what is there unasked."""

from pathlib import Path

import pytest

from rtsep.errors import OutputError
from rtsep.output_folder import OutputFolder


def fill(folder: Path, text: str, *, overwrite: bool = False, fail: bool = False) -> None:
    with OutputFolder(folder, overwrite=overwrite) as out:
        (out.path / "a").write_text(text)
        if fail:
            raise KeyboardInterrupt


def test_nothing_shows_before_all_is_there(tmp_path: Path) -> None:
    final = tmp_path / "deep/er/song"
    with OutputFolder(final) as out:
        (out.path / "a").write_text("new")
        assert not final.exists()
    assert [path.name for path in final.iterdir()] == ["a"]
    assert [path.name for path in final.parent.iterdir()] == ["song"]


def test_after_a_failure_nothing_is_left_and_no_parents_either(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "deep/er/song", "new", fail=True)
    assert list(tmp_path.iterdir()) == []


def test_parents_that_were_there_stay(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "mine/song", "new", fail=True)
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"]


def test_what_is_there_is_kept_until_its_successor_is_whole(tmp_path: Path) -> None:
    final = tmp_path / "song"
    fill(final, "old")
    with pytest.raises(OutputError, match="--overwrite"):
        fill(final, "new")
    with pytest.raises(KeyboardInterrupt):
        fill(final, "new", overwrite=True, fail=True)
    assert (final / "a").read_text() == "old"
    fill(final, "new", overwrite=True)
    assert (final / "a").read_text() == "new"
    assert list(tmp_path.iterdir()) == [final]


def test_a_file_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "song").write_text("mine")
    with pytest.raises(OutputError, match="is a file"):
        fill(tmp_path / "song", "new", overwrite=True)
    assert (tmp_path / "song").read_text() == "mine"


def test_refusals_of_the_system_become_ours(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="not a path"):
        fill(tmp_path / "a\0b", "new")
    with pytest.raises(OutputError, match="cannot be written"):
        fill(tmp_path / ("long" * 100), "new")
    with pytest.raises(OutputError, match="disk is full"), OutputFolder(tmp_path / "song"):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []
