"""live.py's parts: the real `rtsep live`, for two seconds."""

import shutil

import pytest

from benchmarks import live


def test_a_session_is_played_and_counted() -> None:
    if shutil.which("jackd") is None:
        pytest.skip("jackd is not installed (Debian: jackd2)")
    row = live.measure(live.SESSIONS["stems, notes, effects on two"], 2)
    assert row["callbacks"] > 300
    assert row["stated_samples"] == 256
    assert 0 < row["load_p50"] <= row["load_max"]
    assert 0 < row["core_of_all"] < 2
    assert 20 < row["resident_mb"] < 4000
