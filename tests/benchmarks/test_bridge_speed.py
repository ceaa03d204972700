"""The bridge's benchmark: that what it counts adds up, not how fast anything is."""

from pathlib import Path

import pytest

from benchmarks import bridge


def test_a_soak_accounts_for_every_block(tmp_path: Path) -> None:
    found = bridge.soak(0.25, tmp_path)
    sent = found["blocks_sent"] - found["blocks_unsent"]
    assert sent > 0
    # Where the machine stood still blocks may be dropped, but none without being counted.
    assert found["frames_back"] + found["frames_missing_between"] == found["frames_owed"]
    if not found["frames_missing_between"]:
        assert found["frames_back"] == 0.25 * 60 * bridge.RATE - found["stated_latency"]
    counted = found["blocks_the_bridge_dropped"] + found["messages_lost_on_the_way_back"]
    assert found["frames_missing_between"] <= bridge.BLOCK * (counted + found["blocks_unsent"])
    assert found["memory_mb"]["last"] - found["memory_mb"]["first"] < 20
    assert found["round_trip_us"]["p50"] > 0


@pytest.mark.parametrize("place", ["ipc", "tcp", "tcp with CURVE"])
def test_every_block_that_is_sent_one_way_is_stamped(tmp_path: Path, place: str) -> None:
    address = bridge.addresses(tmp_path)[place]
    delays = bridge.one_way(address, tmp_path, 0.5, hurry=False)
    assert len(delays) == int(0.5 * bridge.RATE / bridge.BLOCK)
    assert all(0 < delay < 5e6 for delay in delays)


def test_quantiles_are_of_what_came() -> None:
    assert bridge.quantiles([1.0, 2.0, 3.0]) == {"p50": 2.0, "p99": 2.98, "p999": 2.998, "max": 3.0}
