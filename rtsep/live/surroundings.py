"""What live audio could go through on this machine, and a command that uses it.

Audio systems are asked in child processes, see `rtsep.probes`.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rtsep import probes
from rtsep.errors import AudioError
from rtsep.live.devices import Device, Direction, devices_of, find_device
from rtsep.rates import NATIVE_RATES

STEM_CHANNELS = 10
"""Channels of the five stems of the models that come with rtsep."""
_JACK_API = "JACK Audio Connection Kit"
_BLOCK = 128
#: Devices that carry sound from program to program.
_CABLES = re.compile(
    r"blackhole|vb-audio|vb-cable|\bcable\b|voicemeeter|loopback|soundflower|monitor|pipewire|pulse",
    re.IGNORECASE,
)

_JACK = """
import json
try:
    import jack
except OSError:
    print(json.dumps({"library": False}))
    raise SystemExit
jack.set_error_function(lambda text: None)
jack.set_info_function(lambda text: None)
try:
    client = jack.Client("rtsep-devices", no_start_server=True)
except jack.JackOpenError:
    print(json.dumps({"library": True, "server": False}))
    raise SystemExit
answer = {
    "library": True,
    "server": True,
    "rate": client.samplerate,
    "block": client.blocksize,
    "realtime": bool(jack._lib.jack_is_realtime(client._ptr)),
    "ports": [
        [port.name, port.is_output, port.is_physical]
        for port in client.get_ports(is_audio=True)
    ],
}
client.close()
print(json.dumps(answer), flush=True)
"""

_PORTAUDIO = """
import json, os
try:
    import sounddevice
except OSError:
    print(json.dumps({"library": False}))
    raise SystemExit
