"""``rtsep live --bridge``: what listeners get of a player on a real JACK server."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import zmq

from rtsep.live.listeners import Listeners
from rtsep.live.session import Session
from rtsep_bridge.addresses import parse_address
from rtsep_bridge.live_bridge import LiveBridge
from rtsep_bridge.messages import (
    Control,
    Header,
    Message,
    Notes,
    Open,
    StatusReport,
    Stems,
    decode,
)
from rtsep_bridge.sequence import Sender
from tests.rtsep import models
from tests.rtsep.cli import CommandLine
from tests.rtsep.live.rig import Rig, bundle_file, live_rig, song
from tests.rtsep_bridge.bridges import Caller, calling


class Ear:
    """Everything that a bridge publishes, from now on."""

    def __init__(self, address: str) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.SUB)
        self.socket.set_hwm(0)
        self.socket.subscribe(b"")
        self.socket.connect(address)
        self.messages: list[Message] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while not self._stop.is_set():
            if self.socket.poll(50):
                self.messages.append(decode([bytes(f) for f in self.socket.recv_multipart()]))

    def of(self, kind: type[Header]) -> list[Message]:
        return [m for m in self.messages if isinstance(m.header, kind)]

    def stems(self) -> tuple[int, np.ndarray]:
        """The longest run of stems at the end that has no gap."""
        blocks = self.of(Stems)
        first = len(blocks) - 1
        while first > 0:
            before = blocks[first - 1].header
            if before.sample + before.frames != blocks[first].header.sample:
                break
            first -= 1
        return blocks[first].header.sample, np.concatenate(
            [block.samples for block in blocks[first:]], axis=1
        )

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.context.destroy(linger=0)


class Stage:
    """A player with a bridge, an ear at it and a program that may turn knobs."""

    def __init__(self, rig: Rig, listeners: Listeners, address: str) -> None:
        self.rig, self.ear, self.address = rig, Ear(address + ".pub"), address
        self._listeners = listeners
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._thread.start()

    def _poll(self) -> None:
        while not self._stop.wait(0.05):
            self._listeners.poll()
            self._listeners.show(self.rig.live.status())

    def until(self, true: Callable[[], object]) -> None:
        self.rig.until(lambda: bool(true()), "the bridge")

    def hears(self, seconds: float) -> None:
        """Wait until so much more of the stems has come."""
        count = sum(m.header.frames for m in self.ear.of(Stems))
        wanted = count + int(48_000 * seconds)
        self.until(lambda: sum(m.header.frames for m in self.ear.of(Stems)) >= wanted)

    def mix(self, start: int, stop: int) -> np.ndarray:
        ring = self.rig.live.handover.mix["ring"]
        return ring[:, np.arange(start, stop) % ring.shape[1]].copy()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.ear.close()


@contextmanager
def stage(tmp_path: Path, *, notes: bool = False) -> Iterator[Stage]:
    session = Session(
        model=bundle_file(tmp_path, models.tcn_taps()),
        transcriber=bundle_file(tmp_path, models.transcriber(), "notes") if notes else "none",
    )
    address = f"ipc://{tmp_path}/bridge"
    with live_rig(session) as rig, Listeners() as listeners:
        listeners.add(LiveBridge(parse_address(address)))
        listeners.start(rig.live)
        there = Stage(rig, listeners, address)
        try:
            with rig.probe(song(8.0)) as probe:
                rig.until_playing()
                probe.connect(rig.client)
                probe.play(loop=True)
                yield there
        finally:
            there.close()


def knob(caller: Caller, **what: object) -> None:
    caller.send(Control(**caller.sender.numbers(Control, 0), **what))


def test_listeners_get_stems_that_sum_to_the_mix_and_states(tmp_path: Path) -> None:
    with stage(tmp_path) as there:
        there.hears(1.0)
        start, stems = there.ear.stems()
        stop = start + min(stems.shape[1], 40_000)
        mix = there.mix(start, stop)
        assert np.abs(mix).max() > 0.05
        sums = [stems[side::2, : stop - start].sum(axis=0) for side in (0, 1)]
        np.testing.assert_allclose(sums, mix, atol=1e-6)
        assert (np.abs(stems[::2]).max(axis=1) > 1e-4).all()
        blocks = there.ear.of(Stems)
        assert {m.header.stems for m in blocks} == {models.STEMS}
        assert {m.header.latency for m in blocks} == {there.rig.live.latency_samples}
        numbers = [m.header.sequence for m in blocks]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        there.until(lambda: there.ear.of(StatusReport))
        status = there.ear.of(StatusReport)[-1].header.status
        assert status.state == "playing"
        assert status.host == "jack"


def test_another_preset_leaves_no_gap(tmp_path: Path) -> None:
    with stage(tmp_path) as there, calling(there.address) as caller:
        there.hears(0.3)
        caller.hello()
        knob(caller, preset="lowest")
        told = caller.wait_for(Control)
        assert told.preset == "lowest"
        there.until(lambda: len({m.header.latency for m in there.ear.of(Stems)}) == 2)
        there.hears(0.3)
        blocks = there.ear.of(Stems)
        for before, after in pairwise(blocks):
            if after.header.sequence > before.header.sequence + 1:
                continue  # this ear was too slow, which is its affair
            assert before.header.sample + before.header.frames == after.header.sample
        assert there.rig.live.session.preset == "lowest"


def test_what_a_program_turns_acts_and_is_told_to_all(tmp_path: Path) -> None:
    with stage(tmp_path) as there, calling(there.address) as caller:
        caller.hello()
        knob(caller, stem="drums", mute=True)
        knob(caller, stem="bass", gain_db=-20.0)
        there.until(lambda: len(there.ear.of(Control)) == 2)
        there.hears(0.3)
        last = there.ear.of(Stems)[-1].samples
        assert not last[:2].any()
        assert there.rig.live.session.stems["bass"].gain_db == -20.0
        knob(caller, stem="tuba", mute=True)
        assert "expected one of drums" in caller.refusal()
        knob(caller, preset="offline")
        assert "expected one of lowest" in caller.refusal()
        caller.send(Open(**Sender(48_000).numbers(Open, 0), preset="live", step=1))
        assert "rtsep bridge serve" in caller.refusal()
        replay = Control(session=caller.sender.session, sequence=0, sample=0, sample_rate=48_000,
                         stem="drums", mute=False)  # fmt: skip
        caller.send(replay)
        there.hears(0.3)
        assert there.rig.live.session.stems["drums"].mute


def test_stems_come_again_after_an_engine_has_died(tmp_path: Path) -> None:
    with stage(tmp_path) as there:
        there.hears(0.3)
        os.kill(there.rig.live.engine_pid, signal.SIGKILL)
        there.rig.until_said("starting it anew")
        there.rig.until(lambda: there.rig.live.state == "playing", "stems again")
        there.hears(0.5)
        start, stems = there.ear.stems()
        mix = there.mix(start, start + stems.shape[1])
        sums = [stems[side::2].sum(axis=0) for side in (0, 1)]
        np.testing.assert_allclose(sums, mix, atol=1e-6)
        ends = [m.header.sample + m.header.frames for m in there.ear.of(Stems)]
        assert ends == sorted(ends)


def test_notes_come_too(tmp_path: Path) -> None:
    with stage(tmp_path, notes=True) as there:
        there.until(lambda: len(there.ear.of(Notes)) > 3)
        notes = [note for m in there.ear.of(Notes) for note in m.header.notes]
        frames = there.rig.live.handover.frames
        assert all(0 < note.sample <= note.known_at <= frames + 4_096 for note in notes)


def test_nobody_is_waited_for(tmp_path: Path) -> None:
    """A listener that stands still costs the others nothing."""
    with stage(tmp_path) as there:
        context = zmq.Context()
        still = context.socket(zmq.SUB)
        still.setsockopt(zmq.RCVHWM, 1)
        still.subscribe(b"")
        still.connect(there.address + ".pub")
        there.hears(1.0)
        numbers = [m.header.sequence for m in there.ear.of(Stems)[10:]]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        context.destroy(linger=0)


def test_options_that_do_not_go_together_are_refused(rtsep: CommandLine) -> None:
    outcome = rtsep("live", "--bind", "tcp://127.0.0.1:7700")
    assert outcome.status == 2
    assert "without --bridge" in outcome.err
