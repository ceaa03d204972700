"""Steering by small stand-ins whose answers are known, and by the real networks' shapes."""

import julius
import numpy as np
import pytest
import torch
from torch import nn

from rtsep_export.steer.autoencoder import HOP, Autoencoder
from rtsep_export.steer.steering import (
    Settings,
    Target,
    inverse,
    mask_of,
    steer,
    tag_loss,
    transfer,
    transform,
    windows,
)
from rtsep_export.steer.taggers import TAGS, Fcn, Tagger


class Echo(nn.Module):
    """An autoencoder whose latent code is the audio itself, eight samples a column."""

    def encode(self, audio):
        return audio.unflatten(2, (-1, HOP))[:, 0].transpose(1, 2).clone()

    def quantise(self, latent):
        return torch.zeros(latent.shape[2]), latent

    def decode(self, latent):
        return latent.transpose(1, 2).flatten(1)[:, None]


class Ear(Tagger):
    """Two tags: how much there is below 1 kHz, and how much above."""

    samples = 16_000

    def logits(self, audio):
        spectrum = torch.fft.rfft(audio).abs()
        hz = torch.fft.rfftfreq(audio.shape[-1], 1 / 16_000)
        low, high = (spectrum[:, part].square().sum(-1) for part in (hz < 1000, hz >= 1000))
        return torch.stack([low, high], -1).sqrt() * 3e-3 - 4.0


def duo(seconds=1.0):
    time = torch.arange(round(seconds * 44_100)) / 44_100
    return tuple(0.3 * torch.sin(2 * torch.pi * hz * time) for hz in (300.0, 4000.0))


def share(audio, hz):
    spectrum = torch.fft.rfft(audio * torch.hann_window(len(audio))).abs().square()
    near = (torch.fft.rfftfreq(len(audio), 1 / 44_100) - hz).abs() < 100
    return float(spectrum[near].sum() / spectrum.sum())


def test_transforms_come_back():
    audio = torch.randn(2, 10_000)
    for n_fft in (512, 1024, 2048):
        assert torch.allclose(inverse(transform(audio, n_fft), n_fft, 10_000), audio, atol=1e-4)


def test_masks_are_equation_one():
    decoded, mixture = torch.tensor([0.0, 1.0, 3.0, 0.0]), torch.tensor([2.0, 2.0, 2.0, 0.0])
    assert mask_of(decoded, mixture).tolist() == pytest.approx([0.0, 0.5, 1.0, 0.0])


def test_windows_cover_all_and_short_audio_is_repeated():
    audio = torch.arange(10.0)
    assert windows(audio, 4).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [6, 7, 8, 9]]
    assert windows(audio, 5).tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert windows(audio[:3], 7).tolist() == [[0, 1, 2, 0, 1, 2, 0]]
    assert windows(audio, 10).shape == (1, 10)


def test_the_loss_is_the_mean_over_taggers():
    low, _ = duo()
    heard = julius.resample_frac(low, 44_100, 16_000)
    right, wrong = (Target(Ear(2), torch.tensor(tags)) for tags in ([1.0, 0.0], [0.0, 1.0]))
    good, bad = tag_loss(heard, [right]), tag_loss(heard, [wrong])
    assert good < 0.2 < bad
    assert tag_loss(heard, [right, wrong]).item() == pytest.approx(float(good + bad) / 2)


@pytest.mark.parametrize("n_ffts", [(1024,), (512, 2048)])
@pytest.mark.parametrize(("tags", "hz"), [([1.0, 0.0], 300.0), ([0.0, 1.0], 4000.0)])
def test_what_is_asked_for_is_kept(n_ffts, tags, hz):
    low, high = duo()
    losses = []
    settings = Settings(n_ffts, steps=60, rate=0.01)
    masks = steer(
        low + high,
        Echo(),
        [Target(Ear(2), torch.tensor(tags))],
        settings,
        lambda step, loss: losses.append(loss),
    )
    assert len(losses) == 60
    assert losses[-1] < 0.5 * losses[0]
    for n_fft, mask in zip(n_ffts, masks, strict=True):
        assert mask.min() >= 0
        assert mask.max() <= 1
        kept = inverse(mask * transform(low + high, n_fft), n_fft, len(low))
        assert share(low + high, hz) == pytest.approx(0.5, abs=0.05)
        assert share(kept, hz) > 0.9


def test_without_a_mask_the_sound_itself_changes():
    low, high = duo()
    target = Target(Ear(2), torch.tensor([0.0, 1.0]))
    found = transfer(low + high, Echo(), [target], Settings(steps=60, rate=0.01))
    assert share(found, 4000.0) > 0.8


def test_frozen_networks_stay_as_they_are():
    torch.manual_seed(0)
    autoencoder, tagger = Autoencoder().requires_grad_(False), Fcn().requires_grad_(False).eval()
    before = [p.clone() for p in (*autoencoder.parameters(), *tagger.parameters())]
    tags = torch.zeros(TAGS)
    tags[3] = 1.0
    mixture = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, 9001).astype("f4"))
    (mask,) = steer(mixture, autoencoder, [Target(tagger, tags)], Settings(steps=2))
    assert mask.shape == (513, 1 + 9001 // 512)
    after = (*autoencoder.parameters(), *tagger.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(p.grad is None for p in after)
