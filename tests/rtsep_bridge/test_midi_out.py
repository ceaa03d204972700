"""``rtsep live --midi-out`` for real: what comes out of its port, and that it always ends."""

import os
import signal
import time
from itertools import groupby
from pathlib import Path

import pytest

from benchmarks.midi_listener import MidiListener
from rtsep.errors import SetupError
from rtsep_bridge import midi_guard
from rtsep_bridge.midi_port import MidiPort
from rtsep_bridge.midi_records import HUSH, NO_PROGRAM, OFF, ON, SIZE, STEM, Record, decode
from tests.rtsep.cli import CommandLine
from tests.rtsep.live.servers import jack_server
from tests.rtsep_bridge.midi_rig import (
    BASS,
    DRUM,
    GUITAR,
    NAME,
    PIANO,
    MidiRig,
    beeps,
    held,
    midi_rig,
    until,
)

SONG = (BASS, GUITAR, PIANO, DRUM, PIANO)


def programs(rig: MidiRig) -> dict[int, int]:
    return {m.channel: m.data[1] for m in list(rig.listener.heard) if m.kind == 0xC0}


def struck(rig: MidiRig) -> list[tuple[int, int]]:
    """Channels and numbers in their order; a tone that is heard as two strokes is one."""
    return [key for key, _ in groupby(rig.listener.notes())]


def test_notes_leave_on_their_channels_and_end_with_the_player(tmp_path: Path) -> None:
    with midi_rig(tmp_path, beeps(SONG)) as rig:
        rig.probe.wait(rig.probe.play() + 2 * 48_000)
        heard = struck(rig)
        # General MIDI's: fingered bass, clean electric guitar, grand piano; drums on 10.
        wanted = {BASS: 1, GUITAR: 2, PIANO: 3, DRUM: 10}
        assert heard == [(wanted[pitch], pitch) for pitch in SONG]
        assert rig.listener.sounding() == set()
        assert programs(rig) == {1: 33, 2: 27, 3: 0}
        velocities = [m.data[2] for m in rig.listener.heard if m.kind == 0x90]
        assert all(0 < velocity <= 127 for velocity in velocities)

        rig.probe.play(loop=True)
        until(lambda: bool(rig.listener.sounding()), "a note")
        cut = len(rig.listener.heard)
        rig.player.process.send_signal(signal.SIGINT)
        assert rig.player.process.wait(20) == 0
        until(lambda: len(rig.listener.silenced(cut)) == 16, "the end of all notes")
        assert rig.listener.sounding() == set()
        assert rig.player.said[-1].startswith("rtsep: played")


def test_a_player_that_is_killed_leaves_no_note(tmp_path: Path) -> None:
    with midi_rig(tmp_path, held(PIANO, 20.0)) as rig:
        guard = rig.player.guard()
        rig.probe.play()
        until(lambda: rig.listener.sounding() == {(3, PIANO)}, "a note")
        cut = len(rig.listener.heard)
        # The whole group, as a terminal or a service manager does.
        os.killpg(rig.player.process.pid, signal.SIGKILL)
        until(lambda: rig.listener.sounding() == set(), "its end", 2.0)
        until(lambda: len(rig.listener.silenced(cut)) == 16, "silence on all channels", 2.0)
        until(lambda: not Path(f"/proc/{guard}").exists(), "the end of the guard", 5.0)


def test_a_player_that_stands_still_leaves_no_note(tmp_path: Path) -> None:
    with midi_rig(tmp_path, held(PIANO, 20.0)) as rig:
        rig.probe.play()
        until(lambda: rig.listener.sounding() == {(3, PIANO)}, "a note")
        rig.player.process.send_signal(signal.SIGSTOP)
        try:
            until(lambda: rig.listener.sounding() == set(), "its end", midi_guard.SILENCE_S + 2.0)
        finally:
            rig.player.process.send_signal(signal.SIGCONT)


def test_an_engine_that_dies_leaves_no_note(tmp_path: Path) -> None:
    with midi_rig(tmp_path, held(PIANO, 20.0)) as rig:
        rig.probe.play()
        until(lambda: rig.listener.sounding() == {(3, PIANO)}, "a note")
        engine = next(
            pid
            for pid in rig.player.children()
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
        )
        os.kill(engine, signal.SIGKILL)
        until(lambda: rig.listener.sounding() == set(), "its end", 2.0)


def test_a_port_whose_process_is_killed_comes_back_connected_and_silent(tmp_path: Path) -> None:
    with midi_rig(tmp_path, held(PIANO, 20.0)) as rig:
        first = rig.player.guard()
        time.sleep(2.0)  # what the port is connected to is looked at once a second
        rig.probe.play()
        until(lambda: rig.listener.sounding() == {(3, PIANO)}, "a note")
        cut = len(rig.listener.heard)
        os.kill(first, signal.SIGKILL)
        until(lambda: rig.listener.connections == 2, "another port", 10.0)
        assert rig.player.guard() not in (0, first)
        # Nobody knows what the killed one left sounding: all channels are told.
        until(lambda: len(rig.listener.silenced(cut)) == 16, "silence on all channels", 5.0)
        until(lambda: any("opened anew" in line for line in rig.player.said), "a line for it")
        assert programs(rig) == {1: 33, 2: 27, 3: 0}
        assert rig.player.process.poll() is None


