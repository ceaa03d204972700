"""The stand-ins for missing packages, and what a missing rival looks like."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks import common

SCRIPT = """
import sys
from benchmarks import rivals
rivals.OPTIONAL["demucs"] = ("no_such_package", "json")
print(rivals.install_stand_ins("demucs"))
import json
import no_such_package
from no_such_package.functional.deep import resample
class Derived(no_such_package.Base): pass
@no_such_package.decorate("x")
def run(): pass
print(json.dumps([resample(1, sr=2) is not None, Derived(1).anything() is not None]))
try:
    import another_missing_package
except ImportError as error:
    print(error.name)
"""


def test_only_what_is_missing_is_replaced() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        check=True,
        env=common.single_thread_environment(),
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "['no_such_package']"
    assert json.loads(lines[1]) == [True, True]
    assert lines[2] == "another_missing_package"


def test_a_rival_that_cannot_run_is_reported_not_raised(tmp_path: Path) -> None:
    # An interpreter without site-packages has none of them.
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    bare.chmod(0o755)
    for rival in ("hs-tasnet", "demucs", "openunmix", "basic-pitch"):
        assert "missing" in common.run_rival(str(bare), rival, [tmp_path / "mix.npy"])
    nowhere = str(tmp_path / "nowhere")
    assert "nowhere" in common.run_rival(nowhere, "demucs", [])["missing"]
