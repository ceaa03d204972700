"""From samples of the mix to moments at which notes leave."""

from collections import deque

from rtsep.note_events import NoteEvent

SECOND_NS = 1_000_000_000
WINDOW_NS, WINDOW_BLOCKS = 125_000_000, 8
"""How far back a clock looks: the longer of the two."""
MARGIN_S = 0.006
"""Between a note's decision and the port: two threads and a process take this long."""


class HostClock:
    """When the host's frames pass, on this machine's monotonic clock.

    Callbacks, and whoever looks at their counter, come late now and then, never early:
    the earliest of the last few is what the host means.  Few, so that it follows a sound
    card that drifts, and a host that goes on later after it stood still.
    """

    def __init__(self) -> None:
        self._rate = 0
        self._frames = -1
        self._moved_ns = 0
        # Offsets that are smaller than all that came after them, oldest first.
        self._offsets: deque[tuple[int, int]] = deque()

    def look(self, frames: int, block: int, rate: int, now_ns: int) -> None:
        """See the host's count of frames, as often as possible.

        Parameters
        ----------
        frames : int
            To the end of the block that was last played.
        block : int
            Its length.
        rate : int
        now_ns : int
        """
        if rate != self._rate:
            self._offsets.clear()
            self._rate = rate
        if frames == self._frames or rate <= 0:
            return
        self._frames, self._moved_ns = frames, now_ns
        offset = now_ns - (frames - block) * SECOND_NS // rate
        while self._offsets and self._offsets[-1][1] >= offset:
            self._offsets.pop()
        self._offsets.append((now_ns, offset))
        window = max(WINDOW_NS, WINDOW_BLOCKS * block * SECOND_NS // rate)
        while self._offsets[0][0] < now_ns - window:
            self._offsets.popleft()

    def time_of(self, frame: int) -> int | None:
        """When a frame passes; None while that is not known."""
        if not self._offsets:
            return None
        return self._offsets[0][1] + frame * SECOND_NS // self._rate

    def stands_still(self, now_ns: int) -> bool:
        """Whether the host has not moved for a second, though it had."""
        return self._frames >= 0 and now_ns - self._moved_ns > SECOND_NS


class Timing:
    """When each note leaves.

    Parameters
    ----------
    clock : HostClock

    Attributes
    ----------
    steady : bool
        All with the same delay; else as soon as they are known, yet not before their
        stem sounds.
    latency, note_delay : int
        Of the stems, and of what is known of notes, in samples at `rate`.
    rate : int
    """

    def __init__(self, clock: HostClock) -> None:
        self._clock = clock
        self.steady = True
        self.latency = self.note_delay = 0
        self.rate = 48_000
        self._open: dict[tuple[str, int], tuple[int, int, int]] = {}
        self._serial = 0

    @property
    def delay_samples(self) -> int:
        """From a note's sample to the moment at which it leaves, where it is in time."""
        if not self.steady:
            return self.latency
        return max(self.latency, self.note_delay + round(MARGIN_S * self.rate))

    def note_on(self, event: NoteEvent, now_ns: int) -> tuple[int, int]:
        """The serial of a note that begins, and when it is due."""
        due = self._clock.time_of(event.sample + self.delay_samples)
        due = now_ns if due is None else max(now_ns, due)
        self._serial += 1
        self._open[event.stem, event.pitch] = self._serial, due, event.sample
        return self._serial, due

    def note_off(self, event: NoteEvent, now_ns: int) -> tuple[int, int] | None:
        """The serial of the note that ends, and when it is due: it keeps its length.

        None for a note that did not begin.
        """
        begun = self._open.pop((event.stem, event.pitch), None)
        if begun is None:
            return None
        serial, due, sample = begun
        length = max(1, event.sample - sample) * SECOND_NS // self.rate
        return serial, max(now_ns, due + length)
