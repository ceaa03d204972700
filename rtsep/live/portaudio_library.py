"""sounddevice, and what it says there is."""

from collections.abc import Sequence
from typing import Any

from rtsep.errors import SetupError
from rtsep.live.devices import Device, Direction, devices_of

#: More channels of a device are opened only where the stems need them.
MOST_WIDTH = 16


def list_devices(sd: Any) -> list[Device]:
    """All devices, each at the place of its number."""
    return devices_of(sd.query_hostapis(), sd.query_devices())


def default_device(sd: Any, devices: Sequence[Device], direction: Direction) -> Device:
    """What the system uses where nothing is asked for.

    Raises
    ------
    SetupError
        There is none.
    """
    key = f"default_{direction}_device"
    # The default host API first, which may have no devices at all.
    hosts = sorted(sd.query_hostapis(), key=lambda host: host["name"] != _default_api(sd))
    for host in hosts:
        number = int(host[key])
        if number >= 0 and devices[number].channels(direction):
            return devices[number]
    raise SetupError(
        f"PortAudio finds no {direction} device",
        "a sound card or a virtual cable",
        "connect one and look with 'rtsep devices'",
    )


def _default_api(sd: Any) -> str:
    return str(sd.query_hostapis(sd.default.hostapi)["name"]) if sd.default.hostapi >= 0 else ""


def runs_at(sd: Any, source: Device | None, sink: Device, rate: int) -> bool:
    """Whether all devices that are to be opened can be at a rate."""
    try:
        if source is not None:
            sd.check_input_settings(source.index, min(source.inputs, 2), "float32", None, rate)
        sd.check_output_settings(sink.index, min(sink.outputs, MOST_WIDTH), "float32", None, rate)
    except sd.PortAudioError:
        return False
    return True


def load_portaudio() -> Any:
    """Import sounddevice, which starts PortAudio.

    Raises
    ------
    SetupError
        There is no PortAudio.
    """
    try:
        import sounddevice
    except OSError:
        raise SetupError(
            "no PortAudio library on this machine",
            "PortAudio 19",
            "sudo apt-get install libportaudio2 (or your system's PortAudio)",
        ) from None
    return sounddevice
