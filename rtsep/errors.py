"""What rtsep raises when the mistake is outside rtsep.

::

    RtsepError (a ValueError)      what was found, what was expected, what to do
    ├── AudioError                 an audio file or block that cannot be used
    ├── BundleError                a model bundle that cannot be trusted or loaded
    ├── OutputError                a result that cannot be written
    ├── SessionError               a session file, or an effect in it, that cannot be used
    └── SetupError                 something missing on this machine

The command line prints the message as one line and exits with status 2.  A
caller's programming mistake (a wrong dtype, a wrong shape) raises a plain
``TypeError`` or ``ValueError``.
"""


class RtsepError(ValueError):
    """Base of every error that a user can mend.

    Parameters
    ----------
    found, expected, remedy : str
        The three things a refusal says, in this order.
    """

    def __init__(self, found: str, expected: str = "", remedy: str = "") -> None:
        self.found, self.expected, self.remedy = found, expected, remedy
        parts = [found]
        if expected:
            parts.append(f"expected {expected}")
        if remedy:
            parts.append(remedy)
        super().__init__("; ".join(part.rstrip(".;") for part in parts) + ".")


class AudioError(RtsepError):
    """An audio file or block that cannot be used."""


class BundleError(RtsepError):
    """A model bundle that cannot be trusted or loaded."""


class OutputError(RtsepError):
    """A result that cannot be written."""


class SessionError(RtsepError):
    """A session file, or an effect in it, that cannot be used."""


class SetupError(RtsepError):
    """Something that rtsep needs is missing on this machine."""
