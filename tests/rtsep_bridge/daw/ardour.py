"""Ardour without a window: sessions made by its Lua interpreter, files for them, exports."""

import glob
import os
import re
import shutil
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest
from pedalboard.io import AudioFile

from rtsep.audio_files import AudioWriter

Audio = npt.NDArray[np.float32]
ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "bridge/ardour/rtsep_stems.lua"
RATE = 48_000
STARTS = 6
STEMS = ("drums", "bass", "guitar", "piano", "other")
#: Ardour's unit of time: so many of them are a second.
TICKS = 282_240_000 // RATE


def read(path: Path) -> Audio:
    with AudioFile(str(path)) as file:
        return file.read(file.frames)


def write(path: Path, audio: Audio) -> Path:
    writer = AudioWriter(path, RATE, len(audio), "wav")
    writer.write(np.ascontiguousarray(audio))
    writer.close()
    return path


class Ardour:
    """Programs of Ardour's, with a home of their own in which nothing but our plugin is.

    Parameters
    ----------
    folder : Path
        For its home.
    plugin : SimpleNamespace, optional
        What `make -C bridge/plugin` built.
    """

    def __init__(self, folder: Path, plugin: SimpleNamespace | None = None) -> None:
        if shutil.which("ardour7-lua") is None or shutil.which("ardour7-export") is None:
            pytest.skip("no Ardour 7 here: sudo apt-get install ardour")
        self.home = folder / "home"
        (self.home / ".lv2").mkdir(parents=True)
        (self.home / ".vst3").mkdir()
        self.environment = os.environ | {
            "HOME": str(self.home),
            "LV2_PATH": str(self.home / ".lv2"),
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "XDG_CACHE_HOME": str(self.home / ".cache"),
        }
        if plugin is not None:
            shutil.copytree(plugin.lv2, self.home / ".lv2/rtsep.lv2")
            shutil.copytree(plugin.vst3, self.home / ".vst3/rtsep.vst3")
            self._age()
            self._scan()

    def _age(self) -> None:
        """Let the plugin be older than the scan, or Ardour does not believe the scan."""
        long_ago = time.time() - 86_400
        for path in (self.home / ".vst3").rglob("*"):
            os.utime(path, (long_ago, long_ago))

    def _scan(self) -> None:
        """Have the VST3 in the list from which Ardour takes its plugins."""
        (scanner,) = Path("/usr/lib").glob("ardour7/ardour-vst3-scanner")
        done = subprocess.run(
            [scanner, "-f", self.home / ".vst3/rtsep.vst3"],
            env=self.environment | {"LD_LIBRARY_PATH": str(scanner.parent)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Found Plugin: rtsep" in done.stdout + done.stderr, done

    def run(
        self, *words: str | Path, timeout_s: float = 100.0, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [*map(str, words)],
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        said = re.sub("(?m)^lua/audioengine queue.*\n", "", done.stdout)
        return subprocess.CompletedProcess(words, done.returncode, said, done.stderr[-2000:])

    def lua(
        self, *words: str | Path, timeout_s: float = 100.0, fresh: Path | None = None,
        **environment: str,
    ) -> str:  # fmt: skip
        """What a script of the tests' says.

        Ardour dies at its start now and then: with a segmentation fault, or because libjack
        tells it that JACK has halted.  All that is forgiven is that, and not for ever.
        `fresh` is a folder that each try makes anew.
        """
        script = Path(__file__).with_name(str(words[0]))
        deaths = []
        for _ in range(STARTS):
            if fresh is not None:
                shutil.rmtree(fresh, ignore_errors=True)
            done = self.run("ardour7-lua", script, *words[1:], timeout_s=timeout_s, **environment)
            said = done.stdout + done.stderr
            halted = "JACK HALTED" in said.upper()
            if done.returncode == 0 and not halted:
                return said
            assert halted or "begun" not in done.stdout, done
            deaths.append(done)
        raise AssertionError(deaths)

    def export(self, session: Path, **environment: str) -> Audio:
        """The master bus from the start of a session to its end, as fast as it goes."""
        out = session / "out.wav"
        words = ("-b", "float", "-o", out, session, session_name(session))
        # It died of its heap in one of eleven runs with the LV2, and never under valgrind, which
        # finds nothing: whose fault it was is not known, so it is told and tried anew.
        for _ in range(STARTS):
            done = self.run("ardour7-export", *words, **environment)
            if done.returncode >= 0:
                break
            print("ardour7-export died:", done.returncode, done.stderr[-300:])
        assert done.returncode == 0, done
        return read(out)


def session_name(session: Path) -> str:
    (file,) = session.glob("*.ardour")
    return file.stem


def state(session: Path) -> ElementTree.Element:
    return ElementTree.parse(session / f"{session_name(session)}.ardour").getroot()


def place(session: Path, tracks: Iterable[str], audio: Audio, at: int, length: int) -> None:
    """Put sound on tracks at a sample, as an import would, and say how long the session is.

    Ardour's Lua interpreter has no import, so this is written into the session's file; without
    the fades of 64 samples that an import would put at both ends.
    """
    path = session / f"{session_name(session)}.ardour"
    tree = ElementTree.parse(path)
    root = tree.getroot()
    number = int(root.get("id-counter", "0"))

    def add(parent: str | ElementTree.Element, kind: str, **fields: str | int) -> str:
        nonlocal number
        number += 1
        where = root.find(parent) if isinstance(parent, str) else parent
        assert where is not None, parent
        names = {name.replace("_", "-"): str(value) for name, value in fields.items()}
        ElementTree.SubElement(where, kind, {"id": str(number), **names})
        return str(number)

    (files,) = session.glob("interchange/*/audiofiles")
    sources = []
    for side, line in zip("LR", audio, strict=True):
        file = write(files / f"song%{side}.wav", line[None])
        sources.append(add("Sources", "Source", name=file.name, type="audio", channel=0, flags=""))
    frames = audio.shape[1]
    add("Locations", "Location", name="session", start="a0", end=f"a{length * TICKS}",
        flags="IsSessionRange")  # fmt: skip
    lists = {found.get("name"): found for found in root.iterfind("Playlists/Playlist")}
    for track in tracks:
        region = {f"{kind}source_{n}": sources[n] for n in (0, 1) for kind in ("", "master_")}
        times = {"start": "a0", "sync_position": "a0"}
        fades = dict.fromkeys(("fade_in_active", "fade_out_active"), 0)
        add(lists[track], "Region", name="song", type="audio", channels=2, opaque=1,
            length=f"a{frames * TICKS}@a{at * TICKS}", **region, **times, **fades)  # fmt: skip
    root.set("id-counter", str(number + 1))
    tree.write(path)


def connections(session: Path) -> dict[str, set[str]]:
    """By a port's name, what it is connected to, both ways."""
    found: dict[str, set[str]] = {}
    for port in state(session).iter("Port"):
        for connection in port.iter("Connection"):
            one, other = port.get("name", ""), connection.get("other", "")
            found.setdefault(one, set()).add(other)
            found.setdefault(other, set()).add(one)
    return found


def tracks(session: Path) -> dict[str, str]:
    """Kind of every track, by name."""
    return {
        route.get("name", ""): route.get("default-type", "")
        for route in state(session).iter("Route")
        if "MasterOut" not in str([info.get("flags") for info in route.iter("PresentationInfo")])
    }


def takes(session: Path) -> dict[str, Path | Audio]:
    """What lies on every track from the session's start: sound, or the file of a MIDI track.

    A track with more or less than one region, as after a break in the recording, is an error.
    """
    root = state(session)
    files = {source.get("id"): source.get("name", "") for source in root.iter("Source")}
    found: dict[str, Path | Audio] = {}
    for playlist in root.iterfind("Playlists/Playlist"):
        (region,) = playlist.iterfind("Region")
        sources = [files[region.get(f"source-{n}")] for n in (0, 1) if region.get(f"source-{n}")]
        paths = [next(session.glob(f"interchange/*/*/{glob.escape(name)}")) for name in sources]
        name = playlist.get("name", "")
        if playlist.get("type") == "midi":
            assert region.get("length", "").endswith("@b0"), "MIDI that does not start at zero"
            (found[name],) = paths
            continue
        length, at = (int(word[1:]) // TICKS for word in region.get("length", "").split("@"))
        start = int(region.get("start", "a0")[1:]) // TICKS
        lines = np.concatenate([read(path) for path in paths])[:, start : start + length]
        found[name] = np.pad(lines, ((0, 0), (at, 0)))
    return found
