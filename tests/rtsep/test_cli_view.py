"""The view of live audio, drawn from a recorded status."""

import io
import os
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from rich.console import Console
from rich.text import Text

from rtsep.cli.view import Held, LineView, TerminalView, choose_view
from rtsep.live.status import Latency, Status, StemStatus, encode_status

RECORDED = Status(
    time=1_790_000_000.0,
    state="playing",
    host="jack",
    sample_rate=48_000,
    block=128,
    preset="live",
    model="live",
    frames=1_440_000,
    latency=Latency(256, 256 / 48, 256),
    load=0.23,
    load_max=0.41,
    callbacks=11_250,
    misses=2,
    xruns=0,
    restarts=0,
    callback_us_p50=12.0,
    callback_us_p999=31.0,
    callback_us_max=48.0,
    engine_misses=0,
    bad_samples=0,
    stems=[
        StemStatus("drums", -6.0, -18.0),
        StemStatus("bass", -24.0, -30.0),
        StemStatus("other", None, None),
    ],
    monitor=StemStatus("monitor", -1.0, -9.0),
    mix=StemStatus("mix", 0.4, -8.0),
    notes=1234,
    last_miss=1_789_999_990.0,
    message="session.toml, line 3: gain_db is text, expected a number",
)

WIDE = """\
rtsep  playing  jack, 48000 Hz, block 128  preset live  model live
latency 256 samples, 5.3 ms  measured 256  load 23%  longest block 41%
callback 12/31/48 µs  misses 2  last 14:13:10  xruns 0  restarts 0
notes 1,234

mix     ██████████████████████████████████████████▒▒▒▒▒│    0.4   -8.0
drums   ██████████████████████████████████▒▒▒▒▒▒▒▒│        -6.0  -18.0
bass    ████████████████████████▒▒▒▒│                     -24.0  -30.0
other                                                      -inf   -inf
monitor █████████████████████████████████████████▒▒▒▒▒│    -1.0   -9.0
session.toml, line 3: gain_db is text, expected a number
"""

NARROW = """\
rtsep  playing
jack, 48000 Hz, block 128
preset live  model live
latency 256 samples, 5.3 ms
measured 256  load 23%
longest block 41%
callback 12/31/48 µs
misses 2  last 14:13:10
xruns 0  restarts 0
notes 1,234

mix     ████████████████▒▒│
drums   █████████████▒▒▒│
bass    ██████████│
other
monitor ████████████████▒▒│
session.toml, line 3: gain_d
"""


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "UTC"
    time.tzset()
    yield
    os.environ.pop("TZ")
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


def changed(**fields: Any) -> Status:
    return msgspec.structs.replace(RECORDED, **fields)


def terminal(width: int, height: int = 25, encoding: str = "utf-8") -> Console:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    return Console(file=file, width=width, height=height, force_terminal=True, highlight=False)


def written(console: Console) -> str:
    console.file.flush()
    return console.file.buffer.getvalue().decode(console.file.encoding)


def drawn(status: Status, width: int, encoding: str = "utf-8") -> str:
    text = TerminalView(terminal(width, encoding=encoding)).draw(status, width)
    return "".join(f"{line.rstrip()}\n" for line in text.plain.split("\n"))


def test_a_recorded_status_is_drawn() -> None:
    assert drawn(RECORDED, 71) == WIDE


def test_a_narrow_terminal_gets_bars_without_numbers() -> None:
    assert drawn(RECORDED, 28) == NARROW


@pytest.mark.parametrize("width", range(1, 120))
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert all(len(line) <= width for line in drawn(RECORDED, width).splitlines()[:-1])
    console = terminal(width, 8)
    view = TerminalView(console)
    view.open()
    view.show(RECORDED)
    view.close()
    assert "\x1b[8" not in written(console)


def test_a_terminal_without_blocks_gets_ascii() -> None:
    bars = drawn(RECORDED, 70, encoding="latin-1").splitlines()[4:9]
    assert "".join(bars).isascii()
    assert "=" in bars[1]


def test_what_comes_from_others_cannot_steer_the_terminal() -> None:
    bad = changed(
        message="a\nb\x1b[2J", model="m\x1b[1m", stems=[StemStatus("e\x1b\n", -3.0, -9.0)]
    )
    assert "\x1b" not in drawn(bad, 80)
    assert len(drawn(bad, 80).splitlines()) == 8


