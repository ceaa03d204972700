"""What there is to hear and play with, and how to choose among it by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rtsep.errors import AudioError

Direction = Literal["input", "output"]
DIRECTIONS: tuple[Direction, Direction] = ("input", "output")


@dataclass(frozen=True)
class Device:
    """A device as PortAudio tells it.

    Attributes
    ----------
    index : int
        PortAudio's number.
    name, host_api : str
    inputs, outputs : int
        Channels.
    sample_rate : int
        The default one, in Hz.
    input_latency_s, output_latency_s : float
        The low ones that it states, in seconds.
    """

    index: int
    name: str
    host_api: str
    inputs: int
    outputs: int
    sample_rate: int
    input_latency_s: float = 0.0
    output_latency_s: float = 0.0

    def channels(self, direction: Direction) -> int:
        """How many channels it has that way."""
        return self.inputs if direction == "input" else self.outputs

    def __str__(self) -> str:
        return f"{self.index} {self.name}, {self.host_api}"


def devices_of(
    hosts: Sequence[Mapping[str, Any]], infos: Sequence[Mapping[str, Any]]
) -> list[Device]:
    """All devices, each at the place of its number.

    Parameters
    ----------
    hosts, infos : sequence of mappings
        What sounddevice's `query_hostapis` and `query_devices` give.
    """
    return [
        Device(
            number,
            info["name"],
            hosts[info["hostapi"]]["name"],
            info["max_input_channels"],
            info["max_output_channels"],
            round(info["default_samplerate"]),
            info["default_low_input_latency"],
            info["default_low_output_latency"],
        )
        for number, info in enumerate(infos)
    ]


def find_device(devices: Sequence[Device], wanted: str | int, direction: Direction) -> Device:
    """Choose a device by its number or by a part of its name.

    Parameters
    ----------
    devices : sequence of Device
    wanted : str or int
        A number; or a part of "name, host API" in either case, that only one has unless
        it is one's whole name.
    direction : {"input", "output"}

    Raises
    ------
    AudioError
        None or several are meant.
    """
    able = [device for device in devices if device.channels(direction) > 0]
    there = "; ".join(map(str, able)) or "none"
    text = str(wanted).strip().casefold()
    if text.isdecimal():
        chosen = [device for device in able if device.index == int(text)]
    else:
        full = {device.index: f"{device.name}, {device.host_api}".casefold() for device in able}
        chosen = [d for d in able if text in (d.name.casefold(), full[d.index])]
        chosen = chosen or [d for d in able if text in full[d.index]]
    if not chosen:
        raise AudioError(f"no {direction} device is '{wanted}'", f"one of: {there}")
    if len(chosen) > 1:
        raise AudioError(
            f"'{wanted}' may be any of the {direction} devices {'; '.join(map(str, chosen))}",
            "one",
            "give its number, or its name and host API",
        )
    return chosen[0]
