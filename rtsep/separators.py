"""From input hops to stem hops: the two kinds of separator behind the engine.

Both tell the engine when they want input and when they can give output:

- `feed` gets every `network_hop` samples as soon as the stream has reached their end;
- `render` is called at stream position ``e + lag`` for every ``e`` that is a multiple
  of `hop`, with the mix from ``e - hop`` to ``e``, and gives one hop of stems.

What `render` gives goes out at positions ``e + lag`` to ``e + lag + hop``, and is the
mix of ``latency`` samples earlier, taken apart.
"""

from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rtsep.backend import Device
from rtsep.bands import band_edges, band_matrix
from rtsep.bundle import Bundle
from rtsep.features import FeatureExtractor
from rtsep.kernels import streams
from rtsep.networks import Network, open_audio, open_network
from rtsep.overlap_add import ChunkRunner
from rtsep.presets import Preset
from rtsep.rates import rate_factor
from rtsep.stft import MaskingStft

Floats = NDArray[np.float32]
Model: TypeAlias = Network | ChunkRunner


class Separator(Protocol):
    """What the engine needs of a separator that is prepared for one stream.

    Attributes
    ----------
    hop, network_hop, lag, latency : int
        In samples, see the module's docstring.
    misses : int
        Outputs of the network that were not usable, since `reset`.
    """

    hop: int
    network_hop: int
    lag: int
    latency: int
    misses: int

    def feed(self, audio: Floats) -> None:
        """Hear the next [channels, network_hop] samples."""

    def render(self, position: int, mix: Floats, out: Floats) -> None:
        """Take apart [channels, hop] samples.

        Parameters
        ----------
        position : int
            Stream position, ``e + lag``.
        mix : float32 [channels, hop]
        out : float32 [stems, channels, hop]
        """

    def reset(self) -> None:
        """Forget everything that was heard."""


def open_separator(bundle: Bundle, preset: Preset, *, device: Device = "auto") -> Model:
    """Load a separator's model.

    Raises
    ------
    BundleError
        It cannot be loaded or run.
    """
    if bundle.manifest.domain == "audio":
        return open_audio(bundle, max_push=preset.hop, device=device)
    return open_network(bundle, device=device)


def make_separator(
    bundle: Bundle, model: Model, preset: Preset, *, sample_rate: int, channels: int
) -> Separator:
    """Prepare a loaded model for a stream, one at a time."""
    if isinstance(model, ChunkRunner):
        return AudioSeparator(bundle, model, preset, channels=channels)
    return MaskSeparator(bundle, model, preset, sample_rate=sample_rate, channels=channels)


class MaskSeparator:
    """A network of the "mask" domain and the transform its masks work in.

    The newest network frame that has ended by ``e + lookahead`` serves the masking
    frame that ends at ``e``; before the first one, everything is in the residual.
    """

    def __init__(
        self,
        bundle: Bundle,
        network: Network,
        preset: Preset,
        *,
        sample_rate: int,
        channels: int,
    ) -> None:
        manifest = bundle.manifest
        factor = rate_factor(sample_rate)
        n_fft = preset.frame_length(sample_rate)
        self.hop = preset.hop
        self.network_hop = manifest.hop * factor
        self._delay_frames = network.delay_frames
        self.lag = manifest.lookahead * factor + self._delay_frames * self.network_hop
        self.latency = preset.synthesis + self.lag
        self.misses = 0
        self._network = network
        self._features = FeatureExtractor(
            manifest.front_ends, sample_rate=sample_rate, channels=channels, hop=self.network_hop
        )
        self._feature_row = np.zeros(self._features.n_features, np.float32)
        end = manifest.front_ends[0]
        edges = band_edges(end.min_hz, end.max_hz, end.min_width_hz, end.ratio)
        self._masks = network.outputs["masks"]
        n_stems = self._masks.shape[1]
        self._stft = MaskingStft(
            n_fft=n_fft,
            synthesis=preset.synthesis,
            hop=preset.hop,
            n_stems=n_stems,
            channels=channels,
            mask_matrix=band_matrix(edges, n_fft, sample_rate, cover=True),
        )
        # From the frame that is in use to the newest one that can be there.
        rows = self._delay_frames + 1
        self._ring = np.zeros((rows, n_stems, len(edges) - 1), np.float32)
        self._rows = tuple(self._ring)
        self._nothing = np.zeros_like(self._rows[0])
        self._completed = 0

    def feed(self, audio: Floats) -> None:
        """See `Separator.feed`."""
        self._features.process(audio, self._feature_row)
        count = self._network.push(self._feature_row)
        if count:
            self.misses += streams.store_masks(self._masks, count, self._ring, self._completed)
            self._completed += count

    def render(self, position: int, mix: Floats, out: Floats) -> None:
        """See `Separator.render`."""
        frame = position // self.network_hop - 1 - self._delay_frames
        masks = self._rows[frame % len(self._rows)] if frame >= 0 else self._nothing
        self._stft.process(mix, masks, out)

    def reset(self) -> None:
        """See `Separator.reset`."""
        self._features.reset()
        self._network.reset()
        self._stft.reset()
        self._completed = 0
        self.misses = 0


class AudioSeparator:
    """A model of the "audio" domain: the waveform in, stems out.

    It hears a hop at a time, so its delay counts in whole hops.  A mono mix goes in on
    both channels, and a stem is then the mean of the two that come out.
    """

    def __init__(
        self, bundle: Bundle, runner: ChunkRunner, preset: Preset, *, channels: int
    ) -> None:
        self.hop = self.network_hop = preset.hop
        self.lag = -(-runner.delay_frames // self.hop) * self.hop
        self.latency = self.hop + self.lag
        self.misses = 0
        self._runner = runner
        self._frames = np.zeros((self.hop, 2), np.float32)
        self._stems = runner.outputs["stems"]
        # From the hop that is rendered to the newest sample that can be there.
        length = 1 << (self.lag + self.hop - 1).bit_length()
        n_stems = len(bundle.manifest.stems)
        self._ring = np.zeros((n_stems, channels, length), np.float32)
        self._completed = 0

    def feed(self, audio: Floats) -> None:
        """See `Separator.feed`."""
        self._frames[:] = audio.T
        count = self._runner.push(self._frames)
        if count:
            streams.store_stems(self._stems, count, self._ring, self._completed)
            self._completed += count

    def render(self, position: int, mix: Floats, out: Floats) -> None:
        """See `Separator.render`."""
        start = position - self.lag - self.hop
        if streams.take_stems(self._ring, start, mix, out):
            self.misses += 1

    def reset(self) -> None:
        """See `Separator.reset`."""
        self._runner.reset()
        self._completed = 0
        self.misses = 0
