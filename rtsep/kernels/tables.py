"""Where what stands in the tables that hosts, callbacks and engines share.

Three tables of 64-bit words carry the state of `rtsep.kernels.handover`; their words are
the constants below.

- *control*: of the callback alone, in the host's memory.
- *mix header*: shared, written by the callback, read by engine processes.
- *slot header*: shared, one an engine process, written by it, read by the callback.

Rings are indexed by absolute frame, ``t & (capacity - 1)``.  The ring of a slot is
indexed by stem time: the frame of the mix to which a sample of a stem belongs.
"""

import numpy as np

MAX_CHANNELS = 64
MONITOR_CHANNELS = 2
"""The first channels are the monitor's; those of the stems follow, and more may come."""
FADE = 128
"""Length of a cross-fade in samples."""
NEVER = 1 << 62
SAMPLE_LIMIT = np.float32(1e6)

# --- control: set by the host before the start, or with a release store -----------
MIX_RING, MIX_LAST, MIX_HEADER = 0, 1, 2
CHANNELS, WANT, LOCKSTEP_NS = 3, 5, 6
TRACE, TRACE_LAST, LOG, LOG_LENGTH = 7, 8, 9, 10
TAP, TAP_LAST, HISTOGRAM, HISTOGRAM_LENGTH = 11, 12, 13, 14
FADE_CURVE, SAMPLE_RATE = 15, 4
# Written by the callback.
OUT_TIME, CALLBACKS, MISSES, TRACED, LOGGED = 16, 17, 18, 19, 20
IN_TIME, XRUNS, WAITS, POSTED_NS, POSTED_BEFORE_NS = 22, 23, 24, 25, 26
# What plays: kind, slot, latency; how much of the fade to it is done; where it began.
KIND, SLOT, DELAY, FADED, FADE_START, SHOWN = 28, 29, 30, 31, 32, 33
# The latency at which all stems sum to the mix, -1 where they do not.
WHOLE, HISTORY = 34, 35
SLOTS, SLOT_WORDS = 40, 8
# In a slot's part of control: its header, its ring, its channels' ring channels.
S_HEADER, S_RING, S_LAST, S_SEMAPHORE, S_MAP = 0, 1, 2, 3, 4
CONTROL_WORDS = 64

SILENCE, MIX, STEMS = 0, 1, 2
HISTORY_LENGTH = 4 * FADE
"""Samples of every channel's output that are kept for the next fade."""

# --- mix header: one word a cache line where two sides meet ------------------------
WRITTEN_MIX, EPOCH, EPOCH_START, BLOCK = 0, 8, 9, 10
# The transport's frame less ours, `NEVER` where none rolls.
TRANSPORT = 11
MIX_HEADER_WORDS = 16

# --- slot header --------------------------------------------------------------------
WRITTEN, VALID_FROM, LATENCY, NEUTRAL, RESIDUAL = 0, 8, 9, 10, 11
# No note-on comes out later than this behind its sample, the engine's work included.
NOTE_DELAY = 12
HEARD, BUSY_NS, WORST_PPM, JUMPS = 13, 16, 17, 18
ENGINE_MISSES, BAD_SAMPLES, FAILURES, NOTES, READY_EPOCH = 19, 20, 21, 22, 23
SLOT_FALLBACK = 32
"""From this word on: float32 [MAX_CHANNELS], gain of the mix where stems are missing."""
SLOT_METERS = SLOT_FALLBACK + MAX_CHANNELS // 2
"""From this word on: float32 [MAX_CHANNELS, 2], peak and mean square."""
SLOT_HEADER_WORDS = SLOT_METERS + MAX_CHANNELS

#: Kinds of an entry of the trace: frame, time in ns, kind, number.
TRACE_MISS, TRACE_SWITCH, TRACE_EPOCH = 1, 2, 3
TRACE_WORDS = 4
