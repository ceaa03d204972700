"""What the engines behind a bridge have heard, so that another can be given the same."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import zmq

from rtsep_bridge.messages import Stems, decode, topic
from tests.rtsep_bridge.daw.ardour import Audio


class Witness:
    """Hears what a bridge's engines say, and so from which sample on they heard the mix.

    Before a song starts, Ardour and JACK give silence for some seconds, of a length that is
    another every time; the engine's frames and its network's memory begin with it.
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
        # The plugin begins anew when Ardour does, and of Ardour's tries the last one counts.
        for blocks in reversed(self._heard.values()):
            starts = [start for start, _ in blocks]
            mix = np.concatenate([block for _, block in blocks], axis=1)
            for at in np.flatnonzero(np.abs(mix[0] - song[0, peak]) < 1e-6) - peak:
                piece = mix[:, max(0, at) : at + song.shape[1]]
                if piece.shape == song.shape and np.allclose(piece, song, atol=1e-6):
                    assert not mix[:, :at].any()
                    lengths = [block.shape[1] for _, block in blocks[:-1]]
                    assert np.diff(starts).tolist() == lengths, "this listener has lost stems"
                    return starts[0] + int(at)
        raise AssertionError("no engine heard the song whole")


@contextmanager
def witness_of(address: str) -> Iterator[Witness]:
    witness = Witness(address)
    try:
        yield witness
    finally:
        witness.close()
