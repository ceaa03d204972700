"""kernels.py's rivals do the same work as ours, and its figures are of that work."""

import numpy as np
import pytest

from benchmarks import kernels
from rtsep.presets import PRESETS


@pytest.mark.parametrize("rival", kernels.RIVALS, ids=lambda rival: rival.name)
@pytest.mark.parametrize("preset", ["lowest", "offline"])
def test_every_rival_gives_our_stems(preset, rival):
    try:
        chain = rival(PRESETS[preset], 48_000)
    except ImportError as error:
        pytest.skip(f"{error.name} is not installed")
    ours, matrix = kernels.open_ours(PRESETS[preset], 48_000)
    inputs = kernels.material(PRESETS[preset], matrix, 20)
    assert kernels.largest_difference(ours, [chain], inputs) < 2e-6
    broken = (inputs[0], inputs[1], inputs[2] * np.float32(0.9))
    assert kernels.largest_difference(ours, [chain], broken) > 1e-3


def test_every_hop_is_timed():
    calls = {"a": 0, "b": 0}

    def count(name):
        def run(_):
            calls[name] += 1

        return run

    times = kernels.time_in_turns({name: count(name) for name in calls}, 3)
    assert {name: values.size for name, values in times.items()} == dict.fromkeys("ab", 96)
    assert calls == dict.fromkeys("ab", 99)
    assert all((values > 0).all() for values in times.values())
