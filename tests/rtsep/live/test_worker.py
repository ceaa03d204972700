"""The engine process's loop, driven by hand: no process, no server."""

from collections.abc import Iterator

import numpy as np
import pytest

from rtsep.engine import Engine
from rtsep.errors import BundleError
from rtsep.kernels import tables
from rtsep.live.handover import Handover
from rtsep.live.mixer import Mixer
from rtsep.live.session import Session, Strip
from rtsep.live.shared import NOTE_CAPACITY, STEM_CAPACITY, Segment, slot_segment
from rtsep.live.worker import RETRY_S, Worker
from rtsep.presets import PRESETS
from tests.rtsep import models

RATE, BLOCK = 48_000, 128


class Bench:
    """A worker between a mix that the test writes and a ring that it reads."""

    def __init__(self, session: Session, *, notes: bool = False) -> None:
        separator = models.bundle(models.tcn_taps())
        transcriber = models.bundle(models.transcriber()) if notes else None
        self.engine = Engine(separator, transcriber, PRESETS["live"], device="cpu")
        self.mixer = Mixer(self.engine.stems, session)
        self.handover = Handover()
        self.handover.restart(BLOCK, RATE)
        self.slot: Segment = slot_segment(len(self.mixer.channels))
        self.worker = Worker(self.engine, self.mixer, self.handover.mix, self.slot, RATE)
        self.worker.prepare(BLOCK)
        self.worker.warm_up(0.01)
        self.time = 0

    def hear(self, mix: np.ndarray) -> None:
        """Let the host write some of the mix."""
        n = mix.shape[1]
        ring = self.handover.mix["ring"]
        ring[:, np.arange(self.time, self.time + n) % ring.shape[1]] = mix
        self.time += n
        self.handover.mix["header"][tables.WRITTEN_MIX] = self.time

    def word(self, word: int) -> int:
        return int(self.slot["header"][word])

    def stems(self, start: int, stop: int) -> np.ndarray:
        return self.slot["ring"][:10, np.arange(start, stop) % STEM_CAPACITY]

    def close(self) -> None:
        del self.worker
        self.slot.close()
        self.handover.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench(Session())
    yield bench
    bench.close()


def noise(n: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal((2, n))).astype(np.float32)


def total(stems: np.ndarray) -> np.ndarray:
    return np.stack([stems[0::2].sum(axis=0), stems[1::2].sum(axis=0)])


def test_stems_stand_at_the_frames_of_the_mix(bench: Bench) -> None:
    mix = noise(BLOCK * 40)
    for at in range(0, mix.shape[1], BLOCK):
        bench.hear(mix[:, at : at + BLOCK])
        bench.worker.catch_up()
    written = bench.word(tables.WRITTEN)
    assert written == mix.shape[1] - 128
    assert bench.word(tables.LATENCY) == 128 + BLOCK
    np.testing.assert_allclose(total(bench.stems(0, written)), mix[:, :written], atol=1e-6)
    assert bench.word(tables.HEARD) == mix.shape[1]
    assert bench.word(tables.NEUTRAL) == 1
    assert bench.word(tables.BUSY_NS) > 0


def test_a_little_behind_it_catches_up_and_far_behind_it_starts_anew(bench: Bench) -> None:
    bench.hear(noise(BLOCK))
    bench.worker.catch_up()
    bench.hear(noise(BLOCK * 20))
    bench.worker.catch_up()
    assert bench.word(tables.JUMPS) == 0
    assert bench.word(tables.WRITTEN) == bench.time - 128
    bench.hear(noise(BLOCK * 400))
    bench.worker.catch_up()
    assert bench.word(tables.JUMPS) == 1
    assert bench.word(tables.VALID_FROM) == bench.time
    mix = noise(BLOCK * 20, 1)
    start = bench.time
    bench.hear(mix)
    bench.worker.catch_up()
    stems = total(bench.stems(start, bench.word(tables.WRITTEN)))
    np.testing.assert_allclose(stems, mix[:, : stems.shape[1]], atol=1e-6)


def test_another_block_size_is_another_epoch(bench: Bench) -> None:
    bench.hear(noise(BLOCK * 3))
    bench.worker.catch_up()
    header = bench.handover.mix["header"]
    header[tables.BLOCK], header[tables.EPOCH_START] = 512, bench.time
    header[tables.EPOCH] += 1
    bench.hear(noise(512))
    bench.worker.catch_up()
    assert bench.word(tables.READY_EPOCH) == header[tables.EPOCH]
    assert bench.word(tables.LATENCY) == 128 + 512
    assert bench.word(tables.HEARD) == bench.time


def test_what_raises_rests_for_a_while(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.hear(noise(BLOCK))
    bench.worker.catch_up()
    written = bench.word(tables.WRITTEN)

    def fail(mix: np.ndarray, stems: np.ndarray) -> None:
        raise BundleError("the model is out of its mind")

    with monkeypatch.context() as patch:
        patch.setattr(bench.engine, "process", fail)
        for _ in range(10):
            bench.hear(noise(BLOCK))
            bench.worker.catch_up()
    assert bench.word(tables.WRITTEN) == written  # so that the callback counts misses
    assert bench.word(tables.FAILURES) == 1
    assert bench.worker.complaints == ["no stems for a second: the model is out of its mind."]
    bench.hear(noise(int(RETRY_S * RATE) // BLOCK * BLOCK))
    bench.worker.catch_up()
    bench.hear(noise(BLOCK * 4))
    bench.worker.catch_up()
    assert bench.word(tables.WRITTEN) == bench.time - 128


def test_a_session_is_applied_and_stated(bench: Bench) -> None:
    bench.worker.apply(Session(stems={"drums": Strip(gain_db=-6.0)}))
    bench.hear(noise(BLOCK * 40))
    bench.worker.catch_up()
    assert bench.word(tables.NEUTRAL) == 0


def test_notes_come_on_the_hosts_clock() -> None:
    bench = Bench(Session(), notes=True)
    try:
        bench.hear(np.zeros((2, BLOCK * 100), np.float32))
        bench.worker.catch_up()  # far behind: starts here
        start = bench.time
        t = np.arange(BLOCK * 60) / RATE
        beep = (0.5 * np.sin(2 * np.pi * 440 * 2 ** ((60 - 69) / 12) * t)).astype(np.float32)
        bench.hear(np.stack([beep, beep]))
        bench.worker.catch_up()
        count = bench.word(tables.NOTES)
        assert 0 < count < NOTE_CAPACITY
        rows = bench.slot["notes"][:count].tolist()
        assert all(start <= sample <= known_at <= bench.time for sample, known_at, *_ in rows)
        heard = {(bench.engine.stems[stem], pitch) for _, _, stem, pitch, _ in rows}
        assert ("guitar", 60) in heard
    finally:
        bench.close()
