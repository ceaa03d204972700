"""A JACK client that hears a MIDI port and stamps every message with its frame."""

import subprocess
import sys
import threading
from typing import NamedTuple

#: A process of its own, so that a busy test does not make it late.
_LISTENER = """
import collections, select, sys
import jack
server, wanted = sys.argv[1:]
client = jack.Client("listener", no_start_server=True, servername=server)
port = client.midi_inports.register("in")
heard = collections.deque()

@client.set_process_callback
def process(frames):
    start = client.last_frame_time
    for offset, data in port.incoming_midi_events():
        heard.append((start + offset, bytes(data).hex()))

client.activate()
asked = connected = False
while True:
    if bool(port.connections) != connected:
        connected = not connected
        if connected:
            print("connected", flush=True)
    if not asked:
        try:
            client.connect(wanted, port)
            asked = True
        except jack.JackError:
            pass
    while heard:
        print(*heard.popleft(), flush=True)
    if select.select([sys.stdin], [], [], 0.005)[0]:
        break
client.deactivate()
client.close()
"""


class Heard(NamedTuple):
    """One message, and the frame of the JACK server's clock at which it came."""

    frame: int
    data: bytes

    @property
    def kind(self) -> int:
        return self.data[0] & 0xF0

    @property
    def channel(self) -> int:
        """From 1 to 16."""
        return 1 + (self.data[0] & 0x0F)


class MidiListener:
    """A JACK client that connects itself to the port, once."""

    def __init__(self, server: str, port: str) -> None:
        self.heard: list[Heard] = []
        self.connections = 0
        self._child = subprocess.Popen(
            [sys.executable, "-c", _LISTENER, server, port],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            frame, _, data = line.partition(" ")
            if data:
                self.heard.append(Heard(int(frame), bytes.fromhex(data)))
            else:
                self.connections += 1

    def sounding(self) -> set[tuple[int, int]]:
        """Channel and number of what was switched on and not off, one by one."""
        on: set[tuple[int, int]] = set()
        for message in list(self.heard):
            key = message.channel, message.data[1]
            if message.kind == 0x90:
                assert key not in on, f"{key} struck while it sounds"
                on.add(key)
            elif message.kind == 0x80:
                on.remove(key)
        return on

    def notes(self) -> list[tuple[int, int]]:
        """Channel and number of every note-on."""
        return [(m.channel, m.data[1]) for m in list(self.heard) if m.kind == 0x90]

    def silenced(self, since: int = 0) -> set[int]:
        """Channels that were told that nothing sounds, after so many messages."""
        found = [m for m in self.heard[since:] if m.kind == 0xB0]
        assert all(m.data[1:] == bytes([123, 0]) for m in found)
        return {m.channel for m in found}

    def close(self) -> None:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.close()
        end_in_order(self._child)
        self._thread.join()
        self._child.stdout.close()


def end_in_order(child: "subprocess.Popen[str]") -> None:
    """Wait for a child to leave the JACK server in order.

    A server whose clients are torn away just as it ends may crash, and keep its place.
    """
    try:
        child.wait(20)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
