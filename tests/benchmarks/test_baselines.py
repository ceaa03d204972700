import numpy as np
import pytest

from benchmarks.baselines import oracle
from rtsep.presets import PRESETS
from rtsep_export.baselines import hpss, repet_sim
from rtsep_export.measures import si_sdr
from tests.benchmarks import songs
from tests.rtsep import models

MANIFEST = models.bundle(models.constant_masks()).manifest


def _mix() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    stems = songs.stems()
    return np.sum(list(stems.values()), axis=0), stems


def test_hpss_tells_bursts_from_tones() -> None:
    mix, stems = _mix()
    parts = hpss.separate(mix, songs.RATE)
    assert set(parts) == set(hpss.SIDES)
    tones = stems["bass"] + stems["piano"]
    for side, true in (("percussive", stems["drums"]), ("harmonic", tones)):
        assert si_sdr(true, parts[side]) > si_sdr(true, mix) + 5.0


def test_repet_sim_keeps_what_repeats_in_the_background() -> None:
    rate = songs.RATE
    stems = songs.stems(seconds=6.0)
    loop = np.tile((stems["bass"] + stems["drums"])[:, : rate // 2], 12)
    once = np.zeros_like(loop)
    once[:, 3 * rate : 4 * rate] = stems["piano"][:, :rate]
    parts = repet_sim.separate(loop + once, rate)
    np.testing.assert_allclose(parts["background"] + parts["foreground"], loop + once, atol=1e-6)
    assert si_sdr(once, parts["foreground"]) > si_sdr(once, loop + once) + 10.0
    assert si_sdr(loop, parts["background"]) > si_sdr(loop, parts["foreground"]) + 10.0


@pytest.mark.parametrize(
    ("preset", "rate"), [("lowest", 44_100), ("live", 96_000), ("offline", 48_000)]
)
def test_oracle_masks_take_the_stems_apart(preset: str, rate: int) -> None:
    stems = songs.stems(seconds=0.7, rate=rate)
    mix = np.sum(list(stems.values()), axis=0)
    found = oracle.separate(mix, stems, PRESETS[preset], MANIFEST, rate)
    assert tuple(found) == MANIFEST.stems
    np.testing.assert_allclose(np.sum(list(found.values()), axis=0), mix, atol=1e-5)
    for stem, true in stems.items():
        assert si_sdr(true, found[stem]) > si_sdr(true, mix) + 8.0
    # What is silent gets nothing, beyond the edges of the bands that others share.
    assert np.abs(found["guitar"]).max() < 1e-3


def test_the_oracle_gives_what_is_unknown_to_a_stem_that_is_unknown() -> None:
    stems = songs.stems(seconds=0.5)
    mix = np.sum(list(stems.values()), axis=0)
    known = {"bass": stems["bass"], "other": stems["piano"]}
    found = oracle.separate(mix, known, PRESETS["live"], MANIFEST, songs.RATE)
    assert si_sdr(stems["drums"], found["drums"]) > 8.0
    assert si_sdr(stems["piano"], found["other"]) > 8.0
