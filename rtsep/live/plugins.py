"""Effects made from what a session says: pedalboard's own, and plug-ins of others.

pedalboard is loaded only where there is an effect.  A plug-in is a stranger: it is
first tried in a process of its own, which may crash or hang.
"""

import inspect
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from rtsep.errors import SessionError
from rtsep.live.session import Effect

TRIAL_TIMEOUT_S = 30.0
"""How long a plug-in may take to load."""

# Classes of pedalboard that hold other effects, that are the base of others, and one whose
# output in blocks is another one than that of a whole file.
_NO_EFFECTS = {"Chain", "Mix", "Pedalboard", "Plugin", "PluginContainer", "IIRFilter"} | {
    "GSMFullRateCompressor"
}


def make_builtin(effect: Effect, where: str) -> Any:
    """One of pedalboard's own effects.

    Parameters
    ----------
    where : str
        What messages call the place in the session.

    Raises
    ------
    SessionError
    """
    kinds = _builtins()
    if effect.type not in kinds:
        raise SessionError(
            f"{where}: no effect is called {effect.type}", f"one of {', '.join(sorted(kinds))}"
        )
    kind = kinds[effect.type]
    known = re.findall(r"[(,] (\w+): ", kind.__init__.__doc__ or "")
    values: dict[str, Any] = {}
    for name, value in effect.parameters.items():
        if name not in known:
            raise SessionError(
                f"{where}: {effect.type} has no parameter {name}",
                f"one of {', '.join(known) or 'none'}",
            )
        values[name] = value
        choices = getattr(kind, name.title(), None)
        if isinstance(value, str) and choices is not None:
            if not hasattr(choices, value):
                raise SessionError(
                    f"{where}: {name} of {effect.type} is {value}",
                    f"one of {', '.join(choices.__members__)}",
                )
            values[name] = getattr(choices, value)
    try:
        return kind(**values)
    except Exception as error:
        raise SessionError(f"{where}: {effect.type} refuses this ({reason(error)})") from None


@cache
def _builtins() -> dict[str, Any]:
    import pedalboard

    def is_builtin(kind: object) -> bool:
        return (
            inspect.isclass(kind)
            and issubclass(kind, pedalboard.Plugin)
            and not issubclass(kind, pedalboard.ExternalPlugin)
        )

    found = dict(inspect.getmembers(pedalboard, is_builtin))
    return {name: kind for name, kind in found.items() if name not in _NO_EFFECTS}


def load_plugin(effect: Effect, where: str) -> Any:
    """A plug-in of others, tried and found to take stereo.

    Raises
    ------
    SessionError
    """
    label = str(effect.plugin)
    path, name = _split(label)
    if not path.exists():
        raise SessionError(f"{where}: there is no plug-in {path}", "the path of a VST3 or AU")
    fault = _try(label)
    if fault:
        raise SessionError(f"{where}: {label} {fault}", "", "leave it out, or choose another")
    return _open(path, name)


def set_parameters(
    plugin: Any, parameters: dict[str, Any], where: str, label: str
) -> dict[str, Any]:
    """Set a plug-in's parameters in place: all, or after a refusal none.

    Returns
    -------
    dict
        What they were before.

    Raises
    ------
    SessionError
    """
    known = plugin.parameters
    before: dict[str, Any] = {}
    try:
        for name, value in parameters.items():
            if name not in known:
                names = sorted(known)
                more = f" and {len(names) - 12} more" if len(names) > 12 else ""
                raise SessionError(
                    f"{where}: {label} has no parameter {name}",
                    f"one of {', '.join(names[:12])}{more}",
                )
            old = getattr(plugin, name)
            try:
                setattr(plugin, name, value)
            except Exception as error:
                raise SessionError(
                    f"{where}: {name} of {label} cannot be {value} ({reason(error)})"
                ) from None
            before[name] = old
    except SessionError:
        for name, old in before.items():
            setattr(plugin, name, old)
        raise
    return before


def _split(label: str) -> tuple[Path, str | None]:
    """A path, and the name of one of several plug-ins inside."""
    path, mark, name = label.rpartition("#")
    if mark and not Path(label).exists():
        return Path(path), name
    return Path(label), None


def _open(path: Path, name: str | None) -> Any:
    import pedalboard

    return pedalboard.load_plugin(str(path), plugin_name=name)


def reason(error: Exception) -> str:
    """The first line of what went wrong."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")


@cache
def _try(label: str) -> str:
    """What is wrong with a plug-in, found out in another process; empty if nothing is."""
    command = [sys.executable, "-m", "rtsep.live.plugins", label]
    try:
        trial = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=TRIAL_TIMEOUT_S,
            encoding="utf-8",
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        return f"does not load within {TRIAL_TIMEOUT_S:.0f} s"
    said = re.findall(r"^rtsep: (.*)$", trial.stdout, re.MULTILINE)
    if said and said[-1] != "good":
        return str(said[-1])
    # Some crash only while they are taken down, when they have been found good.
    return "" if said else "crashes when it is loaded"


def _trial(label: str) -> str:
    """Load a plug-in and send it stereo; "good", or what is wrong."""
    try:
        plugin = _open(*_split(label))
    except Exception as error:
        return f"cannot be loaded ({reason(error)})"
    if getattr(plugin, "is_instrument", False):
        return "is an instrument and takes no audio"
    noise = np.random.default_rng(1).uniform(-0.25, 0.25, (2, 512)).astype(np.float32)
    try:
        for _ in range(8):
            out = plugin.process(noise, 48_000, reset=False)
    except ValueError as error:
        refused = "channel" in str(error)
        return "refuses stereo" if refused else f"fails on audio ({reason(error)})"
    except Exception as error:
        return f"fails on audio ({reason(error)})"
    return "good" if out.shape[0] == 2 else "refuses stereo"


if __name__ == "__main__":
    sys.stdout.write(f"\nrtsep: {_trial(sys.argv[1])}\n")
    sys.stdout.flush()
