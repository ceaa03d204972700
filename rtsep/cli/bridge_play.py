"""``rtsep bridge play``: a bridge's stems through JACK or a sound card, until it is told to end."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rtsep import realtime
from rtsep.cli.console import complain
from rtsep.cli.endings import Endings
from rtsep.cli.systems import choose_system
from rtsep.errors import RtsepError
from rtsep.live.hosts import ENGINE_PRIORITY

if TYPE_CHECKING:
    from rtsep.live.hosts import AudioHost
    from rtsep_bridge.jitter import JitterBuffer
    from rtsep_bridge.play import MakeHost, Player

#: What a message may be late: on one machine, and on a network.
_NEAR_MS, _FAR_MS = 20.0, 60.0
_BUFFER_MS = (3.0, 150.0)
_TELL_S = 1.0


@dataclass(frozen=True)
class Options:
    """What the command line said; see ``rtsep bridge play --help``."""

    address: str
    host: str = "auto"
    output: str | None = None
    connect: str | None = None
    block: int | None = None
    buffer_ms: float | None = None
    name: str = "rtsep-stems"


def play(options: Options) -> None:
    """Play until Ctrl-C or SIGTERM.

    Raises
    ------
    RtsepError
        It cannot play, with what to do about it.
    """
    from rtsep_bridge.listener import Listener
    from rtsep_bridge.play import KINDS, QUEUE, Player

    low, high = _BUFFER_MS
    if options.buffer_ms is not None and not low <= options.buffer_ms <= high:
        raise RtsepError(f"--buffer {options.buffer_ms:g}", f"{low:g} to {high:g} milliseconds")
    make_host = choose_host(options)
    # What fills the ring must not wait for what else this machine does.
    granted = realtime.make_realtime(ENGINE_PRIORITY + 1)
    priority = ENGINE_PRIORITY + 2 if granted.granted else 0
    if granted.reason:
        complain(f"{granted.found} ({granted.reason}): expect underruns")
    with (
        Endings() as endings,
        Listener(options.address, kinds=KINDS, queue=QUEUE, priority=priority) as listener,
    ):
        buffer_ms = options.buffer_ms
        if buffer_ms is None:
            buffer_ms = _NEAR_MS if listener.address.local else _FAR_MS
        player = Player(listener, make_host, buffer_ms / 1000.0, say=complain)
        complain(f"listening to {listener.address.mix}; Ctrl-C ends it")
        try:
            _play(player, endings)
        finally:
            player.close()
            realtime.make_normal()
    played = player.played()
    complain(
        f"played {played.seconds / 60:.1f} minutes: {played.underruns:,} underruns, "
        f"{played.lost:,} samples lost, {played.breaks:,} breaks, {played.xruns:,} xruns"
    )


def choose_host(options: Options) -> "MakeHost":
    """What makes a host for stems that come.

    Raises
    ------
    RtsepError
        Options that do not go together.
    SetupError
        There is no audio system.
    """
    from rtsep.live.jack_connections import Patterns
    from rtsep.live.jack_host import JackHost
    from rtsep.live.portaudio_host import PortAudioHost

    system, _ = choose_system(options.host)
    if system == "portaudio":
        if options.connect is not None:
            raise RtsepError("--connect without JACK", "--output, whose pairs take the stems")

        def on_portaudio(jitter: "JitterBuffer") -> "AudioHost":
            return PortAudioHost(
                output=options.output,
                sample_rate=jitter.sample_rate,
                block=options.block,
                follow=jitter.follow,
            )

        return on_portaudio
    if options.block is not None:
        raise RtsepError(f"--block {options.block} with JACK", "its server to decide")
    patterns = Patterns(None, options.output, options.connect)

    def on_jack(jitter: "JitterBuffer") -> "AudioHost":
        return JackHost(name=options.name, patterns=patterns, follow=jitter.follow)

    return on_jack


def _play(player: "Player", endings: Endings) -> None:
    """Until it is told to end; underruns are said once a second at most."""
    told, due = 0, 0.0
    while not endings.come:
        player.step()
        now = time.monotonic()
        if now < due:
            continue
        due = now + _TELL_S
        underruns = player.played().underruns
        if underruns > told:
            told = underruns
            complain(f"{underruns:,} times nothing was there to play; see --buffer")
