"""A live player with a load in its own process: ``python -m rtsep.bench.loaded``.

It plays until a signal comes, and prints lines of JSON, its status once a second.  At the
end it writes what it kept of every callback into a file.
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from rtsep.bench.loads import loads
from rtsep.bench.processes import family, page_faults, realtime_threads, resident_bytes
from rtsep.live.jack_host import JackHost
from rtsep.live.player import Live
from rtsep.live.session import Session

_POLL_S = 0.05


def main() -> None:
    """Play as the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--preset", required=True)
    parser.add_argument("--load", action="append", default=[])
    parser.add_argument("--callbacks", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    options = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    threads = set(realtime_threads(os.getpid()))
    host = JackHost(name=options.name)
    session = Session(preset=options.preset)
    live = Live(host, session, log_callbacks=options.callbacks)
    live.start()
    try:
        live.wait()
        callback_threads = sorted(set(realtime_threads(os.getpid())) - threads)
        with loads(options.load):
            _play(live, ended, callback_threads)
    finally:
        log = live.handover.callback_log()
        trace = live.trace()
        live.stop()
    np.savez(
        options.log,
        callbacks_ns=log,
        trace=np.array([(e.frame, e.time_ns, e.number) for e in trace], np.int64).reshape(-1, 3),
        trace_kinds=np.array([entry.kind for entry in trace], "U8"),
    )


def _play(live: Live, ended: threading.Event, threads: list[int]) -> None:
    """Poll the player and report, until told to end."""
    due = time.monotonic()
    while not ended.is_set():
        live.poll()
        now = time.monotonic()
        if now >= due:
            due = now + 1.0
            print(json.dumps(_report(live, threads)), flush=True)  # noqa: T201
        ended.wait(_POLL_S)


def _report(live: Live, threads: list[int]) -> dict[str, Any]:
    """The status, and what the operating system knows."""
    faults = [page_faults(os.getpid(), thread) for thread in threads]
    known = [fault for fault in faults if fault is not None]
    return {
        "status": msgspec.to_builtins(live.status()),
        "resident_bytes": sum(resident_bytes(pid) for pid in family(os.getpid())),
        "minor_faults": sum(fault.minor for fault in known) if known else None,
        "major_faults": sum(fault.major for fault in known) if known else None,
        "realtime": bool(threads),
    }


if __name__ == "__main__":
    main()
    sys.stdout.flush()