hosts, devices = sounddevice.query_hostapis(), list(sounddevice.query_devices())
print(json.dumps({"library": True, "hosts": hosts, "devices": devices}), flush=True)
os._exit(0)  # PortAudio may abort the interpreter at its end
"""


@dataclass(frozen=True)
class JackClient:
    """A program on a JACK server, or the server's sound card.

    Attributes
    ----------
    name : str
    sources, targets : tuple of str
        Ports that give sound, and ports that take it, by their full names.
    physical : bool
        Whether it is a sound card.
    """

    name: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    physical: bool


@dataclass(frozen=True)
class JackServer:
    """A JACK server that answers.

    Attributes
    ----------
    name : str
    sample_rate, block : int
        In Hz and in frames.
    realtime : bool
        Whether it runs at real-time priority.
    clients : tuple of JackClient
    """

    name: str
    sample_rate: int
    block: int
    realtime: bool
    clients: tuple[JackClient, ...]


@dataclass(frozen=True)
class Surroundings:
    """All that was found.

    Attributes
    ----------
    jack : JackServer or None
    devices : tuple of Device
        PortAudio's.
    roles : tuple of str
        What each of them is good for.
    pairs : tuple of (int, int)
        Input and output device, by number, that hear a stereo mix and play all stems.
    missing : tuple of str
        A line for each system that is not there, with what to do for it.
    command : str
        That plays live with what there is; empty where nothing does.
    reason : str
        Why this one, or what is missing for a better one.
    """

    jack: JackServer | None
    devices: tuple[Device, ...]
    roles: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]
    missing: tuple[str, ...]
    command: str
    reason: str


def look_around() -> Surroundings:
    """Ask JACK and PortAudio."""
    jack, no_jack = _ask_jack()
    devices, no_devices = _ask_portaudio()
    missing = tuple(line for line in (no_jack, no_devices) if line)
    command, reason = suggest(jack, devices)
    pairs = tuple(
        (source.index, sink.index)
        for source, sink in playable_pairs(devices)
        if source.inputs >= 2 and sink.outputs >= STEM_CHANNELS
    )
    roles = tuple(map(role, devices))
    return Surroundings(jack, devices, roles, pairs, missing, command, reason)


def _ask_jack() -> tuple[JackServer | None, str]:
    answer = probes.ask(_JACK)
    name = os.environ.get("JACK_DEFAULT_SERVER", "default")
    linux = sys.platform.startswith("linux")
    if "error" in answer:
        return None, f"JACK: {answer['error']}; restart the server"
    if not answer["library"]:
        how = (
            "sudo apt-get install jackd2, or pipewire-jack with PipeWire"
            if linux
            else "jackaudio.org"
        )
        return None, f"JACK: not installed ({how})"
    if not answer["server"]:
        how = "jackd -R -d alsa; with PipeWire: pw-jack rtsep live" if linux else "jackaudio.org"
        return None, f"JACK: no server '{name}' answers (start one: {how})"
    ports = answer["ports"]
    assert isinstance(ports, list)
    rate, block = answer["rate"], answer["block"]
    assert isinstance(rate, int)
    assert isinstance(block, int)
    return JackServer(name, rate, block, bool(answer["realtime"]), clients_of(ports)), ""


def clients_of(ports: Sequence[tuple[str, bool, bool]]) -> tuple[JackClient, ...]:
    """Group ports by client, sound cards first.

    Parameters
    ----------
    ports : sequence of (str, bool, bool)
        Full name, whether it gives sound, whether it is a sound card's.
    """
    found: dict[str, list[tuple[str, bool, bool]]] = {}
    for port in ports:
        found.setdefault(port[0].split(":", 1)[0], []).append(port)
    clients = [
        JackClient(
            name,
            tuple(port for port, gives, _ in group if gives),
            tuple(port for port, gives, _ in group if not gives),
            any(physical for _, _, physical in group),
        )
        for name, group in found.items()
    ]
    return tuple(sorted(clients, key=lambda client: not client.physical))


def _ask_portaudio() -> tuple[tuple[Device, ...], str]:
    answer = probes.ask(_PORTAUDIO)
    if "error" in answer:
        return (), f"PortAudio: {answer['error']}; restart the sound system"
    if not answer["library"]:
        return (), "PortAudio: not installed (sudo apt-get install libportaudio2)"
    hosts, infos = answer["hosts"], answer["devices"]
    assert isinstance(hosts, list)
    assert isinstance(infos, list)
    if not infos:
        return (), "PortAudio: no devices (connect a sound card, or start a JACK server)"
    return tuple(devices_of(hosts, infos)), ""


def is_cable(device: Device) -> bool:
    """Whether what is played into it comes out of it again, by its name."""
    return bool(_CABLES.search(device.name))


def role(device: Device) -> str:
    """What a device is good for here, in a few words."""
    if device.sample_rate not in NATIVE_RATES:
        return f"set it to one of {', '.join(map(str, NATIVE_RATES))} Hz"
    roles = []
    if device.inputs >= 2:
        roles.append("mix")
    elif device.inputs == 1:
        roles.append("mix (mono)")
    if device.outputs >= STEM_CHANNELS:
        roles.append("stems")
    elif device.outputs >= 4:
        roles.append(f"monitor and {device.outputs // 2 - 1} stems")
    elif device.outputs >= 2:
        roles.append("monitor only")
    return ", ".join(roles) + (" (virtual cable)" if roles and is_cable(device) else "")


def suggest(jack: JackServer | None, devices: Sequence[Device]) -> tuple[str, str]:
    """A complete command for what there is, and why it is this one; empty for nothing."""
    if jack is not None and jack.sample_rate in NATIVE_RATES:
        return _suggest_jack(jack)
    return _suggest_portaudio([d for d in devices if d.host_api != _JACK_API])


def playable_pairs(devices: Sequence[Device]) -> list[tuple[Device, Device]]:
    """Inputs and outputs that could be used together, for a monitor mix at least."""
    ready = [device for device in devices if device.sample_rate in NATIVE_RATES]
    return [
        (source, sink)
        for source in ready
        for sink in ready
        # What a cable is given comes back as the mix: not the same one for both.
        if source.inputs and sink.outputs >= 2 and (source != sink or not is_cable(source))
    ]


def _suggest_jack(jack: JackServer) -> tuple[str, str]:
    words = ["rtsep", "live", "--host", "jack"]
    cards = [client for client in jack.clients if client.physical]
    for option, ports in (
        ("--input", next((card.sources for card in cards if card.sources), ())),
        ("--output", next((card.targets for card in cards if card.targets), ())),
    ):
        if ports:
            words += [option, re.escape(_shared_start(ports[0], ports[-1]))]
    reason = "the mix from the sound card, the monitor mix to it; connect the stems in your DAW"
    if not jack.realtime:
        reason += "; the server is not real-time, start it with jackd -R against dropouts"
    return _quoted(words), reason


def _shared_start(first: str, last: str) -> str:
    """What the names of several ports begin with, without their numbers."""
    if first == last:
        return first
    pairs = zip(first, last, strict=False)
    length = next((place for place, (one, other) in enumerate(pairs) if one != other), len(first))
    return first[:length].rstrip("0123456789")


def _suggest_portaudio(devices: Sequence[Device]) -> tuple[str, str]:
    pairs = playable_pairs(devices)
    if not pairs:
        return "", "no pair of devices to hear the mix on and to play at least a monitor on"

    def merit(pair: tuple[Device, Device]) -> tuple[bool, ...]:
        source, sink = pair
        return (
            sink.outputs >= STEM_CHANNELS,
            source.inputs >= 2,
            source == sink,
            source.host_api == sink.host_api,
            source.sample_rate == sink.sample_rate,
            is_cable(source),
        )

    source, sink = max(pairs, key=merit)
    words = ["rtsep", "live", "--host", "portaudio"]
    words += ["--input", shortest_name(devices, source, "input")]
    words += ["--output", shortest_name(devices, sink, "output")]
    words += ["--rate", str(sink.sample_rate), "--block", str(_BLOCK)]
    if sink.outputs < STEM_CHANNELS:
        reason = (
            f"{sink.name} has {sink.outputs} channels: {role(sink)}; all stems take "
            f"{STEM_CHANNELS}, as a virtual cable has (BlackHole 16ch, VB-Cable)"
        )
    elif source == sink:
        reason = "one device for both"
    else:
        reason = "two devices, whose clocks may drift: the output follows the input"
    return _quoted(words), reason


def shortest_name(devices: Sequence[Device], device: Device, direction: Direction) -> str:
    """What `find_device` knows a device by."""
    for name in (device.name, f"{device.name}, {device.host_api}"):
        try:
            if find_device(devices, name, direction) == device:
                return name
        except AudioError:
            continue
    return str(device.index)


def _quoted(words: Sequence[str]) -> str:
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)
