"""Masks from a file, played on a stream by the engine's own transform.

The stream's place in the song is told (`PlayedMasks.locate`): by a transport, by whoever
finds it from the sound (`rtsep.fingerprint`), or, in files, once at the start.  Where the
place is not known, the stems are silent and the residual is the whole mix.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtsep.bands import band_matrix
from rtsep.mask_file import MaskFile
from rtsep.presets import Preset
from rtsep.stft import MaskingStft

Floats = NDArray[np.float32]

REST = "rest"
FADE_S = 0.02


class Place(NamedTuple):
    """Sample `song` of the song is heard at sample `stream` of the stream, both in its rate."""

    stream: int
    song: float


class PlayedMasks:
    """A separator (see `rtsep.separators.Separator`) whose masks come from a file.

    A masking frame takes the masks of the moment in the middle of what it puts out, between
    two frames of the file in proportion.  Where several tags claim more than there is, each
    gets its share.  A new place is faded over to.

    Attributes
    ----------
    stems : tuple of str
        The file's tags, then `REST`.
    """

    def __init__(self, file: MaskFile, preset: Preset, *, sample_rate: int, channels: int) -> None:
        header = file.header
        self.stems = (*header.tags, REST)
        self.hop = self.network_hop = preset.hop
        self.lag, self.latency, self.misses = 0, preset.synthesis, 0
        n_fft = preset.frame_length(sample_rate)
        width = header.sample_rate / header.n_fft
        edges = (np.arange(header.bins + 1, dtype=np.float64) - 0.5) * width
        self._stft = MaskingStft(
            n_fft=n_fft,
            synthesis=preset.synthesis,
            hop=preset.hop,
            n_stems=len(self.stems),
            channels=channels,
            mask_matrix=band_matrix(edges, n_fft, sample_rate, cover=True),
        )
        self._file_masks = file.masks
        # Of the stream's samples in one frame of the file.
        self._frame = header.hop * sample_rate / header.sample_rate
        self._half = preset.synthesis // 2
        self._fade = preset.hop / (FADE_S * sample_rate)
        self._masks = np.zeros((len(self.stems), header.bins), np.float32)
        self._place: Place | None = None
        self._next: Place | None = None
        self._gain = 0.0
        self._changing, self._begun = False, False

    def locate(self, place: Place | None) -> None:
        """Go on at another place of the song; None where it is not known."""
        self._next = place
        if self._gain == 0.0 or place == self._place:
            self._place, self._changing = place, False
        else:
            self._changing = True

    def feed(self, audio: Floats) -> None:
        """Nothing is heard here."""

    def render(self, position: int, mix: Floats, out: Floats) -> None:
        """See `rtsep.separators.Separator.render`."""
        there = self._place is not None and not self._changing
        if self._begun:
            step = self._fade if there else -self._fade
            self._gain = min(max(self._gain + step, 0.0), 1.0)
        else:
            self._begun, self._gain = True, float(there)
        if self._changing and self._gain == 0.0:
            self._place, self._changing = self._next, False
        self._fill(position)
        self._stft.process(mix, self._masks, out)

    def _fill(self, position: int) -> None:
        """The masks of the frame that ends at a stream position."""
        masks = self._masks[:-1]
        place, last = self._place, self._file_masks.shape[1] - 1
        if place is None or self._gain == 0.0:
            masks.fill(0.0)
            return
        at = (position - self._half - place.stream + place.song) / self._frame
        if not -1.0 < at < last + 1.0:
            masks.fill(0.0)
            return
        before = min(max(int(np.floor(at)), 0), last)
        after = min(before + 1, last)
        share = np.float32(min(max(at - before, 0.0), 1.0))
        masks[:] = self._file_masks[:, before]
        masks *= 1.0 - share
        masks += share * self._file_masks[:, after]
        masks *= np.float32(self._gain / 255.0)
        claimed = masks.sum(axis=0)
        if len(masks) > 1:
            masks /= np.maximum(claimed, 1.0)

    def reset(self) -> None:
        """Forget the stream; the place stays, counted from the new start, and without a fade."""
        self._stft.reset()
        self._gain, self._begun = 0.0, False
        if self._changing:
            self._place, self._changing = self._next, False
