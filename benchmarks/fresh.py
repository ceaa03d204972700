"""What only a fresh process can tell: start-up times and resident memory.

`engine.py` starts this file once a question; it prints one line of JSON.  The caches of
Numba and of the file system are warm by then: a first run goes before each.
"""

import argparse
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

PROGRESS = re.compile(rb"[1-9][0-9]*%")


def import_time() -> dict[str, Any]:
    """``import rtsep`` in an interpreter that has imported only the standard library."""
    start = time.perf_counter()
    import rtsep  # noqa: F401

    return {"import_s": time.perf_counter() - start}


def construct_time(separator: str, transcriber: str | None, preset: str) -> dict[str, Any]:
    """Imports, bundles, engine and `prepare`, to the first block of 48 kHz stereo."""
    start = time.perf_counter()
    import numpy as np

    from rtsep.bundle import load_bundle
    from rtsep.engine import Engine
    from rtsep.presets import PRESETS

    imported = time.perf_counter()
    bundles = [None if name is None else load_bundle(name) for name in (separator, transcriber)]
    loaded = time.perf_counter()
    engine = Engine(*bundles, PRESETS[preset])
    engine.prepare(48_000, 512)
    built = time.perf_counter()
    out = np.empty((len(engine.stems), 2, 512), np.float32)
    engine.process(np.zeros((2, 512), np.float32), out)
    return {
        "imports_s": imported - start,
        "bundles_s": loaded - imported,
        "engine_s": built - loaded,
        "first_block_s": time.perf_counter() - built,
    }


def memory(separator: str, transcriber: str | None, preset: str, seconds: float) -> dict[str, Any]:
    """Resident memory of a live engine after `seconds` of 48 kHz stereo, in blocks of 128.

    The process holds the engine, its bundles, one block in and one out, and nothing of
    the benchmark.
    """
    import numpy as np
    import psutil

    from rtsep.bundle import load_bundle
    from rtsep.engine import Engine
    from rtsep.presets import PRESETS

    bundles = [None if name is None else load_bundle(name) for name in (separator, transcriber)]
    engine = Engine(*bundles, PRESETS[preset])
    engine.prepare(48_000, 128)
    block = np.empty((2, 128), np.float32)
    out = np.empty((len(engine.stems), 2, 128), np.float32)
    process = psutil.Process()
    at_start = process.memory_info().rss
    rng = np.random.default_rng(0)
    for _ in range(round(seconds * 48_000 / 128)):
        rng.standard_normal(out=block, dtype=np.float32)
        block *= 0.1
        engine.process(block, out)
        engine.take_notes()
    return {"rss_mb": process.memory_info().rss / 1e6, "rss_at_start_mb": at_start / 1e6}


def first_progress(audio: Path, output: Path, options: list[str]) -> dict[str, Any]:
    """``rtsep separate`` on a terminal: to its first step of progress, and to its end."""
    import pty
    import subprocess

    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "rtsep", "separate", str(audio), "-o", str(output), *options]
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=follower, cwd=ROOT)
    os.close(follower)
    seen, first = b"", None
    while True:
        try:
            piece = os.read(leader, 4096)
        except OSError:  # Linux: the other end is closed
            break
        if not piece:
            break
        seen += piece
        if first is None and PROGRESS.search(seen):
            first = time.perf_counter() - start
    stdout, _ = child.communicate()
    if child.returncode or first is None:
        raise SystemExit(f"rtsep separate: status {child.returncode}, {seen[-300:]!r}")
    return {
        "first_progress_s": first,
        "total_s": time.perf_counter() - start,
        "said": stdout.decode(errors="replace").strip(),
    }


def main() -> None:
    """Answer the question named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("question", choices=("import", "construct", "memory", "separate"))
    parser.add_argument("--separator")
    parser.add_argument("--transcriber")
    parser.add_argument("--preset", default="live")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--audio", type=Path)
    parser.add_argument("--output", type=Path)
    # What follows "--" is for rtsep separate.
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    args, options = parser.parse_args(words[:end]), words[end + 1 :]
    if args.question == "import":
        answer = import_time()
    elif args.question == "construct":
        answer = construct_time(args.separator, args.transcriber, args.preset)
    elif args.question == "memory":
        answer = memory(args.separator, args.transcriber, args.preset, args.seconds)
    else:
        answer = first_progress(args.audio, args.output, options)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