def test_a_server_that_goes_and_comes_back_has_the_port_again(tmp_path: Path) -> None:
    with midi_rig(tmp_path, held(PIANO, 20.0)) as rig:
        server, first = rig.player.server, rig.player.guard()
        server.kill()
        until(lambda: any("has gone" in line for line in rig.player.said), "a line for it")
        server.start()
        until(lambda: rig.player.guard() not in (0, first), "another port", 20.0)
        rig.player.until_playing()
        again = MidiListener(server.name, f"rtsep-midi:{NAME}")
        try:
            until(lambda: again.connections == 1, "the port", 10.0)
        finally:
            again.close()
        assert not any("mistake" in line for line in rig.player.said)


def test_edits_of_the_session_are_heard(tmp_path: Path) -> None:
    with midi_rig(tmp_path, held(PIANO, 20.0)) as rig:
        rig.probe.play()
        until(lambda: rig.listener.sounding() == {(3, PIANO)}, "a note")
        rig.player.edit("[stems.piano]\nchannel = 5\nprogram = 17\n")
        until(lambda: programs(rig).get(5) == 16, "the program on the new channel")
        assert rig.listener.sounding() == set()
        assert rig.listener.silenced() >= {3}
        order = [(m.kind, m.channel) for m in rig.listener.heard]
        assert order.index((0x80, 3)) < order.index((0xC0, 5))


def test_a_session_says_channels_programs_and_drums(tmp_path: Path) -> None:
    session = (
        f'[midi]\ntiming = "earliest"\n[midi.drum_map]\n{DRUM} = 38\n'
        "[stems.bass]\nchannel = 16\n[stems.guitar]\nprogram = 0\n[stems.drums]\nprogram = 26\n"
    )
    with midi_rig(tmp_path, beeps(SONG), session) as rig:
        rig.probe.wait(rig.probe.play() + 2 * 48_000)
        assert struck(rig) == [(16, BASS), (2, GUITAR), (3, PIANO), (10, 38), (3, PIANO)]
        assert programs(rig) == {16: 33, 3: 0, 10: 25}
        assert rig.listener.sounding() == set()


def test_without_a_midi_system_one_line_says_so(
    rtsep: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    if Path("/dev/snd/seq").exists():
        pytest.skip("ALSA's sequencer is here")
    monkeypatch.setattr(
        "rtsep.probes.ask", lambda code: {"server": True, "rate": 48_000, "period": 128}
    )
    monkeypatch.setenv("JACK_DEFAULT_SERVER", "nobody")
    monkeypatch.chdir(rtsep.folder)
    line = rtsep.refuses("live", "--midi-out", "notes", "--session", "new.toml")
    assert "no MIDI system" in line
    assert "rtsep doctor" in line
    assert not (rtsep.folder / "new.toml").exists()


@pytest.mark.parametrize("name", ["", "  ", "a\nb"])
def test_a_port_needs_a_name(
    rtsep: CommandLine, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(
        "rtsep.probes.ask", lambda code: {"server": True, "rate": 48_000, "period": 128}
    )
    assert "--midi-out" in rtsep.refuses("live", "--midi-out", name)


class FakePort:
    def __init__(self, *names: str) -> None:
        self.names, self.opened = names, -1

    def get_ports(self) -> list[str]:
        return list(self.names)

    def open_port(self, number: int) -> None:
        self.opened = number


def test_on_windows_an_existing_port_is_taken_by_a_part_of_its_name() -> None:
    port = FakePort("Microsoft GS Wavetable Synth 0", "loopMIDI Port 1", "loopMIDI Port 2")
    midi_guard._open_existing(port, "loopmidi")
    assert port.opened == 1
    with pytest.raises(SetupError, match=r"one of Microsoft GS .* make one with loopMIDI"):
        midi_guard._open_existing(port, "other")
    with pytest.raises(SetupError, match="none at all"):
        midi_guard._open_existing(FakePort(), "other")


def test_records_survive_their_way() -> None:
    for record in (
        Record(ON, 2**62, 2**63, 7, 60, 127),
        Record(OFF, -1, 5),
        Record(STEM, 0, 0, 3, 9, NO_PROGRAM),
        Record(HUSH),
    ):
        assert len(record.encode()) == SIZE
        assert decode(record.encode()) == record


def test_a_port_that_takes_nothing_any_more_is_given_up_without_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with jack_server() as server:
        monkeypatch.setenv("JACK_DEFAULT_SERVER", server.name)
        port = MidiPort(NAME)
        os.kill(port.pid, signal.SIGSTOP)
        started, sent = time.monotonic(), 0
        while port.send([Record(ON, 0, sent, 0, 60, 1)] * 1000):
            sent += 1
            assert sent < 100
        assert time.monotonic() - started < 1.0
        assert not port.alive()
        assert not port.send([Record(HUSH)])


def test_a_port_ends_what_waits_and_sounds(monkeypatch: pytest.MonkeyPatch) -> None:
    with jack_server() as server:
        monkeypatch.setenv("JACK_DEFAULT_SERVER", server.name)
        port, listener = MidiPort(NAME), MidiListener(server.name, f"rtsep-midi:{NAME}")
        try:
            until(lambda: listener.connections > 0, "the port")
            now = time.monotonic_ns()
            later = now + 60 * 10**9
            port.send([Record(STEM, 0, 0, 0, 4, 10), Record(ON, now, 1, 0, 60, 100)])
            port.send([Record(ON, later, 2, 0, 62, 100), Record(OFF, later, 1)])
            until(lambda: listener.sounding() == {(5, 60)}, "the note")
            os.kill(port.pid, signal.SIGINT)  # the terminal's, which is for the player
            time.sleep(0.3)
            assert listener.sounding() == {(5, 60)}
            os.kill(port.pid, signal.SIGTERM)
            until(lambda: listener.sounding() == set(), "its end", 2.0)
            assert listener.notes() == [(5, 60)]
        finally:
            port.close()
            listener.close()
