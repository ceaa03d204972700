"""A song through the plugin in Ardour, exported: every stem is what `rtsep separate` writes."""

import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import zmq

from rtsep_bridge.messages import Stems, decode, topic
from tests.rtsep_bridge.bridges import serving
from tests.rtsep_bridge.daw.ardour import SCRIPT, STEMS, Ardour, Audio, place
from tests.rtsep_bridge.daw.conftest import separated


class Witness:
    """Hears what a bridge's engines say, and so from which sample on they heard the mix.

    Ardour gives its plugins silence for a second or two before an export starts, of a length
    that is another every time; the engine's frames and its network's memory begin with it.
    """

    def __init__(self, address: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.set_hwm(0)
        self._socket.subscribe(topic(Stems))
        self._socket.connect(f"{address}.pub")
        self._heard: dict[int, list[tuple[int, Audio]]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while not self._stop.is_set():
            if self._socket.poll(100):
                message = decode([bytes(frame) for frame in self._socket.recv_multipart()])
                assert isinstance(message.header, Stems)
                assert message.samples is not None
                mix = message.samples.reshape(-1, 2, message.header.frames).sum(axis=0)
                said = self._heard.setdefault(message.header.session, [])
                said.append((message.header.sample, mix))

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._context.destroy(linger=0)

    def silence_before(self, song: Audio) -> int:
        """How many samples the engine that took a song apart had heard before it."""
        # The stems' sum is the mix but for rounding, so its loudest moment finds the song.
        peak = int(np.abs(song[0]).argmax())
        for blocks in self._heard.values():  # the plugin begins anew when Ardour's engine does
            starts = [start for start, _ in blocks]
            mix = np.concatenate([block for _, block in blocks], axis=1)
            for at in np.flatnonzero(np.abs(mix[0] - song[0, peak]) < 1e-6) - peak:
                piece = mix[:, max(0, at) : at + song.shape[1]]
                if piece.shape == song.shape and np.allclose(piece, song, atol=1e-6):
                    assert not mix[:, :at].any()
                    lengths = [block.shape[1] for _, block in blocks[:-1]]
                    assert np.diff(starts).tolist() == lengths, "this listener has lost stems"
                    return int(at)
        raise AssertionError("no engine heard the song whole")


@pytest.mark.parametrize("kind", ["VST3", "LV2"])
def test_an_export_is_what_separate_writes(
    plugin: SimpleNamespace, song: Audio, tmp_path: Path, kind: str
) -> None:
    ardour = Ardour(tmp_path, plugin)
    session = tmp_path / "session"
    address = f"ipc://{tmp_path}/bridge"
    length = song.shape[1]
    with serving(address):
        witness = Witness(address)
        try:
            ardour.lua("session.lua", SCRIPT, session, kind, *STEMS, RTSEP_BRIDGE=address)
            place(session, ("Dry", "Mix"), song, at=0, length=length)
            out = ardour.export(session, RTSEP_BRIDGE=address)
        finally:
            witness.close()
    assert out.shape == (4 + 2 * len(STEMS), length)
    dry, main, stems = out[:2], out[2:4], out[4:].reshape(len(STEMS), 2, length)
    np.testing.assert_array_equal(dry, song)
    # Ardour took the plugin's latency out, to the sample.
    np.testing.assert_array_equal(main, song)
    before = witness.silence_before(song)
    late = np.concatenate((np.zeros((2, before), np.float32), song), axis=1)
    wanted = separated(tmp_path, late)[:, :, before:]
    print(kind, "silence before:", before, "difference:", np.abs(stems - wanted).max())
    np.testing.assert_allclose(stems, wanted, atol=1e-6, rtol=0)
    assert (np.abs(stems).max(axis=(1, 2)) > 0.01).all()
