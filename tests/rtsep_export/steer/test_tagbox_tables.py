"""TagBox's tables: songs from their layouts, improvements that are known, all of it quickly."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from rtsep.errors import AudioError, RtsepError, SetupError
from rtsep_export.cli import app
from rtsep_export.steer import sources
from rtsep_export.steer.frozen import NamedTagger
from rtsep_export.steer.sources import Song, excerpt
from rtsep_export.steer.steering import Settings
from rtsep_export.steer.tables import (
    Conditions,
    Figure,
    Kept,
    measure,
    read_kept,
    sdr_improvement,
    tables,
    write_kept,
)
from tests.rtsep.cli import write_audio
from tests.rtsep_export.steer.test_steering import Ear, Echo

RATE = 44_100
REAL = Path(os.environ.get("RTSEP_DATA", "")) / "real"


def tone(hz, seconds=1.0, rate=RATE, level=0.2):
    time = np.arange(round(seconds * rate)) / rate
    return np.stack([level * np.sin(2 * np.pi * hz * time)] * 2).astype(np.float32)


def place(folder, files, rate=RATE):
    folder.mkdir(parents=True, exist_ok=True)
    for name, audio in files.items():
        write_audio(folder / name, audio, rate)


def peak_hz(audio):
    spectrum = np.abs(np.fft.rfft(audio))
    return np.fft.rfftfreq(len(audio), 1 / RATE)[spectrum.argmax()]


def test_musdb_in_its_own_layout(tmp_path):
    parts = {"vocals": 300.0, "bass": 80.0, "drums": 5000.0, "other": 900.0}
    files = {f"{name}.wav": tone(hz) for name, hz in parts.items()}
    files["mixture.wav"] = sum(files.values())
    place(tmp_path / "test" / "Some Band - A Song", files)
    files["drums.wav"] = 0 * files["drums.wav"]
    place(tmp_path / "test" / "Some Band - Without Drums", files)
    first, second = sources.musdb_songs(tmp_path, 5)
    assert first.name == "Some Band - A Song"
    assert set(first.sources) == {"vocals", "bass", "drums"}
    assert set(second.sources) == {"vocals", "bass"}
    for name, audio in first.sources.items():
        assert peak_hz(audio) == pytest.approx(parts[name], abs=2.0)
    assert first.mixture.shape == (RATE,)
    with pytest.raises(SetupError, match="no songs in"):
        list(sources.musdb_songs(tmp_path / "none", 5))


def slakh_track(folder, classes):
    stems = {}
    for number, (kind, hz) in enumerate(classes):
        key = f"S{number:02}"
        stems[key] = {"inst_class": kind, "audio_rendered": True}
        place(folder / "stems", {f"{key}.flac": tone(hz, level=0.05)})
    (folder / "metadata.yaml").write_text(yaml.safe_dump({"stems": stems}))


FIVE = [("Bass", 80), ("Drums", 5000), ("Guitar", 400), ("Piano", 600), ("Strings", 1000)]


def test_slakh_in_its_own_layout(tmp_path):
    test = tmp_path / "test"
    slakh_track(test / "Track00001", [*FIVE, ("Strings (continued)", 1500), ("Organ", 2000)])
    slakh_track(test / "Track00002", FIVE[:4])
    (song,) = sources.slakh_songs(tmp_path, 5)
    assert song.name == "Track00001"
    assert set(song.sources) == {"bass", "drums", "guitar", "piano", "strings"}
    np.testing.assert_allclose(sum(song.sources.values()), song.mixture, atol=1e-6)
    spectrum = np.abs(np.fft.rfft(song.mixture))
    assert spectrum[1500] > 100 * spectrum[2000]  # no organ in the paper's mixtures
    (test / "Track00001" / "stems" / "S02.flac").unlink()
    with pytest.raises(AudioError, match=r"S02\.flac"):
        list(sources.slakh_songs(tmp_path, 5))
    (test / "Track00001" / "metadata.yaml").write_text("stems: 3")
    with pytest.raises(AudioError, match="Slakh's metadata"):
        list(sources.slakh_songs(tmp_path, 5))


def test_rendered_songs_and_recordings(tiny_songs, tmp_path):
    recipe = tiny_songs / "train" / "c" / "recipe.json"
    programs = {"drums": [0], "bass": [33], "other": [48, 40]}
    recipe.write_text(json.dumps({"programs": programs}))
    first, second = sources.rendered_songs(tiny_songs / "train", 2)
    assert set(first.sources) == {"drums", "bass", "guitar", "piano"}
    assert set(second.sources) == {"drums", "bass", "strings"}
    quartet = tmp_path / "real" / "quartet"
    files = {"violin.flac": tone(900), "cello.flac": tone(200), "flute.flac": tone(1500)}
    place(quartet, {**files, "mixture.flac": sum(files.values())})
    place(tmp_path / "real" / "winds", {"flute.flac": tone(900), "mixture.flac": tone(900)})
    low = {"bass.flac": tone(90), "mixture.flac": tone(90) + tone(500)}
    place(tmp_path / "real" / "low", {k: a[:, :16_000] for k, a in low.items()}, 16_000)
    alone = {"violin1.flac": tone(900), "violin2.flac": tone(1200)}
    place(tmp_path / "real" / "strings", {**alone, "mixture.flac": sum(alone.values())})
    song, alone = sources.real_songs(tmp_path / "real")
    assert set(song.sources) == {"strings"}
    assert alone.sources == {}  # strings alone are no mixture
    assert len(song.mixture) == RATE


def test_an_excerpt_is_where_most_sounds():
    quiet, loud = np.zeros(RATE, np.float32), np.full(RATE, 0.5, np.float32)
    mixture = np.concatenate([quiet, loud, quiet])
    song = Song(
        "x", mixture, {"bass": 0.4 * mixture, "drums": np.concatenate([loud, quiet, quiet])}
    )
    found = excerpt(song, 1.0)
    assert (found.mixture == 0.5).all()
    assert set(found.sources) == {"bass"}  # the drums are silent there
    assert excerpt(song, 5.0) is song


def duo_song():
    low, high = tone(300.0)[0], tone(4000.0)[0]
    return Song("duo", low + high, {"bass": low, "guitar": high})


def test_an_improvement_is_that_over_the_mixture():
    song = duo_song()
    low, high = song.sources["bass"], song.sources["guitar"]
    assert sdr_improvement(song, "bass", low + high) == pytest.approx(0.0, abs=1e-6)
    assert sdr_improvement(song, "bass", low + 0.1 * high) == pytest.approx(20.0, abs=1e-3)


def test_steering_to_what_a_tagger_hears_improves_on_the_mixture():
    ear = NamedTagger(
        "ear", Ear(2).eval(), ("low", "high"), {"bass": ("low",), "guitar": ("high",)}
    )
    figures = list(measure([duo_song()], Echo(), [[ear]], Settings(steps=40, rate=0.06)))
    by_method = {(f.method, f.source): f.improvement for f in figures}
    assert len(by_method) == len(figures) == 2 * 4
    for source in ("bass", "guitar"):
        assert by_method["ear, kept", source] > 5.0
        # What is left is the other source.
        assert by_method["ear, removed", source] < 0.0
    text = "\n".join(tables(figures, 60.0))
    assert "| ear, kept | " in text
    assert "over 1 songs" in text


def test_what_is_known_is_not_measured_again():
    ear = NamedTagger("ear", Ear(2).eval(), ("low", "high"), {"bass": ("low",)})
    drums = Song("duo", duo_song().mixture, {"bass": duo_song().sources["bass"]})
    every = list(measure([drums], Echo(), [[ear]], Settings(steps=1)))
    assert len(every) == 4
    rest = list(measure([drums], Echo(), [[ear]], Settings(steps=1), known=every[:3]))
    assert rest == every[2:]
    assert list(measure([drums], Echo(), [[ear]], Settings(steps=1), known=every)) == []


def test_figures_are_kept_between_runs_under_the_same_conditions(tmp_path):
    path, conditions = tmp_path / "tagbox.json", Conditions("autoencoder", 5.0, 10)
    assert read_kept(path, conditions) == Kept(conditions, 0.0, [])
    kept = Kept(conditions, 12.5, [Figure("HPSS", "a", "drums", None, -1.0)])
    write_kept(path, kept)
    assert read_kept(path, conditions) == kept
    with pytest.raises(SetupError, match=r"steps=10\); expected .*steps=5\)"):
        read_kept(path, Conditions("autoencoder", 5.0, 5))
    path.write_text("[]")
    with pytest.raises(SetupError, match="figures of an earlier run"):
        read_kept(path, conditions)


def test_the_paper_stands_beside_ours():
    figures = [
        Figure("REPET-SIM", "a", "vocals", 3.0, 1.0),
        Figure("FCN, MTAT, kept", "a", "drums", 5.0, -1.0),
        Figure("FCN, MTAT, kept", "b", "drums", 6.0, 0.0),
        Figure("FCN, MTAT, kept", "b", "vocals", None, 0.5),
    ]
    lines = tables(figures, 1.0)
    assert "| method | vocals | drums |" in lines
    assert "| REPET-SIM | 3.0 / 7.8 | – |" in lines
    assert "| FCN, MTAT, kept | – | 5.5 / 7.3 |" in lines
    assert "| FCN, MTAT, kept | 0.5 | -0.5 |" in lines


def test_what_is_missing_is_said_in_one_line(tmp_path):
    for words, said in {
        (): "no songs",
        ("--autoencoder", "x.onnx", "--tagger", "live"): "no bundle at x.onnx",
    }.items():
        done = CliRunner().invoke(app, ["tables", "tagbox", *words])
        assert isinstance(done.exception, RtsepError)
        assert said in str(done.exception)


@pytest.mark.skipif(not REAL.is_dir(), reason="needs RTSEP_DATA with real")
def test_all_of_it_quickly(tmp_path):
    torch.manual_seed(0)
    target = tmp_path / "tagbox.json"
    words = ["tables", "tagbox", "--quick", "--json", str(target), "--data", str(REAL.parent)]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    kept = json.loads(target.read_text())
    assert kept["conditions"]["steps"] == 2
    methods = {figure["method"] for figure in kept["figures"]}
    assert {"HPSS", "REPET-SIM"} <= methods
    for reading in ("kept", "removed"):
        for where in ("", " of its reconstruction"):
            assert f"Musicnn, untrained, {reading}{where}" in methods
    for method in methods:
        assert f"| {method} | " in done.stdout
    # What is kept and what is left add up to the mixture: neither is it by itself.
    found = {f["method"]: f["improvement"] for f in kept["figures"] if f["source"] == "drums"}
    assert np.isfinite([*found.values()]).all()
    assert found["Musicnn, untrained, kept"] != found["Musicnn, untrained, removed"]
