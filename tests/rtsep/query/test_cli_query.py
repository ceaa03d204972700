"""``rtsep query``: one of two sines out of a mix, by example."""

import json
from dataclasses import dataclass

import mido
import numpy as np
import pytest

from rtsep.live.queries import session_query
from rtsep.live.session import Session
from rtsep.query import enrolled
from rtsep.query.examples import Clip, Part, Query, ask, read_clip, remarks_on
from rtsep.query.live_model import open_query_models
from rtsep.query.model import Stem
from tests.rtsep import models
from tests.rtsep.cli import read_audio, write_audio

LIVE = ("--model", "query-live")
LOW_HZ, HIGH_HZ = 523.25, 1567.98  # C5, G6
SECONDS = 2.5


def sine(hertz, rate=48_000, seconds=SECONDS, channels=2):
    time = np.arange(round(seconds * rate)) / rate
    sounding = np.clip((time - 0.5) / 0.1, 0, 1) * np.clip((2.0 - time) / 0.1, 0, 1)
    wave = 0.3 * np.sin(2 * np.pi * hertz * time) * sounding
    return np.stack([wave, 0.5 * wave][:channels]).astype(np.float32)


@pytest.fixture
def query(rtsep, monkeypatch):
    models.save_query_model(rtsep.folder)
    for name in ("HOME", "XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.setenv(name, str(rtsep.folder / "home"))
    write_audio(rtsep.folder / "duo.wav", sine(LOW_HZ) + sine(HIGH_HZ))
    write_audio(rtsep.folder / "high.wav", sine(HIGH_HZ, channels=1))
    write_audio(rtsep.folder / "low.wav", sine(LOW_HZ, channels=1))
    return rtsep


def run(query, *arguments):
    outcome = query("query", *arguments, "--model", "test.onnx")
    assert (outcome.status, outcome.err) == (0, "")
    return outcome


@pytest.mark.parametrize(("name", "hertz", "pitch"), [("low", LOW_HZ, 72), ("high", HIGH_HZ, 91)])
def test_an_example_takes_its_instrument_out_of_a_song(query, name, hertz, pitch):
    outcome = run(query, "duo.wav", "--example", f"{name}.wav", "-o", "out")
    assert "out/duo" in outcome.out
    assert query.files() == {f"duo/{name}.wav", "duo/rest.wav", "duo/duo.mid"}
    stem, rest = (read_audio(query.folder / f"out/duo/{n}.wav") for n in (name, "rest"))
    np.testing.assert_allclose(stem + rest, sine(LOW_HZ) + sine(HIGH_HZ), atol=1e-5)
    middle = slice(40_000, 80_000)
    np.testing.assert_allclose(stem[:, middle], sine(hertz)[:, middle], atol=5e-3)
    track = mido.MidiFile(query.folder / "out/duo/duo.mid").tracks[1]
    assert track.name == name
    notes = [m for m in track if m.type in ("note_on", "note_off")]
    assert [(m.type, m.note) for m in notes] == [("note_on", pitch), ("note_off", pitch)]
    # 960 ticks a beat at 120 beats a minute.
    assert notes[0].time / 1920 == pytest.approx(0.5, abs=0.1)
    assert notes[1].time / 1920 == pytest.approx(1.5, abs=0.15)


@pytest.mark.parametrize("rate", [22_050, 44_100, 96_000])
def test_any_rate_and_format(query, rate):
    mix = sine(LOW_HZ, rate) + sine(HIGH_HZ, rate)
    write_audio(query.folder / "song.flac", mix, rate)
    run(query, "song.flac", "--example", "high.wav", "-o", "out", "--format", "flac")
    stem, rest = (read_audio(query.folder / f"out/song/{n}.flac") for n in ("high", "rest"))
    assert stem.shape == rest.shape == mix.shape
    middle = slice(rate, rate + rate // 2)
    np.testing.assert_allclose(stem[:, middle], sine(HIGH_HZ, rate)[:, middle], atol=5e-3)


def test_an_enrolled_query_is_taken_by_its_name(query):
    outcome = run(query, "--enroll", "my piccolo", "high.wav")
    path = enrolled.query_folder() / "my piccolo.query.json"
    assert str(path) in outcome.out
    assert [*json.loads(path.read_text())["models"].values()] == ["test"]
    run(query, "duo.wav", "--example", "my piccolo", "-o", "out")
    run(query, "duo.wav", "--example", "high.wav", "-o", "by-clip")
    one, other = (
        read_audio(query.folder / place)
        for place in ("out/duo/my piccolo.wav", "by-clip/duo/high.wav")
    )
    np.testing.assert_array_equal(one, other)


def test_a_score_is_played_in_the_stems_range(query):
    file = mido.MidiFile(ticks_per_beat=960)
    track = mido.MidiTrack()
    file.tracks.append(track)
    for pitch in (67, 69):  # two octaves below the stem's G6
        track.append(mido.Message("note_on", note=pitch, velocity=90, time=0))
        track.append(mido.Message("note_off", note=pitch, time=960))
    file.save(query.folder / "tune.mid")
    words = ("duo.wav", "--example", "high.wav", "--synthesize", "tune.mid", "-o", "out")
    outcome = query("query", *words, "--model", "test.onnx")
    assert outcome.status == 0
    assert "tune.mid is moved by +2 octaves" in outcome.err
    audio = read_audio(query.folder / "out/duo/high-tune.wav")[0]
    for start, hertz in ((0.1, 1567.98), (0.6, 1760.0)):
        part = audio[round(start * 16_000) : round((start + 0.3) * 16_000)]
        peak = np.abs(np.fft.rfft(part * np.hanning(len(part)), 16_000)).argmax()
        assert abs(peak - hertz) < 12


def test_scores_are_played_by_queries_of_their_own_where_the_player_has_some(query):
    def of_another_space(fields):
        fields.update(query_space="e" * 32)

    for old, new in {"synthesise": "synthesise", "embed": "synthesise-embed"}.items():
        data = (query.folder / f"test-{old}.onnx").read_bytes()
        edited = models.edit_manifest(data, of_another_space)
        (query.folder / f"test-{new}.onnx").write_bytes(edited)
    run(query, "--enroll", "piccolo", "high.wav")
    kept = json.loads((enrolled.query_folder() / "piccolo.query.json").read_text())
    assert set(kept["vectors"]) == {models.QUERY_SPACE, "e" * 32}
    tune = mido.MidiFile(tracks=[mido.MidiTrack()])
    tune.tracks[0].append(mido.Message("note_on", note=91, velocity=90, time=0))
    tune.tracks[0].append(mido.Message("note_off", note=91, time=960))
    tune.save(query.folder / "tune.mid")
    for example, output in {"piccolo": "by-name", "high.wav": "by-clip"}.items():
        run(query, "duo.wav", "--example", example, "--synthesize", "tune.mid", "-o", output)
    one, other = (
        read_audio(query.folder / place)
        for place in ("by-name/duo/piccolo-tune.wav", "by-clip/duo/high-tune.wav")
    )
    np.testing.assert_array_equal(one, other)
    kept["vectors"].pop("e" * 32)
    (enrolled.query_folder() / "piccolo.query.json").write_text(json.dumps(kept))
    words = ("duo.wav", "--example", "piccolo", "--synthesize", "tune.mid", "-o", "none")
    said = query.refuses("query", *words, "--model", "test.onnx")
    assert "a query of another model" in said


def test_what_cannot_be_used_is_refused_in_one_line(query):
    write_audio(query.folder / "silent.wav", np.zeros((1, 48_000), np.float32))
    write_audio(query.folder / "short.wav", sine(HIGH_HZ)[:, 24_000:34_000])
    (query.folder / "no.mid").write_text("no")
    mido.MidiFile(tracks=[mido.MidiTrack()]).save(query.folder / "empty.mid")
    common = ("--model", "test.onnx")
    for words, said in {
        ("--example", "silent.wav", "-o", "out"): "silent.wav is silent",
        ("--example", "short.wav", "-o", "out"): "short.wav lasts 0.21 s",
        ("--example", "oboe", "-o", "out"): "no clip and no enrolled query 'oboe'",
        ("--example", "gone/oboe.wav", "-o", "out"): "cannot be read",
        ("-o", "out"): "no --example",
        ("--example", "high.wav"): "no --output",
        ("--example", "high.wav", "-o", "out", "--format", "mp3"): "--format mp3",
        (
            "--example",
            "high.wav",
            "-o",
            "out",
            "--synthesize",
            "no.mid",
        ): "no.mid is no score (it ends early)",
        ("--example", "high.wav", "-o", "out", "--synthesize", "empty.mid"): "holds no notes",
        ("--enroll", "a/b"): "cannot be a query's name",
        ("--enroll", "x", "-o", "out"): "one clip and nothing else",
    }.items():
        assert said in query.refuses("query", "duo.wav", *words, *common)
        assert query.files() == set()
    said = query.refuses("query", "duo.wav", "--example", "high.wav", "-o", "out")
    assert "no bundle at query" in said
    (query.folder / "rest.wav").write_bytes((query.folder / "high.wav").read_bytes())
    words = ("query", "duo.wav", "--example", "rest.wav", "-o", "out", *common)
    assert "an example called rest" in query.refuses(*words)


def test_a_query_of_another_model_is_refused(query):
    run(query, "--enroll", "piccolo", "high.wav")
    path = enrolled.query_folder() / "piccolo.query.json"
    path.write_text(path.read_text().replace(models.QUERY_SPACE, "0" * 32))
    words = ("query", "duo.wav", "--example", "piccolo", "-o", "out", "--model", "test.onnx")
    assert "a query of another model" in query.refuses(*words)


def test_an_example_of_several_instruments_is_said_and_used(query):
    models.save(models.several(), query.folder / ".models" / "several.onnx")
    write_audio(query.folder / "both.wav", sine(LOW_HZ) + sine(HIGH_HZ))
    words = ("--example", "both.wav", "-o", "out", "--model", "test.onnx")
    outcome = query("query", "duo.wav", *words)
    assert outcome.status == 0
    (line,) = outcome.err.splitlines()
    assert "both: there seems to be more than one instrument in it (9" in line
    assert "duo/both.wav" in query.files()
    run(query, "duo.wav", "--example", "high.wav", "-o", "again")
    outcome = query("query", "--enroll", "both", "both.wav", "--model", "test.onnx")
    assert outcome.status == 0
    assert "more than one instrument" in outcome.err


def test_an_instrument_that_the_model_does_not_know_is_said(query):
    clip = Clip("noise", np.zeros((1, 48_000), np.float32), 48_000)
    known, unknown = (Query("noise", (Part(None, None, db),)) for db in (1.0, -1.0))
    assert remarks_on(clip, known) == []
    (line,) = remarks_on(clip, unknown)
    assert "noise: the model hardly knows this instrument" in line


@pytest.fixture
def shipped(query):
    """With a live model as it ships."""
    folder = query.folder / ".models"
    live = models.edit_manifest(models.live_query(), lambda f: f.update(name="query-live"))
    models.save(live, folder / "query-live.onnx")
    models.save(models.query_model()["embed"], folder / "query-live-embed.onnx")
    return query


@pytest.mark.parametrize("rate", [22_050, 48_000])
def test_the_live_model_takes_an_instrument_out_of_a_song(shipped, rate):
    mix = sine(LOW_HZ, rate) + sine(HIGH_HZ, rate)
    # Something plays from the first sample on.
    mix[:, : rate // 2] += 0.2 * np.sin(np.arange(rate // 2) * 2 * np.pi * HIGH_HZ / rate)
    write_audio(shipped.folder / "song.wav", mix, rate)
    outcome = shipped("query", "song.wav", "--example", "high.wav", "-o", "out", *LIVE)
    assert (outcome.status, outcome.err) == (0, "")
    assert shipped.files() == {"song/high.wav", "song/rest.wav"}
    stem, rest = (read_audio(shipped.folder / f"out/song/{n}.wav") for n in ("high", "rest"))
    assert stem.shape == mix.shape
    np.testing.assert_allclose(stem + rest, mix, atol=1e-5)
    for part in (slice(rate // 20, rate * 2 // 5), slice(rate, rate + rate // 2)):
        high = mix - sine(LOW_HZ, rate)
        np.testing.assert_allclose(stem[:, part], high[:, part], atol=0.02)


def test_the_live_model_plays_no_scores(shipped):
    words = (
        "query",
        *LIVE,
        "duo.wav",
        "--example",
        "high.wav",
        "--synthesize",
        "x.mid",
        "-o",
        "out",
    )
    assert "which plays no scores; expected a query model for files" in shipped.refuses(*words)
    assert shipped.files() == set()


def test_a_name_is_enrolled_for_the_live_model(shipped):
    outcome = shipped("query", "--enroll", "piccolo", "high.wav", *LIVE)
    assert (outcome.status, outcome.err) == (0, "")
    kept = json.loads((enrolled.query_folder() / "piccolo.query.json").read_text())
    assert set(kept["vectors"]) == {models.QUERY_SPACE}
    outcome = shipped("query", "duo.wav", "--example", "piccolo", "-o", "out", *LIVE)
    assert (outcome.status, outcome.err) == (0, "")
    assert shipped.files() == {"duo/piccolo.wav", "duo/rest.wav"}


def test_a_name_serves_files_and_live(shipped):
    """Where the live model is of another space, the name holds a vector for each."""
    query = shipped
    for path in (query.folder / ".models").glob("query-live*.onnx"):
        path.write_bytes(
            models.edit_manifest(path.read_bytes(), lambda f: f.update(query_space="f" * 32))
        )
    run(query, "--enroll", "piccolo", "high.wav")
    kept = json.loads((enrolled.query_folder() / "piccolo.query.json").read_text())
    assert set(kept["vectors"]) == {models.QUERY_SPACE, "f" * 32}
    assert session_query(Session(query="piccolo")) == pytest.approx((0.0, 1.0), abs=0.05)


@pytest.fixture
def both(shipped):
    """With a model for files as it ships, too."""
    for path in shipped.folder.glob("test*.onnx"):
        data = models.edit_manifest(path.read_bytes(), lambda f: f.update(name="query"))
        (shipped.folder / ".models" / path.name.replace("test", "query")).write_bytes(data)
    return shipped


def test_both_models_that_ship_are_asked_where_none_is_named(both):
    for words, place in (
        ((), "mean"),
        (("--model", "query"), "files"),
        (LIVE, "live"),
    ):
        outcome = both("query", "duo.wav", "--example", "high.wav", "-o", place, *words)
        assert (outcome.status, outcome.err) == (0, "")
    stems = {
        place: read_audio(both.folder / place / "duo/high.wav")
        for place in ("mean", "files", "live")
    }
    clip = read_clip(both.folder / "high.wav")
    close = np.array([part.closeness_db for part in ask(open_query_models(None), clip).parts])
    assert (close > 10.0).all()
    weights = 10 ** (close / 20) / (10 ** (close / 20)).sum()
    expected = weights[0] * stems["files"] + weights[1] * stems["live"]
    np.testing.assert_allclose(stems["mean"], expected, atol=1e-5)
    assert (both.folder / "mean/duo/duo.mid").is_file()
    assert not (both.folder / "live/duo/duo.mid").exists()


def test_an_enrolled_name_asks_both_models_as_its_clip_does(both):
    outcome = both("query", "--enroll", "piccolo", "high.wav")
    assert (outcome.status, outcome.err) == (0, "")
    kept = json.loads((enrolled.query_folder() / "piccolo.query.json").read_text())
    assert set(kept["closeness_db"]) == {"query", "query-live"}
    for example, place in (("piccolo", "by-name"), ("high.wav", "by-clip")):
        outcome = both("query", "duo.wav", "--example", example, "-o", place)
        assert (outcome.status, outcome.err) == (0, "")
    one, other = (
        read_audio(both.folder / place)
        for place in ("by-name/duo/piccolo.wav", "by-clip/duo/high.wav")
    )
    np.testing.assert_allclose(one, other, atol=1e-6)


@dataclass(frozen=True)
class Model:
    """A model that gives every other of the samples that it hears at another level."""

    name: str
    even: float
    odd: float
    notes: bool = False
    embedder: None = None

    def stem(self, mix, sample_rate, query, on_progress=None):
        if on_progress is not None:
            on_progress(1, 2)
            on_progress(2, 2)
        found = np.ones((3, 2), np.float32) if self.notes else None
        levels = np.where(np.arange(mix.shape[1]) % 2, self.odd, self.even)
        return Stem(mix * levels.astype(np.float32), found, found)


@dataclass(frozen=True)
class Alone(Clip):
    """A clip that every model understands."""

    def vector(self, embedder):
        return np.zeros(1, np.float32)


def test_a_model_counts_as_much_as_it_comes_close_to_the_example():
    clip = Alone("oboe", np.full((1, 8), 0.5, np.float32), 48_000)
    # An error of a third, and of three thirds, of what is found.
    good, bad = Model("good", 0.8, 0.4, notes=True), Model("bad", 0.6, 0.0)
    query = ask([good, bad], clip)
    closeness = [part.closeness_db for part in query.parts]
    assert closeness == pytest.approx([20 * np.log10(3), 0.0], abs=1e-4)
    done = []
    found = query.stem(np.ones((2, 4), np.float32), 48_000, lambda *at: done.append(at))
    expected = [0.75 * 0.8 + 0.25 * 0.6, 0.75 * 0.4]
    np.testing.assert_allclose(found.audio, [2 * expected, 2 * expected], rtol=1e-5)
    assert found.logits is not None
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_model_that_hears_nothing_counts_for_nothing():
    clip = Alone("oboe", np.full((1, 8), 0.5, np.float32), 48_000)
    deaf = Model("deaf", 0.0, 0.0)
    assert not ask([deaf, deaf], clip).stem(np.ones((2, 5), np.float32), 48_000).audio.any()
    only = ask([Model("good", 0.8, 0.4), deaf], clip)
    found = only.stem(np.ones((2, 2), np.float32), 48_000)
    np.testing.assert_allclose(found.audio, [[0.8, 0.4], [0.8, 0.4]], rtol=1e-2)
