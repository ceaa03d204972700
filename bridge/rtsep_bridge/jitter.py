"""Stems that come over a network, for a callback that plays them at its own clock.

The stems take the place of an engine's: they go into a ring by their index, and
`rtsep.kernels.drift` reads it, a set point behind what has come, at the speed at which
it comes.  What time it came is told by the earliest of several messages, because a
network only ever delays.
"""

from collections.abc import Sequence

import numpy as np

from rtsep.kernels import atomics, publish, tables
from rtsep.kernels import timeline as tl
from rtsep.live.drift import Drift, least_buffer
from rtsep.live.handover import MONITOR, Handover
from rtsep.live.shared import slot_segment
from rtsep_bridge.messages import Samples

MOST_BLOCK = 8192
MOST_GAP_S = 0.2
"""A gap up to here is silence in the stream; after more it is taken up where it is."""
MOST_BEHIND_S = 5.0
MOST_AHEAD = 1 << 13
"""Frames by which a stream may outrun time; after more it is taken up where it is."""
MOST_BUFFER = 1 << 14
"""Frames between arrival and output, at most, and the longest jump of a stream."""
_GROUP_S = 0.02
_FADE = tables.FADE


class JitterBuffer:
    """A ring of stems, its clock, and the tables that the callback works on.

    Attributes
    ----------
    handover : Handover
    channels : tuple of str
        Left and right of every stem, and of their sum.
    lost : int
        Frames that never came; they are silent, and faded at their ends.
    breaks : int
        How often the stream went on elsewhere than where it was.
    sample_rate : int
        In Hz.

    Parameters
    ----------
    stems : sequence of str
    sample_rate : int
        In Hz.
    block : int
        Frames that come at a time.
    buffer_s : float
        Between arrival and output; longer where blocks are too long for it.
    """

    def __init__(self, stems: Sequence[str], sample_rate: int, block: int, buffer_s: float) -> None:
        self.sample_rate, self._block = sample_rate, block
        self._asked = round(buffer_s * sample_rate)
        names = tuple(f"{stem}_{side}" for stem in stems for side in "LR")
        self.channels = (*names, *MONITOR)
        self.handover = Handover()
        self.slot = slot_segment(len(self.channels))
        self.lost = self.breaks = 0
        self._drift: Drift | None = None
        self._offset = self._end = self._ticked = 0
        self._ended_ns = 0
        self._ahead = 0.0
        self._group: list[tuple[float, int, int]] = []
        self._tail = np.zeros((len(self.channels), _FADE + 1), np.float32)
        self._curve = ((np.arange(_FADE) + 1.0) / (_FADE + 1.0)).astype(np.float32)
        self._curve = (0.5 - 0.5 * np.cos(np.pi * self._curve)).astype(np.float32)

    def follow(self, sample_rate: int, out_block: int) -> Drift:
        """What a host needs that puts the stems out, see `rtsep.live.jack_host`."""
        buffer = max(self._asked, least_buffer(sample_rate, self._block, out_block))
        buffer = min(buffer, MOST_BUFFER)
        header = self.slot["header"]
        header[tables.LATENCY], header[tables.VALID_FROM] = 0, 0
        header[tables.READY_EPOCH] = self.handover.mix["header"][tables.EPOCH]
        self.handover.add_channels(self.channels)
        self.handover.attach(0, self.slot, self.channels, 0)
        self.handover.want(0)
        self._drift = Drift(
            self.handover.address, sample_rate, self._block, out_block, MOST_BLOCK, buffer
        )
        return self._drift

    @property
    def drift(self) -> Drift:
        """How the output follows."""
        assert self._drift is not None, "follow first"
        return self._drift

    @property
    def buffer(self) -> int:
        """Frames between arrival and output, exactly."""
        return self.drift.added_latency_samples + self._block

    def take(self, sample: int, samples: Samples, now_ns: int) -> None:
        """Put a block into the ring.

        Parameters
        ----------
        sample : int
            Index of its first sample on the sender's clock.
        samples : float32 [2 * stems, n]
        now_ns : int
            When it came, on the monotonic clock.
        """
        n = samples.shape[1]
        if self._ended_ns == 0:
            self._offset, self._ended_ns = -sample, now_ns
        start = sample + self._offset
        gap = start - self._end
        passed = (now_ns - self._ended_ns) * self.sample_rate // 1_000_000_000
        self._ahead = max(self._ahead + gap + n - passed, -MOST_BEHIND_S * self.sample_rate)
        # What a clock may run off.
        leak = tl.MOST_DRIFT * passed
        self._ahead -= min(leak, max(-leak, self._ahead))
        if gap < 0 or gap > MOST_GAP_S * self.sample_rate or self._ahead > MOST_AHEAD:
            # Another mix, the same elsewhere, or one that outruns time: on from here.
            self.breaks += 1
            gap = min(max(0, passed - n), MOST_BUFFER)
            start = self._end + gap
            self._offset, self._ahead = start - sample, 0.0
            broken = True
        else:
            self.lost += gap
            broken = gap > 0
        block = np.empty((len(self.channels), n), np.float32)
        block[:-2] = samples
        block[-2:] = samples.reshape(-1, 2, n).sum(axis=0)
        if broken:
            self._join(block, start, gap)
        self._write(block, start)
        self._note(now_ns)

    def _join(self, block: Samples, start: int, gap: int) -> None:
        """Let what was there die away, across the gap and into what comes after it."""
        rest = 2.0 * self._tail[:, -1:] - self._tail[:, -2::-1]
        rest *= 1.0 - self._curve
        if gap:
            silence = np.zeros((len(self.channels), gap), np.float32)
            silence[:, :_FADE] = rest[:, :gap]
            self._write(silence, start - gap)
        n = min(block.shape[1], _FADE)
        block[:, :n] *= self._curve[:n]
        left = rest[:, gap : gap + n]
        block[:, : left.shape[1]] += left

    def _write(self, block: Samples, start: int) -> None:
        publish.write_ring(block, self.slot["ring"], start)
        joined = np.concatenate([self._tail, block[:, -(_FADE + 1) :]], axis=1)
        self._tail = joined[:, -(_FADE + 1) :]
        self._end = start + block.shape[1]
        atomics.store(self.slot.address("header"), tables.WRITTEN, self._end)
        atomics.store(self.handover.mix.address("header"), tables.WRITTEN_MIX, self._end)

    def _note(self, now_ns: int) -> None:
        """Tell the clock, by the message that was least delayed of a group."""
        self._ended_ns = now_ns
        late = now_ns - self._end * 1e9 / self.sample_rate
        self._group.append((late, self._end, now_ns))
        if self._end - self._group[0][1] < _GROUP_S * self.sample_rate:
            return
        _, end, at_ns = min(self._group)
        self._group.clear()
        tl.tick(self.drift.in_clock, end - self._ticked, end, at_ns, False)
        self._ticked = end

    def close(self) -> None:
        """Give the memory back; only after the host has closed."""
        self.handover.close()
        self.slot.close()
