"""Loads that are carried and put down again, and children that are looked after."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from rtsep.bench.child import Child
from rtsep.bench.loads import LOADS, loads
from rtsep.bench.processes import end, family, page_faults, realtime_threads, resident_bytes
from rtsep.errors import RtsepError, SetupError

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")


@pytest.mark.parametrize("name", LOADS)
def test_a_load_is_work_and_ends(name: str) -> None:
    threads, children = threading.active_count(), set(family(os.getpid()))
    before = sum(os.times()[:4])
    with loads([name, name]):
        if name != "none":
            assert threading.active_count() > threads or set(family(os.getpid())) > children
        time.sleep(0.3)
    if name in ("python", "gc", "memory"):
        assert sum(os.times()[:4]) > before
    assert threading.active_count() == threads
    trackers = {child for child in family(os.getpid()) if child not in children}
    assert len(trackers) <= 1  # multiprocessing's own, which stays


def test_an_unknown_load_is_refused() -> None:
    with pytest.raises(RtsepError, match="--load fire"), loads(["python", "fire"]):
        pass


@linux
def test_what_the_system_knows_of_a_process() -> None:
    assert resident_bytes(os.getpid()) > 10_000_000
    assert resident_bytes(2**22 + 1) == 0
    faults = page_faults(os.getpid(), threading.get_native_id())
    assert faults is not None
    block = bytearray(64 << 20)
    block[::4096] = b"x" * len(block[::4096])
    later = page_faults(os.getpid(), threading.get_native_id())
    assert later is not None
    assert later.since(faults).minor > 0
    assert page_faults(os.getpid(), 2**22 + 1) is None
    assert all(priority > 0 for priority in realtime_threads(os.getpid()).values())


def test_a_child_that_does_not_want_to_end_is_made_to() -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    code += "print('there', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        process.stdout.readline()
        assert end(process, 0.3) == -signal.SIGKILL


def test_a_child_tells_lines_and_its_last_complaint() -> None:
    with Child(["json.tool", "/no/such/file"], os.environ) as child:
        with pytest.raises(SetupError, match="it has ended"):
            child.next_line(20)
        assert not child.alive()
    with Child(["platform"], os.environ) as child, pytest.raises(SetupError, match="ended"):
        child.next_line(20)
