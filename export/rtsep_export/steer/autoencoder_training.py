"""Training of an autoencoder to steer, on the rendered songs.

What learns is the bottom level of a VQ-VAE, by the losses of Jukebox (Dhariwal et al.
2020, section 3 and appendix B.1): squared error of the audio, distance of magnitude
spectra under three transforms, and the encoder's commitment to its codes.  The codebook
follows the encoder by running means, and codes that nothing comes near begin anew
elsewhere.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rtsep_export.devices import best_device
from rtsep_export.mixes import Arrays, Mixes, own_mix, random_mix
from rtsep_export.rendered import Audio, RenderedSongs
from rtsep_export.steer.autoencoder import CODES, WIDTH, Autoencoder

SAMPLES, BATCH = 1 << 15, 2
# Parts of a mix alone, as steering is to find them.
PARTS = 0.5
SPECTRA = ((2048, 240, 1200), (1024, 120, 600), (512, 50, 240))
COMMITMENT, SPECTRAL = 0.02, 1.0
KEEP = 0.99
# A code that is taken less often in a batch, on average, begins anew.
LEAST_USE = 1.0
QUIET = 1e-3


@dataclass(frozen=True)
class AudioSegments:
    """Random mixes and parts of mixes, one channel.

    The songs' 48 kHz are taken as 44.1 kHz: a semitone and a half lower, which does no
    harm here.
    """

    samples: int = SAMPLES

    def __call__(self, songs: RenderedSongs, rng: np.random.Generator) -> Arrays:
        """``audio`` ``[1, samples]``, no louder than full scale."""
        stems, _ = random_mix(songs, self.samples, rng)
        if rng.random() < PARTS:
            stems = stems[rng.random(len(stems)) < 0.5]
        return {"audio": _mono(stems)}


def _mono(stems: Audio) -> Tensor:
    audio = stems.sum(0).mean(0, keepdims=True)
    return torch.from_numpy(audio / max(1.0, float(np.abs(audio).max())))


class Codebook:
    """The vectors of an autoencoder's codes, as they follow its encoder.

    Parameters
    ----------
    vectors : ``[CODES, WIDTH]``
        Of the network; changed in place.
    """

    def __init__(self, vectors: Tensor) -> None:
        self.vectors = vectors
        self._sums, self._uses = vectors.clone(), vectors.new_ones(CODES)

    @torch.no_grad()
    def begin(self, latent: Tensor) -> None:
        """Take the vectors from what an encoder gives, ``[batch, WIDTH, frames]``."""
        self.vectors.copy_(_some(latent))
        self._sums, self._uses = self.vectors.clone(), self.vectors.new_ones(CODES)

    @torch.no_grad()
    def follow(self, latent: Tensor, codes: Tensor) -> float:
        """Move to the means of what came to each code; the share of codes in use."""
        rows = latent.transpose(1, 2).reshape(-1, WIDTH)
        taken = codes.flatten()
        uses = torch.bincount(taken, minlength=CODES).to(rows)
        sums = torch.zeros_like(self._sums).index_add_(0, taken, rows)
        self._uses.lerp_(uses, 1 - KEEP)
        self._sums.lerp_(sums, 1 - KEEP)
        used = self._uses >= LEAST_USE
        means = self._sums / self._uses[:, None].clamp_min(1e-9)
        self.vectors.copy_(torch.where(used[:, None], means, _some(latent)))
        return float(used.float().mean())


def _some(latent: Tensor) -> Tensor:
    """As many vectors as there are codes, of those that an encoder gave, a little moved."""
    rows = latent.transpose(1, 2).reshape(-1, WIDTH)
    if len(rows) < CODES:
        rows = rows.repeat(-(-CODES // len(rows)), 1)
        rows = rows + torch.randn_like(rows) * 0.01 * rows.std()
    return rows[torch.randperm(len(rows), device=rows.device)[:CODES]]


def spectral_distance(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean over the transforms of how far magnitudes are off, of a batch ``[batch, samples]``.

    Each clip's is in parts of its own magnitudes, as of Jukebox's bandwidth (its eq. 4).
    """
    distances = []
    for n_fft, hop, length in SPECTRA:
        window = torch.hann_window(length, device=wanted.device)
        mine, other = (
            torch.stft(x, n_fft, hop, length, window, return_complex=True).abs()
            for x in (found, wanted)
        )
        size = other.square().sum((1, 2)).sqrt().clamp_min(QUIET * n_fft)
        distances.append((mine - other).square().sum((1, 2)).add(1e-12).sqrt() / size)
    return torch.stack(distances).mean()


class AutoencoderTask:
    """The autoencoder, its data and its losses."""

    def __init__(
        self, rendered: Path, *, samples: int = SAMPLES, batch: int = BATCH, workers: int = 0
    ) -> None:
        self.mixes = Mixes(rendered / "train", AudioSegments(samples), batch, workers)
        songs, rng = RenderedSongs(rendered / "valid"), np.random.default_rng(7)
        self.valid = []
        for index in range(len(songs)):
            start = int(rng.integers(max(songs.length(index) - samples, 0) + 1))
            self.valid.append(_mono(own_mix(songs, index, start, samples)[0]))
        self.device = best_device()
        network = Autoencoder().to(self.device)
        self.network: nn.Module = network
        self.codebook = Codebook(network.codebook)
        self._begun = False

    def loss(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """The sum of the losses, and each for the log."""
        network = self.network
        assert isinstance(network, Autoencoder)
        audio = self.mixes.draw(rng)["audio"].to(self.device)
        latent = network.encode(audio)
        if not self._begun:
            # A run that goes on keeps its codes, which are not those of a new network.
            if float(network.codebook.std()) > 0.5:
                self.codebook.begin(latent.detach())
            self._begun = True
        codes, vectors = network.quantise(latent)
        decoded = network.decode(vectors)
        power = audio.square().mean((1, 2)).clamp_min(QUIET**2)
        wave = ((decoded - audio).square().mean((1, 2)) / power).mean()
        spectra = spectral_distance(decoded[:, 0], audio[:, 0])
        chosen = network.codebook[codes].transpose(1, 2).detach()
        size = latent.detach().square().mean().clamp_min(1e-6)
        commitment = (latent - chosen).square().mean() / size
        used = self.codebook.follow(latent.detach(), codes)
        figures = {
            "wave": float(wave.detach()),
            "spectra": float(spectra.detach()),
            "commitment": float(commitment.detach()),
            "used": used,
        }
        return wave + SPECTRAL * spectra + COMMITMENT * commitment, figures

    def score(self, network: nn.Module) -> dict[str, float]:
        """SDR in dB of what comes back of fixed mixes, and how far their spectra are off."""
        assert isinstance(network, Autoencoder)
        found, off = [], []
        for clip in self.valid:
            audio = clip[None].to(self.device)
            decoded = network(audio)[2]
            if float(audio.square().mean()) > QUIET**2:
                error = (decoded - audio).square().mean()
                found.append(10 * float(torch.log10(audio.square().mean() / error)))
                off.append(float(spectral_distance(decoded[:, 0], audio[:, 0])))
        return {"score": float(np.mean(found)), "spectra": float(np.mean(off))}
