"""``rtsep bridge serve``: what is asked for is checked, then it serves until told to end."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rtsep.cli.console import complain
from rtsep.cli.endings import Endings
from rtsep.errors import RtsepError
from rtsep.live.session import NO_TRANSCRIBER
from rtsep.mask_file import read_masks
from rtsep.presets import PRESETS
from rtsep.songs import find_separator, find_transcriber

if TYPE_CHECKING:
    from rtsep_bridge.server import Server

MOST_SESSIONS = 32


@dataclass(frozen=True)
class Options:
    """What the command line said; see ``rtsep bridge serve --help``."""

    bind: str
    model: str | None = None
    masks: str | None = None
    notes: bool = True
    sessions: int = 8
    keyed: bool = False


def serve(options: Options) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Raises
    ------
    RtsepError
        It cannot start, with what to do about it.
    """
    from rtsep_bridge.addresses import parse_address
    from rtsep_bridge.server import Server

    address = parse_address(options.bind)
    if not 1 <= options.sessions <= MOST_SESSIONS:
        raise RtsepError(f"--sessions {options.sessions}", f"1 to {MOST_SESSIONS}")
    model = _lasting(options.model)
    masks = _lasting(options.masks)
    if masks is None:
        find_separator(model or PRESETS["live"].bundle)
    elif model is not None:
        raise RtsepError("--masks and --model", "one of them: masks take no model beside them")
    else:
        read_masks(Path(masks))
    if options.notes:
        find_transcriber()
    transcriber = None if options.notes else NO_TRANSCRIBER
    with Endings() as endings:
        server = Server(
            address,
            model=model,
            transcriber=transcriber,
            masks=masks,
            sessions=options.sessions,
            keyed=options.keyed,
            say=complain,
        )
        try:
            if server.granted.reason:
                complain(
                    f"{server.granted.found} ({server.granted.reason}): expect misses; "
                    "'rtsep doctor' tells how to get more"
                )
            _serve(server, str(address), endings)
        finally:
            server.close()
        complain("the bridge is closed")


def _lasting(model: str | None) -> str | None:
    """A path that holds wherever the engines are started."""
    if model is not None and Path(model).exists():
        return str(Path(model).absolute())
    return model


def _serve(server: "Server", address: str, endings: Endings) -> None:
    started, told = time.monotonic(), False
    while not endings.come:
        server.step()
        if server.ready and not told:
            told = True
            where = f"{address}?key={server.key}" if server.key else address
            complain(f"serving at {where}, ready after {time.monotonic() - started:.1f} s")
