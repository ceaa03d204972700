"""From input hops to note events: the engine's transcriber."""

import numpy as np
from numpy.typing import NDArray

from rtsep.bundle import Bundle
from rtsep.features import FeatureExtractor
from rtsep.kernels import streams
from rtsep.networks import Network
from rtsep.note_events import NoteEvent
from rtsep.note_tracker import NoteTracker
from rtsep.rates import rate_factor

Floats = NDArray[np.float32]


class Transcriber:
    """A transcriber that is prepared for one stream.

    Parameters
    ----------
    bundle, network
        The model and its opened network.
    sample_rate, channels : int
    phase : int
        Samples by which `feed` is called late.

    Attributes
    ----------
    hop : int
        Samples that `feed` takes.
    delay : int
        No note-on is known further than this behind its `sample`.
    misses : int
        Network frames with a value that was not finite, since `reset`.  They count
        as silence.
    """

    def __init__(
        self, bundle: Bundle, network: Network, *, sample_rate: int, channels: int, phase: int
    ) -> None:
        manifest = bundle.manifest
        factor = rate_factor(sample_rate)
        self.hop = manifest.hop * factor
        self.phase = phase
        self.misses = 0
        self._network = network
        self._features = FeatureExtractor(
            manifest.front_ends, sample_rate=sample_rate, channels=channels, hop=self.hop
        )
        self._feature_row = np.zeros(self._features.n_features, np.float32)
        self._tracker = NoteTracker(
            manifest.notes,
            hop=self.hop,
            lookahead=manifest.lookahead * factor,
            sample_rate=sample_rate,
            delay_frames=network.delay_frames,
        )
        self.delay = self._tracker.decision_delay_samples + phase
        self._outputs = tuple(network.outputs[name] for name in ("onset", "frame", "velocity"))
        self._silence = np.zeros(self._tracker.n_notes, np.float32)

    def feed(self, audio: Floats) -> list[NoteEvent]:
        """Hear the next [channels, hop] samples, and tell what they decide."""
        self._features.process(audio, self._feature_row)
        count = self._network.push(self._feature_row)
        events: list[NoteEvent] = []
        for i in range(count):
            onset, frame, velocity = (output[i] for output in self._outputs)
            if not (
                streams.all_finite(onset)
                and streams.all_finite(frame)
                and streams.all_finite(velocity)
            ):
                self.misses += 1
                onset = frame = velocity = self._silence
            events += self._late(self._tracker.push(onset, frame, velocity))
        return events

    def flush(self, end_sample: int) -> list[NoteEvent]:
        """End the stream at `end_sample`, and every note with it."""
        return self._late(self._tracker.flush(end_sample))

    def reset(self) -> None:
        """Forget everything that was heard."""
        self._features.reset()
        self._network.reset()
        self._tracker.reset()
        self.misses = 0

    def _late(self, events: list[NoteEvent]) -> list[NoteEvent]:
        if not events or not self.phase:
            return events
        return [event._replace(known_at=event.known_at + self.phase) for event in events]
