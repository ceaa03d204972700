"""What every benchmark prints and shares: the machine, versions, tables, statistics.

A benchmark is run as ``python benchmarks/NAME.py`` from anywhere; each begins by
putting the repository on ``sys.path``, so that it measures this checkout.
"""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from rtsep.bundle import Bundle
from rtsep.errors import RtsepError, SetupError
from rtsep.presets import PRESETS
from rtsep.songs import find_separator, find_transcriber

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("numpy", "numba", "onnxruntime-gpu", "onnxruntime", "scipy", "librosa", "mir_eval")
Audio = npt.NDArray[np.float32]

RIVALS_HELP = """\
python -m venv rivals
  rivals/bin/pip install --no-deps hs-tasnet demucs openunmix basic-pitch
  rivals/bin/pip install torch einops einx tqdm rich numpy scipy \\
      onnxruntime librosa mir_eval pretty_midi matplotlib
  then --rivals-python rivals/bin/python  (--no-deps: some of them ask for TensorFlow or
  CUDA builds that are not needed here)"""


def console(*, stderr: bool = False) -> Console:
    """A console wide enough for the tables also where the output is a file."""
    screen = Console(stderr=stderr)
    return screen if screen.is_terminal else Console(stderr=stderr, width=140)


def machine() -> dict[str, Any]:
    """The machine and the versions that a figure belongs to."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "commit": _commit(),
        "versions": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def print_machine(facts: dict[str, Any]) -> None:
    """Print what `machine` found, in three lines."""
    versions = "  ".join(f"{name} {number}" for name, number in facts["versions"].items())
    load = facts["load_average"]
    busy = "" if load is None else f", load average {load:.1f}"
    print(f"machine   {facts['processor']}, {facts['cores']} cores{busy}, {facts['system']}")
    print(
        f"versions  Python {facts['python']}  {versions}  rtsep at {facts['commit']}\n", flush=True
    )


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], notes: str = ""
) -> None:
    """Print one table, its first column to the left and the others to the right."""
    table = Table(box=box.SIMPLE_HEAD)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=not index)
    for row in rows:
        table.add_row(*row)
    screen = console()
    screen.print(title, style="bold", highlight=False, soft_wrap=True)
    screen.print(table)
    if notes:
        screen.print(notes, style="dim", highlight=False, soft_wrap=not screen.is_terminal)
    screen.print()
    sys.stdout.flush()


def mean_of(rows: Sequence[dict[str, Any]], measure: str) -> str:
    """A measure's mean over the rows that have it, for a table."""
    values = [row[measure] for row in rows if row[measure] is not None]
    return f"{np.mean(values):.2f}" if values else "–"


def progress() -> Progress:
    """A progress bar on stderr, which leaves the tables on stdout alone."""
    screen = console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        console=screen,
        transient=True,
        disable=not screen.is_terminal,
    )


def write_json(path: Path | None, report: dict[str, Any]) -> None:
    """Write the report beside the tables, where a path was asked for."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.part")
        scratch.write_text(json.dumps(report, indent=1) + "\n")
        scratch.replace(path)
        print(f"written to {path}")


def pin_to_one_core(core: int | None) -> str:
    """Pin this process, and so its children, to one core; say what was done.

    Parameters
    ----------
    core : int or None
        None takes the last core that this process may use.
    """
    if not hasattr(os, "sched_setaffinity"):
        return "not pinned: this system has no sched_setaffinity; one thread everywhere"
    chosen = max(os.sched_getaffinity(0)) if core is None else core
    os.sched_setaffinity(0, {chosen})
    return f"pinned to core {chosen}, children too; one thread everywhere"


def single_thread_environment() -> dict[str, str]:
    """The environment for children that must not start thread pools."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    paths = [str(ROOT), str(ROOT / "bridge"), str(ROOT / "export")]
    old = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        **dict.fromkeys(names, "1"),
        "PYTHONPATH": os.pathsep.join(paths + ([old] if old else [])),
    }


def run_rival(python: str, rival: str, inputs: Sequence[Path]) -> dict[str, Any]:
    """Run one rival in its interpreter, see `benchmarks/rivals.py`.

    Returns
    -------
    dict
        The rival's figures, or ``missing``: why there are none.
    """
    command = [python, str(ROOT / "benchmarks" / "rivals.py"), rival, *map(str, inputs)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=single_thread_environment()
        )
    except OSError as error:
        return {"missing": f"{python} ({error.strerror})"}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        last = done.stderr.strip().splitlines()[-1:] or ["no output"]
        return {"missing": f"a run that ended well ({last[0]})"}
    result: dict[str, Any] = json.loads(lines[-1])
    return result


def open_models(
    presets: Sequence[str], separator: str | None, transcriber: str | None
) -> tuple[dict[str, Bundle], Bundle | None]:
    """The separator of each preset, and the transcriber where there is one.

    Parameters
    ----------
    presets : sequence of str
        Names in `rtsep.presets.PRESETS`.
    separator, transcriber : str or None
        A bundle's name or path; None takes what ships: the preset's separator and the
        only transcriber there is.

    Raises
    ------
    BundleError
        A bundle that was named or belongs to a preset, and cannot be loaded.
    """
    separators = {name: find_separator(separator or PRESETS[name].bundle) for name in presets}
    try:
        return separators, find_transcriber(transcriber)
    except SetupError as error:
        print(f"notes left out: {error}\n")
        return separators, None


def run_to_the_end(main: Callable[[], None]) -> None:
    """Run a benchmark's `main`; a user's mistake or Ctrl-C ends it in one line."""
    try:
        main()
    except RtsepError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)


def hop_statistics(times_us: npt.ArrayLike) -> dict[str, float]:
    """Median, tail percentiles and maximum of a run's times, in microseconds."""
    values = np.asarray(times_us, np.float64)
    return {
        "count": float(values.size),
        "median_us": float(np.median(values)),
        "p99_us": float(np.percentile(values, 99)),
        "p999_us": float(np.percentile(values, 99.9)),
        "max_us": float(values.max()),
    }


def speed_mix(seconds: float, sample_rate: int, seed: int = 0) -> Audio:
    """A mix for speed measurements: drum hits, a bass line, chords, a noise floor.

    Speed hardly depends on the material, but notes must occur for the tracker to work.

    Returns
    -------
    float32 array, shape (2, round(seconds * sample_rate))
    """
    rng = np.random.default_rng(seed)
    n = round(seconds * sample_rate)
    time_s = np.arange(n) / sample_rate
    beat = time_s % 0.25
    audio = 0.002 * rng.standard_normal((2, n))
    audio += 0.2 * np.exp(-beat * 40) * rng.standard_normal(n)
    steps = np.asarray([33, 36, 40, 38])[(time_s // 0.5).astype(int) % 4]
    for shift, level, pan in ((0, 0.2, 0.5), (24, 0.08, 0.2), (28, 0.08, 0.8), (31, 0.08, 0.6)):
        hz = 440.0 * 2.0 ** ((steps + shift - 69) / 12)
        phase = 2 * np.pi * np.cumsum(hz) / sample_rate
        tone = np.exp(-(time_s % 0.5) * 4) * sum(np.sin(k * phase) / k for k in range(1, 6))
        audio += level * np.outer([1 - pan, pan], tone)
    return audio.astype(np.float32)
