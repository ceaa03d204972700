"""Which MIDI message leaves when, such that no note is ever left sounding.

Everything that is promised about notes at the port is kept here, by the last code before
it: whatever comes in, in whatever order, each note-on that leaves is followed by one
note-off on the channel and with the number that the note-on had.
"""

import heapq
from collections.abc import Callable

MOST = 4096
"""Note-ons that may wait for their time; more are refused."""
REMIND_NS = 2_000_000_000
"""After so long a rest a stem's program is sent again with its next note, for a synthesizer
that was connected, or started, meanwhile."""
NOTE_OFF, NOTE_ON, CONTROL, PROGRAM = 0x80, 0x90, 0xB0, 0xC0
ALL_NOTES_OFF = 123
CHANNELS = 16


class Schedule:
    """Messages that wait for their time, and notes that wait for their end.

    Parameters
    ----------
    send : callable
        Gets each message, a list of numbers, when it is to leave.
    """

    def __init__(self, send: Callable[[list[int]], None]) -> None:
        self._send = send
        # Due, then the order in which they came; kind; serial; the rest of a note-on.
        self._heap: list[tuple[int, int, int, int, tuple[int, int, int]]] = []
        self._order = 0
        self._waiting: dict[int, int] = {}
        self._sounding: dict[int, tuple[int, int, int]] = {}
        self._holders: dict[tuple[int, int], int] = {}
        self._channels: dict[int, int] = {}
        self._programs: dict[int, int | None] = {}
        self._struck: dict[int, int] = {}

    def set_stem(self, stem: int, channel: int, program: int | None) -> None:
        """Choose a stem's channel and instrument; its notes on another one end first.

        Notes that still wait leave on the new channel.
        """
        before = self._channels.get(stem)
        if before == channel and self._programs.get(stem) == program:
            return
        for serial in [s for s, (of, _, _) in self._sounding.items() if of == stem]:
            self._end(serial)
        self._channels[stem], self._programs[stem] = channel, program
        if before is not None and before not in self._channels.values():
            self._send([CONTROL | before, ALL_NOTES_OFF, 0])
        if program is not None:
            self._send([PROGRAM | channel, program])

    def note_on(self, due_ns: int, stem: int, serial: int, note: int, velocity: int) -> None:
        """Switch a note on once it is due; `serial` is what its end will name.

        A serial is used once.  A stem without a channel, and a note too many, are left out.
        """
        known = serial in self._waiting or serial in self._sounding
        if known or stem not in self._channels or len(self._waiting) >= MOST:
            return
        self._waiting[serial] = due_ns
        self._push(due_ns, NOTE_ON, serial, (stem, note, velocity))

    def note_off(self, due_ns: int, serial: int) -> None:
        """Switch a note off once it is due, and never before it was on."""
        due_on = self._waiting.get(serial)
        if due_on is not None or serial in self._sounding:
            self._push(max(due_ns, due_on or due_ns), NOTE_OFF, serial, (0, 0, 0))

    def _push(self, due_ns: int, kind: int, serial: int, note: tuple[int, int, int]) -> None:
        if len(self._heap) >= 4 * MOST:  # ends that came twice; what they end waits no more
            return
        heapq.heappush(self._heap, (due_ns, self._order, kind, serial, note))
        self._order += 1

    def run(self, now_ns: int) -> int | None:
        """Send all that is due; when the next one is, None where there is none."""
        while self._heap and self._heap[0][0] <= now_ns:
            _, _, kind, serial, (stem, note, velocity) = heapq.heappop(self._heap)
            if kind == NOTE_OFF:
                self._end(serial)
            elif self._waiting.pop(serial, None) is not None:
                self._remind(stem, now_ns)
                self._begin(serial, stem, note, velocity)
        return self._heap[0][0] if self._heap else None

    def _remind(self, stem: int, now_ns: int) -> None:
        program = self._programs[stem]
        if program is not None and now_ns - self._struck.get(stem, 0) > REMIND_NS:
            self._send([PROGRAM | self._channels[stem], program])
        self._struck[stem] = now_ns

    def _begin(self, serial: int, stem: int, note: int, velocity: int) -> None:
        channel = self._channels[stem]
        before = self._holders.get((channel, note))
        if before is not None:
            self._end(before)
        self._holders[channel, note] = serial
        self._sounding[serial] = stem, channel, note
        self._send([NOTE_ON | channel, note, velocity])

    def _end(self, serial: int) -> None:
        """Send a note's end, unless it has been sent."""
        if serial in self._sounding:
            _, channel, note = self._sounding.pop(serial)
            del self._holders[channel, note]
            self._send([NOTE_OFF | channel, note, 0])

    def hush(self) -> None:
        """End all that sounds and forget what waits."""
        for serial in list(self._sounding):
            self._end(serial)
        self._heap.clear()
        self._waiting.clear()

    def silence(self) -> None:
        """`hush`, and tell every channel that nothing sounds, whoever began it."""
        self.hush()
        for channel in range(CHANNELS):
            self._send([CONTROL | channel, ALL_NOTES_OFF, 0])
