"""What the system grants, each asked in a process of its own that ends with it."""

import json
import os
import subprocess
import sys

import pytest

from rtsep import realtime

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux's calls have been tested"
)

PRELUDE = f"""
import ctypes, dataclasses, gc, json, os, resource, sys
sys.path[:] = {sys.path!r}
from rtsep import realtime

def ordinary():
    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (8 << 20, 8 << 20))
    if os.getuid() == 0:
        os.setresuid(65534, 65534, 65534)

def tell(**answers):
    print(json.dumps(answers, default=dataclasses.asdict))
"""
ROOT_ONLY = pytest.mark.skipif(
    getattr(os, "getuid", int)() != 0, reason="an ordinary user may lock little"
)


def child(code: str) -> dict[str, object]:
    """What a fresh interpreter tells."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_priority_is_granted_or_the_reason_and_the_remedy_are_told() -> None:
    told = child(
        "grant = realtime.make_realtime(60)\n"
        "tell(grant=grant, policy=os.sched_getscheduler(0),"
        " priority=os.sched_getparam(0).sched_priority)"
    )
    grant = realtime.RealTime(**told["grant"])
    if grant.granted:
        assert told["policy"] == os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
        assert grant.found == f"real-time priority {told['priority']}"
    else:
        assert told["policy"] == os.SCHED_OTHER
        assert grant.reason
        assert "rtprio" in grant.remedy


def test_priority_is_given_back() -> None:
    told = child(
        "realtime.make_realtime(60); realtime.make_normal()\ntell(first=os.sched_getscheduler(0))"
    )
    assert told["first"] in (os.SCHED_OTHER, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK)


def test_priority_is_taken_from_another_process() -> None:
    told = child(
        "import subprocess\n"
        "other = subprocess.Popen(['sleep', '60'])\n"
        "realtime.make_realtime(60)\n"
        "if os.sched_getscheduler(0) != os.SCHED_OTHER:\n"
        "    os.sched_setscheduler(other.pid, os.SCHED_FIFO, os.sched_param(60))\n"
        "here = os.sched_getscheduler(0)\n"
        "realtime.make_normal(other.pid)\n"
        "tell(kept=os.sched_getscheduler(0) == here, there=os.sched_getscheduler(other.pid))\n"
        "other.kill(); other.wait()"
    )
    assert told["kept"]
    assert told["there"] in (os.SCHED_OTHER, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK)


def test_a_child_of_a_realtime_thread_is_not_realtime() -> None:
    told = child(
        "realtime.make_realtime(60)\n"
        "code = os.spawnl(os.P_WAIT, sys.executable, sys.executable, '-c',"
        " 'import os; raise SystemExit(os.sched_getscheduler(0))')\n"
        "tell(policy=code)"
    )
    assert told["policy"] == os.SCHED_OTHER


def test_an_ordinary_user_is_refused_with_the_remedy() -> None:
    told = child(
        "ordinary()\ntell(grant=realtime.make_realtime(60), policy=os.sched_getscheduler(0))"
    )
    grant = realtime.RealTime(**told["grant"])
    assert told["policy"] == os.SCHED_OTHER
    assert not grant.granted
    assert grant.reason == "operation not permitted"
    assert "@audio - rtprio 95" in grant.remedy


def test_as_much_priority_is_taken_as_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    def grant_up_to_20(pid: int, policy: int, parameters: os.sched_param) -> None:
        if parameters.sched_priority > 20:
            raise PermissionError(1, "Operation not permitted")
        taken.append(parameters.sched_priority)

    monkeypatch.setattr(os, "sched_setscheduler", grant_up_to_20)
    monkeypatch.setattr(realtime, "_raise_limit", lambda kind: 20)
    most = realtime.make_realtime(60)
    assert most.granted
    assert most.found == "real-time priority 20"
    assert "60 was asked for" in most.reason
    assert most.remedy
    assert realtime.make_realtime(10) == realtime.RealTime(True, "real-time priority 10")
    assert taken == [20, 10]


def test_no_priority_is_taken_where_none_is_asked_for() -> None:
    assert not realtime.make_realtime(0).granted
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_a_limit_on_locked_memory_never_makes_an_allocation_fail() -> None:
    told = child(
        "ordinary()\n"
        "grant = realtime.lock_memory()\n"
        "blocks = [bytearray(32 << 20) for _ in range(4)]\n"
        "tell(grant=grant, size=sum(map(len, blocks)))"
    )
    grant = realtime.RealTime(**told["grant"])
    assert told["size"] == 128 << 20
    assert not grant.granted
    assert "8 MiB" in grant.reason
    assert "memlock" in grant.remedy


@ROOT_ONLY
def test_memory_that_fits_the_limit_is_locked_and_later_memory_is_not() -> None:
    told = child(
        "realtime._raise_limit = lambda kind: 2048 << 20\n"
        "realtime._may_lock_everything = lambda: False\n"
        "grant = realtime.lock_memory()\n"
        "def locked():\n"
        "    text = open('/proc/self/status').read()\n"
        "    return int(text.split('VmLck:')[1].split()[0])\n"
        "first = locked()\n"
        "blocks = [bytearray(32 << 20) for _ in range(4)]\n"
        "tell(grant=grant, first=first, second=locked())"
    )
    grant = realtime.RealTime(**told["grant"])
    assert grant.granted
    assert "not locked" in grant.reason
    assert told["first"] > 1000
    assert told["second"] < told["first"] + (32 << 10)


@ROOT_ONLY
def test_root_locks_what_is_there_and_what_comes() -> None:
    told = child(
        "grant = realtime.lock_memory()\n"
        "block = bytearray(32 << 20)\n"
        "text = open('/proc/self/status').read()\n"
        "tell(grant=grant, locked=int(text.split('VmLck:')[1].split()[0]))"
    )
    assert told["grant"]["granted"]
    assert told["locked"] > 32 << 10


def test_garbage_is_frozen() -> None:
    told = child(
        "tell(grant=realtime.freeze_garbage(), on=gc.isenabled(), n=gc.get_freeze_count())"
    )
    assert told["grant"]["granted"]
    assert not told["on"]
    assert told["n"] > 1000


def test_memory_is_given_back() -> None:
    code = (
        "from rtsep import realtime as r\n"
        "def locked():\n"
        "    lines = open('/proc/self/status').read().splitlines()\n"
        "    return int(next(x for x in lines if x.startswith('VmLck')).split()[1])\n"
        "granted = r.lock_memory().granted\n"
        "before = locked()\n"
        "r.unlock_memory()\n"
        "assert locked() == 0 and (before > 0) == granted, (before, granted)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
