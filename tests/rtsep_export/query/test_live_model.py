"""The live query model: what learns, one frame against many, and its bundle in an engine."""

import numpy as np
import pytest
import torch

from rtsep.backend import Session
from rtsep.bundle import load_bundle
from rtsep.engine import QUERIED, Engine
from rtsep.errors import SetupError
from rtsep.features import FeatureExtractor
from rtsep.manifest import Training
from rtsep.networks import TapsNetwork
from rtsep.presets import PRESETS
from rtsep.query.model import Embedder
from rtsep_export import features as training_features
from rtsep_export.query import live_segments
from rtsep_export.query.live import QUERY, ExampleNet, LiveQuery
from rtsep_export.query.live_segments import (
    DeviceQueryMixes,
    QuerySegments,
    Question,
    Voice,
    question,
)
from rtsep_export.query.live_training import LiveQueryTask
from rtsep_export.query.networks import BINS
from rtsep_export.query.solos import Solos
from rtsep_export.query.to_onnx import export_live_query
from rtsep_export.rendered import RenderedSongs
from rtsep_export.separation import Shape, make_separator
from rtsep_export.to_onnx import export_separator
from tests.rtsep.cli import write_audio
from tests.rtsep_export.learning import steps_on_one_batch

TRAINING = Training(data=("none",), sound_fonts=(), audio_hours=0.0, command="none")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = LiveQuery(channels=48).eval()
    for film in network.films:
        torch.nn.init.normal_(film.weight, 0.0, 0.5)
    return network


def test_a_query_changes_what_every_block_finds(network):
    features = torch.randn(2, 60, network.trunk.input.in_features)
    query = torch.rand(2, QUERY, requires_grad=True)
    network(features, query)[0].square().sum().backward()
    assert query.grad[0].abs().min() > 0
    assert not query.grad[1].any()
    for film in network.films:
        assert film.weight.grad.abs().sum() > 0


@torch.no_grad()
def test_a_query_is_the_same_at_any_level():
    torch.manual_seed(0)
    hears = ExampleNet().eval()
    example = torch.rand(1, 1, 300, BINS)
    query = hears(example)
    assert query.shape == (1, QUERY)
    assert query.abs().max() <= 1
    for level in (0.03, 30.0):
        assert torch.allclose(hears(level * example), query, atol=1e-4)
    assert not torch.allclose(hears(example.cumsum(-1)), query, atol=1e-2)
    assert hears(0 * example).isfinite().all()


@torch.no_grad()
def test_one_mask_in_four_is_the_same_mask(network):
    features, query = torch.randn(1, 60, network.trunk.input.in_features), torch.rand(1, QUERY)
    whole = network(features, query)
    assert torch.allclose(network(features, query, 4), whole[:, ::4], atol=1e-6)
    assert whole.min() >= 0
    assert whole.max() <= 1


def test_the_bundle_says_what_the_network_says(network, tmp_path):
    path = tmp_path / "asked.onnx"
    export_live_query(network, path, "asked", TRAINING, "1.0.0", int8=False)
    bundle = load_bundle(path)
    audio = np.random.default_rng(0).normal(0, 0.1, (2, 40 * 256)).astype(np.float32)
    ends = bundle.manifest.front_ends
    heard = training_features.features(torch.from_numpy(audio), ends, 256)[None]
    example = np.random.default_rng(1).random((300, BINS), np.float32)
    vector = Embedder(bundle, device="cpu").embed(example)
    with torch.no_grad():
        expected_vector = network.query(torch.from_numpy(example)[None, None])
        expected = network(heard, expected_vector)[0].numpy()
    np.testing.assert_allclose(vector, expected_vector[0], atol=1e-5)
    session = Session(bundle, device="cpu")
    session.inputs["query"][0] = vector
    runner = TapsNetwork(session, bundle.manifest.state)
    extractor = FeatureExtractor(ends, sample_rate=48_000, channels=2, hop=256)
    frame = np.zeros(extractor.n_features, np.float32)
    for k in range(40):
        extractor.process(np.ascontiguousarray(audio[:, 256 * k : 256 * (k + 1)]), frame)
        runner.push(frame)
        np.testing.assert_allclose(runner.outputs["masks"][0, 0], expected[k], atol=1e-4)


def test_it_plays_beside_a_separator_of_the_same_front_ends(network, tmp_path):
    export_live_query(network, tmp_path / "asked.onnx", "asked", TRAINING, "1.0.0")
    separator = make_separator(Shape(("live",), 32, 1))
    export_separator(separator, "live", tmp_path / "live.onnx", TRAINING, "1.0.0")
    live, asked = (load_bundle(tmp_path / f"{name}.onnx") for name in ("live", "asked"))
    engine = Engine(live, None, PRESETS["live"], query=asked, device="cpu")
    engine.prepare(48_000, 4800, 2)
    engine.ask(np.full(QUERY, 0.5, np.float32))
    mix = np.random.default_rng(0).normal(0, 0.1, (2, 4800)).astype(np.float32)
    stems = np.zeros((len(engine.stems), 2, 4800), np.float32)
    engine.process(mix, stems)
    assert np.abs(stems[engine.stems.index(QUERIED)]).max() > 1e-3
    np.testing.assert_allclose(stems.sum(0)[:, 256:], mix[:, :-256], atol=1e-5)
    assert engine.misses == 0


