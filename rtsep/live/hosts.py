"""What the player needs of an audio host."""

from typing import Protocol

from rtsep.live.handover import Handover

ENGINE_PRIORITY = 60
"""Real-time priority of the engine where the host names none; hosts use 70 and more."""


class AudioHost(Protocol):
    """JACK or PortAudio: calls a compiled callback, block after block.

    Attributes
    ----------
    kind : str
        "jack" or "portaudio".
    sample_rate, block : int
        In Hz and in frames; valid once it is open.
    priority : int
        Real-time priority at which the engine should run.
    extra_latency_samples : int
        What the host itself adds to the latency, for two devices that drift.
    remarks : tuple of str
        What the player should know about the devices.
    """

    kind: str
    sample_rate: int
    block: int
    priority: int
    remarks: tuple[str, ...]

    @property
    def extra_latency_samples(self) -> int:
        """See above."""

    def open(self, handover: Handover) -> None:
        """Start calling back, as yet without stems.

        Raises
        ------
        SetupError
            It cannot be had here, or not now.
        AudioError
            It runs at a rate or with a block that rtsep does not.
        """

    def set_channels(self, channels: tuple[str, ...]) -> None:
        """Have ports for these, and only these, while playing.

        Parameters
        ----------
        channels : tuple of str
            Stems in their order, left and right, and the two of the monitor.
        """

    def alive(self) -> bool:
        """Whether it still calls back; once it does not, it is to be closed."""

    def poll(self) -> None:
        """Do what cannot be done in a callback; about twenty times a second."""

    def latency_changed(self) -> None:
        """Tell the system that the stated latency is another one."""

    def close(self) -> None:
        """Stop calling back.  It may be opened again."""
