"""PortAudio: compiled callbacks on one device, or on two that drift apart.

sounddevice brings PortAudio and takes a compiled callback through its private
`_StreamBase`, so its version is pinned.  Two devices share one stream where they are the
same one, or ports of one JACK server; else each has a stream of its own, and
`rtsep.live.drift` keeps the output in step with the input.

Tested on Linux with PortAudio's JACK devices, as one stream and as two, and with
simulated clocks.  Not tested, for want of such hardware: sound cards through ALSA,
CoreAudio, WASAPI, ASIO; unplugging one; drift between two real crystals.

A JACK server that dies takes PortAudio with it: closing its stream then never returns.
The stream is given up to a thread of its own, and only another process can play through
PortAudio again.  PortAudio's JACK ports cannot be named; `rtsep.live.jack_host` names
its own.
"""

import atexit
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rtsep.errors import AudioError, SetupError
from rtsep.kernels import atomics, tables
from rtsep.kernels import portaudio_callbacks as cb
from rtsep.live.devices import DIRECTIONS, Device, find_device
from rtsep.live.drift import Drift
from rtsep.live.handover import Handover
from rtsep.live.hosts import ENGINE_PRIORITY
from rtsep.live.portaudio_library import (
    MOST_WIDTH,
    default_device,
    list_devices,
    load_portaudio,
    runs_at,
)
from rtsep.rates import NATIVE_RATES

DEFAULT_BLOCK = 128
BLOCKS = (16, 8192)
MONITOR = ("monitor_L", "monitor_R")
JACK = "JACK Audio Connection Kit"
_STILL_S, _CLOSE_S = 2.0, 3.0
_RATES_BY_PREFERENCE = (48_000, 44_100, 96_000, 88_200)
#: Streams that could not be closed, with all that their callbacks may still touch.
_abandoned: list[Any] = []


