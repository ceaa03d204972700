"""The solos: in range, at the reference rate, the test's instruments kept from training."""

import json

import librosa
import numpy as np
import pytest

from rtsep.rates import REFERENCE_RATE
from rtsep_export.collections import OPEN_COLLECTIONS
from rtsep_export.query.solos import MORE, PLANS, Plan, Solos, render_solos, solos_folder
from rtsep_export.query.voices import INSTRUMENTS
from rtsep_export.render import FONTS

SECONDS = 6.0


@pytest.fixture(scope="module")
def rendered(data_dir, test_font, tmp_path_factory):
    folder = tmp_path_factory.mktemp("solos")
    plan = Plan(1, 0, SECONDS, (test_font,), unseen=True)
    last = list(render_solos(data_dir, folder, "test", plan))[-1]
    assert last[:2] == (13, 13)
    return folder


def test_training_hears_more_than_the_paper_but_not_what_the_paper_keeps_for_the_test():
    assert not MORE.keys() & INSTRUMENTS.keys()
    programs = {i.program for i in MORE.values()}
    assert not programs & {i.program for i in INSTRUMENTS.values()}
    assert [split for split, plan in PLANS.items() if plan.unseen] == ["test"]
    assert not set(PLANS["test"].fonts) & set(PLANS["train"].fonts)


def test_every_instrument_of_the_test_plays(rendered):
    solos = Solos(rendered, "test")
    assert set(solos.having) == set(INSTRUMENTS)
    for numbers in solos.having.values():
        (number,) = numbers
        assert solos.length(number) == SECONDS * REFERENCE_RATE
        audio = solos.part(number, "", 0, solos.length(number))
        assert 0.01 < np.abs(audio).max() <= 0.99
        recipe = json.loads(solos.paths[number].with_suffix(".json").read_text())
        assert recipe["font"] in FONTS
        assert any(recipe["song"].startswith(f"{name}-") for name in OPEN_COLLECTIONS)


@pytest.mark.parametrize("name", ["flute", "tuba"])
def test_a_solo_is_in_its_instruments_range(rendered, name):
    solos = Solos(rendered, "test")
    (number,) = solos.having[name]
    mono = solos.part(number, "", 0, solos.length(number)).mean(axis=0)
    hz, voiced, _ = librosa.pyin(mono, fmin=30.0, fmax=2100.0, sr=REFERENCE_RATE, frame_length=4096)
    assert voiced.mean() > 0.3
    pitches = librosa.hz_to_midi(hz[voiced])
    # Now and then the tracker hears an octave or what a room adds.
    inside = (pitches > INSTRUMENTS[name].lowest - 1) & (pitches < INSTRUMENTS[name].highest + 1)
    assert inside.mean() > 0.9


def test_what_is_there_is_kept(rendered, data_dir, test_font):
    paths = sorted(solos_folder(rendered, "test").glob("*/*.flac"))
    before = [path.stat().st_mtime_ns for path in paths]
    paths[0].unlink()
    plan = Plan(1, 0, SECONDS, (test_font,), unseen=True)
    list(render_solos(data_dir, rendered, "test", plan))
    after = [path.stat().st_mtime_ns for path in paths]
    assert after[1:] == before[1:]
    assert after[0] != before[0]
    assert not list(solos_folder(rendered, "test").glob("*/.*"))
