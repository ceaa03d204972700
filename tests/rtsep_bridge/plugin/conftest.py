"""The plugin, built once, and engines without a model for it to speak with."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "bridge/plugin"
JUCE = Path("/usr/share/juce/modules")
PACKAGES = "g++ make pkg-config juce-modules-source juce-tools lv2-dev libzmq3-dev"
ENGINE = Path(__file__).with_name("null_engine.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the first test the time that the build takes."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(scope="session")
def plugin() -> SimpleNamespace:
    """Paths of what `make -C bridge/plugin all checks` builds."""
    missing = [tool for tool in ("g++", "make", "pkg-config") if shutil.which(tool) is None]
    if missing or not JUCE.is_dir():
        pytest.skip(f"the plugin cannot be built here: sudo apt-get install {PACKAGES}")
    # A full build takes minutes where two cores are shared; later ones take a second.
    make = ["make", "-C", str(FOLDER), f"-j{os.cpu_count()}", "all", "checks"]
    built = subprocess.run(make, capture_output=True, text=True, timeout=1500, check=False)
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-4000:]
    (vst3,) = FOLDER.glob("build/rtsep.vst3/Contents/*/rtsep.so")
    objects = FOLDER / "build/objects"
    return SimpleNamespace(
        vst3=FOLDER / "build/rtsep.vst3",
        vst3_library=vst3,
        lv2=FOLDER / "build/rtsep.lv2",
        messages_check=objects / "messages_check",
        link_check=objects / "link_check",
        lv2_check=objects / "lv2_check",
        vst3_check=objects / "vst3_check",
        window_check=objects / "window_check",
    )


class Engine:
    """A null engine in a process of its own, which can be killed and started again."""

    def __init__(self, address: str, *options: str) -> None:
        self.address = address
        self._options = options
        self.start()

    def start(self) -> None:
        path = os.pathsep.join((str(ROOT), str(ROOT / "bridge")))
        self.process = subprocess.Popen(
            [sys.executable, str(ENGINE), self.address, *self._options],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": path},
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "serving\n"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def new_engine(tmp_path: Path) -> Iterator[Callable[..., Engine]]:
    """Start engines; all of them end with the test."""
    engines: list[Engine] = []

    def start(*options: str) -> Engine:
        engines.append(Engine(f"ipc://{tmp_path}/engine{len(engines)}", *options))
        return engines[-1]

    yield start
    for engine in engines:
        if engine.process.poll() is None:
            engine.kill()


@pytest.fixture
def engine(new_engine: Callable[..., Engine]) -> Engine:
    return new_engine()
