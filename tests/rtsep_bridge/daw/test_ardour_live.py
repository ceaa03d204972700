"""Ardour records stems and notes from JACK and from the plugin, beside the song that it plays."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.rtsep.live.servers import jack_server
from tests.rtsep_bridge.bridges import serving
from tests.rtsep_bridge.daw.ardour import (
    RATE,
    ROOT,
    SCRIPT,
    STEMS,
    Ardour,
    Audio,
    connections,
    place,
    takes,
    tracks,
)
from tests.rtsep_bridge.daw.conftest import Note, midi_notes, separated
from tests.rtsep_bridge.daw.witness import witness_of

#: Where the song begins on the timeline.
AT = RATE // 2
TAKES = 5


class Live:
    """``rtsep live`` in a process of its own; `status` is the last it said of itself."""

    def __init__(self, server: str, bridge: str, folder: Path, models: dict[str, Path]) -> None:
        session = folder / "models.toml"
        session.write_text("".join(f'{key} = "{path}"\n' for key, path in models.items()))
        words = ("live", "--status", "--midi-out", "notes", "--bridge", "--bind", bridge)
        words = (*words, "--session", str(session))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rtsep", *words],
            cwd=folder,
            env=os.environ
            | {"JACK_DEFAULT_SERVER": server, "PYTHONPATH": f"{ROOT}:{ROOT / 'bridge'}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.status: dict[str, object] = {}
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.status = json.loads(line)

    def until_playing(self) -> None:
        deadline = time.monotonic() + 60
        while self.status.get("state") != "playing":
            assert self.process.poll() is None
            assert time.monotonic() < deadline, self.status
            time.sleep(0.05)

    def close(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=30)
        self._thread.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def playing(server: str, bridge: str, folder: Path, models: dict[str, Path]) -> Iterator[Live]:
    live = Live(server, bridge, folder, models)
    try:
        live.until_playing()
        yield live
    finally:
        live.close()


def assert_stems(recorded: dict[str, Path | Audio], prefix: str, song: Audio, wanted: Audio) -> int:
    """The stems lie under the song to the sample.  How many samples were missed.

    Where the engine was late, which a busy machine causes and everything counts, the song
    itself is on the last stem; but for 128 samples of a cross-fade on either side, what is not
    such a moment must be exact, and the sum is the song always.
    """
    stems = np.stack([recorded[prefix + stem] for stem in STEMS])
    assert not stems[:, :, :AT].any()
    heard = stems[:, :, AT : AT + song.shape[1]]
    np.testing.assert_allclose(heard.sum(axis=0), song, atol=1e-6)
    wrong = (np.abs(heard - wanted) > 1e-6).any(axis=(0, 1))
    bypassed = ~heard[:-1].any(axis=(0, 1)) & wrong
    near = np.convolve(bypassed, np.ones(2 * 128 + 1), "same") > 0
    assert not (wrong & ~near).any(), np.flatnonzero(wrong & ~near)[:10]
    print(prefix or "plugin", "samples missed:", wrong.sum(),
          "difference elsewhere:", np.abs(heard - wanted)[:, :, ~wrong].max())  # fmt: skip
    return int(wrong.sum())


def assert_notes(prefix: str, heard: list[Note], wanted: list[Note], most: int) -> None:
    """Every note of the song once, as loud as `rtsep separate` has it, and not too late."""
    late = []
    left = [note._replace(sample=note.sample - AT) for note in heard]
    for note in wanted:
        later = [other for other in left if other.sample >= note.sample - 8]
        same = [other for other in later if other[1:] == note[1:]]
        assert same, (note, left)
        found = min(same)
        left.remove(found)
        late.append(found.sample - note.sample)
    assert not left
    print(prefix or "plugin", len(wanted), "notes, late by", np.percentile(late, (0, 50, 100)))
    assert max(late) <= most, late


@pytest.fixture(scope="module")
def recorded(
    plugin: SimpleNamespace,
    song: Audio,
    exact: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> SimpleNamespace:
    """One take: made, closed, opened again and recorded by a headless Ardour.

    Where JACK went on without a client that was late, as on a machine that others use, what was
    recorded is off by a period: another take is made then, though not for ever.
    """
    for number in range(TAKES):
        folder = tmp_path_factory.mktemp(f"live{number}")
        ardour = Ardour(folder, plugin)
        session = folder / "session"
        bridge, jack = f"ipc://{folder}/bridge", f"ipc://{folder}/live"
        with (
            jack_server(1024, RATE) as server,
            serving(bridge),
            playing(server.name, jack, folder, exact) as live,
            witness_of(bridge) as of_plugin,
            witness_of(jack) as of_jack,
        ):
            where = {"JACK_DEFAULT_SERVER": server.name, "RTSEP_BRIDGE": bridge}
            ardour.lua("live.lua", "make", SCRIPT, session, fresh=session, **where)
            place(session, ("Mix", "jack Mix"), song, AT, AT + song.shape[1])
            before = live.status["xruns"]
            ardour.lua("live.lua", "take", session, "3.5", **where)
            status = live.status
        if status["xruns"] == before:
            break
    return SimpleNamespace(
        folder=folder,
        session=session,
        takes=takes(session),
        status=status,
        before={"": of_plugin.silence_before(song), "jack ": of_jack.silence_before(song)},
    )


@pytest.mark.parametrize("prefix", ["", "jack "], ids=["plugin", "jack"])
def test_stems_and_notes_lie_under_the_song(
    recorded: SimpleNamespace, song: Audio, exact: dict[str, Path], prefix: str
) -> None:
    models = exact if prefix else None
    wanted, notes = separated(recorded.folder, song, recorded.before[prefix], models)
    missed = assert_stems(recorded.takes, prefix, song, wanted)
    if prefix:
        assert missed == 0 or recorded.status["misses"], recorded.status
    # Of notes so near the end it is not known where they are written: the take ends.
    heard = midi_notes(recorded.takes[f"{prefix}notes"])
    assert_notes(prefix, heard, notes, 8192 if prefix else 4096)


def test_the_script_connects_what_rtsep_live_gives(recorded: SimpleNamespace) -> None:
    there = connections(recorded.session)
    made = tracks(recorded.session)
    for stem in STEMS:
        assert made[f"jack {stem}"] == "audio"
        for number, side in enumerate("LR", 1):
            assert there[f"jack {stem}/audio_in {number}"] == {f"rtsep:{stem}_{side}"}
    for number, side in enumerate("LR", 1):
        assert there[f"jack Mix/audio_out {number}"] == {f"rtsep:mix_{side}"}
    assert made["jack notes"] == "midi"
    assert there["jack notes/midi_in 1"] == {"rtsep-midi:notes"}
