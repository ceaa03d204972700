"""``rtsep devices``."""

import json
from typing import Any

import pytest

from rtsep import probes
from rtsep.live import surroundings
from tests.rtsep.cli import CommandLine

DEVICES = [
    ("Box 18", 18, 18, 48_000.0),
    ("Phone \x1b[31m", 1, 0, 16_000.0),
]
PORTAUDIO = {
    "library": True,
    "hosts": [{"name": "Core Audio"}],
    "devices": [
        {
            "name": name,
            "hostapi": 0,
            "max_input_channels": inputs,
            "max_output_channels": outputs,
            "default_samplerate": rate,
            "default_low_input_latency": 0.0105,
            "default_low_output_latency": 0.004,
        }
        for name, inputs, outputs, rate in DEVICES
    ],
}
JACK = {
    "library": True,
    "server": True,
    "rate": 48_000,
    "block": 128,
    "realtime": True,
    "ports": [[f"system:capture_{k}", True, True] for k in range(1, 9)],
}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    given = {surroundings._JACK: {"library": False}, surroundings._PORTAUDIO: {"library": False}}
    monkeypatch.setattr(probes, "ask", given.__getitem__)
    return given


def test_devices_are_listed_with_a_command(rtsep: CommandLine, answers: dict[str, Any]) -> None:
    answers[surroundings._PORTAUDIO] = PORTAUDIO
    outcome = rtsep("devices")
    assert (outcome.status, outcome.err) == (0, "")
    assert "Box 18" in outcome.out
    assert "10.5/4.0" in outcome.out
    assert "mix, stems" in outcome.out
    assert "\x1b" not in outcome.out
    assert "input -> output: 0 -> 0" in outcome.out
    lines = outcome.out.splitlines()
    expected = "rtsep live --host portaudio --input 'Box 18' --output 'Box 18' --rate 48000"
    assert lines[-1].strip().replace('"', "'") == f"{expected} --block 128"


def test_a_jack_server_is_listed_with_its_clients(
    rtsep: CommandLine, answers: dict[str, Any]
) -> None:
    answers[surroundings._JACK] = JACK
    out = rtsep("devices").out
    assert "48000 Hz, 128 frames, real-time" in out
    assert "system (sound card)" in out
    assert "capture_4, and 4 more" in out
    assert "rtsep live --host jack --input system:capture_" in out


def test_no_audio_system_is_no_error(rtsep: CommandLine, answers: dict[str, Any]) -> None:
    outcome = rtsep("devices")
    assert (outcome.status, outcome.err) == (0, "")
    assert "JACK: not installed" in outcome.out
    assert "PortAudio: not installed" in outcome.out
    assert "Nothing here plays live audio" in outcome.out


def test_machines_get_one_line(rtsep: CommandLine, answers: dict[str, Any]) -> None:
    answers.update({surroundings._JACK: JACK, surroundings._PORTAUDIO: PORTAUDIO})
    outcome = rtsep("devices", "--json")
    assert outcome.out.count("\n") == 1
    found = json.loads(outcome.out)
    assert found["jack"]["clients"][0]["sources"][0] == "system:capture_1"
    assert found["devices"][0]["inputs"] == 18
    assert found["pairs"] == [[0, 0]]
    assert len(found["roles"]) == len(found["devices"])
    assert found["command"].startswith("rtsep live --host jack")
