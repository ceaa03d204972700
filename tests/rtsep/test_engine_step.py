"""Blocks that are multiples of a step come out earlier, and are the same stems."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsep.engine import Engine
from rtsep.latency import added_latency, step_gain, working_time
from rtsep.presets import PRESETS
from tests.rtsep import models


@cache
def tcn_engine(preset: str) -> Engine:
    return Engine(models.bundle(models.tcn_taps()), None, PRESETS[preset], device="cpu")


def play(step: int, blocks: list[int], mix: np.ndarray, preset: str) -> tuple[np.ndarray, int]:
    engine = tcn_engine(preset)
    engine.prepare(48_000, max(blocks), step=step)
    parts, at = [], 0
    for n in blocks:
        out = np.full((len(engine.stems), 2, n), np.nan, np.float32)
        engine.process(np.ascontiguousarray(mix[:, at : at + n]), out)
        parts.append(out)
        at += n
    return np.concatenate(parts, axis=2), engine.latency_samples


def noise(n: int) -> np.ndarray:
    return np.random.default_rng(5).standard_normal((2, n)).astype(np.float32) * np.float32(0.1)


@settings(max_examples=30, deadline=None)
@given(
    step=st.sampled_from([1, 2, 3, 16, 48, 64, 96, 128, 192, 256, 512]),
    preset=st.sampled_from(["lowest", "live", "relaxed"]),
    counts=st.lists(st.integers(1, 3), min_size=2, max_size=4),
)
def test_a_step_only_moves_the_stems(step: int, preset: str, counts: list[int]) -> None:
    blocks = [step * n for n in counts] * -(-1500 // (step * sum(counts)))
    total = sum(blocks)
    mix = noise(total)
    moved, latency = play(step, blocks, mix, preset)
    plain, plain_latency = play(0, [total], mix, preset)
    gain = plain_latency - latency
    assert gain == step_gain(step, PRESETS[preset].hop, 0) > 0
    np.testing.assert_array_equal(moved[..., : total - gain], plain[..., gain:])
    np.testing.assert_allclose(moved.sum(axis=0)[:, latency:], mix[:, : total - latency], atol=1e-6)


@pytest.mark.parametrize("block", [32, 64, 96, 100, 128, 256, 441, 512, 1024])
@pytest.mark.parametrize("hop", [64, 128, 256])
def test_no_step_could_gain_more(block: int, hop: int) -> None:
    # By brute force over every block: what is complete when a block has come in.
    synthesis = 2 * hop
    work = working_time(block, hop, 48_000)
    latency = added_latency(synthesis - step_gain(block, hop, 0), block, hop, 48_000)
    slack = []
    for k in range(1, hop + 1):
        frame_end = k * block // hop * hop
        complete = frame_end - synthesis + hop
        due = k * block + work - latency
        slack.append(complete - due)
    assert min(slack) == 0


@pytest.mark.parametrize(
    ("block", "hop", "rate", "expected"),
    [
        (128, 128, 48_000, 128),
        (64, 64, 48_000, 64),
        (32, 64, 48_000, 64),
        (48, 64, 44_100, 96),
        (64, 128, 96_000, 128),
        (64, 256, 48_000, 128),
        (1024, 256, 96_000, 1024),
    ],
)
def test_short_blocks_leave_time_to_work(block: int, hop: int, rate: int, expected: int) -> None:
    assert working_time(block, hop, rate) == expected


def test_blocks_must_keep_the_promise() -> None:
    engine = Engine(models.bundle(models.constant_masks()), None, PRESETS["live"], device="cpu")
    engine.prepare(48_000, 512, step=128)
    out = np.zeros((len(engine.stems), 2, 100), np.float32)
    with pytest.raises(ValueError, match="multiple of 128"):
        engine.process(np.zeros((2, 100), np.float32), out)
    with pytest.raises(ValueError, match="step of -1"):
        engine.prepare(48_000, 512, step=-1)
