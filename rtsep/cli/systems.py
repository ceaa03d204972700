"""Which audio system to play through: JACK where a server answers, else PortAudio."""

import os

from rtsep import probes
from rtsep.errors import RtsepError, SetupError


def choose_system(asked: str) -> tuple[str, dict[str, object]]:
    """JACK where a server answers, else PortAudio, unless one of them is asked for.

    Parameters
    ----------
    asked : str
        "auto", "jack" or "portaudio".

    Returns
    -------
    system : str
        "jack" or "portaudio".
    server : dict
        What `rtsep.probes.JACK` says of the server.

    Raises
    ------
    RtsepError
        There is no such system.
    SetupError
        Neither is there.
    """
    if asked not in ("auto", "jack", "portaudio"):
        raise RtsepError(f"--host {asked}", "auto, jack or portaudio")
    jack = {} if asked == "portaudio" else probes.ask(probes.JACK)
    if asked == "jack" or jack.get("server"):
        return "jack", jack
    if asked == "auto":
        _check_portaudio(jack)
    return "portaudio", {}


def _check_portaudio(jack: dict[str, object]) -> None:
    """Refuse where there is no sound at all, with all that was looked for."""
    devices = probes.ask(probes.PORTAUDIO)
    if devices.get("hosts"):
        return
    name = os.environ.get("JACK_DEFAULT_SERVER", "default")
    server = f"no JACK server '{name}' answers" if jack.get("library") else "there is no JACK"
    sound = "finds no device" if devices.get("library") else "is not there"
    raise SetupError(
        f"no audio system: {server}, and PortAudio {sound}",
        "a JACK server or a sound card",
        "start one (jackd -R -d alsa; with PipeWire: pw-jack rtsep live), or connect a card; "
        "'rtsep doctor' tells what this machine has",
    )
