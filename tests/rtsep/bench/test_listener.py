"""What is wrong with a stream is heard, and where."""

import numpy as np
import pytest

from rtsep.bench.listener import Heard, Listener
from rtsep.bench.signals import EXACT, Floats, smooth_signal

RATE = 48_000
SIGNAL = smooth_signal(RATE)
LATENCY, BEGIN = 256, 1_000
CHUNK = 4_000


def stream(latency: int = LATENCY, frames: int = 5 * CHUNK) -> Floats:
    """Two stems and the monitor, from frame 3,000 on: left and right in turn."""
    at = np.arange(3_000, 3_000 + frames) - BEGIN - latency
    mix = SIGNAL[:, at % SIGNAL.shape[1]]
    return np.concatenate((0.25 * mix, mix - 0.25 * mix, mix)).astype(np.float32)


def listen(samples: Floats) -> Heard:
    listener = Listener(SIGNAL, BEGIN, LATENCY, [True] * 4 + [False] * 2)
    for place in range(0, samples.shape[1], CHUNK):
        listener.listen(3_000 + place, samples[:, place : place + CHUNK])
    listener.finish()
    return listener.heard


def test_a_right_stream_is_exact() -> None:
    heard = listen(stream())
    assert heard.latencies == {LATENCY}
    assert heard.error < 1e-6
    assert (heard.inexact_frames, heard.unknown_chunks, heard.click_count) == (0, 0, 0)
    assert heard.frames == 5 * CHUNK


@pytest.mark.parametrize("late", [-200, -1, 1, 64, 1_500])
def test_another_latency_is_measured(late: int) -> None:
    heard = listen(stream(LATENCY + late))
    assert heard.latencies == {LATENCY + late}
    assert heard.error > EXACT
    assert heard.unknown_chunks == 0


def test_a_latency_that_changes_is_measured_and_clicks() -> None:
    samples = stream()
    samples[:, 2 * CHUNK + 500 :] = stream(LATENCY + 128)[:, 2 * CHUNK + 500 :]
    heard = listen(samples)
    assert heard.latencies == {LATENCY, LATENCY + 128}
    assert heard.click_count > 0
    assert heard.first_inexact == 3_000 + 2 * CHUNK + 500


def test_a_lost_sample_is_an_error_and_a_click() -> None:
    samples = stream()
    samples[0, 7_000] = 0.0
    heard = listen(samples)
    assert heard.inexact_frames == 1
    assert heard.first_inexact == 10_000
    assert {(click.port, round(click.frame, -1)) for click in heard.clicks} == {(0, 10_000)}
    assert heard.latencies == {LATENCY}


def test_a_click_on_the_monitor_alone_is_found() -> None:
    samples = stream()
    samples[5, 9_000] += 0.05
    heard = listen(samples)
    assert heard.error < 1e-6
    assert {click.port for click in heard.clicks} == {5}


def test_silence_has_no_latency() -> None:
    heard = listen(np.zeros_like(stream()))
    assert heard.latencies == set()
    assert heard.unknown_chunks == 5


def test_what_is_skipped_does_not_click() -> None:
    samples = stream()
    listener = Listener(SIGNAL, BEGIN, LATENCY, [True] * 4 + [False] * 2)
    listener.listen(3_000, samples[:, :CHUNK])
    listener.skip(CHUNK)
    listener.listen(3_000 + 2 * CHUNK, samples[:, 2 * CHUNK : 3 * CHUNK])
    listener.finish()
    assert listener.heard.skipped_frames == CHUNK
    assert listener.heard.click_count == 0
    assert listener.heard.error < 1e-6
