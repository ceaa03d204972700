"""Stems for others than the callback, taken late, on a real JACK server."""

import time
from pathlib import Path

from rtsep.live.session import Session
from tests.rtsep import models
from tests.rtsep.live.rig import RATE, bundle_file, live_rig


def test_who_takes_nothing_for_a_second_has_missed_nothing(tmp_path: Path) -> None:
    session = Session(model=bundle_file(tmp_path, models.tcn_taps()), transcriber="none")
    with live_rig(session) as rig:
        rig.until_playing()
        live = rig.live
        block = live.take_stems(1024)
        while block is None:
            time.sleep(0.01)
            block = live.take_stems(1024)
        taken = block.sample + block.audio.shape[1]
        time.sleep(1.0)
        late = 0
        while (block := live.take_stems(1024)) is not None:
            assert block.sample == taken
            taken += block.audio.shape[1]
            late += block.audio.shape[1]
        assert late >= 0.9 * RATE
