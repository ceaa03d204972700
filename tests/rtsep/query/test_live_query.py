"""One more stem, named by a query while the stream goes on."""

import numpy as np
import pytest

from rtsep.engine import QUERIED, Engine
from rtsep.errors import BundleError
from rtsep.networks import RAMP_FRAMES, QueriedNetwork
from rtsep.presets import PRESETS
from tests.rtsep import models

MASKS = (0.5, 0.2, 0.1, 0.1, 0.1)
LOW, HIGH = np.array([1.0, 0.0], np.float32), np.array([0.0, 1.0], np.float32)


def make_engine(**bundles):
    separator = models.bundle(bundles.get("separator", models.constant_masks(MASKS)))
    asked = models.bundle(bundles.get("query", models.live_query()))
    engine = Engine(separator, None, PRESETS["live"], query=asked, device="cpu")
    engine.prepare(48_000, 480, 2)
    return engine


def run(engine, mix, asks=()):
    """All stems of a mix, in blocks of 480; `asks` has queries by the block's number."""
    asks = dict(asks)
    stems = np.zeros((len(engine.stems), *mix.shape), np.float32)
    for number, start in enumerate(range(0, mix.shape[1], 480)):
        if number in asks:
            engine.ask(asks[number])
        block = np.zeros((len(engine.stems), 2, 480), np.float32)
        engine.process(np.ascontiguousarray(mix[:, start : start + 480]), block)
        stems[:, :, start : start + 480] = block
    return stems


def sines(seconds=1.0):
    time = np.arange(round(seconds * 48_000)) / 48_000
    low, high = (0.3 * np.sin(2 * np.pi * hz * time) for hz in (300.0, 4000.0))
    return np.stack([low, 0.5 * low]).astype("f4"), np.stack([high, -high]).astype("f4")


def test_the_stem_is_what_the_query_names_and_all_sum_to_the_mix():
    engine = make_engine()
    assert engine.stems == (*models.STEMS[:-1], QUERIED, models.STEMS[-1])
    named = engine.stems.index(QUERIED)
    low, high = sines()
    stems = run(engine, low + high, {0: LOW})
    late = engine.latency_samples
    assert late == 256
    delayed = np.pad(low + high, ((0, 0), (late, 0)))[:, : low.shape[1]]
    np.testing.assert_allclose(stems.sum(0), delayed, atol=1e-5)
    settled = slice(24_000, None)
    np.testing.assert_allclose(
        stems[named][:, settled], np.roll(low, late, 1)[:, settled], atol=2e-3
    )
    # The others share what is left.
    np.testing.assert_allclose(
        stems[0][:, settled], 0.5 * np.roll(high, late, 1)[:, settled], atol=2e-3
    )


def test_a_switch_while_playing_makes_no_click():
    engine = make_engine()
    low, high = sines(2.0)
    stem = run(engine, low + high, {0: LOW, 100: HIGH})[-2]
    late = engine.latency_samples
    before, after = slice(24_000, 47_000), slice(60_000, None)
    np.testing.assert_allclose(stem[:, before], np.roll(low, late, 1)[:, before], atol=2e-3)
    np.testing.assert_allclose(stem[:, after], np.roll(high, late, 1)[:, after], atol=2e-3)
    # A click is energy where neither sine has any.
    around = stem[0, 46_000:62_000] * np.hanning(16_000)
    spectrum = np.abs(np.fft.rfft(around))
    hz = np.fft.rfftfreq(16_000, 1 / 48_000)
    elsewhere = (hz > 1500) & (np.abs(hz - 4000) > 1000)
    assert spectrum[elsewhere].max() < 10 ** (-60 / 20) * spectrum.max()
    # The same at once would be one.
    jump = np.where(np.arange(96_000) < 54_000, low[0], high[0])[46_000:62_000]
    heard = np.abs(np.fft.rfft(jump * np.hanning(16_000)))
    assert heard[elsewhere].max() > 3 * spectrum[elsewhere].max()


def test_reset_keeps_the_last_query():
    engine = make_engine()
    low, high = sines()
    first = run(engine, low + high, {0: HIGH})
    engine.reset()
    again = run(engine, low + high)
    assert np.abs(again[-2, 0, 10_000:] - first[-2, 0, 10_000:]).max() < 1e-5
    assert np.abs(again[-2, 0, 3000:5000]).max() > 0.2


def test_a_query_moves_in_equal_steps():
    network = QueriedNetwork(
        models.bundle(models.constant_masks(MASKS)),
        models.bundle(models.live_query()),
        device="cpu",
    )
    network.ask(LOW)
    features = np.zeros(models.N_FEATURES, np.float32)
    found = []
    for _ in range(RAMP_FRAMES + 3):
        assert network.push(features) == 1
        found.append(float(network.outputs["masks"][0, -2, 0]))
    np.testing.assert_allclose(
        found[:RAMP_FRAMES], np.arange(1, RAMP_FRAMES + 1) / RAMP_FRAMES, atol=1e-5
    )
    assert found[RAMP_FRAMES:] == [1.0] * 3
    assert np.allclose(network.outputs["masks"].sum(1), 1.0)


def test_models_that_do_not_fit_are_refused():
    with pytest.raises(BundleError, match="a model to separate; expected one to query"):
        make_engine(query=models.constant_masks(MASKS))
    with pytest.raises(BundleError, match="a query model for files; expected one for live use"):
        make_engine(query=models.query_model()["query"])
    with pytest.raises(BundleError, match="hears the mix in another way"):
        make_engine(query=models.live_query(hop=512))
    with pytest.raises(BundleError, match="runs by chunks"):
        make_engine(separator=models.constant_chunk(MASKS))
    plain = Engine(models.bundle(models.constant_masks(MASKS)), None, PRESETS["live"], device="cpu")
    with pytest.raises(ValueError, match="without a query model"):
        plain.ask(LOW)
    with pytest.raises(ValueError, match="a query of shape"):
        make_engine().ask(np.zeros(3, np.float32))
