"""A model's parts, run by chunks, and query vectors kept under a name."""

import numpy as np
import pytest

from rtsep.errors import AudioError, BundleError, OutputError
from rtsep.query import enrolled
from rtsep.query.model import QueryModel, check_example, find_query_model, part_path
from tests.rtsep import models

BINS, SPLIT = models.QUERY_SPECTROGRAM.bins, models.QUERY_SPLIT


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return models.save_query_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(path):
    return QueryModel(find_query_model(path), device="cpu")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("APPDATA", str(tmp_path / "config"))
    return tmp_path


@pytest.mark.parametrize("frames", [5, 106, 250, 2000])
def test_examples_of_any_length_become_vectors(model, frames):
    low = np.zeros((frames, BINS), np.float32)
    low[:, 10] = 3.0
    np.testing.assert_allclose(model.embedder.embed(low), [1.0, 0.0], atol=1e-5)
    low[:, 500] = 1.0
    np.testing.assert_allclose(model.embedder.embed(low), [0.75, 0.25], atol=1e-5)


@pytest.mark.parametrize("frames", [1, 99, 100, 101, 350])
def test_chunks_join_without_a_seam(model, frames):
    mixture = np.random.default_rng(0).random((frames, BINS), np.float32)
    query = np.array([1.0, 0.25], np.float32)
    expected = mixture * np.where(np.arange(BINS) < SPLIT, 1.0, 0.25).astype(np.float32)
    position, seen = 0, []
    parts = model.separate(mixture, query, lambda *done: seen.append(done))
    for first, estimate, logits in parts:
        assert first == position
        np.testing.assert_allclose(estimate, expected[first : first + len(estimate)], atol=1e-6)
        assert logits.shape == (len(estimate), len(models.QUERY_NOTES.pitches) + 1)
        position += len(estimate)
    assert position == frames
    assert seen[-1] == (frames, frames)


def test_a_model_that_learnt_at_one_level_hears_any_clip_at_it(path, tmp_path):
    def level(fields):
        fields["spectrogram"]["level_db"] = -20.0

    for task in ("query", "embed"):
        data = models.edit_manifest(part_path(path, task).read_bytes(), level)
        part_path(tmp_path / "asked.onnx", task).write_bytes(data)
    model = QueryModel(find_query_model(tmp_path / "asked.onnx"), device="cpu")
    sine = np.sin(np.arange(32_000) * 2 * np.pi * 440 / 16_000).astype(np.float32)[None]
    loud, loud_gain = model.heard(0.5 * sine, 16_000)
    quiet, quiet_gain = model.heard(0.01 * sine, 16_000)
    assert loud_gain == pytest.approx(0.1 * 2**0.5 / 0.5, rel=1e-3)
    assert quiet_gain == pytest.approx(50 * loud_gain, rel=1e-3)
    np.testing.assert_allclose(quiet, loud, atol=1e-3)
    heard = model.embedder.heard(0.01 * sine, 16_000)
    np.testing.assert_allclose(heard, loud, atol=1e-3)
    assert model.heard(0.0 * sine, 16_000)[1] == 1.0
    taken = model.stem(0.01 * sine, 16_000, np.array([1.0, 0.0], np.float32)).audio
    np.testing.assert_allclose(taken[:, 4000:-4000], 0.01 * sine[:, 4000:-4000], atol=1e-4)


def test_a_score_is_played_frame_by_frame(model):
    score = np.zeros((230, len(models.QUERY_NOTES.pitches) + 1), np.float32)
    score[:, -1] = 1.0
    score[50:60] = 0.0
    score[50:60, models.QUERY_NOTES.pitches.index(69)] = 1.0
    found = model.synthesise(np.ones((230, BINS), np.float32), score, np.ones(2, np.float32))
    assert found.shape == (230, BINS)
    frames, bins = np.nonzero(found > 1.0)
    assert set(frames) == set(range(50, 60))
    assert set(bins) == {round(440 * 2048 / 16_000)}


