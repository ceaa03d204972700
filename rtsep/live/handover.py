"""The host process's side of the callback: its tables, its slots, its counters."""

from typing import NamedTuple

import numpy as np

from rtsep.kernels import atomics, tables
from rtsep.live.shared import MIX_CAPACITY, STEM_CAPACITY, Segment, mix_segment

TRACE_LENGTH = 1 << 12
TAP_LENGTH = 1 << 14
HISTOGRAM_US = 2048
_KINDS = {tables.TRACE_MISS: "miss", tables.TRACE_SWITCH: "switch", tables.TRACE_EPOCH: "block"}
MONITOR = ("monitor_L", "monitor_R")
SOURCES = ("silence", "mix", "stems")


class TraceEntry(NamedTuple):
    """One event of the callback.

    Attributes
    ----------
    frame : int
        Of the host's stream.
    time_ns : int
        Of the monotonic clock.
    kind : {"miss", "switch", "block"}
    number : int
        miss: how many so far; switch: index into `SOURCES` of what plays from here on;
        block: the new block size.
    """

    frame: int
    time_ns: int
    kind: str
    number: int


class Handover:
    """The tables that a host's callback works on.

    Attributes
    ----------
    address : int
        Of the control table, for `rtsep.kernels.handover`.
    mix : Segment
        The mix, which engine processes read.
    channels : tuple of str
        What the callback puts out, in its order: first the two of the monitor.

    Parameters
    ----------
    log_callbacks : int
        Keep start and end of as many callbacks, for `callback_log`.
    """

    def __init__(self, *, log_callbacks: int = 0) -> None:
        self.mix = mix_segment()
        self.channels: tuple[str, ...] = MONITOR
        self._control = np.zeros(tables.CONTROL_WORDS, np.int64)
        self._trace = np.zeros((TRACE_LENGTH, tables.TRACE_WORDS), np.int64)
        self._tap = np.zeros((2, TAP_LENGTH), np.float32)
        self._histogram = np.zeros(HISTOGRAM_US + 1, np.int64)
        self._log = np.full((max(1, log_callbacks), 2), 0, np.int64)  # touches every page
        # The curve, and room for a channel and for two sums behind it.
        self._curve = np.zeros(4 * tables.FADE, np.float32)
        self._history = np.zeros((tables.MAX_CHANNELS, tables.HISTORY_LENGTH), np.float32)
        place = (np.arange(tables.FADE) + 1.0) / (tables.FADE + 1.0)
        self._curve[: tables.FADE] = 0.5 - 0.5 * np.cos(np.pi * place)
        self._maps = np.full((2, tables.MAX_CHANNELS), -1, np.int64)
        self._slots: list[tuple[Segment, tuple[str, ...]] | None] = [None, None]
        c = self._control
        c[tables.MIX_RING], c[tables.MIX_LAST] = self.mix.address("ring"), MIX_CAPACITY - 1
        c[tables.MIX_HEADER] = self.mix.address("header")
        c[tables.TRACE], c[tables.TRACE_LAST] = self._trace.ctypes.data, TRACE_LENGTH - 1
        c[tables.TAP], c[tables.TAP_LAST] = self._tap.ctypes.data, TAP_LENGTH - 1
        c[tables.HISTOGRAM], c[tables.HISTOGRAM_LENGTH] = self._histogram.ctypes.data, HISTOGRAM_US
        c[tables.LOG], c[tables.LOG_LENGTH] = self._log.ctypes.data, log_callbacks
        c[tables.FADE_CURVE], c[tables.FADED] = self._curve.ctypes.data, tables.FADE
        c[tables.HISTORY] = self._history.ctypes.data
        c[tables.WANT] = c[tables.WHOLE] = -1
        self.address = int(c.ctypes.data)

    def _store(self, word: int, value: int) -> None:
        atomics.store(self.address, word, value)

    def _load(self, word: int) -> int:
        return int(atomics.load(self.address, word))

    def restart(self, block: int, sample_rate: int) -> None:
        """Forget the mix so far; only while no host calls back."""
        header = self.mix["header"]
        self.mix["ring"].fill(0.0)
        c = self._control
        c[tables.IN_TIME] = c[tables.OUT_TIME] = max(c[tables.IN_TIME], c[tables.OUT_TIME])
        c[tables.KIND], c[tables.WHOLE], c[tables.FADED] = tables.SILENCE, -1, tables.FADE
        self._history.fill(0.0)
        header[tables.WRITTEN_MIX] = header[tables.EPOCH_START] = c[tables.IN_TIME]
        header[tables.BLOCK], c[tables.SAMPLE_RATE] = block, sample_rate
        atomics.store(self.mix.address("header"), tables.EPOCH, int(header[tables.EPOCH]) + 1)

    def add_channels(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Give channels to names that have none, and say which are new.

        A channel keeps its number for good, because a callback may be at work.
        """
        new = tuple(name for name in names if name not in self.channels)
        self.channels += new
        for slot, taken in enumerate(self._slots):
            if taken is not None:
                self._map(slot, taken[1])
        return new

    def open_channels(self) -> None:
        """Let the callback fill all channels, whose places the host has prepared."""
        self._store(tables.CHANNELS, len(self.channels))

    def _map(self, slot: int, columns: tuple[str, ...]) -> None:
        table = np.full(tables.MAX_CHANNELS, -1, np.int64)
        for channel, name in enumerate(self.channels):
            if name in columns:
                table[channel] = columns.index(name)
        self._maps[slot] = table

    def attach(
        self, slot: int, segment: Segment, channels: tuple[str, ...], semaphore: int
    ) -> None:
        """Feed an engine process from now on, and let `want` choose its stems."""
        self._slots[slot] = segment, channels
        self._map(slot, channels)
        base = tables.SLOTS + slot * tables.SLOT_WORDS
        c = self._control
        c[base + tables.S_RING], c[base + tables.S_LAST] = (
            segment.address("ring"),
            STEM_CAPACITY - 1,
        )
        c[base + tables.S_MAP] = self._maps[slot].ctypes.data
        self._store(base + tables.S_HEADER, segment.address("header"))
        self._store(base + tables.S_SEMAPHORE, semaphore)

    def detach(self, slot: int) -> None:
        """Stop feeding a slot that `shown` no longer names."""
        base = tables.SLOTS + slot * tables.SLOT_WORDS
        self._store(base + tables.S_SEMAPHORE, 0)
        self._store(base + tables.S_HEADER, 0)
        self._slots[slot] = None

    def silence_semaphore(self, slot: int) -> None:
        """Stop waking a slot's engine, which has ended; its header may still be read."""
        self._store(tables.SLOTS + slot * tables.SLOT_WORDS + tables.S_SEMAPHORE, 0)

    def want(self, slot: int | None) -> None:
        """Choose the slot whose stems go out, None for silence, from the next block on."""
        self._store(tables.WANT, -1 if slot is None else slot)

    def set_lockstep(self, limit_s: float) -> None:
        """Let the callback wait for the engine, up to `limit_s`: for faster than real time."""
        self._store(tables.LOCKSTEP_NS, int(limit_s * 1e9))

    @property
    def source(self) -> str:
        """What goes out: "silence", "mix" or "stems"."""
        return SOURCES[self._load(tables.SHOWN) >> 8]

    def shows(self, slot: int) -> bool:
        """Whether the callback may still read a slot."""
        return slot + 1 == self._load(tables.SHOWN) & 0xFF

    @property
    def frames(self) -> int:
        """Frames that went out since the first start."""
        return int(self._control[tables.OUT_TIME])

    @property
    def block(self) -> int:
        """Frames of the host's last block."""
        return int(self.mix["header"][tables.BLOCK])

    @property
    def callbacks(self) -> int:
        """Callbacks since the first start."""
        return self._load(tables.CALLBACKS)

    @property
    def misses(self) -> int:
        """Callbacks whose stems were due and not there."""
        return int(self._control[tables.MISSES])

    @property
    def waits(self) -> int:
        """Callbacks out of step that waited for the engine, for less than a block each."""
        return int(self._control[tables.WAITS])

    @property
    def xruns(self) -> int:
        """What the host calls xruns."""
        return self._load(tables.XRUNS)

    def callback_us(self) -> tuple[float, float, float]:
        """Duration of callbacks so far: median, 99.9th percentile, longest; in µs."""
        counts = self._histogram[:-1]
        total = counts.sum()
        if total == 0:
            return 0.0, 0.0, 0.0
        up_to = np.cumsum(counts)
        middle, tail = (int(np.searchsorted(up_to, share * total)) for share in (0.5, 0.999))
        return float(middle + 1), float(tail + 1), float(self._histogram[-1]) / 1000.0

    def callback_log(self) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
        """Start and end of the callbacks that were kept, in ns."""
        return self._log[: int(self._control[tables.LOGGED])].copy()

    def trace(self) -> list[TraceEntry]:
        """The last events, oldest first."""
        count = self._load(tables.TRACED)
        first = max(0, count - TRACE_LENGTH)
        rows = [self._trace[i % TRACE_LENGTH] for i in range(first, count)]
        return [TraceEntry(int(r[0]), int(r[1]), _KINDS[int(r[2])], int(r[3])) for r in rows]

    def measured_latency(self, expected: int, search: int = 512) -> int | None:
        """How late the sum of the stems comes behind the mix, from what went in and out.

        Parameters
        ----------
        expected : int
            The lag to look around, in samples.
        search : int
            How far to look on either side.

        Returns
        -------
        int or None
            None where the sum of the stems is no copy of the mix, or the mix is silent.
        """
        n = 2048
        stop = self.frames - 256
        if stop - n - expected - search < 0 or expected + search + n > MIX_CAPACITY // 2:
            return None
        rows = np.arange(stop - n, stop)
        out = self._tap[:, rows % TAP_LENGTH].astype(np.float64)
        low = max(0, expected - search)
        past = np.arange(stop - n - expected - search, stop - low)
        mix = self.mix["ring"][:, past % MIX_CAPACITY].astype(np.float64)
        size = 1 << int(np.ceil(np.log2(mix.shape[1] + n)))
        spectra = np.fft.rfft(mix, size) * np.conj(np.fft.rfft(out, size))
        products = np.fft.irfft(spectra, size)[:, : mix.shape[1] - n + 1].sum(axis=0)
        squares = np.concatenate([[0.0], np.cumsum((mix**2).sum(axis=0))])
        energy = squares[n:] - squares[:-n]
        errors = energy + (out**2).sum() - 2.0 * products
        best = int(np.argmin(errors))
        power = float((out**2).sum())
        if power < 1e-6 * n or errors[best] > 1e-6 * power + 1e-9:
            return None
        others = np.delete(errors, best)
        if others.size and others.min() < 1e-4 * power:
            return None  # a mix that repeats itself shows nothing
        return expected + search - best

    def close(self) -> None:
        """Remove the shared memory; only after the host has closed."""
        self.mix.close()
