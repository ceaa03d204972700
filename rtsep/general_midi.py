"""What files and live MIDI agree on: which channel and which instrument a stem gets.

Channels and programs count from 0 here, as they stand in messages; players and session
files count from 1.
"""

from collections.abc import Collection, Sequence

CHANNELS = 16
#: General MIDI's channel for drums (players show 10).
DRUM_CHANNEL = 9
#: General MIDI programs; every other stem is a grand piano.
PROGRAMS = {"bass": 33, "guitar": 27, "piano": 0}


def assign_channels(stems: Sequence[str], drums: Collection[str]) -> dict[str, int]:
    """Give every stem a channel: drums theirs, the others the rest in their order.

    Past the 15th stem that is not drums, channels are shared from the first one on.
    """
    pitched = [channel for channel in range(CHANNELS) if channel != DRUM_CHANNEL]
    others = [stem for stem in stems if stem not in drums]
    channels = {stem: pitched[i % len(pitched)] for i, stem in enumerate(others)}
    return {stem: channels.get(stem, DRUM_CHANNEL) for stem in stems}
