"""The latency dial: named presets and their exact latency arithmetic.

All sizes are in samples, the same at every native rate (see `rtsep.rates`).
"""

from dataclasses import dataclass

from rtsep.rates import rate_factor


@dataclass(frozen=True)
class Preset:
    """One position of the latency dial.

    Attributes
    ----------
    n_fft : int
        Masking analysis window at 44.1 and 48 kHz; doubled at 88.2 and 96 kHz.
    synthesis : int
        Synthesis window, the whole of the latency that the transform costs.
    hop : int
        Samples between masking frames; divides half the synthesis window.
    bundle : str
        Name of the shipped separator trained for this preset.
    """

    name: str
    n_fft: int
    synthesis: int
    hop: int
    bundle: str
    summary: str

    def frame_length(self, sample_rate: int) -> int:
        """Masking analysis window in samples at `sample_rate` Hz."""
        return self.n_fft * rate_factor(sample_rate)

    def latency_samples(self, lookahead: int) -> int:
        """Algorithmic latency: first output sample of an impulse, in samples.

        A frame that ends at sample ``e`` completes the output up to
        ``e - synthesis + hop``; one more hop is needed because blocks may be any
        size.  `lookahead` is what the separator's masks wait for, in samples.
        """
        return self.synthesis + lookahead


PRESETS = {
    preset.name: preset
    for preset in (
        Preset("lowest", 2048, 128, 64, "live", "for in-ear monitoring"),
        Preset("live", 2048, 256, 128, "live", "the default on stage"),
        Preset("relaxed", 2048, 512, 256, "relaxed", "masks look ahead a little"),
        Preset("offline", 4096, 4096, 1024, "offline", "for files, best quality"),
    )
}
