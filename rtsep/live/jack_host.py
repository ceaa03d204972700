"""JACK: a client whose callbacks are compiled, with its ports and connections.

JACK-Client opens the client and keeps the ports; its library handle gives the rest.
Both are private to it, so its version is pinned.  No Python runs in any callback.
Tested with JACK 2 on Linux; PipeWire's JACK and those of macOS and Windows have the
same functions.
"""

import ctypes
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from rtsep.errors import AudioError, SetupError
from rtsep.kernels import atomics, tables
from rtsep.kernels import jack_callbacks as cb
from rtsep.live.drift import Drift
from rtsep.live.handover import Handover
from rtsep.live.hosts import ENGINE_PRIORITY
from rtsep.live.jack_connections import Connections, Patterns, joining
from rtsep.rates import NATIVE_RATES

MAX_BLOCK = 8192
CONNECT_EVERY_S = 0.5


class JackHost:
    """See `rtsep.live.hosts.AudioHost`.

    Parameters
    ----------
    name : str
        Of the client; JACK makes it unique, see `name` once it is open.
    server : str, optional
        The one that JACK_DEFAULT_SERVER names, or "default".
    patterns : Patterns
        What to connect to.
    follow : callable, optional
        Makes from a rate and a block what keeps the ports in step with stems that come at
        a clock of their own; there are no ports for a mix then.
    """

    kind = "jack"
    extra_latency_samples = 0
    remarks: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        name: str = "rtsep",
        server: str | None = None,
        patterns: Patterns | None = None,
        follow: Callable[[int, int], Drift] | None = None,
    ) -> None:
        self.name, self._server = name, server
        self._asked_name = name
        self._patterns = patterns or Patterns()
        self._follow = follow
        self._drift: Drift | None = None
        self.sample_rate = self.block = 0
        self.priority = ENGINE_PRIORITY
        self._client: Any = None
        self._ports: dict[str, Any] = {}
        self._channels: tuple[str, ...] = ()
        self._connections: Connections | None = None
        self._remembered: set[tuple[str, str]] = set()
        self._looked_at = 0.0
        self._table = np.zeros(cb.TABLE_WORDS, np.int64)
        self._inputs, self._in_places = np.zeros(2, np.int64), np.zeros(2, np.int64)
        self._outputs = np.zeros(tables.MAX_CHANNELS, np.int64)
        self._out_places = np.zeros(tables.MAX_CHANNELS, np.int64)
        self._nowhere = np.zeros(MAX_BLOCK, np.float32)
        self._range = np.zeros(1, np.int64)
        self._position = np.zeros(cb.POSITION_WORDS, np.int64)

    def open(self, handover: Handover) -> None:
        """See `AudioHost.open`."""
        jack = _jack()
        self._library = ctypes.CDLL(jack._libname)
        for setter in ("jack_set_error_function", "jack_set_info_function"):
            getattr(self._library, setter)(ctypes.c_void_p(cb.on_message.address))
        server = self._server or os.environ.get("JACK_DEFAULT_SERVER", "default")
        try:
            client = jack.Client(self._asked_name, no_start_server=True, servername=self._server)
        except jack.JackOpenError:
            raise SetupError(
                f"no JACK server '{server}' answers",
                "one that runs",
                "start it (jackd -R -d alsa, or PipeWire with pipewire-jack), "
                "or use --host portaudio",
            ) from None
        rate, block = int(client.samplerate), int(client.blocksize)
        if rate not in NATIVE_RATES or block > MAX_BLOCK:
            client.close()
            rates = ", ".join(map(str, NATIVE_RATES))
            raise AudioError(
                f"a JACK server at {rate} Hz with periods of {block} frames",
                f"one of {rates} Hz and at most {MAX_BLOCK} frames",
                "start it with another -r or -p",
            )
        self._client, self._handover = client, handover
        self.name, self.sample_rate, self.block = client.name, rate, block
        self._pointer = int(jack._ffi.cast("intptr_t", client._ptr))
        self._ports = {}
        self._outputs.fill(0)
        self._fill_table(handover)
        handover.restart(block, rate)
        try:
            with joining(server, self.name):
                self._join(client, rate, block)
        except SetupError:
            self.close()
            raise
        server_priority = self._library.jack_client_real_time_priority(self._handle())
        # Below JACK's own threads, which must go first.
        self.priority = max(1, server_priority - 5) if server_priority > 5 else ENGINE_PRIORITY
        self._connections = Connections(client, self._patterns, self._remembered)
        if self._follow is None:
            self._connections.add(("mix_L",))
        if self._channels:
            self.set_channels(self._channels)

    def _join(self, client: Any, rate: int, block: int) -> None:
        """Take part in the server's cycles."""
        if self._follow is None:
            for side, port in enumerate(("mix_L", "mix_R")):
                self._inputs[side] = self._address(client.inports.register(port))
        else:
            self._drift = drift = self._follow(rate, block)
            self._table[cb.LINK], self._table[cb.ROWS] = drift.address, drift.out.ctypes.data
            self._table[cb.MOST_FRAMES] = drift.out.shape[1]
        self._set_callbacks()
        client.activate()

    def _handle(self) -> ctypes.c_void_p:
        return ctypes.c_void_p(self._pointer)

    def _address(self, port: Any) -> int:
        return int(_jack()._ffi.cast("intptr_t", port._ptr))

    def _fill_table(self, handover: Handover) -> None:
        table = self._table
        table.fill(0)
        table[cb.CONTROL], table[cb.CLIENT] = handover.address, self._pointer
        for word, function in (
            (cb.GET_BUFFER, "jack_port_get_buffer"),
            (cb.GET_RANGE, "jack_port_get_latency_range"),
            (cb.SET_RANGE, "jack_port_set_latency_range"),
            (cb.TRANSPORT_QUERY, "jack_transport_query"),
        ):
            place = ctypes.cast(getattr(self._library, function), ctypes.c_void_p)
            table[word] = place.value or 0
        for word, array in (
            (cb.INPUTS, self._inputs),
            (cb.OUTPUTS, self._outputs),
            (cb.IN_PLACES, self._in_places),
            (cb.OUT_PLACES, self._out_places),
            (cb.NOWHERE, self._nowhere),
            (cb.RANGE, self._range),
            (cb.POSITION, self._position),
        ):
            table[word] = array.ctypes.data
        # A channel may be opened while a callback is half done.
        self._out_places.fill(self._nowhere.ctypes.data)

    def _set_callbacks(self) -> None:
        table = ctypes.c_void_p(self._table.ctypes.data)
        for setter, callback in (
            ("jack_set_process_callback", cb.on_process if self._follow is None else cb.on_follow),
            ("jack_set_latency_callback", cb.on_latency),
            ("jack_set_xrun_callback", cb.on_xrun),
            ("jack_set_freewheel_callback", cb.on_freewheel),
            ("jack_on_info_shutdown", cb.on_shutdown),
        ):
            getattr(self._library, setter)(self._handle(), ctypes.c_void_p(callback.address), table)

    def set_channels(self, channels: tuple[str, ...]) -> None:
        """See `AudioHost.set_channels`."""
        self._channels = channels
        self._handover.add_channels(channels)
        try:
            new = self._change_ports(channels)
        except _jack().JackError:  # the server goes away just now; it comes back with these
            return
        self._handover.open_channels()
        if self._connections is not None:
            self._connections.add(new)
        self._looked_at = 0.0

    def _change_ports(self, channels: tuple[str, ...]) -> list[str]:
        """Unregister and register; the new ones' names."""
        numbers = {name: number for number, name in enumerate(self._handover.channels)}
        outputs = self._outputs.ctypes.data
        for name in [name for name in self._ports if name not in channels]:
            atomics.store(outputs, numbers[name], 0)
            time.sleep(2.5 * self.block / self.sample_rate)  # no callback uses it any more
            self._ports.pop(name).unregister()
        new = [name for name in channels if name not in self._ports]
        for name in new:
            self._ports[name] = self._client.outports.register(name)
            atomics.store(outputs, numbers[name], self._address(self._ports[name]))
        return new

    def alive(self) -> bool:
        """See `AudioHost.alive`."""
        return self._client is not None and not self._table[cb.GONE]

    def poll(self) -> None:
        """Remember connections, restore those of before, make those that were asked for."""
        now = time.monotonic()
        if not self.alive() or now - self._looked_at < CONNECT_EVERY_S:
            return
        self._looked_at = now
        if self._connections is not None:
            self._remembered = self._connections.look(self._remembered)

    def latency_changed(self) -> None:
        """See `AudioHost.latency_changed`."""
        if self.alive():
            self._library.jack_recompute_total_latencies(self._handle())

    def close(self) -> None:
        """See `AudioHost.close`."""
        client, self._client = self._client, None
        if client is None:
            return
        jack = _jack()
        try:
            if not self._table[cb.GONE]:
                client.deactivate(ignore_errors=True)
            client.close(ignore_errors=True)
        except jack.JackError:
            pass
        self._ports = {}


def _jack() -> Any:
    """JACK-Client, whose import fails where JACK is not installed."""
    try:
        import jack
    except OSError:
        raise SetupError(
            "no JACK library on this machine",
            "JACK 2 or PipeWire's",
            "sudo apt-get install jackd2 (or your system's JACK), or use --host portaudio",
        ) from None
    return jack
