import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsep.kernels.frames import overlap_add, push_history


@settings(deadline=None, max_examples=30)
@given(
    length=st.sampled_from([8, 64, 100]),
    blocks=st.lists(st.integers(0, 250), min_size=1, max_size=12),
    channels=st.integers(1, 2),
)
def test_the_newest_samples_stand_in_one_piece(length, blocks, channels):
    stream = np.random.default_rng(0).standard_normal((channels, sum(blocks)))
    stream = stream.astype(np.float32)
    history = np.zeros((2, 2 * length), np.float32)
    position = start = 0
    for n in blocks:
        block = np.ascontiguousarray(stream[:, start : start + n])
        position = push_history(history, block, position)
        start += n
        padded = np.pad(stream[:, :start], ((0, 0), (length, 0)))
        np.testing.assert_array_equal(
            history[:channels, position : position + length], padded[:, -length:]
        )


def test_subnormal_numbers_go_but_nan_comes_through():
    history = np.zeros((2, 16), np.float32)
    x = np.array([[1e-40, -1e-30, np.nan, np.inf, 1e-15]], np.float32)
    position = push_history(history, x, 0)
    newest = history[0, position : position + 8]
    np.testing.assert_array_equal(
        newest, np.array([0, 0, 0, 0, 0, np.nan, np.inf, 1e-15], np.float32)
    )


@pytest.mark.parametrize(("synthesis", "hop", "extra"), [(64, 32, 0), (64, 8, 40), (16, 8, 0)])
def test_overlap_add_is_the_sum_of_shifted_frames(synthesis, hop, extra):
    rng = np.random.default_rng(0)
    n_frames = 12
    frames = rng.standard_normal((n_frames, extra + synthesis)).astype(np.float32)
    window = rng.random(synthesis).astype(np.float32)
    tail = np.zeros((2, synthesis), np.float32)
    out = np.zeros((n_frames, 2, hop), np.float32)
    for frame, block in zip(frames, out, strict=True):
        overlap_add(tail.reshape(-1), 1, frame, window, block, hop, hop)
    expected = np.zeros(n_frames * hop + synthesis)
    for i, frame in enumerate(frames):
        expected[i * hop : i * hop + synthesis] += frame[extra:] * window
    np.testing.assert_allclose(out[:, 1].ravel(), expected[: n_frames * hop], atol=1e-6)
    assert (out[:, 0] == 0.0).all()
    assert (tail[0] == 0.0).all()