def test_what_is_no_query_model_is_refused(path, tmp_path):
    with pytest.raises(BundleError, match="a model to embed; expected one to query"):
        QueryModel(find_query_model(part_path(path, "embed")))
    with pytest.raises(BundleError, match="a model to separate; expected one to query"):
        QueryModel(find_query_model("live"))
    (tmp_path / "alone.onnx").write_bytes(path.read_bytes())
    with pytest.raises(BundleError, match=r"no bundle at .*alone-embed\.onnx"):
        QueryModel(find_query_model(tmp_path / "alone.onnx")).embed(
            np.ones((100, BINS), np.float32)
        )

    other = models.edit_manifest(
        part_path(path, "embed").read_bytes(), lambda f: f.update(query_space="f" * 32)
    )
    (tmp_path / "alone-embed.onnx").write_bytes(other)
    with pytest.raises(BundleError, match="for other query vectors than test"):
        QueryModel(find_query_model(tmp_path / "alone.onnx"))
    (tmp_path / "live.onnx").write_bytes(models.live_query())
    with pytest.raises(BundleError, match="a query model for live use; expected one for files"):
        QueryModel(find_query_model(tmp_path / "live.onnx"))


def test_silent_and_short_examples_are_refused():
    check_example(np.full((1, 8000), 0.1, np.float32), 16_000, "clip")
    with pytest.raises(AudioError, match=r"clip lasts 0\.25 s; expected an example of at least"):
        check_example(np.ones((1, 4000), np.float32), 16_000, "clip")
    with pytest.raises(AudioError, match="clip is silent"):
        check_example(np.full((2, 16_000), 5e-4, np.float32), 16_000, "clip")


def test_queries_are_kept_and_found_by_name(model, home):
    vector = np.array([0.25, -0.5], np.float32)
    path = enrolled.enrol("my oboe", [(model.manifest, vector)], {"test": 12.5})
    assert path.is_relative_to(home)
    assert enrolled.enrolled_names() == ["my oboe"]
    assert enrolled.find_enrolled("my oboe") == path
    assert enrolled.find_enrolled(str(path)) == path
    assert enrolled.find_enrolled("your oboe") is None
    kept = enrolled.load_enrolled(path)
    assert kept.name == "my oboe"
    np.testing.assert_array_equal(kept.vector(model.embedder), vector)
    assert kept.closeness_db(model, vector) == 12.5
    enrolled.enrol("my oboe", [(model.manifest, 2 * vector)], {"other": 1.0})
    kept = enrolled.load_enrolled(path)
    np.testing.assert_array_equal(kept.vector(model.embedder), 2 * vector)
    with pytest.raises(AudioError, match="a query of another model"):
        kept.closeness_db(model, vector)


@pytest.mark.parametrize("name", ["", "../oboe", "a/b", ".hidden", "x" * 65, "nul\0"])
def test_names_that_cannot_be_files_are_refused(model, home, name):
    with pytest.raises(OutputError, match="cannot be a query's name"):
        enrolled.enrol(name, [(model.manifest, np.zeros(2, np.float32))], {})
    assert enrolled.enrolled_names() == []
    assert home.exists()


def test_query_files_of_other_models_and_damaged_ones_are_refused(model, home):
    path = enrolled.enrol("oboe", [(model.manifest, np.zeros(2, np.float32))], {"test": 0.5})
    text = path.read_text()
    for changed, words in {
        text.replace(model.manifest.query_space, "0" * 32): "a query of another model",
        text.replace('"rtsep_query": 1', '"rtsep_query": 2'): "of version 2",
        text[:40]: "no query file",
        text.replace("0.0", "1e99"): "no query file",
        text.replace("0.5", "-500.0"): "no query file",
        "": "no query file",
    }.items():
        assert changed != text
        path.write_text(changed)
        with pytest.raises(AudioError, match=words) as caught:
            enrolled.load_enrolled(path).vector(model.embedder)
        assert "\n" not in str(caught.value)
    assert home.exists()
