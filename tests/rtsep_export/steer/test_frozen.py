"""The frozen networks: the public implementations' numbers."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from rtsep.errors import RtsepError
from rtsep_export.steer.autoencoder import CODES, HOP, WIDTH, Autoencoder, is_autoencoder
from rtsep_export.steer.frozen import KINDS, load_autoencoder, load_tagger, tagger_kind
from rtsep_export.steer.harmonic import Harmonic
from rtsep_export.steer.taggers import BINS, TAGS, Fcn
from rtsep_export.steer.tags import target

DATA = Path(os.environ.get("RTSEP_DATA", ""))
JUKEBOX = DATA / "golden" / "jukebox"
TAGGERS = DATA / "taggers"
needs_data = pytest.mark.skipif(not JUKEBOX.is_dir(), reason="needs RTSEP_DATA")
NAMES = (
    *("mtat-fcn", "mtat-musicnn", "jamendo-fcn", "jamendo-musicnn"),
    *("jamendo-crnn", "msd-fcn", "msd-crnn"),
)


@needs_data
@pytest.mark.parametrize("prefix", ["", "module."])
@torch.no_grad()
def test_the_autoencoder_gives_the_public_numbers(prefix, tmp_path):
    found = torch.load(JUKEBOX / "vqvae.pth.tar", weights_only=True, map_location="cpu")
    model = {prefix + key: value for key, value in found["model"].items()}
    # The public file holds the upper levels too.
    model[f"{prefix}encoders.1.level_blocks.0.model.0.0.weight"] = torch.zeros(3)
    model[f"{prefix}bottleneck.level_blocks.1.k"] = torch.zeros(3)
    torch.save({"model": model, "step": 0}, tmp_path / "vqvae.pth.tar")
    network = load_autoencoder(str(tmp_path / "vqvae.pth.tar"))
    with np.load(JUKEBOX / "expected.npz") as file:
        expected = {name: torch.from_numpy(file[name]) for name in file}
    latent, codes, decoded = network(expected["audio"])
    torch.testing.assert_close(latent, expected["latent"], rtol=0, atol=1e-5)
    assert torch.equal(codes, expected["codes"])
    torch.testing.assert_close(decoded, expected["decoded"], rtol=0, atol=1e-5)
    assert expected["decoded"].std() > 1e-3


@needs_data
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_taggers_give_the_public_numbers(name):
    rng, t = np.random.default_rng(0), np.arange(464_000) / 16_000
    audio = 0.05 * rng.standard_normal(464_000) + 0.2 * np.sin(2 * np.pi * 220 * t)
    audio += 0.1 * np.sin(2 * np.pi * 554.37 * t) * (np.sin(2 * np.pi * 2 * t) > 0)
    network = load_tagger(str(TAGGERS / f"{name}.pth")).network
    assert type(network).__name__.lower() == name.split("-")[1]
    heard = torch.from_numpy(audio.astype(np.float32))[None, : network.samples]
    with np.load(TAGGERS / "check.npz") as file:
        np.testing.assert_allclose(network(heard)[0], file[name], atol=1e-4)


def test_gradients_pass_the_quantiser_as_if_it_were_not_there():
    torch.manual_seed(0)
    network = Autoencoder().requires_grad_(False)
    latent = torch.randn(1, WIDTH, 16, requires_grad=True)
    codes, vectors = network.quantise(latent)
    assert torch.allclose(vectors, network.codebook[codes].transpose(1, 2), atol=1e-6)
    assert int(codes.max()) < CODES
    (vectors * torch.arange(16)).sum().backward()
    assert torch.equal(latent.grad, torch.arange(16.0).expand(1, WIDTH, 16))
    assert network.decode(latent).shape == (1, 1, 16 * HOP)


@pytest.mark.parametrize("kind", KINDS)
def test_taggers_are_told_by_their_tensors(kind, tmp_path):
    torch.manual_seed(0)
    network = KINDS[kind]().eval()
    torch.save(network.state_dict(), tmp_path / "mtat-tagger.pth")
    assert tagger_kind(network.state_dict()) == kind
    named = load_tagger(str(tmp_path / "mtat-tagger.pth"))
    assert named.tags[0] == "guitar"
    assert named.instruments["drums"] == ("drums", "beat", "beats")
    back = named.network
    assert type(back) is type(network)
    assert not any(p.requires_grad for p in back.parameters())
    audio = torch.randn(2, network.samples)
    with torch.no_grad():
        found = back(audio)
        assert torch.allclose(found, network(audio), atol=1e-6)
    assert found.shape == (2, TAGS)


def test_vocals_are_what_our_own_tagger_calls_voice():
    shipped = load_tagger("tagger")
    found = target(["vocals"], shipped.tags, shipped.instruments)
    assert [tag for tag, on in zip(shipped.tags, found, strict=True) if on] == ["voice"]


def test_other_checkpoints_are_refused_in_one_line(tmp_path):
    (tmp_path / "text.pth").write_text("no weights")
    torch.save({"model": {"encoders.0.out": torch.zeros(1)}}, tmp_path / "other.pth")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    state = Fcn().state_dict()
    state["dense.weight"] = torch.zeros(49, 64)
    torch.save(state, tmp_path / "tags.pth")
    torch.save(Fcn(49).state_dict(), tmp_path / "mtat-few.pth")
    both = {
        "text": "no archive of tensors alone",
        "other": "not of this network",
        "list": "holds no named tensors",
        "none": "no checkpoint at",
    }
    only_taggers = {"tags": "not of this network", "mtat-few": "knows 49 tags; expected the 50"}
    for load, refusals in ((load_autoencoder, both), (load_tagger, both | only_taggers)):
        for name, words in refusals.items():
            with pytest.raises(RtsepError, match=words) as caught:
                load(str(tmp_path / f"{name}.pth"))
            assert "\n" not in str(caught.value)
            # Torch would have them load what runs a stranger's code.
            assert "weights_only" not in str(caught.value)
            assert "Error(s)" not in str(caught.value)
    assert not is_autoencoder({"model": {"x": torch.zeros(1)}})
    assert is_autoencoder(Autoencoder().state_dict())
    assert tagger_kind(Autoencoder().state_dict()) is None


def test_harmonic_filters_stand_on_the_harmonics_of_every_half_semitone():
    front = Harmonic().hstft
    power = torch.zeros(1, BINS, 1)
    power[0, 32] = 1.0  # 1,000 Hz
    front.spec.forward = lambda audio: power
    with torch.no_grad():
        heard = front(torch.zeros(1, 1))[0, :, :, 0]
    assert heard.shape == (6, 128)
    for harmonic, row in enumerate(heard, 1):
        base = 1000.0 / harmonic
        semitones = 12 * np.log2(base / 440.0) + 69 - 24
        if 0 <= semitones < 64:
            assert abs(int(row.argmax()) - 2 * semitones) <= 0.5
            assert row.max() > -3.0
        # Further away than half a filter's width nothing is heard.
        bands_hz = harmonic * 440.0 * 2 ** ((24 + np.arange(128) / 2 - 69) / 12)
        far = np.abs(bands_hz - 1000.0) > (0.1079 * bands_hz + 24.7) / 2
        assert (row[torch.from_numpy(far)] == -100.0).all()
    narrow = Harmonic().hstft
    narrow.spec.forward = front.spec.forward
    with torch.no_grad():
        narrow.bw_Q.fill_(3.0)
        assert (narrow(torch.zeros(1, 1)) > -100.0).sum() < (heard > -100.0).sum()