class PortAudioHost:
    """See `rtsep.live.hosts.AudioHost`.

    Stems take the device's channel pairs in their order, the monitor mix the pair after
    them.  A device without room for the monitor does without; one without room for all
    stems has the monitor on its first pair, and as many stems as fit behind it.

    Attributes
    ----------
    device_latency_s : tuple of float
        What PortAudio says the input and the output add, in seconds, beyond the stated
        latency; 0 where it does not know.
    remarks : tuple of str
        What is not as one would expect: stems that the device has no channels for, two
        devices with clocks of their own.

    Parameters
    ----------
    input, output : str or int, optional
        Device by number or by a part of its name; the system's default where not given.
    sample_rate : int, optional
        In Hz; the output's default where not given.
    block : int, optional
        Frames a callback.
    follow : callable, optional
        Makes from a rate and a block what keeps the output in step with stems that come at
        a clock of their own; no input is opened then.
    """

    kind = "portaudio"

    def __init__(
        self,
        *,
        input: str | int | None = None,  # noqa: A002 (what the command line calls it)
        output: str | int | None = None,
        sample_rate: int | None = None,
        block: int | None = None,
        follow: Callable[[int, int], Drift] | None = None,
    ) -> None:
        self._asked = input, output
        self._follow = follow
        self._asked_rate = sample_rate
        self.sample_rate = sample_rate or 0
        self.block = DEFAULT_BLOCK if block is None else block
        self.priority = ENGINE_PRIORITY
        self.device_latency_s = 0.0, 0.0
        self.remarks: tuple[str, ...] = ()
        self._drift: Drift | None = None
        self._streams: list[Any] = []
        self._tables: list[np.ndarray[Any, np.dtype[Any]]] = []
        self._stood_since, self._calls = 0.0, (-1, -1)
        self._opened = False

    @property
    def extra_latency_samples(self) -> int:
        """See `AudioHost.extra_latency_samples`."""
        return self._drift.added_latency_samples if self._drift is not None else 0

    def open(self, handover: Handover) -> None:
        """See `AudioHost.open`."""
        if not BLOCKS[0] <= self.block <= BLOCKS[1]:
            raise AudioError(f"a block of {self.block} frames", f"{BLOCKS[0]} to {BLOCKS[1]}")
        if _abandoned:
            raise SetupError(
                "PortAudio hangs since its sound system has gone",
                "a fresh start",
                "start rtsep again, or use --host jack, which comes back by itself",
            )
        sd = load_portaudio()
        if self._opened:  # devices may have come and gone
            sd._terminate()
            sd._initialize()
        devices = list_devices(sd)
        found = {
            direction: default_device(sd, devices, direction)
            if asked is None
            else find_device(devices, asked, direction)
            for asked, direction in zip(self._asked, DIRECTIONS, strict=True)
            if direction == "output" or self._follow is None
        }
        source, sink = found.get("input"), found["output"]
        if sink.outputs < 2:
            raise AudioError(f"output device {sink} with one channel", "a stereo pair at least")
        self.sample_rate = self._rate(sd, source, sink)
        together = source is not None and common_clock(source, sink)
        handover.restart(self.block, self.sample_rate)
        self._make_tables(handover, source, sink, together)
        self._handover = handover
        self._route(handover.channels)
        try:
            self._open_streams(sd, source, sink, together)
            for stream in self._streams:
                stream.start()
        except sd.PortAudioError as error:
            self.close()
            text = str(error).splitlines()[0]
            remedy = "close other programs that use them, or try another --block or --rate"
            raise SetupError(
                f"cannot open {_names(source, sink)} at {self.sample_rate} Hz: {text}",
                remedy=remedy,
            ) from None
        self._opened = True
        self._stood_since, self._calls = time.monotonic(), (-1, -1)
        if len(self._streams) > 1:
            milliseconds = 1000.0 * self.extra_latency_samples / self.sample_rate
            self.remarks += (
                f"two devices with clocks of their own: following the input costs "
                f"{self.extra_latency_samples} samples ({milliseconds:.1f} ms) more",
            )

    def _rate(self, sd: Any, source: Device | None, sink: Device) -> int:
        rates = ", ".join(map(str, NATIVE_RATES))
        wanted = self._asked_rate
        if wanted is not None and wanted not in NATIVE_RATES:
            raise AudioError(f"a sample rate of {wanted} Hz", f"one of {rates}")
        tries = (
            (sink.sample_rate, (source or sink).sample_rate, *_RATES_BY_PREFERENCE)
            if wanted is None
            else (wanted,)
        )
        for rate in tries:
            if rate in NATIVE_RATES and runs_at(sd, source, sink, rate):
                return rate
        if wanted is not None and source is None:
            raise AudioError(
                f"{sink} does not run at {wanted} Hz, which the stems do",
                remedy="choose that rate in the system's sound settings, or another --output",
            )
        if wanted is not None:
            raise AudioError(
                f"{source} and {sink} do not both run at {wanted} Hz",
                remedy="leave --rate out, or choose another in the system's sound settings",
            )
        assert source is not None, "who follows stems asks for their rate"
        raise AudioError(
            f"{source} (default {source.sample_rate} Hz) and {sink} (default "
            f"{sink.sample_rate} Hz) have no rate in common that rtsep runs at",
            f"one of {rates} Hz",
            "choose one in the system's sound settings",
        )

    def _make_tables(
        self, handover: Handover, source: Device | None, sink: Device, together: bool
    ) -> None:
        table = np.zeros(cb.TABLE_WORDS, np.int64)
        places, targets = np.zeros(2, np.int64), np.zeros(tables.MAX_CHANNELS, np.int64)
        nowhere = np.zeros(2 * BLOCKS[1], np.float32)
        table[cb.CONTROL] = handover.address
        table[cb.IN_WIDTH] = 0 if source is None else min(source.inputs, 2)
        table[cb.OUT_WIDTH] = min(sink.outputs, max(MOST_WIDTH, len(handover.channels)))
        table[cb.IN_PLACES], table[cb.OUT_PLACES] = places.ctypes.data, targets.ctypes.data
        table[cb.NOWHERE] = nowhere.ctypes.data
        if self._follow is not None:
            self._drift = self._follow(self.sample_rate, self.block)
            rows = self._drift.out
        elif together:
            self._drift = None
            rows = np.zeros((tables.MAX_CHANNELS, self.block), np.float32)
        else:
            self._drift = Drift(
                handover.address, self.sample_rate, self.block, self.block, self.block
            )
            rows = self._drift.out
        if self._drift is not None:
            table[cb.IN_CLOCK], table[cb.LINK] = self._drift.in_clock, self._drift.address
        table[cb.ROWS], table[cb.MOST_FRAMES] = rows.ctypes.data, rows.shape[1]
        self._table, self._tables = table, [table, places, targets, nowhere, rows]

    def _open_streams(self, sd: Any, source: Device | None, sink: Device, together: bool) -> None:
        widths = int(self._table[cb.IN_WIDTH]), int(self._table[cb.OUT_WIDTH])
        common = {
            "samplerate": self.sample_rate,
            "blocksize": self.block,
            "dtype": "float32",
            "latency": "low",
            "userdata": sd._ffi.cast("void *", self._table.ctypes.data),
        }

        def stream(kind: str, callback: Any, device: Any, channels: Any) -> Any:
            place = sd._ffi.cast("PaStreamCallback *", callback.address)
            opened = sd._StreamBase(
                kind=kind, callback=place, device=device, channels=channels, **common
            )
            self._streams.append(opened)
            return opened.latency

        if source is None:
            latencies = 0.0, stream("output", cb.on_output, sink.index, widths[1])
        elif together:
            latencies = stream("duplex", cb.on_duplex, (source.index, sink.index), widths)
        else:
            latencies = (
                stream("input", cb.on_input, source.index, widths[0]),
                stream("output", cb.on_output, sink.index, widths[1]),
            )
        # For JACK's devices PortAudio 19.6 has the sign wrong: a day.
        heard, played = (latency if latency < 10.0 else 0.0 for latency in latencies)
        self.device_latency_s = heard, played

    def set_channels(self, channels: tuple[str, ...]) -> None:
        """See `AudioHost.set_channels`."""
        self._handover.add_channels(channels)
        self._route(channels)
        self._handover.open_channels()

    def _route(self, channels: tuple[str, ...]) -> None:
        places = device_channels(channels, int(self._table[cb.OUT_WIDTH]))
        route = np.full(tables.MAX_CHANNELS, -1, np.int64)
        for number, name in enumerate(self._handover.channels):
            route[number] = places.get(name, -1)
        self._tables.append(route)  # a callback may still read the one before
        atomics.store(self._table.ctypes.data, cb.ROUTE, route.ctypes.data)
        unheard = [name for name in channels if name not in places]
        self.remarks = tuple(remark for remark in self.remarks if "no channel" not in remark)
        if unheard:
            names = ", ".join(dict.fromkeys(name.rsplit("_", 1)[0] for name in unheard))
            width = int(self._table[cb.OUT_WIDTH])
            self.remarks += (f"the output's {width} channels leave no channel for: {names}",)

    def alive(self) -> bool:
        """See `AudioHost.alive`."""
        if not self._streams:
            return False
        calls = int(self._table[cb.IN_CALLS]), int(self._table[cb.OUT_CALLS])
        now = time.monotonic()
        moved = [new != old for new, old in zip(calls, self._calls, strict=True)]
        if moved[1] and (moved[0] or len(self._streams) == 1):
            self._stood_since, self._calls = now, calls
        if now - self._stood_since > _STILL_S:
            return False
        return all(stream.active for stream in self._streams)

    def poll(self) -> None:
        """See `AudioHost.poll`."""

    def latency_changed(self) -> None:
        """See `AudioHost.latency_changed`; PortAudio has nobody to tell."""

    def close(self) -> None:
        """See `AudioHost.close`."""
        streams, self._streams = self._streams, []

        def close() -> None:
            for stream in streams:
                stream.abort(ignore_errors=True)
                stream.close(ignore_errors=True)

        if streams and not _within(_CLOSE_S, close):
            _abandoned.append((self._tables, self._drift, self._handover, streams))
            atexit.unregister(load_portaudio()._exit_handler)


def _names(source: Device | None, sink: Device) -> str:
    return f"{sink}" if source is None else f"{source} and {sink}"


def common_clock(source: Device, sink: Device) -> bool:
    """Whether both are driven by one clock and may share a stream."""
    return source.index == sink.index or source.host_api == sink.host_api == JACK


def device_channels(channels: Sequence[str], width: int) -> dict[str, int]:
    """Which channel of a device, from 0, each of ours goes to; not those without room.

    Parameters
    ----------
    channels : sequence of str
        Stems in their order, then the monitor.
    width : int
        Channels that the device has.
    """
    stems = [name for name in channels if name not in MONITOR]
    monitor = [name for name in channels if name in MONITOR]
    order = stems + monitor if len(stems) <= width else monitor + stems
    pairs = width // 2 * 2
    return {name: place for place, name in enumerate(order) if place < pairs}


def _within(seconds: float, work: Callable[[], None]) -> bool:
    """Whether `work` ended in time; it goes on in a thread of its own if not."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()
