"""A catalogue over a Ray cluster of two nodes on this machine."""

import os

import numpy as np
import pytest
import torch

from rtsep.errors import SetupError
from rtsep.mask_file import read_masks
from rtsep_export.steer import cluster
from rtsep_export.steer.autoencoder import Autoencoder
from rtsep_export.steer.command import Order
from rtsep_export.steer.steering import Settings
from rtsep_export.steer.taggers import Musicnn
from tests.rtsep.cli import music, write_audio

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def address():
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    found = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 1,
            "object_store_memory": 100 << 20,
            "include_dashboard": False,
        },
    )
    found.add_node(num_cpus=1, object_store_memory=100 << 20)
    yield found.address
    found.shutdown()


@pytest.fixture
def steer(rtsep):
    """Songs in a folder, and weights with names of published ones."""
    torch.manual_seed(0)
    torch.save({"model": Autoencoder().state_dict()}, rtsep.folder / "vqvae.pth.tar")
    torch.save(Musicnn().state_dict(), rtsep.folder / "mtat-musicnn.pth")
    songs = rtsep.folder / "songs"
    (songs / "more").mkdir(parents=True)
    for name in ("a.wav", "b.flac", "more/c.wav"):
        write_audio(songs / name, music(0.3, 44_100), 44_100)
    (songs / "notes.txt").write_text("no song")
    return rtsep


NETWORKS = ("--autoencoder", "vqvae.pth.tar", "--tagger", "mtat-musicnn.pth", "--steps", "1")
WORDS = ("--tag", "guitar", "-o", "out", *NETWORKS)


def test_a_folder_becomes_mask_files_and_what_fails_is_listed(steer, address):
    (steer.folder / "songs" / "d.wav").write_text("no audio")
    outcome = steer("steer", "songs", *WORDS, "--cluster", address)
    assert outcome.status == 2
    assert "songs/d.wav: " in outcome.out
    assert "is not audio that can be decoded" in outcome.out
    assert "masks of 3 of 4 songs" in outcome.out
    assert "1 of 4 songs have no masks" in outcome.err
    assert steer.files() == {"a.masks", "b.masks", "c.masks"}
    found = read_masks(steer.folder / "out" / "c.masks")
    assert found.header.tags == ("guitar",)
    assert found.header.settings["taggers"].startswith("mtat-musicnn.pth ")
    assert found.masks.std() > 0
    # As on this machine alone.
    before = (steer.folder / "out" / "a.masks").read_bytes()
    write_audio(steer.folder / "songs" / "d.wav", music(0.3, 44_100), 44_100)
    outcome = steer("steer", "songs", *WORDS)
    assert outcome.status == 0, outcome.err
    assert "masks of 4 of 4 songs" in outcome.out
    assert (steer.folder / "out" / "a.masks").read_bytes() == before
    (steer.folder / "out" / "a.masks").unlink()
    assert steer("steer", "songs/a.wav", "songs/b.flac", *WORDS).status == 0
    again = read_masks(steer.folder / "out" / "a.masks").masks.astype(int)
    (steer.folder / "out" / "a.masks").write_bytes(before)
    there = read_masks(steer.folder / "out" / "a.masks").masks.astype(int)
    assert np.abs(again - there).max() <= 1


def order():
    return Order(("guitar",), "vqvae.pth.tar", ("mtat-musicnn.pth",), Settings(steps=1), False)


def test_a_song_whose_worker_dies_is_tried_again(steer, address, monkeypatch):
    marks = steer.folder

    def dies(name, song, networks, order):
        tries = [*marks.glob(f"{name}.try*")]
        (marks / f"{name}.try{len(tries)}").touch()
        if name == "always.wav" or (name == "once.wav" and not tries):
            os._exit(1)
        return "", name.encode()

    monkeypatch.setattr(cluster, "steer_bytes", dies)
    jobs = []
    for name in ("fine", "once", "always"):
        song = steer.folder / f"{name}.wav"
        song.write_bytes(b"x")
        jobs.append((song, steer.folder / f"{name}.masks"))
    jobs.append((steer.folder / "none.wav", steer.folder / "none.masks"))
    seen = []
    failures = cluster.steer_catalogue(jobs, order(), address, lambda *done: seen.append(done))
    assert {song.name for song, _ in failures} == {"always.wav", "none.wav"}
    assert all("\n" not in why for _, why in failures)
    assert (steer.folder / "once.masks").read_bytes() == b"once.wav"
    assert (steer.folder / "fine.masks").read_bytes() == b"fine.wav"
    tries = [p.name for p in steer.folder.glob("*.try*")]
    assert sum(name.startswith("always") for name in tries) == cluster.ATTEMPTS
    assert sum(name.startswith("once") for name in tries) == 2
    assert len(seen) == 3


def test_what_cannot_be_is_said_in_one_line(steer):
    (steer.folder / "empty").mkdir()
    (steer.folder / "file").write_text("there")
    write_audio(steer.folder / "a.wav", music(0.1, 44_100), 44_100)
    assert "no songs in empty" in steer.refuses("steer", "empty", *WORDS)
    assert "two songs called a" in steer.refuses("steer", "songs", "a.wav", *WORDS)
    into_file = ("--tag", "guitar", "-o", "file", *NETWORKS)
    assert "is no folder" in steer.refuses("steer", "songs", *into_file)
    wrong = ("--tag", "guittar", "-o", "out", *NETWORKS)
    assert "the nearest: guitar" in steer.refuses("steer", "songs", *wrong, "--cluster", "auto")
    with pytest.raises(SetupError, match=r"no Ray cluster at 127\.0\.0\.1:1"):
        cluster.steer_catalogue([], order(), "127.0.0.1:1", lambda *_: None)
