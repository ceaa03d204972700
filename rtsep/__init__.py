"""rtsep: a mix in, its stems and its notes out, while it plays.

`import rtsep` is light: the engine and everything heavy behind it load on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rtsep.bundle import Bundle as Bundle
    from rtsep.bundle import load_bundle as load_bundle
    from rtsep.engine import Engine as Engine
    from rtsep.presets import PRESETS as PRESETS
    from rtsep.presets import Preset as Preset

__version__ = "0.1.0"

_HOMES = {
    "Bundle": "rtsep.bundle",
    "Engine": "rtsep.engine",
    "PRESETS": "rtsep.presets",
    "Preset": "rtsep.presets",
    "load_bundle": "rtsep.bundle",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'rtsep' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
