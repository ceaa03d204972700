"""What others publish of their latency; not measured here."""

from typing import NamedTuple


class Published(NamedTuple):
    """A figure as its authors state it.

    Attributes
    ----------
    name, source : str
    sample_rate : int
        In Hz.
    block : int or None
        Frames of the host's buffer; None where the figure has none in it.
    latency_ms : float
    """

    name: str
    source: str
    sample_rate: int
    block: int | None
    latency_ms: float


PUBLISHED = (
    Published("StemgenRT", "its documentation", 44_100, None, 5.8),
    Published("StemgenRT", "its documentation", 48_000, None, 14.6),
    Published("HS-TasNet", "Venkatesh et al. 2024", 44_100, None, 23.0),
)
