"""What the operating system knows of a process: memory, page faults, priorities.

Everything here reads Linux's ``/proc``; elsewhere it answers with nothing.
"""

import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_REALTIME = {getattr(os, name, None) for name in ("SCHED_FIFO", "SCHED_RR")} - {None}
_RESET_ON_FORK = getattr(os, "SCHED_RESET_ON_FORK", 0)
# Fields of /proc/<pid>/stat, counted from behind the name.
_PARENT, _MINOR_FAULTS, _MAJOR_FAULTS, _PRIORITY = 1, 7, 9, 37


@dataclass(frozen=True)
class Faults:
    """Page faults of one thread since it started."""

    minor: int
    major: int

    def since(self, earlier: "Faults") -> "Faults":
        """The difference."""
        return Faults(self.minor - earlier.minor, self.major - earlier.major)


def page_faults(pid: int, thread: int) -> Faults | None:
    """Page faults of a thread so far; None where that cannot be known."""
    fields = _stat(_PROC / str(pid) / "task" / str(thread) / "stat")
    if not fields:
        return None
    return Faults(int(fields[_MINOR_FAULTS]), int(fields[_MAJOR_FAULTS]))


def resident_bytes(pid: int) -> int:
    """Memory of a process that is in use and not in a file, 0 where unknown.

    What it shares with others counts once in each of them.
    """
    with suppress(OSError, ValueError, IndexError):
        pages = (_PROC / str(pid) / "statm").read_text("ascii").split()
        return int(pages[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def family(pid: int) -> list[int]:
    """A process and all that it started, and that those started."""
    parents: dict[int, int] = {}
    with suppress(OSError):
        for folder in _PROC.iterdir():
            if folder.name.isdigit():
                fields = _stat(folder / "stat")
                if fields:
                    parents[int(folder.name)] = int(fields[_PARENT])
    members = [pid]
    for member in members:
        members += [child for child, parent in parents.items() if parent == member]
    return members


def realtime_threads(pid: int) -> dict[int, int]:
    """Threads of a process that run at real-time priority, with it."""
    found = {}
    for thread in _threads(pid):
        with suppress(OSError):
            if os.sched_getscheduler(thread) & ~_RESET_ON_FORK in _REALTIME:
                found[thread] = os.sched_getparam(thread).sched_priority
    return found


def _threads(pid: int) -> list[int]:
    with suppress(OSError):
        return sorted(int(task.name) for task in (_PROC / str(pid) / "task").iterdir())
    return []


def _stat(path: Path) -> list[str]:
    """The fields of a ``stat`` file behind the name, which may hold anything."""
    with suppress(OSError):
        return path.read_text("utf-8", "replace").rpartition(")")[2].split()
    return []


def end(process: "subprocess.Popen[bytes] | subprocess.Popen[str]", patience_s: float = 5) -> int:
    """Ask a child to end, make it end, and give its exit status.

    An interrupt on the way is kept until the child has gone.
    """
    interrupted: KeyboardInterrupt | None = None
    for action in (process.terminate, process.kill, process.kill):
        if process.poll() is not None:
            break
        action()
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue
        except KeyboardInterrupt as interrupt:
            interrupted = interrupt
    if interrupted is not None:
        raise interrupted
    return process.returncode if process.returncode is not None else -signal.SIGTERM
