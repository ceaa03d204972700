"""``rtsep steer`` and what it refuses."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

import rtsep as package
from rtsep.mask_file import read_masks
from rtsep_export.steer.autoencoder import Autoencoder
from rtsep_export.steer.taggers import Fcn
from tests.rtsep.cli import music, read_audio, write_audio

DATA = Path(os.environ.get("RTSEP_DATA", ""))


@pytest.fixture
def steer(rtsep):
    """A short song, and weights with names of published ones."""
    torch.manual_seed(0)
    torch.save({"model": Autoencoder().state_dict()}, rtsep.folder / "vqvae.pth.tar")
    torch.save(Fcn().state_dict(), rtsep.folder / "mtat-fcn.pth")
    write_audio(rtsep.folder / "song.wav", music(0.6, 44_100), 44_100)
    return rtsep


NETWORKS = ("--autoencoder", "vqvae.pth.tar", "--tagger", "mtat-fcn.pth")


def test_a_song_becomes_masks_and_masks_become_stems(steer):
    words = ("--tag", "guitar", "--tag", "opera", "--steps", "2", "-o", "song.masks")
    outcome = steer("steer", "song.wav", *words, *NETWORKS)
    assert outcome.status == 0, outcome.err
    assert "song.masks: guitar, opera" in outcome.out
    header = read_masks(steer.folder / "song.masks").header
    assert header.settings["steps"] == "2"
    assert header.settings["estimate"] == "kept"
    assert "mtat-fcn.pth" in header.settings["taggers"]
    assert (
        steer("separate", "song.wav", "--masks", "song.masks", "-o", "out", "--no-midi").status == 0
    )
    stems = [read_audio(steer.folder / f"out/song/{n}.wav") for n in ("guitar", "opera", "rest")]
    np.testing.assert_allclose(sum(stems), music(0.6, 44_100), atol=1e-5)


def test_it_works_with_what_ships(steer, monkeypatch):
    monkeypatch.setattr("rtsep.bundle.MODELS", Path(package.__file__).parent / "models")
    words = ("--tag", "drums", "--steps", "1", "-o", "song.masks")
    outcome = steer("steer", "song.wav", *words)
    assert outcome.status == 0, outcome.err
    settings = read_masks(steer.folder / "song.masks").header.settings
    assert settings["autoencoder"].startswith("autoencoder.onnx ")
    assert settings["taggers"].startswith("tagger.onnx ")
    assert "the nearest: piano" in steer.refuses(
        "steer", "song.wav", "--tag", "pianoo", "-o", "b.masks"
    )


def test_what_cannot_be_used_is_refused_in_one_line(steer):
    write_audio(steer.folder / "silent.wav", np.zeros((2, 30_000), np.float32), 44_100)
    (steer.folder / "there.masks").write_text("there")
    (steer.folder / "fcn.pth").write_bytes((steer.folder / "mtat-fcn.pth").read_bytes())
    out = ("-o", "out.masks")
    guitar = ("--tag", "guitar")
    other = ("--autoencoder", "mtat-fcn.pth", "--tagger", "mtat-fcn.pth")
    for words, said in {
        ("song.wav", "--tag", "guittar", *out, *NETWORKS): "the nearest: guitar",
        ("silent.wav", *guitar, *out, *NETWORKS): "is silent",
        ("none.wav", *guitar, *out, *NETWORKS): "cannot be read",
        ("song.wav", *guitar, "-o", "there.masks", *NETWORKS): "is there already",
        ("song.wav", *guitar, *out, *other): "not of this network",
        ("song.wav", *guitar, *out, *NETWORKS[:2], "--tagger", "fcn.pth"): "whose tags it knows",
        ("song.wav", *guitar, *out, "--autoencoder", "no", *NETWORKS[2:]): "cannot be read",
    }.items():
        assert said in steer.refuses("steer", *words)
    assert not (steer.folder / "out.masks").exists()
    assert (steer.folder / "there.masks").read_text() == "there"


def test_help_says_what_to_install(steer):
    assert "pip install 'rtsep[train]'" in steer("steer", "--help").out
