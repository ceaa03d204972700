"""Latency from what a manifest states, in integers, without loading the model.

The engine measures the same numbers: tests hold the two against each other.
"""

from rtsep.manifest import Chunk, Manifest, Taps
from rtsep.presets import Preset
from rtsep.rates import rate_factor


def separator_latency(manifest: Manifest, preset: Preset, sample_rate: int) -> int | None:
    """Algorithmic latency of a separator in samples; None at a rate where it does not run.

    `rtsep.engine.Engine.latency_samples` is the same number.
    """
    delay = delay_frames(manifest.state)
    if manifest.domain == "audio":
        # Fed a hop at a time, so the wait is a whole number of hops.
        hops = -(-delay // preset.hop) + 1
        return hops * preset.hop if sample_rate == manifest.sample_rate else None
    wait = manifest.lookahead + delay * manifest.hop
    return preset.latency_samples(wait * rate_factor(sample_rate))


def delay_frames(state: Taps | Chunk) -> int:
    """Frame n of a network's output is there once frame n + `delay_frames` is in."""
    return 0 if isinstance(state, Taps) else state.chunk + state.right - 1


def decision_delay(hop: int, lookahead: int, delay: int) -> int:
    """Samples by which a note-on may be known later than it sounds, at most.

    What the network waits for, one more frame to know a maximum by, and half a frame
    between frames.

    Parameters
    ----------
    hop, lookahead : int
        Of the transcriber, in samples.
    delay : int
        `delay_frames`.
    """
    return lookahead + delay * hop + hop + (hop + 1) // 2