def test_a_question_is_of_one_voice_of_the_mix_or_of_none(tiny_solos):
    songs, solos = RenderedSongs(tiny_solos / "train"), Solos(tiny_solos, "train")
    rng = np.random.default_rng(0)
    drawn = [question(songs, solos, 48_000, rng) for _ in range(400)]
    alone = [q for q in drawn if all(v.solo for v in q.voices)]
    mixed = [q for q in drawn if {v.solo for v in q.voices} == {True, False}]
    absent = [q for q in drawn if q.asked is None]
    assert min(map(len, (alone, mixed, absent))) > 30
    others = 0
    for q in drawn:
        names = [(v.solo, v.name) for v in q.voices]
        assert len(set(names)) == len(names)
        example = (q.example.solo, q.example.name)
        if q.asked is None:
            assert example not in names
        else:
            assert example == names[q.asked]
            others += q.example.number != q.voices[q.asked].number
        for v in q.voices:
            source = solos if v.solo else songs
            assert 0 <= v.start <= source.length(v.number) - 48_000
    # Half of the other examples are the same of two.
    assert 0.02 < others / len(drawn) < 0.2


def test_segments_ask_for_a_voice_of_the_mix_or_for_none(tiny_solos):
    songs, rng = RenderedSongs(tiny_solos / "train"), np.random.default_rng(0)
    make = QuerySegments(160, Solos(tiny_solos, "train"))
    absent = 0
    for _ in range(60):
        segment = make(songs, rng)
        assert segment["features"].shape[0] == len(segment["energy"]) == 160
        assert segment["ratio"].shape[1] == 1
        assert segment["examples"].shape == (2, 301, BINS)
        assert segment["examples"].max() > 0.1
        absent += not segment["ratio"].any()
    assert 0 < absent < 30


def test_what_is_asked_for_is_the_voice_that_is_heard(tiny_solos, monkeypatch):
    """A mix of two solos, nothing varied: the ideal masks are those of the one asked for."""
    monkeypatch.setattr(live_segments, "varied", lambda audio, rng: audio)
    monkeypatch.setattr(live_segments, "MONO", 0.0)
    solos = Solos(tiny_solos, "train")
    voices = tuple(Voice(True, name, solos.having[name][0]) for name in ("flute", "trumpet"))
    make, heard = QuerySegments(160, solos), {}
    for row, example in ((0, voices[0]), (1, voices[1]), (None, Voice(True, "violin", 4))):
        drawn = Question(voices, row, example)
        monkeypatch.setattr(live_segments, "question", lambda *_, drawn=drawn: drawn)
        heard[row] = make(RenderedSongs(tiny_solos / "train"), np.random.default_rng(0))
    energy = heard[0]["energy"]
    sounding = energy > 1e-3 * energy.max()
    ratios = [heard[row]["ratio"][:, 0] for row in (0, 1)]
    np.testing.assert_allclose((ratios[0] + ratios[1])[sounding], 1.0, atol=1e-3)
    assert min(float(ratio[sounding].max()) for ratio in ratios) > 0.9
    assert not heard[None]["ratio"].any()
    assert torch.equal(heard[0]["features"], heard[None]["features"])


def test_those_made_on_the_device_ask_likewise(tiny_solos):
    make = QuerySegments(160, Solos(tiny_solos, "train"))
    mixes = DeviceQueryMixes(tiny_solos / "train", make, 4, torch.device("cpu"))
    rng, absent = np.random.default_rng(0), 0
    made = [mixes.fresh(4, rng) for _ in range(12)]
    for batch in made:
        assert batch["features"].shape[:2] == batch["energy"].shape[:2] == (4, 160)
        assert batch["ratio"].shape[2] == 1
        assert batch["examples"].shape == (4, 2, 301, BINS)
        assert (batch["examples"].amax((1, 2, 3)) > 0.1).all()
        absent += int((~batch["ratio"].flatten(1).any(1)).sum())
    assert 0 < absent < 24
    songs = RenderedSongs(tiny_solos / "train")
    other = [make(songs, rng) for _ in range(48)]
    for name in ("features", "examples"):
        # Alike on the whole, whoever makes them.
        here, there = torch.cat([b[name] for b in made]), torch.stack([o[name] for o in other])
        assert abs(float(here.mean() - there.mean())) < 0.35 * float(there.std())


def test_it_learns(tiny_solos):
    torch.manual_seed(0)
    task = LiveQueryTask(tiny_solos, frames=160, batch=2)
    losses, figures = steps_on_one_batch(task, 10, 1e-3)
    assert losses[-1] < losses[0] - 0.3
    assert set(figures) == {"worth", "query"}
    with torch.no_grad():
        assert set(task.score(task.network.eval())) == {"score"}


def test_what_is_no_folder_of_solos_is_said(tiny_songs):
    with pytest.raises(SetupError, match="run rtsep-export solos first"):
        LiveQueryTask(tiny_songs, frames=160, batch=2)
    path = tiny_songs / "solos" / "train" / "violin" / "000.flac"
    path.parent.mkdir(parents=True)
    write_audio(path, np.zeros((2, 16_000), np.float32), 16_000)
    with pytest.raises(SetupError, match=r"000\.flac at 16000 Hz; expected 48000 Hz"):
        Solos(tiny_songs, "train")
