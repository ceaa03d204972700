"""Connections by pattern, on a client that only keeps what was connected."""

import re
from dataclasses import dataclass, field

import pytest

from rtsep.errors import SetupError
from rtsep.live.jack_connections import Connections, Patterns

STEMS = tuple(f"{stem}_{side}" for stem in ("drums", "bass", "monitor") for side in "LR")
ARDOUR = tuple(f"ardour:{track}/audio_in {n}" for track in ("drums", "bass") for n in (1, 2))


@dataclass
class FakePort:
    name: str
    connections: list["FakePort"] = field(default_factory=list)


class FakeClient:
    name = "rtsep"

    def __init__(self, inputs: tuple[str, ...] = (), outputs: tuple[str, ...] = ()) -> None:
        self.there = {"is_input": list(inputs), "is_output": list(outputs)}
        self.inports: list[FakePort] = []
        self.outports: list[FakePort] = []
        self.made: list[tuple[str, str]] = []

    def get_ports(
        self, pattern: str = "", *, is_audio: bool, is_input: bool = False, is_output: bool = False
    ) -> list[FakePort]:
        assert is_audio
        kinds = [kind for kind, on in (("is_input", is_input), ("is_output", is_output)) if on]
        names = [name for kind in kinds or self.there for name in self.there[kind]]
        return [FakePort(name) for name in names if re.search(pattern, name)]

    def connect(self, source: str, target: str) -> None:
        self.made.append((source.removeprefix("rtsep:"), target.removeprefix("rtsep:")))


def connected(client: FakeClient, patterns: Patterns, *names: str) -> list[tuple[str, str]]:
    pytest.importorskip("jack", exc_type=OSError)
    connections = Connections(client, patterns, set())
    connections.add(names or STEMS)
    connections.look(set())
    return client.made


def test_stems_are_connected_in_order() -> None:
    made = connected(FakeClient(ARDOUR), Patterns(connect="ardour:.*/audio_in"))
    assert made == list(zip(STEMS[:4], ARDOUR, strict=True))


def test_stems_are_connected_by_name() -> None:
    reverse = FakeClient(tuple(reversed(ARDOUR[2:])) + ARDOUR[:2])
    made = connected(reverse, Patterns(connect="ardour:{stem}/audio_in"))
    assert made[:2] == [("drums_L", ARDOUR[0]), ("drums_R", ARDOUR[1])]
    assert {name for name, _ in made[2:]} == {"bass_L", "bass_R"}
    assert all("bass" in target for _, target in made[2:])


def test_stems_are_connected_by_name_and_side() -> None:
    ports = ("reaper:R bass", "reaper:L drums", "reaper:L bass", "reaper:R drums")
    made = connected(FakeClient(ports), Patterns(connect="{side} {stem}$"))
    assert dict(made) == {
        "drums_L": "reaper:L drums",
        "drums_R": "reaper:R drums",
        "bass_L": "reaper:L bass",
        "bass_R": "reaper:R bass",
    }


def test_a_mono_port_gets_both_sides() -> None:
    made = connected(FakeClient(("x:drums",)), Patterns(connect="x:{stem}"))
    assert made == [("drums_L", "x:drums"), ("drums_R", "x:drums")]


def test_the_mix_and_the_monitor_are_connected() -> None:
    client = FakeClient(("system:playback_1", "system:playback_2"), ("system:capture_1",))
    patterns = Patterns(input="system:capture", output="system:playback")
    assert connected(client, patterns, "mix_L", "mix_R", *STEMS) == [
        ("system:capture_1", "mix_L"),
        ("system:capture_1", "mix_R"),
        ("monitor_L", "system:playback_1"),
        ("monitor_R", "system:playback_2"),
    ]


def test_what_is_not_there_yet_is_waited_for() -> None:
    pytest.importorskip("jack", exc_type=OSError)
    client = FakeClient()
    connections = Connections(client, Patterns(connect="ardour:{stem}/audio_in"), set())
    connections.add(STEMS)
    connections.look(set())
    assert client.made == []
    client.there["is_input"] = list(ARDOUR)
    connections.look(set())
    connections.look(set())
    assert client.made == list(zip(STEMS[:4], ARDOUR, strict=True))


@pytest.mark.parametrize("option", ["input", "output", "connect"])
def test_what_is_no_pattern_is_refused(option: str) -> None:
    with pytest.raises(SetupError, match=f"--{option}"):
        Patterns(**{option: "(["})
