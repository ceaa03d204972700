"""Is there more than one instrument in a clip? By a tiny network, and by the one that ships."""

from itertools import pairwise

import numpy as np
import pytest

from rtsep.bundle import shipped_bundles
from rtsep.query.examples import SEVERAL
from rtsep.query.several import NAME, likely_several
from tests.rtsep import models
from tests.rtsep.cli import read_audio

RATE = 48_000


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    monkeypatch.setattr("rtsep.bundle.MODELS", tmp_path)
    models.save(models.several(threshold=0.5), tmp_path / "several.onnx")


def tone(seconds, level):
    return np.tile(level * np.sin(np.arange(round(seconds * RATE)) * 0.05), (2, 1)).astype("f4")


def test_windows_of_a_long_clip_are_averaged_and_a_short_one_is_heard_over_and_over(tiny):
    assert likely_several(tone(0.6, 0.2), RATE) == pytest.approx(0.0, abs=1e-3)
    assert likely_several(tone(0.6, 0.9), RATE) == pytest.approx(1.0, abs=1e-3)
    half = np.concatenate([tone(3.0, 0.9), tone(3.0, 0.2)], axis=1)
    assert likely_several(half, RATE) == pytest.approx(0.5, abs=1e-2)
    late = np.concatenate([tone(6.5, 0.2), tone(0.5, 0.9)], axis=1)
    assert likely_several(late, RATE) == pytest.approx(0.5, abs=1e-2)


def test_without_the_network_nothing_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("rtsep.bundle.MODELS", tmp_path)
    assert likely_several(tone(1.0, 0.9), RATE) is None


@pytest.mark.skipif(NAME not in shipped_bundles(), reason=f"no {NAME} ships")
def test_players_are_told_from_duets_of_them(data_dir):
    alone, together = [], []
    for place in ("bach10_01", "bach10_02", "urmp_01"):
        paths = sorted((data_dir / "real" / place).glob("*.flac"))
        players = [read_audio(path) for path in paths if path.stem != "mixture"]
        rate = 44_100 if place.startswith("bach10") else 48_000
        heard = [player[:, rate : 6 * rate] for player in players]
        alone += [likely_several(player, rate) for player in heard]
        together += [likely_several(a + b, rate) for a, b in pairwise(heard)]
    assert np.mean(np.array(alone) < SEVERAL) > 0.8
    assert np.mean(np.array(together) > SEVERAL) > 0.8
