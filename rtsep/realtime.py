"""What a real-time thread asks of the system, and what to do where it is refused.

Nothing here raises: live audio goes on without what was not granted, with more misses.
The three systems' calls stand in a function each; only Linux's has been tested.
RealtimeKit is not asked: it kills a process that once works 200 ms without a pause, as
an engine may that catches up.
"""

import ctypes
import gc
import os
import sys
from dataclasses import dataclass
from pathlib import Path

HIGHEST = 95
_LIMITS = (
    'sudo sh -c \'printf "@audio - rtprio 95\\n@audio - memlock unlimited\\n"'
    " > /etc/security/limits.d/audio.conf'; sudo usermod -aG audio $USER; log in again"
)
_CAP_IPC_LOCK = 14
# Pages are locked when they are first used: libraries map far more than ever is.
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4


@dataclass(frozen=True)
class RealTime:
    """One thing that was asked of the system.

    Attributes
    ----------
    granted : bool
    found : str
        What there is now, such as "real-time priority 60".
    reason, remedy : str
        Why it was refused, wholly or in part, and what to do; empty where it was not.
    """

    granted: bool
    found: str
    reason: str = ""
    remedy: str = ""


def make_realtime(priority: int) -> RealTime:
    """Let the calling thread go before all others of normal priority.

    Threads and processes that it starts afterwards do not inherit this on Linux.

    Parameters
    ----------
    priority : int
        1 to 95 on Linux, of which as much is taken as the system grants; other systems
        know one only.  0 changes nothing.
    """
    if priority <= 0:
        return _normal("none was asked for", "")
    return _take_priority(min(priority, HIGHEST))


def make_normal(pid: int = 0) -> None:
    """Take `make_realtime` back, for work that has time (Linux; elsewhere it stays).

    Parameters
    ----------
    pid : int, optional
        Of another process, whose main thread it is for; this thread where not given.
    """
    if sys.platform == "linux":
        try:
            os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))
        except PermissionError:  # children of this thread start at normal priority for good
            os.sched_setscheduler(pid, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))


def lock_memory() -> RealTime:
    """Keep this process's memory from being paged out, now and later.

    Where the system grants only so much, what there is now is locked if it fits, and
    what comes later is not: every later allocation beyond the limit would fail.
    """
    return _take_memory()


def unlock_memory() -> None:
    """Take `lock_memory` back, for a process that goes on to other work."""
    _release_memory()


def freeze_garbage() -> RealTime:
    """Collect what is garbage now, and never look for more."""
    gc.collect()
    gc.freeze()
    gc.disable()
    return RealTime(True, "garbage collector frozen")


def _unlocked(reason: str, remedy: str) -> RealTime:
    return RealTime(False, "memory may be paged out", reason, remedy)


def _normal(reason: str, remedy: str) -> RealTime:
    return RealTime(False, "normal priority", reason, remedy)


if sys.platform == "linux":
    import resource

    def _raise_limit(kind: int) -> int:
        """Take the soft limit as far up as the hard one; what it is then, -1 for no limit."""
        soft, hard = resource.getrlimit(kind)
        if soft != hard:
            resource.setrlimit(kind, (hard, hard))
        return hard

    def _take_priority(priority: int) -> RealTime:
        policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
        limit = _raise_limit(resource.RLIMIT_RTPRIO)
        reason = ""
        for wanted in dict.fromkeys((priority, min(priority, limit))):
            if wanted <= 0:
                continue
            try:
                os.sched_setscheduler(0, policy, os.sched_param(wanted))
            except OSError as error:
                reason = (error.strerror or "refused").lower()
                continue
            if wanted < priority:
                return RealTime(
                    True,
                    f"real-time priority {wanted}",
                    f"{priority} was asked for, up to {limit} is allowed here",
                    _LIMITS,
                )
            return RealTime(True, f"real-time priority {wanted}")
        return _normal(reason, _LIMITS)

    def _take_memory() -> RealTime:
        limit = _raise_limit(resource.RLIMIT_MEMLOCK)
        unlimited = limit == resource.RLIM_INFINITY or _may_lock_everything()
        libc = ctypes.CDLL(None, use_errno=True)
        flags = _MCL_CURRENT | _MCL_ONFAULT | (_MCL_FUTURE if unlimited else 0)
        if libc.mlockall(flags) == 0:
            if unlimited:
                return RealTime(True, "memory locked")
            return RealTime(
                True,
                "memory locked as it is now",
                f"{limit >> 20} MiB are allowed here, so what comes later is not locked",
                _LIMITS,
            )
        refusal = os.strerror(ctypes.get_errno()).lower()
        reason = refusal if unlimited else f"{limit >> 20} MiB may be locked here"
        return _unlocked(reason, _LIMITS)

    def _release_memory() -> None:
        ctypes.CDLL(None).munlockall()

    def _may_lock_everything() -> bool:
        """Whether the limit does not hold for this process (CAP_IPC_LOCK)."""
        try:
            lines = Path("/proc/thread-self/status").read_text("utf-8").splitlines()
            fields = dict(line.split(":", 1) for line in lines)
            return bool(int(fields["CapEff"], 16) >> _CAP_IPC_LOCK & 1)
        except (OSError, ValueError, KeyError):
            return False


