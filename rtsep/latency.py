"""Latency from what a manifest states, in integers, without loading the model.

The engine measures the same numbers: tests hold the two against each other.
"""

import math

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


def step_gain(step: int, hop: int, lag: int) -> int:
    """Samples that stems gain when every block is a multiple of `step`.

    A frame that ends inside a block goes out with that block.  Frames end at multiples
    of `hop` after `lag`, so the last one in a block ends at most ``hop - gain`` samples
    before the block does, where ``gain`` divides block, hop and lag.

    Parameters
    ----------
    step, hop, lag : int
        In samples; `step` 0 promises nothing and gains nothing.
    """
    return math.gcd(step, hop, lag) if step else 0


def working_time(block: int, hop: int, sample_rate: int) -> int:
    """Samples that an engine has for its work, in whole blocks of the host.

    One block, unless blocks are so short that a hop's work, which falls on one of them,
    would leave no time to spare: at least 64 samples at 44.1 and 48 kHz, half a hop where
    that is more, and twice as many at the double rates.

    Parameters
    ----------
    block : int
        The host's.
    hop : int
        The preset's.
    """
    least = max(64, hop // 2) * rate_factor(sample_rate)
    return -(-least // block) * block


def added_latency(engine_latency: int, block: int, hop: int, sample_rate: int) -> int:
    """From input port to output port, in samples.

    Parameters
    ----------
    engine_latency : int
        Of an engine prepared with ``step=block``, and of what comes behind it.
    block, hop, sample_rate : int
        See `working_time`: the engine works while those blocks play.
    """
    return engine_latency + working_time(block, hop, sample_rate)
