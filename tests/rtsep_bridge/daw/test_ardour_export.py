"""A song through the plugin in Ardour, exported: every stem is what `rtsep separate` writes."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.rtsep_bridge.bridges import serving
from tests.rtsep_bridge.daw.ardour import SCRIPT, STEMS, Ardour, Audio, place
from tests.rtsep_bridge.daw.conftest import separated
from tests.rtsep_bridge.daw.witness import witness_of


@pytest.mark.parametrize("kind", ["VST3", "LV2"])
def test_an_export_is_what_separate_writes(
    plugin: SimpleNamespace, song: Audio, tmp_path: Path, kind: str
) -> None:
    ardour = Ardour(tmp_path, plugin)
    session = tmp_path / "session"
    address = f"ipc://{tmp_path}/bridge"
    length = song.shape[1]
    with serving(address), witness_of(address) as witness:
        make = ("session.lua", SCRIPT, session, kind, *STEMS)
        ardour.lua(*make, fresh=session, RTSEP_BRIDGE=address)
        place(session, ("Dry", "Mix"), song, at=0, length=length)
        out = ardour.export(session, RTSEP_BRIDGE=address)
    assert out.shape == (4 + 2 * len(STEMS), length)
    dry, main, stems = out[:2], out[2:4], out[4:].reshape(len(STEMS), 2, length)
    np.testing.assert_array_equal(dry, song)
    # Ardour took the plugin's latency out, to the sample.
    np.testing.assert_array_equal(main, song)
    before = witness.silence_before(song)
    wanted, _ = separated(tmp_path, song, before)
    print(kind, "silence before:", before, "difference:", np.abs(stems - wanted).max())
    np.testing.assert_allclose(stems, wanted, atol=1e-6, rtol=0)
    assert (np.abs(stems).max(axis=(1, 2)) > 0.01).all()