elif sys.platform == "darwin":

    class _Timebase(ctypes.Structure):
        _fields_ = (("numerator", ctypes.c_uint32), ("denominator", ctypes.c_uint32))

    class _TimeConstraint(ctypes.Structure):
        """``thread_time_constraint_policy``, in ticks of Mach's clock."""

        _fields_ = (
            ("period", ctypes.c_uint32),
            ("computation", ctypes.c_uint32),
            ("constraint", ctypes.c_uint32),
            ("preemptible", ctypes.c_int),
        )

    _TIME_CONSTRAINT_POLICY, _POLICY_WORDS = 2, 4
    #: A block of 128 samples at 48 kHz, half of which is work.
    _PERIOD_NS, _COMPUTATION_NS = 2_666_667, 1_333_333

    def _take_priority(_: int) -> RealTime:
        system = ctypes.CDLL(None)
        system.pthread_self.restype = ctypes.c_void_p
        system.pthread_mach_thread_np.argtypes = (ctypes.c_void_p,)
        system.pthread_mach_thread_np.restype = ctypes.c_uint32
        timebase = _Timebase()
        system.mach_timebase_info(ctypes.byref(timebase))
        ticks = timebase.denominator / max(1, timebase.numerator)
        period, computation = int(_PERIOD_NS * ticks), int(_COMPUTATION_NS * ticks)
        policy = _TimeConstraint(period, computation, period, 1)
        thread = ctypes.c_uint32(system.pthread_mach_thread_np(system.pthread_self()))
        code = system.thread_policy_set(
            thread,
            ctypes.c_uint32(_TIME_CONSTRAINT_POLICY),
            ctypes.byref(policy),
            ctypes.c_uint32(_POLICY_WORDS),
        )
        if code:
            return _normal(f"the system refused a time constraint (Mach error {code})", "")
        return RealTime(True, "a time-constraint thread")


elif sys.platform == "win32":
    _PRIORITY_HIGH = 1

    def _take_priority(_: int) -> RealTime:
        avrt = ctypes.WinDLL("avrt", use_last_error=True)
        set_task = avrt.AvSetMmThreadCharacteristicsW
        set_task.argtypes = (ctypes.c_wchar_p, ctypes.POINTER(ctypes.c_ulong))
        set_task.restype = ctypes.c_void_p
        avrt.AvSetMmThreadPriority.argtypes = (ctypes.c_void_p, ctypes.c_int)
        task = set_task("Pro Audio", ctypes.byref(ctypes.c_ulong(0)))
        if not task:
            error = ctypes.WinError(ctypes.get_last_error())
            remedy = "start the service 'Multimedia Class Scheduler' (MMCSS)"
            return _normal(f"the system refused it ({error.strerror})", remedy)
        avrt.AvSetMmThreadPriority(task, _PRIORITY_HIGH)
        return RealTime(True, "'Pro Audio' priority")

else:

    def _take_priority(_: int) -> RealTime:
        return _normal(f"rtsep does not know how to ask for more on {sys.platform}", "")


if sys.platform != "linux":

    def _take_memory() -> RealTime:
        return _unlocked(f"rtsep locks it on Linux only, not on {sys.platform}", "")

    def _release_memory() -> None:
        """Nothing was locked."""
