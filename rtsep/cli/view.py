"""What the player sees: a meter a stem, the latency, the load, and what went wrong."""

import time
from collections.abc import Iterator
from typing import IO, Protocol

from rich.console import Console
from rich.live import Live as Screen
from rich.text import Text

from rtsep.cli.console import one_line
from rtsep.live.status import Status, StemStatus

LOWEST_DB = -60.0
_WARM_DB, _HOT_DB = -12.0, -3.0
_HOLD_S, _FALL_DB_PER_S = 1.5, 20.0
_LOAD_HOLD_S = 3.0
#: Up to the RMS level, up to the peak, the held peak.
_GLYPHS, _ASCII_GLYPHS = ("█", "▒", "│"), ("#", "=", "|")
_NUMBERS = 14
_STATE_STYLES = {
    "playing": "bold green",
    "starting": "bold yellow",
    "bypassed": "bold yellow",
    "waiting for server": "bold red",
    "stopped": "bold",
}


class View(Protocol):
    """Shows one status after the other.

    Every method raises OSError when nobody reads what is written any more.

    Attributes
    ----------
    interval_s : float
        Time from one status to the next.
    """

    @property
    def interval_s(self) -> float:
        """See above."""

    def open(self) -> None:
        """Take a place on the screen."""

    def show(self, status: Status) -> None:
        """Draw it."""

    def say(self, text: str) -> None:
        """Tell the player something."""

    def close(self) -> None:
        """Give the place back."""


class Held:
    """The highest value for a while, which then falls.

    Parameters
    ----------
    hold_s : float
        How long it stays, in seconds.
    fall : float
        How far it falls a second, later.
    """

    def __init__(self, hold_s: float, fall: float) -> None:
        self._hold_s, self._fall = hold_s, fall
        self._value, self._since = -1e9, 0.0

    def update(self, value: float, now: float) -> float:
        """The held value at `now`, in seconds."""
        waited = max(0.0, now - self._since - self._hold_s)
        held = self._value - waited * self._fall
        if value >= held:
            self._value, self._since = value, now
            return value
        return held