def test_an_unsure_and_a_wrong_latency_are_told_from_a_right_one() -> None:
    assert "not measured now" in drawn(changed(latency=Latency(256, 5.3, None)), 80)
    view = TerminalView(terminal(80))

    def style_of(status: Status, part: str) -> str:
        text = view.draw(status, 80)
        begin = text.plain.index(part)
        return str(next(span.style for span in text.spans if span.start == begin))

    assert style_of(RECORDED, "measured 256") == "green"
    assert style_of(changed(latency=Latency(256, 5.3, 255)), "measured 255") == "red"
    assert style_of(RECORDED, "misses 2") == "red"
    assert style_of(RECORDED, "playing") == "bold green"


def test_trouble_that_there_is_not_takes_no_room() -> None:
    assert "network misses" not in drawn(RECORDED, 80)
    assert "network misses 3" in drawn(changed(engine_misses=3), 80)
    assert "bad samples 4" in drawn(changed(bad_samples=4), 80)


def test_loud_cells_have_the_colour_of_their_level() -> None:
    def colours(bar: Text) -> set[str]:
        return {str(span.style) for span in bar.spans if bar.plain[span.start : span.end].strip()}

    view = TerminalView(terminal(80))
    assert colours(view._bar(-20.0, -30.0, -20.0, 60)) == {"green"}
    assert colours(view._bar(-6.0, -30.0, -6.0, 60)) == {"green", "yellow"}
    assert colours(view._bar(0.0, -30.0, 0.0, 60)) == {"green", "yellow", "red"}
    assert colours(view._bar(-60.0, None, -60.0, 60)) == set()


def test_a_peak_is_held_and_then_falls() -> None:
    held = Held(1.5, 20.0)
    assert held.update(-3.0, 10.0) == -3.0
    assert held.update(-20.0, 11.4) == -3.0
    assert held.update(-20.0, 12.0) == pytest.approx(-13.0)
    assert held.update(-9.0, 12.0) == -9.0
    assert held.update(-60.0, 99.0) == -60.0


def test_nothing_of_the_view_is_left_at_its_end() -> None:
    console = terminal(70)
    view = choose_view(console)
    assert isinstance(view, TerminalView)
    view.open()
    view.show(RECORDED)
    view.show(changed(time=RECORDED.time + 0.1, message=""))
    view.close()
    text = written(console)
    assert "\x1b[?25l" in text
    assert "\x1b[?25h" in text
    assert text.endswith("\x1b[1A\x1b[2K")


def test_a_pipe_gets_a_line_where_something_changed() -> None:
    file = io.StringIO()
    view = choose_view(Console(file=file))
    assert isinstance(view, LineView)
    quiet = changed(message="", misses=0, latency=Latency(256, 256 / 48, None))
    second = quiet.time
    view.open()
    for step in range(100):  # ten seconds
        now = second + step / 10
        misses = 0 if step < 50 else step - 49
        view.show(msgspec.structs.replace(quiet, time=now, misses=misses))
    view.say("a\nb")
    view.show(changed(time=second + 10.0, misses=50))
    view.close()
    lines = file.getvalue().splitlines()
    assert lines[0] == "rtsep  playing  jack, 48000 Hz, block 128  preset live  model live"
    assert lines[1] == "latency 256 samples, 5.3 ms"
    assert [line.split("  ")[0] for line in lines[2:7]] == [
        f"misses {number}" for number in (1, 11, 21, 31, 41)
    ]
    assert lines[7:9] == ["a\\nb", "measured 256 samples"]
    assert lines[9] == "misses 50  xruns 0  restarts 0  at 14:13:30"
    assert len(lines) == 10
    view.show(changed(time=second + 10.1, latency=Latency(192, 4.0, None)))
    view.show(changed(time=second + 10.2, latency=Latency(192, 4.0, 192)))
    assert file.getvalue().splitlines()[10:] == [
        "latency 192 samples, 4.0 ms",
        "measured 192 samples",
    ]


def test_a_reader_that_has_left_is_noticed() -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        LineView(Closed()).show(RECORDED)


def test_a_status_is_one_line_of_json() -> None:
    line = encode_status(changed(message="a\nb"))
    assert "\n" not in line
    assert msgspec.json.decode(line, type=Status) == changed(message="a\nb")
    assert msgspec.json.decode(line)["version"] == 1
