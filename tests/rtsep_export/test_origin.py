"""A manifest names all that a network has learnt from, and nothing that may not ship."""

import json

import numpy as np
import pytest
import torch

from rtsep.errors import SetupError
from rtsep_export.network_names import NetworkName
from rtsep_export.origin import START, parts_record, training_record
from rtsep_export.query.networks import SAMPLE_RATE
from rtsep_export.query.parts import store_part
from tests.rtsep.cli import write_audio

SONG = {"song": "openmsx-one", "licence": "GPL-2", "font": "fluidr3"}
SOLO = {"song": "openscore-quartets-two", "licence": "CC0", "font": "musescore"}


@pytest.fixture
def learnt(tmp_path):
    """A song of two seconds, two solos of one second, and a run of ninety seconds."""
    rendered, run = tmp_path / "rendered", tmp_path / "run"
    song, solos = rendered / "train" / "one", rendered / "solos" / "train" / "flute"
    for folder in (song, solos, run):
        folder.mkdir(parents=True)
    (song / "recipe.json").write_text(json.dumps(SONG))
    write_audio(song / "mix.flac", torch.zeros(2, 96_000).numpy(), 48_000)
    for name in ("000", "001"):
        (solos / f"{name}.json").write_text(json.dumps(SOLO))
        write_audio(solos / f"{name}.flac", torch.zeros(2, 48_000).numpy(), 48_000)
    torch.save({"elapsed": 90.0, "step": 7, "device": "a CPU"}, run / "state.pt")
    (run / START).write_text("live 0.3.0: somehow")
    return rendered, run


def test_the_live_query_model_learns_from_songs_and_solos(learnt):
    rendered, run = learnt
    record = training_record(run, rendered, NetworkName.query_live)
    assert record.data == ("openmsx: 1 songs, GPL-2", "openscore-quartets: 2 solos, CC0")
    assert record.sound_fonts == (
        "fluid-soundfont-gm (MIT)",
        "musescore-general-soundfont-lossless (MIT)",
    )
    assert record.audio_hours == round(4 / 3600, 2)
    assert record.command == (
        "rtsep-export train query-live --minutes 2 (7 steps on a CPU from live 0.3.0: somehow)"
    )


def test_a_recipe_without_its_solo_does_not_count(learnt):
    rendered, run = learnt
    (rendered / "solos" / "train" / "flute" / "001.flac").unlink()
    record = training_record(run, rendered, NetworkName.query_live)
    assert record.data == ("openmsx: 1 songs, GPL-2", "openscore-quartets: 1 solos, CC0")


def test_a_separator_learns_from_songs_alone(learnt):
    rendered, run = learnt
    record = training_record(run, rendered, NetworkName.separator)
    assert record.data == ("openmsx: 1 songs, GPL-2",)
    assert record.sound_fonts == ("fluid-soundfont-gm (MIT)",)


def test_a_query_model_learns_from_parts_and_their_twins(tmp_path):
    run, parts = tmp_path / "msi", tmp_path / "parts"
    audio = np.zeros((3, 12 * SAMPLE_RATE), np.float32)
    for split in ("train", "test"):
        for name in ("000", "001"):
            store_part(parts / split / "flute", name, audio, [[]] * 3, SOLO)
    run.mkdir()
    torch.save({"elapsed": 600.0, "step": 9, "device": "a GPU"}, run / "state.pt")
    record = parts_record(run, parts)
    assert record.data == ("openscore-quartets: 2 parts, CC0",)
    assert record.sound_fonts == ("musescore-general-soundfont-lossless (MIT)",)
    assert record.audio_hours == round(72 / 3600, 2)
    assert record.command == "rtsep-export learn-query msi --minutes 10 (9 steps on a GPU)"
    store_part(parts / "train" / "flute", "002", audio, [[]] * 3, SOLO | {"song": "URMP 01"})
    with pytest.raises(SetupError, match="URMP 01 in the training parts"):
        parts_record(run, parts)


def test_what_may_not_ship_or_is_not_there_is_said(learnt):
    rendered, run = learnt
    recipe = rendered / "solos" / "train" / "flute" / "000.json"
    recipe.write_text(json.dumps(SOLO | {"song": "tegridy-three"}))
    with pytest.raises(SetupError, match="tegridy-three in the training solos"):
        training_record(run, rendered, NetworkName.query_live)
    for path in recipe.parent.glob("*.json"):
        path.unlink()
    with pytest.raises(SetupError, match="no solos with their recipes"):
        training_record(run, rendered, NetworkName.query_live)
    (run / "state.pt").unlink()
    with pytest.raises(SetupError, match=r"no .*state\.pt"):
        training_record(run, rendered, NetworkName.separator)
