"""Chunks with context and cross-fades: exact delay, weights that sum to one."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsep.errors import BundleError
from rtsep.manifest import Chunk
from rtsep.networks import open_audio
from rtsep.overlap_add import Array, ChunkRunner
from tests.rtsep import models


class Echo:
    """A model whose output is its input, [1, T] in and out."""

    def __init__(self, state: Chunk) -> None:
        shape = (1, state.left + state.chunk + state.right)
        self.inputs = {"x": np.zeros(shape, np.float32)}
        self.outputs = {"y": np.zeros(shape, np.float32)}
        self.runs = 0

    def run(self) -> None:
        self.runs += 1
        self.outputs["y"][:] = self.inputs["x"]


class Counting(Echo):
    """A model whose output is the number of the run, counted from 0."""

    def run(self) -> None:
        self.outputs["y"].fill(self.runs)
        self.runs += 1


def echo_runner(state: Chunk, *, max_push: int = 1, model: type[Echo] = Echo) -> ChunkRunner:
    return ChunkRunner(model(state), state, {"x": 1, "y": 1}, max_push=max_push)


def stream(runner: ChunkRunner, frames: Array, sizes: list[int]) -> Array:
    """Push `frames` in pieces of `sizes`, over and over; everything that came out."""
    out, start = [], 0
    for size in itertools.cycle(sizes):
        if start >= len(frames):
            return np.concatenate(out)
        count = runner.push(frames[start : start + size])
        out.append(runner.outputs["y"][:count].copy())
        start += size
    raise AssertionError


STATES = [
    Chunk(chunk=chunk, left=left, right=right, crossfade=crossfade)
    for chunk in (1, 2, 3, 5, 8)
    for left in (0, 1, 7)
    for right in (0, 1, 4, 9)
    for crossfade in range(chunk // 2 + 1)
]


@pytest.mark.parametrize("state", STATES, ids=str)
def test_delay_is_exact(state: Chunk) -> None:
    """Frame n has come out once frame n + delay_frames is in; one push earlier, not all have."""
    runner = echo_runner(state)
    ramp = np.arange(1, 60, dtype=np.float32)
    out: list[float] = []
    delays = []
    for pushed, value in enumerate(ramp):
        for frame in range(runner.push(value[None])):
            delays.append(pushed - len(out))
            out.append(float(runner.outputs["y"][frame]))
    np.testing.assert_allclose(out, ramp[: len(out)], rtol=1e-6)
    assert delays[0] == runner.delay_frames
    assert max(delays) == runner.delay_frames
    assert len(out) >= len(ramp) - runner.delay_frames


@settings(deadline=None, max_examples=30)
@given(
    state=st.sampled_from(STATES),
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=6),
)
def test_pushes_of_any_size_give_the_same(state: Chunk, sizes: list[int]) -> None:
    frames = np.random.default_rng(0).standard_normal(90).astype(np.float32)
    whole = echo_runner(state, max_push=90)
    pieces = echo_runner(state, max_push=20)
    assert whole.push(frames) <= whole.max_ready
    np.testing.assert_array_equal(
        stream(pieces, frames, sizes), stream(echo_runner(state, max_push=90), frames, [90])
    )


def test_crossfade_is_linear_and_its_weights_sum_to_one() -> None:
    state = Chunk(chunk=10, left=2, right=3, crossfade=4)
    runner = echo_runner(state, model=Counting)
    out = stream(runner, np.zeros(60, np.float32), [1])
    # Run j counts j, so that the output between two runs is the younger one's weight.
    fade = (np.arange(4) + 0.5) / 4
    np.testing.assert_allclose(out[:6], 0)
    np.testing.assert_allclose(out[6:10], fade, atol=1e-7)
    np.testing.assert_allclose(out[10:12], 1)
    np.testing.assert_allclose(out[12:16], 1 + fade, atol=1e-6)
    np.testing.assert_allclose(fade + fade[::-1], 1)


def test_reset_forgets() -> None:
    state = Chunk(chunk=6, left=5, right=2, crossfade=3)
    runner = echo_runner(state)
    frames = np.random.default_rng(1).standard_normal(40).astype(np.float32)
    first = stream(runner, frames, [1])
    runner.reset()
    np.testing.assert_array_equal(stream(runner, frames, [1]), first)


def test_too_long_a_push_is_a_mistake() -> None:
    runner = echo_runner(STATES[-1], max_push=4)
    with pytest.raises(ValueError, match="at most 4"):
        runner.push(np.zeros(5, np.float32))


class FailsOnce(Echo):
    def run(self) -> None:
        super().run()
        if self.runs == 3:
            self.outputs["y"].fill(np.nan)
            raise BundleError("the third run failed")


def test_a_failed_run_costs_its_own_frames_only() -> None:
    state = Chunk(chunk=8, left=3, right=2, crossfade=2)
    runner = echo_runner(state, model=FailsOnce)
    ramp = np.arange(80, dtype=np.float32)
    out = stream(runner, ramp, [1])
    missing = np.isnan(out)
    # The third chunk stands for frames 12 to 20, cross-fades included.
    np.testing.assert_array_equal(np.flatnonzero(missing), np.arange(12, 20))
    np.testing.assert_allclose(out[~missing], ramp[: len(out)][~missing], rtol=1e-6)
    assert runner.error is not None
    runner.reset()
    assert runner.error is None


@settings(deadline=None, max_examples=20)
@given(sizes=st.lists(st.integers(1, 400), min_size=1, max_size=5), seed=st.integers(0, 9))
def test_audio_model_streamed_equals_whole_file(sizes: list[int], seed: int) -> None:
    kernels = models.fir_kernels(n_stems=4, reach=9, seed=seed)
    bundle = models.bundle(
        models.fir_audio(kernels, state=Chunk(chunk=100, left=9, right=9, crossfade=25))
    )
    runner = open_audio(bundle, max_push=400, device="cpu")
    audio = np.random.default_rng(seed).standard_normal((2, 1500)).astype(np.float32)
    padded = np.pad(audio, ((0, 0), (0, runner.delay_frames)))
    out, start = [], 0
    for size in itertools.cycle(sizes):
        if start >= padded.shape[1]:
            break
        count = runner.push(padded[:, start : start + size].T)
        out.append(runner.outputs["stems"][..., :count].copy())
        start += size
    stems = np.concatenate(out, axis=-1)[..., :1500]
    np.testing.assert_allclose(stems, models.fir_stems(audio, kernels), atol=1e-5)
    np.testing.assert_allclose(stems.sum(axis=0), audio, atol=1e-5)


def test_mono_frames_fill_both_channels() -> None:
    runner = open_audio(models.bundle(models.fir_audio()), max_push=2000, device="cpu")
    audio = np.random.default_rng(2).standard_normal((1, 2000)).astype(np.float32)
    count = runner.push(audio.T)
    stems = runner.outputs["stems"][..., :count]
    assert count > 1000
    np.testing.assert_array_equal(stems[:, 0], stems[:, 1])


def test_too_little_context_shows() -> None:
    """The reference test can fail: with less context than the filter's reach it does."""
    kernels = models.fir_kernels(n_stems=2, reach=9)
    state = Chunk(chunk=100, left=2, right=2, crossfade=0)
    runner = open_audio(models.bundle(models.fir_audio(kernels, state=state)), max_push=1000)
    audio = np.random.default_rng(3).standard_normal((2, 1000)).astype(np.float32)
    count = runner.push(audio.T)
    stems = runner.outputs["stems"][..., :count]
    reference = models.fir_stems(audio, kernels)[..., :count]
    assert np.abs(stems - reference).max() > 1e-2
