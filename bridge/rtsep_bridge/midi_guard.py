"""The process that owns the MIDI port, and outlives the one that plays.

It does little, so that little can go wrong: it opens the port, sends what it is told
when it is due, and once its input ends, however the player came to its end, it switches
off all that sounds.  A player that is silent for a while is taken for gone, too.
"""

import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from rtsep.errors import SetupError
from rtsep.realtime import freeze_garbage, make_realtime
from rtsep_bridge import midi_records as records
from rtsep_bridge.midi_patch import JackPatch
from rtsep_bridge.midi_schedule import Schedule

CLIENT = "rtsep-midi"
PRIORITY = 50
"""Below the engine, above everything else."""
SILENCE_S = 2.0
"""How long a player may give no sign of life before its notes end."""
SILENCE = b""
"""In a guard's inbox: every channel is told that nothing sounds."""
PATCH_EVERY_S, PATCH_TRIES = 1.0, 30
FLUSH_S = 0.3
"""How long the port stays open for its last messages: JACK's longest block and more."""


def open_port(name: str, system: str = sys.platform) -> tuple[Any, str]:
    """Open the port for output.

    Parameters
    ----------
    name : str
        Of the port to make; on Windows, which has no such ports, of one that is there,
        or a part of its name.
    system : str

    Returns
    -------
    port : rtmidi.MidiOut
    api : str
        What it is a port of.

    Raises
    ------
    SetupError
        There is no MIDI system, or no such port.
    """
    import rtmidi

    apis = rtmidi.get_compiled_api()
    # Where both are there, a JACK server is what the player has chosen to run.
    apis.sort(key=lambda api: api != rtmidi.API_UNIX_JACK)
    for api in apis:
        label = _label(api)
        try:
            port = rtmidi.MidiOut(api, CLIENT)
        except rtmidi.RtMidiError:
            continue
        try:
            if system == "win32":
                _open_existing(port, name)
            else:
                port.open_virtual_port(name)
        except rtmidi.RtMidiError as error:
            raise SetupError(
                f"{label} makes no port '{name}' ({error})", "a name that it takes"
            ) from None
        return port, label
    tried = " and ".join(map(_label, apis))
    raise SetupError(
        f"no MIDI system: no answer from {tried or 'any'}",
        "a JACK server or ALSA's sequencer",
        "start JACK (jackd -R -d alsa), or load the sequencer (modprobe snd-seq); "
        "'rtsep doctor' tells what this machine has",
    )


def _label(api: int) -> str:
    import rtmidi

    return "JACK" if api == rtmidi.API_UNIX_JACK else str(rtmidi.get_api_display_name(api))


def _open_existing(port: Any, name: str) -> None:
    there = [str(text) for text in port.get_ports()]
    fitting = [number for number, text in enumerate(there) if name.lower() in text.lower()]
    if not fitting:
        listed = ", ".join(there) or "none at all"
        raise SetupError(f"no MIDI output '{name}'", f"one of {listed}", "make one with loopMIDI")
    port.open_port(fitting[0])


class Guard:
    """Takes records until there are no more.

    Parameters
    ----------
    schedule : Schedule
    """

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self.inbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._rest = b""

    def run(self) -> None:
        """Work until `inbox` gives None; at its end nothing sounds."""
        try:
            self._schedule.silence()  # whoever had the port before may have left something
            self._work()
        finally:
            self._schedule.silence()

    def _work(self) -> None:
        heard = time.monotonic_ns()
        silence_ns = int(SILENCE_S * 1e9)
        while True:
            now = time.monotonic_ns()
            due = self._schedule.run(now)
            wait_ns = silence_ns if due is None else min(silence_ns, due - now)
            try:
                data = self.inbox.get(timeout=max(0.0, wait_ns / 1e9))
            except queue.Empty:
                if time.monotonic_ns() - heard > silence_ns:
                    self._schedule.hush()
                continue
            if data is None:
                return
            if data == SILENCE:
                self._schedule.silence()
                continue
            heard = time.monotonic_ns()
            self._take(self._rest + data)

    def _take(self, data: bytes) -> None:
        whole = len(data) - len(data) % records.SIZE
        self._rest = data[whole:]
        for at in range(0, whole, records.SIZE):
            record = records.decode(data[at : at + records.SIZE])
            if record.kind == records.ON:
                self._schedule.note_on(
                    record.due_ns, record.stem, record.serial, record.first, record.second
                )
            elif record.kind == records.OFF:
                self._schedule.note_off(record.due_ns, record.serial)
            elif record.kind == records.STEM:
                program = None if record.second == records.NO_PROGRAM else record.second
                self._schedule.set_stem(record.stem, record.first, program)
            elif record.kind == records.HUSH:
                self._schedule.hush()


def _read(inbox: "queue.SimpleQueue[bytes | None]") -> None:
    make_realtime(PRIORITY)  # the other thread needs Python's lock from this one
    with suppress(OSError):
        while data := os.read(0, 65536):
            inbox.put(data)
    inbox.put(None)


def _keep_connected(port: str, remembered: Iterable[str], guard: Guard) -> None:
    """Connect the port to what is remembered of it, then tell what it is connected to."""
    patch = JackPatch(port, remembered)
    for _ in range(PATCH_TRIES if remembered else 0):
        if patch.restore():
            guard.inbox.put(SILENCE)  # ends what sounds since the port went
            break
        time.sleep(PATCH_EVERY_S)
    told: set[str] | None = None
    while True:
        connected = patch.connected()
        if connected is not None and connected != told:
            told = connected
            _say({"connected": sorted(told)})
        time.sleep(PATCH_EVERY_S)


def main(name: str, remembered: Sequence[str] = ()) -> None:
    """Own a port until standard input ends.

    Says lines of JSON on standard output: first {"api": …} once the port is there, or
    {"refused": [found, expected, remedy]}, then {"connected": […]} where that changes.

    Parameters
    ----------
    name : str
        See `open_port`.
    remembered : sequence of str
        What a port of this name was connected to before, in JACK.
    """
    # The terminal sends Ctrl-C to all; the player decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        port, api = open_port(name)
    except SetupError as error:
        _say({"refused": [error.found, error.expected, error.remedy]})
        return
    guard = Guard(Schedule(port.send_message))
    signal.signal(signal.SIGTERM, lambda number, frame: guard.inbox.put(None))
    _say({"api": api})
    freeze_garbage()
    threading.Thread(target=_read, args=(guard.inbox,), daemon=True).start()
    if api == "JACK":
        linked = f"{CLIENT}:{name}", tuple(remembered), guard
        threading.Thread(target=_keep_connected, args=linked, daemon=True).start()
    make_realtime(PRIORITY)
    try:
        guard.run()
    finally:
        time.sleep(FLUSH_S)
        port.close_port()


def _say(answer: dict[str, object]) -> None:
    with suppress(OSError):
        os.write(1, (json.dumps(answer) + "\n").encode())
