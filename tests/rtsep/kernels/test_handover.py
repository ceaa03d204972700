"""The callback's two functions, against a simulated engine of known behaviour."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsep.kernels import atomics, tables
from rtsep.kernels import handover as ho
from rtsep.live.handover import Handover
from rtsep.live.shared import STEM_CAPACITY, Segment, fallback_gains, slot_segment

CHANNELS = ("drums_L", "drums_R", "other_L", "other_R", "monitor_L", "monitor_R")
SHARE = np.float32(0.25)


class Rig:
    """A host without a sound card and an engine that gives a quarter to the drums."""

    def __init__(self, block: int, latency: int, stride: int = 1) -> None:
        self.handover = Handover()
        self.handover.add_channels(CHANNELS)
        self.handover.open_channels()
        self.handover.restart(block, 48_000)
        self.slots: list[Segment] = []
        self.start = self.handover.frames
        self.stride = stride
        self.inputs: list[np.ndarray] = []
        self.outputs: list[np.ndarray] = []
        self.add_slot(latency)

    def add_slot(self, latency: int, neutral: bool = True) -> None:
        segment = slot_segment(len(CHANNELS))
        header = segment["header"]
        header[tables.LATENCY], header[tables.VALID_FROM] = latency, self.handover.frames
        header[tables.WRITTEN] = self.handover.frames
        header[tables.NEUTRAL], header[tables.RESIDUAL] = int(neutral), 2
        header[tables.READY_EPOCH] = self.handover.mix["header"][tables.EPOCH]
        fallback_gains(segment)[2:6] = 1.0
        self.handover.attach(len(self.slots), segment, CHANNELS, 0)
        self.slots.append(segment)

    def engine(self, up_to: int, slot: int = 0) -> None:
        """Write stems up to a stem time."""
        segment = self.slots[slot]
        header = segment["header"]
        index = np.arange(int(header[tables.WRITTEN]), up_to)
        mix = self.handover.mix["ring"][:, index % self.handover.mix["ring"].shape[1]]
        at = index % STEM_CAPACITY
        ring = segment["ring"]
        ring[0:2, at] = SHARE * mix
        ring[2:4, at] = mix - SHARE * mix
        ring[4:6, at] = mix
        atomics.store(
            segment.address("header"), tables.WRITTEN, max(up_to, int(header[tables.WRITTEN]))
        )

    def callback(self, block: np.ndarray) -> np.ndarray:
        """One period; the ports' samples [channels in CHANNELS' order, n]."""
        n, stride = block.shape[1], self.stride
        inputs = np.zeros((n, stride, 2), np.float32)
        inputs[:, 0, :] = block.T
        sides = np.ascontiguousarray(inputs[:, :, 0]), np.ascontiguousarray(inputs[:, :, 1])
        places = np.array([side.ctypes.data for side in sides], np.int64)
        outputs = np.full((len(CHANNELS), n, stride), np.nan, np.float32)
        targets = np.array([row.ctypes.data for row in outputs], np.int64)
        ho.take_in(self.handover.address, n, places.ctypes.data, stride)
        ho.give_out(self.handover.address, n, targets.ctypes.data, stride)
        assert np.isnan(outputs[:, :, 1:]).all()
        by_name = dict(zip(self.handover.channels, outputs[:, :, 0], strict=True))
        self.inputs.append(block)
        self.outputs.append(np.stack([by_name[name] for name in CHANNELS]))
        return self.outputs[-1]

    def heard(self) -> tuple[np.ndarray, np.ndarray]:
        return np.concatenate(self.inputs, axis=1), np.concatenate(self.outputs, axis=1)

    def close(self) -> None:
        for segment in self.slots:
            segment.close()
        self.handover.close()


def tone(n: int, hertz: float = 440.0) -> np.ndarray:
    t = np.arange(n) / 48_000
    return (0.5 * np.stack([np.sin(2 * np.pi * hertz * t), np.cos(2 * np.pi * hertz * t)])).astype(
        np.float32
    )


def run(rig: Rig, mix: np.ndarray, blocks: list[int], late: set[int]) -> None:
    """Play; the engine finishes every block in time but those of `late`."""
    at = 0
    for k, n in enumerate(blocks):
        latency = int(rig.slots[0]["header"][tables.LATENCY])
        if k not in late:
            rig.engine(at - latency + n)
        rig.callback(mix[:, at : at + n])
        at += n


def steps(signal: np.ndarray) -> float:
    """Largest third difference: a tone has a small one, a click a large one."""
    return float(np.abs(np.diff(signal, 3)).max())


@settings(max_examples=60, deadline=None)
@given(
    block=st.sampled_from([16, 32, 64, 100, 128, 256, 1024]),
    late=st.sets(st.integers(16, 60), max_size=20),
    seed=st.integers(0, 3),
)
def test_the_mix_is_whole_and_nothing_clicks_whatever_is_late(
    block: int, late: set[int], seed: int
) -> None:
    latency = 2 * block
    rig = Rig(block, latency)
    try:
        rig.handover.want(0)
        blocks = [block] * 64
        mix = tone(sum(blocks), 220.0 * (seed + 1))
        run(rig, mix, blocks, late)
        given_mix, out = rig.heard()
        # Past the fade at the start, the stems are the mix of `latency` ago.
        first = latency + tables.FADE
        late_mix = np.pad(given_mix, ((0, 0), (latency, 0)))[:, : out.shape[1]]
        total = out[0:2] + out[2:4]
        np.testing.assert_allclose(total[:, first:], late_mix[:, first:], atol=3e-7)
        np.testing.assert_allclose(out[4:6, first:], late_mix[:, first:], atol=3e-7)
        assert rig.handover.misses == len(late)
        # Reflection turns the curvature over, a cut would step by the tone's height.
        bend = 2.0 * np.abs(np.diff(late_mix[:, first:], 2)).max() + 1e-3
        for channel in out:
            assert steps(channel[first:]) < bend < 0.5 * steps_of_a_cut()
    finally:
        rig.close()


def steps_of_a_cut() -> float:
    cut = tone(400)[0] * np.float32(0.25)
    cut[200:] = 0.0
    return steps(cut)


def test_the_detector_finds_a_cut() -> None:
    assert steps_of_a_cut() > 20 * steps(tone(400)[0])


def test_a_steady_stream_is_copied_bit_for_bit() -> None:
    rig = Rig(128, 256, stride=3)
    try:
        rig.handover.want(0)
        mix = np.random.default_rng(0).standard_normal((2, 128 * 40)).astype(np.float32)
        run(rig, mix, [128] * 40, set())
        _, out = rig.heard()
        np.testing.assert_array_equal(out[0:2, 512:], SHARE * mix[:, 256:-256])
        assert rig.handover.source == "stems"
        assert rig.handover.misses == 0
        assert rig.handover.measured_latency(250) == 256
    finally:
        rig.close()


def test_latency_is_not_measured_where_it_cannot_be() -> None:
    rig = Rig(128, 256)
    try:
        rig.handover.want(0)
        run(rig, np.zeros((2, 128 * 40), np.float32), [128] * 40, set())
        assert rig.handover.measured_latency(256) is None
        tone_rig = tone(128 * 40, 480.0)  # repeats every 100 samples
        run(rig, tone_rig, [128] * 40, set())
        assert rig.handover.measured_latency(256) is None
    finally:
        rig.close()


def test_start_and_stop_fade() -> None:
    rig = Rig(64, 128)
    try:
        mix = np.full((2, 64 * 60), 0.5, np.float32)
        run(rig, mix[:, : 64 * 20], [64] * 20, set())
        assert not rig.heard()[1].any()
        rig.handover.want(0)
        for k in range(20, 40):
            rig.engine(64 * (k + 1) - 128)
            rig.callback(mix[:, :64])
        rig.handover.want(None)
        for k in range(40, 60):
            rig.engine(64 * (k + 1) - 128)
            rig.callback(mix[:, :64])
        out = rig.heard()[1]
        assert rig.handover.source == "silence"
        assert not out[:, -64:].any()
        assert np.abs(out).max() == pytest.approx(0.5, abs=1e-6)
        assert np.abs(np.diff(out)).max() < 0.5 * np.pi / tables.FADE
        assert not rig.handover.shows(0)
        kinds = [entry.number for entry in rig.handover.trace() if entry.kind == "switch"]
        assert kinds[-1] == 0
    finally:
        rig.close()


def test_switching_slots_cross_fades_and_frees_the_old_one() -> None:
    rig = Rig(128, 256)
    try:
        rig.handover.want(0)
        mix = tone(128 * 60)
        run(rig, mix, [128] * 30, set())
        rig.add_slot(512)
        at = 128 * 30
        for k in range(30, 60):
            if k == 40:
                rig.handover.want(1)
            rig.engine(at + 128 - 256)
            rig.engine(at + 128 - 512, slot=1)
            rig.callback(mix[:, at : at + 128])
            at += 128
            assert rig.handover.shows(0) == (k < 40)
        out = rig.heard()[1]
        np.testing.assert_allclose((out[0:2] + out[2:4])[:, -512:], mix[:, -1024:-512], atol=1e-6)
        assert steps(out[0]) < 1e-3
        assert rig.handover.misses == 0
    finally:
        rig.close()


def test_another_block_size_begins_an_epoch() -> None:
    rig = Rig(128, 256)
    try:
        rig.callback(np.zeros((2, 128), np.float32))
        header = rig.handover.mix["header"]
        epoch = int(header[tables.EPOCH])
        rig.callback(np.zeros((2, 64), np.float32))
        assert header[tables.EPOCH] == epoch + 1
        assert header[tables.EPOCH_START] == rig.start + 128
        assert rig.handover.block == 64
    finally:
        rig.close()


def test_what_is_not_a_number_never_comes_out() -> None:
    rig = Rig(64, 64)
    try:
        rig.handover.want(0)
        block = np.full((2, 64), np.nan, np.float32)
        block[0, :8] = np.inf
        for _ in range(4):
            assert np.isfinite(rig.callback(block)).all()
    finally:
        rig.close()


def test_channels_keep_their_numbers() -> None:
    handover = Handover()
    try:
        assert handover.channels == ("monitor_L", "monitor_R")
        assert handover.add_channels(CHANNELS) == CHANNELS[:4]
        assert handover.add_channels(("bass_L", "drums_L")) == ("bass_L",)
        assert handover.channels.index("drums_L") == 2
    finally:
        handover.close()
