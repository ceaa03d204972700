"""The decoder under a fuzzer that watches which of its branches are taken.

``RTSEP_FUZZ=5000000`` runs that many inputs instead of 100,000.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rtsep_bridge.test_messages import HEADERS, raw

ROOT = Path(__file__).parents[2]


def fuzz(corpus: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    script = Path(__file__).with_name("fuzz_messages.py")
    paths = os.pathsep.join(str(path) for path in (ROOT, ROOT / "bridge"))
    return subprocess.run(
        [sys.executable, str(script), *options, "-seed=4", str(corpus)],
        capture_output=True,
        text=True,
        cwd=corpus.parent,
        env={**os.environ, "PYTHONPATH": paths, **environment},
        check=False,
    )


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """One good message of every kind; that of a status is cut, for its length."""
    pytest.importorskip("atheris", reason="atheris is not installed; it comes with [test] on Linux")
    folder = tmp_path / "corpus"
    folder.mkdir()
    for kind in HEADERS:
        frames = raw(kind)
        start = bytes([min(255, len(frames[0]))])
        (folder / kind).write_bytes(start + b"".join(frames))
    return folder


def test_nothing_but_a_refusal_comes_of_any_bytes(corpus: Path) -> None:
    runs = int(os.environ.get("RTSEP_FUZZ", "100000"))
    # What counts as its memory is the most that this process ever had, as its parent.
    done = fuzz(corpus, f"-runs={runs}", "-rss_limit_mb=0")
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"Done {runs} runs" in done.stderr


def test_the_fuzzer_finds_what_it_is_to_find(corpus: Path) -> None:
    done = fuzz(corpus, "-runs=400000", RTSEP_PLANT="301")
    assert done.returncode != 0
    assert "planted" in done.stdout + done.stderr
