"""Mixes made on the device are those that processes beside the training make."""

import numpy as np
import pedalboard
import pytest
import torch

from rtsep_export import device_mixes, separation, transcription
from rtsep_export.device_mixes import DeviceSegments, equaliser, varied_batch
from rtsep_export.device_songs import StoredRolls, StoredSongs
from rtsep_export.mixes import own_mix, random_mix
from rtsep_export.rendered import RenderedSongs
from rtsep_export.segments import SeparatorSegment, TranscriberSegment
from rtsep_export.stems import STEMS

CPU = torch.device("cpu")
START = 8192


@pytest.fixture
def songs(tiny_songs):
    return RenderedSongs(tiny_songs / "train")


def places(songs, start):
    """Of every song, all its stems from `start` on."""
    return [
        {stem: (index, start) for stem in STEMS if index in songs.having[stem]}
        for index in range(len(songs))
    ]


def test_stored_stems_are_those_of_the_files(songs):
    stored = StoredSongs(songs, 30_000, CPU)
    found = stored.stems(places(songs, START), 30_000)
    for index in range(len(songs)):
        wanted, _ = own_mix(songs, index, START, 30_000)
        assert np.abs(found[index].numpy() - wanted).max() < 1e-6


def test_past_the_end_of_a_short_song_comes_silence(songs):
    longer = songs.length(0) + 5000
    found = StoredSongs(songs, longer, CPU).stems(places(songs, 0), longer)
    assert found[0].any()
    assert not found[:, :, :, songs.length(0) :].any()


@pytest.mark.parametrize(
    "prepare", [SeparatorSegment(("live", "offline"), 160), TranscriberSegment(64)]
)
def test_a_batch_is_prepared_as_one_segment_is(songs, prepare):
    # Cut anew for a speed of 1, which is drawn.
    at = places(songs, START)
    stems = StoredSongs(songs, prepare.samples, CPU).stems(at, prepare.samples)
    rolls = StoredRolls(songs, prepare.samples, CPU).at(at)
    rng = next(r for s in range(99) if (r := Drawn(s)).speed == 1.0).rng
    found = prepare.of_batch(stems, rolls, rng)
    for index in range(len(songs)):
        wanted = prepare(*own_mix(songs, index, START, prepare.samples))
        assert found.keys() == wanted.keys()
        for name, array in wanted.items():
            mine = found[name][index]
            if name == "velocity":
                # It counts where a note begins.
                begun = wanted["onset"] > 0.01
                mine, array = mine[begun], array[begun]
            # Rolls are stored in bytes.
            assert torch.allclose(mine, array, rtol=1e-3, atol=3e-3), name


class Drawn:
    """A generator and the speed that it would draw first."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.speed = float(np.random.default_rng(seed).choice((1.0, 1.0, 0.91875, 0.95, 1.05)))


@pytest.mark.parametrize(
    ("kind", "plugin"),
    [
        ("low", lambda hz, db, q: pedalboard.LowShelfFilter(hz, db, q)),
        ("peak", lambda hz, db, q: pedalboard.PeakFilter(hz, db, q)),
        ("high", lambda hz, db, q: pedalboard.HighShelfFilter(hz, db, q)),
    ],
)
@pytest.mark.parametrize("gain_db", [-7.0, 4.0])
def test_the_equalisers_are_those_of_the_processes(kind, plugin, gain_db):
    hz, q, n_fft = {"low": 150.0, "peak": 1500.0, "high": 5000.0}[kind], 0.5**0.5, 8192
    impulse = np.zeros((1, n_fft), np.float32)
    impulse[0, 0] = 1.0
    wanted = np.fft.rfft(plugin(hz, gain_db, q)(impulse, 48_000)[0])
    given = (np.array([value]) for value in (hz, gain_db, q))
    found = equaliser(kind, *given, n_fft, CPU)[0].numpy()
    assert np.abs(found - wanted).max() < 2e-3


def test_varied_stems_keep_their_place_and_silence(songs):
    stems = StoredSongs(songs, 20_000, CPU).stems(places(songs, START), 20_000)
    found = varied_batch(stems, np.random.default_rng(3))
    assert found.shape == stems.shape
    silent = ~stems.flatten(2).any(-1)
    assert not found.flatten(2)[silent].any()
    for old, new in zip(stems[~silent].mean(1), found[~silent].mean(1), strict=True):
        # Another level and colour; the same music, at the same moment.
        assert torch.corrcoef(torch.stack([old, new]))[0, 1] > 0.7
        assert not torch.allclose(old, new, atol=1e-4)


def test_batches_differ_and_have_all_that_a_network_learns_from(tiny_songs):
    mixes = DeviceSegments(tiny_songs / "train", SeparatorSegment(("live",), 64), 4, CPU)
    rng = np.random.default_rng(1)
    batches = [mixes.draw(rng) for _ in range(4)]
    assert {k: tuple(v.shape[:2]) for k, v in batches[0].items()} == dict.fromkeys(
        ("features", "energy", "ratio", "floor"), (4, 64)
    )
    seen = {array.numpy().tobytes() for batch in batches for array in batch["features"]}
    assert len(seen) > 4


def test_levels_are_those_of_the_processes(songs):
    """Over many mixes, the same loudness and the same share of silent stems."""
    rng = np.random.default_rng(4)
    mixes = DeviceSegments(songs.folders[0].parent, Kept(), 4, CPU)
    found = torch.cat([mixes.draw(rng)["stems"] for _ in range(60)])
    wanted = np.stack([random_mix(songs, Kept.samples, rng)[0] for _ in range(240)])
    heard, meant = (np.sqrt(np.mean(np.asarray(x) ** 2, axis=(2, 3))) for x in (found, wanted))
    assert abs((heard > 0).mean() - (meant > 0).mean()) < 0.1
    apart_db = 20 * np.log10(np.median(heard[heard > 0]) / np.median(meant[meant > 0]))
    assert abs(apart_db) < 2.5


class Kept:
    """Leaves the stems as they are."""

    samples = 6000

    def of_batch(self, stems, rolls, rng):
        return {"stems": stems}


@pytest.mark.parametrize("task", ["separator", "transcriber"])
def test_what_is_made_on_the_device_can_be_learnt(tiny_songs, monkeypatch, task):
    def made_here(folder, prepare, batch, workers, device):
        return DeviceSegments(folder, prepare, batch, device)

    for module in (separation, transcription):
        monkeypatch.setattr(module, "mixes_for", made_here)
    if task == "separator":
        learner = separation.SeparationTask(tiny_songs, frames=160, batch=2)
    else:
        learner = transcription.TranscriptionTask(tiny_songs, frames=32, batch=2)
    optimiser = torch.optim.Adam(learner.network.parameters(), 1e-3)
    losses = []
    for step in range(12):
        loss, _ = learner.loss(np.random.default_rng(step))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-4:]) < np.mean(losses[:4])


def test_a_processor_gets_its_mixes_from_processes(tiny_songs):
    prepare = TranscriberSegment(16)
    made = device_mixes.mixes_for(tiny_songs / "train", prepare, 4, 0, CPU)
    assert isinstance(made, device_mixes.Mixes)
