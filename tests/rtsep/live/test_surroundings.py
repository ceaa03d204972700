"""What there is to play through, and what is suggested for it."""

import shlex
import sys
from typing import Any

import pytest

from rtsep import probes
from rtsep.errors import AudioError
from rtsep.live import surroundings
from rtsep.live.devices import Device, find_device
from rtsep.live.surroundings import JackServer, clients_of, is_cable, look_around, role, suggest
from tests.rtsep.live.servers import jack_server


def device(index: int, name: str, inputs: int, outputs: int, **changes: Any) -> Device:
    settings = {"host_api": "Core Audio", "sample_rate": 48_000} | changes
    return Device(index, name, inputs=inputs, outputs=outputs, **settings)


MICROPHONE = device(0, "MacBook Microphone", 1, 0)
SPEAKERS = device(1, "MacBook Speakers", 0, 2)
CABLE_2 = device(2, "BlackHole 2ch", 2, 2)
CABLE_16 = device(3, "BlackHole 16ch", 16, 16)
INTERFACE = device(4, "Interface 18", 18, 18)


def words(devices: list[Device]) -> list[str]:
    command, _ = suggest(None, devices)
    return shlex.split(command) if sys.platform != "win32" else command.split()


def option(devices: list[Device], name: str) -> str:
    given = words(devices)
    return given[given.index(name) + 1]


# --- finding ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (2, CABLE_2),
        ("2", CABLE_2),
        ("16ch", CABLE_16),
        ("blackhole 2CH", CABLE_2),
        ("Interface 18, core audio", INTERFACE),
    ],
)
def test_devices_are_found_by_number_and_part_of_their_name(
    wanted: str | int, found: Device
) -> None:
    assert find_device([MICROPHONE, CABLE_2, CABLE_16, INTERFACE], wanted, "input") == found


def test_a_whole_name_wins_over_a_part_of_another() -> None:
    short, long = device(0, "Cable", 2, 2), device(1, "Cable Output", 2, 2)
    assert find_device([short, long], "cable", "input") == short


def test_one_name_on_two_host_apis_needs_the_api() -> None:
    twins = [device(0, "USB", 2, 2, host_api="MME"), device(1, "USB", 2, 2, host_api="WASAPI")]
    with pytest.raises(AudioError, match="0 USB, MME; 1 USB, WASAPI"):
        find_device(twins, "usb", "output")
    assert find_device(twins, "usb, wasapi", "output") == twins[1]
    assert surroundings.shortest_name(twins, twins[1], "output") == "USB, WASAPI"
    triplets = [*twins, device(2, "USB", 2, 2, host_api="WASAPI")]
    assert surroundings.shortest_name(triplets, triplets[2], "output") == "2"


def test_only_devices_of_the_direction_count() -> None:
    with pytest.raises(AudioError, match=r"no output device is 'micro'.*1 MacBook Speakers"):
        find_device([MICROPHONE, SPEAKERS], "micro", "output")


# --- what they are good for ---------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (INTERFACE, "mix, stems"),
        (CABLE_16, "mix, stems (virtual cable)"),
        (CABLE_2, "mix, monitor only (virtual cable)"),
        (SPEAKERS, "monitor only"),
        (MICROPHONE, "mix (mono)"),
        (device(0, "Surround", 0, 6), "monitor and 2 stems"),
        (device(0, "Phone", 1, 1, sample_rate=16_000), "set it to one of 44100"),
    ],
)
def test_roles(told: Device, expected: str) -> None:
    assert role(told).startswith(expected)


@pytest.mark.parametrize(
    "name",
    [
        "BlackHole 16ch",
        "CABLE Output (VB-Audio Virtual Cable)",
        "Loopback Audio",
        "VoiceMeeter Input",
        "pipewire",
        "pulse",
        "Monitor of Built-in Audio",
    ],
)
def test_cables_are_known_by_name(name: str) -> None:
    assert is_cable(device(0, name, 2, 2))
    assert not is_cable(INTERFACE)


# --- suggestions --------------------------------------------------------------------


def test_a_wide_interface_is_used_both_ways() -> None:
    devices = [MICROPHONE, SPEAKERS, INTERFACE]
    assert option(devices, "--input") == option(devices, "--output") == "Interface 18"
    assert option(devices, "--rate") == "48000"


def test_cables_are_not_fed_what_they_give() -> None:
    devices = [MICROPHONE, SPEAKERS, CABLE_2, CABLE_16]
    assert option(devices, "--input") == "BlackHole 2ch"
    assert option(devices, "--output") == "BlackHole 16ch"
    assert option([SPEAKERS, CABLE_16], "--output") == "MacBook Speakers"


def test_speakers_get_the_monitor() -> None:
    command, reason = suggest(None, [MICROPHONE, SPEAKERS])
    assert "--host portaudio" in command
    assert "monitor only" in reason
    assert "10" in reason


def test_nothing_is_suggested_where_nothing_works() -> None:
    for devices in ([], [MICROPHONE], [SPEAKERS], [device(0, "x", 2, 2, sample_rate=22_050)]):
        command, reason = suggest(None, devices)
        assert command == ""
        assert reason


def test_jack_goes_first_with_patterns_of_the_sound_card() -> None:
    ports = [("daw:out_1", True, False)]
    ports += [(f"system:capture_{k}", True, True) for k in (1, 2)]
    ports += [(f"system:playback_{k}", False, True) for k in range(1, 11)]
    clients = clients_of(ports)
    assert [client.name for client in clients] == ["system", "daw"]
    assert clients[0].physical
    assert clients[0].sources == ("system:capture_1", "system:capture_2")
    server = JackServer("default", 48_000, 128, False, clients)
    command, reason = suggest(server, [INTERFACE])
    assert command == ("rtsep live --host jack --input system:capture_ --output system:playback_")
    assert "jackd -R" in reason
    bare = JackServer("default", 48_000, 128, True, ())
    assert suggest(bare, [])[0] == "rtsep live --host jack"
    odd = JackServer("default", 22_050, 128, True, clients)
    assert "portaudio" in suggest(odd, [INTERFACE])[0]


# --- asking -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("jack", "portaudio", "lines"),
    [
        ({"library": False}, {"library": False}, ["not installed", "not installed"]),
        ({"error": "it hung"}, {"error": "it crashed"}, ["it hung", "it crashed"]),
        (
            {"library": True, "server": False},
            {"library": True, "hosts": [], "devices": []},
            ["no server 'default' answers", "no devices"],
        ),
    ],
)
def test_what_is_not_there_is_said(
    jack: dict[str, Any],
    portaudio: dict[str, Any],
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("JACK_DEFAULT_SERVER", raising=False)
    answers = {surroundings._JACK: jack, surroundings._PORTAUDIO: portaudio}
    monkeypatch.setattr(probes, "ask", answers.__getitem__)
    found = look_around()
    assert found.jack is None
    assert found.devices == found.pairs == ()
    assert found.command == ""
    for line, part in zip(found.missing, lines, strict=True):
        assert part in line


def test_a_real_server_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    with jack_server(period=256) as server:
        monkeypatch.setenv("JACK_DEFAULT_SERVER", server.name)
        found = look_around()
    assert found.jack is not None
    assert (found.jack.name, found.jack.sample_rate, found.jack.block) == (
        server.name,
        48_000,
        256,
    )
    assert found.jack.clients[0].name == "system"
    assert len(found.jack.clients[0].targets) == 2
    assert "--input system:capture_" in found.command
    assert all(line.startswith("PortAudio") for line in found.missing)