class TerminalView:
    """Redraws a few lines in place."""

    interval_s = 0.1

    def __init__(self, console: Console) -> None:
        self._console = console
        self._glyphs = _GLYPHS if console.encoding.startswith("utf") else _ASCII_GLYPHS
        self._peaks: dict[str, Held] = {}
        self._load = Held(_LOAD_HOLD_S, 1.0)
        self._said = ""
        self._screen = Screen(
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )

    def open(self) -> None:
        """Hide the cursor."""
        self._screen.start()

    def show(self, status: Status) -> None:
        """Draw over what was drawn."""
        self._screen.update(self.draw(status, self._console.width), refresh=True)

    def say(self, text: str) -> None:
        """Keep it as the last line from now on."""
        self._said = text

    def close(self) -> None:
        """Leave nothing of the view behind."""
        self._screen.stop()

    def draw(self, status: Status, width: int) -> Text:
        """The lines of one moment, none wider than `width` columns."""
        lines = [*_pack(_headline(status), width), *_pack(self._figures(status), width), Text()]
        pairs = [status.mix, *status.stems, status.monitor]
        longest = min(max(len(pair.name) for pair in pairs), max(3, width // 3))
        lines += [self._meter(pair, longest, width, status.time) for pair in pairs]
        message = self._said or status.message
        if message:
            lines.append(Text(one_line(message), style="yellow"))
        for line in lines:
            line.truncate(width)
        return Text("\n", no_wrap=True, overflow="crop").join(lines)

    def _figures(self, status: Status) -> list[Text]:
        highest = self._load.update(status.load_max, status.time)
        callback = f"{status.callback_us_p50:.0f}/{status.callback_us_p999:.0f}"
        figures = [
            *_latency(status),
            Text(f"load {status.load:.0%}"),
            Text(f"longest block {highest:.0%}", style="" if highest < 1 else "red"),
            Text(f"callback {callback}/{status.callback_us_max:.0f} µs", style="dim"),
            _count("misses", status.misses),
        ]
        if status.last_miss is not None:
            figures.append(Text(f"last {_clock(status.last_miss)}", style="dim"))
        figures += [_count("xruns", status.xruns), _count("restarts", status.restarts)]
        for name, number in (
            ("network misses", status.engine_misses),
            ("bad samples", status.bad_samples),
        ):
            if number:
                figures.append(_count(name, number))
        return [*figures, Text(f"notes {status.notes:,}")]

    def _meter(self, pair: StemStatus, longest: int, width: int, now: float) -> Text:
        """One line: a name, a bar from -60 to 0 dB, the held peak and the RMS level."""
        peak = LOWEST_DB if pair.peak_db is None else pair.peak_db
        held = self._peaks.setdefault(pair.name, Held(_HOLD_S, _FALL_DB_PER_S))
        top = held.update(peak, now)
        numbers = _NUMBERS if width >= longest + 2 * _NUMBERS else 0
        cells = max(0, width - longest - 2 - numbers)
        line = Text(f"{one_line(pair.name)[:longest]:<{longest}} ")
        line.append_text(self._bar(peak, pair.rms_db, top, cells))
        if numbers:
            line.append(f" {_decibels(top)} {_decibels(pair.rms_db)}")
        return line

    def _bar(self, peak: float, rms: float | None, top: float, cells: int) -> Text:
        solid, light, mark = self._glyphs
        loud = _cell(LOWEST_DB if rms is None else rms, cells)
        high = max(loud, _cell(peak, cells))
        bar = [*(solid * loud), *(light * (high - loud)), *(" " * (cells - high))]
        place = _cell(top, cells) - 1
        if place >= 0:
            bar[place] = mark
        text = Text("".join(bar))
        warm, hot = _cell(_WARM_DB, cells), _cell(_HOT_DB, cells)
        text.stylize("green", 0, warm)
        text.stylize("yellow", warm, hot)
        text.stylize("red", hot)
        return text


class LineView:
    """A line where something has changed, for a pipe or a file.

    Counts are said once a second at most.
    """

    interval_s = 0.25

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._said: dict[str, object] = {"counts": _counts(0, 0, 0)}
        self._counted = 0.0

    def open(self) -> None:
        """Do nothing: lines need no place of their own."""

    def show(self, status: Status) -> None:
        """Write what is new."""
        for line in self._news(status):
            self.say(line)

    def say(self, text: str) -> None:
        """Write one line."""
        self._file.write(f"{one_line(text)}\n")
        self._file.flush()

    def close(self) -> None:
        """Do nothing."""

    def _news(self, status: Status) -> Iterator[str]:
        head = "  ".join(part.plain for part in _headline(status))
        if self._new("head", head):
            yield head
        stated, measured = status.latency.stated_samples, status.latency.measured_samples
        if stated and self._new("stated", stated):
            yield _latency(status)[0].plain
        if measured is not None and self._new("measured", (stated, measured)):
            yield f"measured {measured} samples"
        if status.time >= self._counted + 1.0:
            counts = _counts(status.misses, status.xruns, status.restarts)
            if self._new("counts", counts):
                yield f"{counts}  at {_clock(status.time)}"
                self._counted = status.time

    def _new(self, kind: str, value: object) -> bool:
        new = self._said.get(kind) != value
        self._said[kind] = value
        return new


def choose_view(console: Console) -> View:
    """The view for a terminal, or for what is none."""
    return TerminalView(console) if console.is_terminal else LineView(console.file)


def _headline(status: Status) -> list[Text]:
    return [
        Text("rtsep", style="bold"),
        Text(status.state, style=_STATE_STYLES.get(status.state, "")),
        Text(f"{status.host}, {status.sample_rate} Hz, block {status.block}"),
        Text(f"preset {status.preset}"),
        Text(f"model {one_line(status.model)}"),
    ]


def _latency(status: Status) -> list[Text]:
    latency = status.latency
    stated = Text(f"latency {latency.stated_samples} samples, {latency.stated_ms:.1f} ms")
    if latency.measured_samples is None:
        return [stated, Text("not measured now", style="dim")]
    right = latency.measured_samples == latency.stated_samples
    return [stated, Text(f"measured {latency.measured_samples}", style="green" if right else "red")]


def _counts(misses: int, xruns: int, restarts: int) -> str:
    return f"misses {misses}  xruns {xruns}  restarts {restarts}"


def _count(name: str, number: int) -> Text:
    return Text(f"{name} {number:,}", style="red" if number else "")


def _clock(moment: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(moment))


def _decibels(level: float | None) -> str:
    return f"{'-inf':>6}" if level is None or level <= LOWEST_DB else f"{level:6.1f}"


def _cell(level: float, cells: int) -> int:
    """How many of `cells` a level reaches."""
    share = (level - LOWEST_DB) / -LOWEST_DB
    return min(cells, max(0, round(share * cells)))


def _pack(parts: list[Text], width: int) -> list[Text]:
    """Lines of as many parts as fit, two columns between them."""
    lines: list[Text] = []
    for part in parts:
        if lines and len(lines[-1]) + 2 + len(part) <= width:
            lines[-1].append("  ").append_text(part)
        else:
            lines.append(Text().append_text(part))
    return lines
