"""Algorithm 1 of TagBox: move a latent code until a tagger hears what was asked for.

Everything is frozen but the latent code of one segment.  What is decoded from it becomes a
mask on the mixture (equation 1), the tagger hears the masked mixture, and the code follows
the gradient of the tags' binary cross-entropy with Adam.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from julius.resample import ResampleFrac
from torch import Tensor
from torch.nn import functional

from rtsep_export.steer.autoencoder import HOP, SAMPLE_RATE, Autoencoder
from rtsep_export.steer.taggers import SAMPLE_RATE as TAGGER_RATE
from rtsep_export.steer.taggers import Tagger

EPSILON = 1e-8

Report = Callable[[int, float], None]


@dataclass(frozen=True)
class Settings:
    """How to steer; the defaults are the paper's.

    Attributes
    ----------
    n_ffts : tuple of int
        Of the masks' transforms; the loss is the mean over all of them.
    rate : float
        Of Adam.
    """

    n_ffts: tuple[int, ...] = (1024,)
    steps: int = 10
    rate: float = 5.0


@dataclass(frozen=True)
class Target:
    """A tagger and what it is to hear, 1 for the tags asked for and 0 for all others."""

    tagger: Tagger
    tags: Tensor


def transform(audio: Tensor, n_fft: int) -> Tensor:
    """Spectrum ``[..., bins, frames]`` under a square-root Hann window, half overlapped."""
    window = torch.hann_window(n_fft, device=audio.device).sqrt()
    return torch.stft(audio, n_fft, n_fft // 2, window=window, return_complex=True)


def inverse(spectrum: Tensor, n_fft: int, samples: int) -> Tensor:
    """The inverse of `transform`."""
    window = torch.hann_window(n_fft, device=spectrum.device).sqrt()
    return torch.istft(spectrum, n_fft, n_fft // 2, window=window, length=samples)


def mask_of(decoded: Tensor, mixture: Tensor) -> Tensor:
    """Equation 1, of magnitudes."""
    return decoded / (torch.maximum(decoded, mixture) + EPSILON)


def windows(audio: Tensor, samples: int) -> Tensor:
    """Audio ``[samples]`` as a tagger's windows ``[n, samples]``.

    Shorter audio is repeated until a window is full; of longer audio the last window ends
    with it.
    """
    if len(audio) < samples:
        audio = audio.repeat(-(-samples // len(audio)))[:samples]
    starts = [*range(0, len(audio) - samples, samples), len(audio) - samples]
    return torch.stack([audio[start : start + samples] for start in starts])


def tag_loss(audio: Tensor, targets: Sequence[Target]) -> Tensor:
    """Binary cross-entropy of the taggers' mean predictions, mean over the taggers.

    Parameters
    ----------
    audio : ``[samples]`` at `TAGGER_RATE`
    """
    losses = []
    for target in targets:
        heard = target.tagger(windows(audio, target.tagger.samples)).mean(0)
        losses.append(functional.binary_cross_entropy(heard, target.tags.to(heard)))
    return torch.stack(losses).mean()


def steer(
    mixture: Tensor,
    autoencoder: Autoencoder,
    targets: Sequence[Target],
    settings: Settings,
    report: Report | None = None,
) -> list[Tensor]:
    """Masks of what the tags name.

    Parameters
    ----------
    mixture : ``[samples]`` at 44.1 kHz
        Memory grows with its length: about 0.3 GB a second.
    report : callable, optional
        Given the step and the loss.

    Returns
    -------
    list of Tensor
        For every transform, ``[bins, frames]``, 0 to 1.
    """
    samples = len(mixture)
    heard = [transform(mixture, n_fft) for n_fft in settings.n_ffts]
    loud = [spectrum.abs() for spectrum in heard]
    down = ResampleFrac(SAMPLE_RATE, TAGGER_RATE).to(mixture.device)
    latent = _latent(mixture, autoencoder).requires_grad_()
    adam = torch.optim.Adam([latent], settings.rate)
    masks: list[Tensor] = []
    for step in range(settings.steps):
        decoded = _decoded(latent, autoencoder, samples)
        parts = [transform(decoded, n_fft).abs() for n_fft in settings.n_ffts]
        masks = [mask_of(part, level) for part, level in zip(parts, loud, strict=True)]
        losses = []
        for n_fft, mask, spectrum in zip(settings.n_ffts, masks, heard, strict=True):
            losses.append(tag_loss(down(inverse(mask * spectrum, n_fft, samples)), targets))
        loss = torch.stack(losses).mean()
        (latent.grad,) = torch.autograd.grad(loss, [latent])
        adam.step()
        if report is not None:
            report(step + 1, float(loss.detach()))
    return [mask.detach() for mask in masks]


def transfer(
    mixture: Tensor,
    autoencoder: Autoencoder,
    targets: Sequence[Target],
    settings: Settings,
    report: Report | None = None,
) -> Tensor:
    """Style transfer: the tagger hears what is decoded itself, and no mask holds it back.

    Parameters and memory as of `steer`.

    Returns
    -------
    ``[samples]``
    """
    down = ResampleFrac(SAMPLE_RATE, TAGGER_RATE).to(mixture.device)
    latent = _latent(mixture, autoencoder).requires_grad_()
    adam = torch.optim.Adam([latent], settings.rate)
    decoded = mixture
    for step in range(settings.steps):
        decoded = _decoded(latent, autoencoder, len(mixture))
        loss = tag_loss(down(decoded), targets)
        (latent.grad,) = torch.autograd.grad(loss, [latent])
        adam.step()
        if report is not None:
            report(step + 1, float(loss.detach()))
    return decoded.detach()


@torch.no_grad()
def reconstructed(mixture: Tensor, autoencoder: Autoencoder) -> Tensor:
    """What the autoencoder makes of a mixture, ``[samples]``, as it is."""
    return _decoded(_latent(mixture, autoencoder), autoencoder, len(mixture))


@torch.no_grad()
def _latent(mixture: Tensor, autoencoder: Autoencoder) -> Tensor:
    padded = functional.pad(mixture, (0, -len(mixture) % HOP))
    return autoencoder.encode(padded[None, None])


def _decoded(latent: Tensor, autoencoder: Autoencoder, samples: int) -> Tensor:
    _, vectors = autoencoder.quantise(latent)
    return autoencoder.decode(vectors)[0, 0, :samples]
