"""Streaming notes from a transcriber's probabilities.

A note starts at a local maximum of its onset probability that its frame probability
bears out, placed between frames by interpolation.  It lasts while the frame
probability stays above a lower level (hysteresis), at least `min_length_s` and at
most `max_length_s`, and is split where it is struck again.  Drums have one fixed
length.  Every note that starts ends.

A maximum is seen one frame late, so an onset is known at most one and a half frames
and the transcriber's lookahead after it sounded, whatever the input is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from msgspec.structs import asdict
from numpy.typing import NDArray

from rtsep.kernels import notes as kernel
from rtsep.latency import decision_delay
from rtsep.manifest import Notes
from rtsep.note_events import NoteEvent

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class StemSettings:
    """When a stem's notes start and end.  Probabilities are from 0 to 1.

    Attributes
    ----------
    onset : float
        Least onset probability at its local maximum.
    frame_on : float
        Least frame probability at the onset or one frame after it.
    frame_off : float
        Frame probability below which a note fades; 0 leaves it to `max_length_s`.
    release_frames : int
        Frames in a row below `frame_off` that end a note, where the first one was.
    min_length_s, max_length_s : float
        Shortest and longest note in seconds.  A note struck again sooner than
        `min_length_s` goes on as one note.
    """

    onset: float = 0.4
    frame_on: float = 0.25
    frame_off: float = 0.2
    release_frames: int = 2
    min_length_s: float = 0.05
    max_length_s: float = 20.0

    def __post_init__(self) -> None:
        if not 0.0 < self.onset <= 1.0:
            raise ValueError(f"onset level {self.onset}; expected above 0 and at most 1")
        if not 0.0 <= self.frame_off <= self.frame_on <= 1.0:
            raise ValueError(
                f"frame levels {self.frame_on} and {self.frame_off}; "
                "expected frame_off at most frame_on, both from 0 to 1"
            )
        if self.release_frames < 1:
            raise ValueError(f"{self.release_frames} release frames; expected at least 1")
        if not 0.0 < self.min_length_s <= self.max_length_s:
            raise ValueError(
                f"lengths from {self.min_length_s} to {self.max_length_s} s; "
                "expected above 0 and in this order"
            )


@dataclass(frozen=True)
class TrackerSettings:
    """Settings of pitched stems and of drums, and of single stems by name."""

    pitched: StemSettings = StemSettings()
    drums: StemSettings = StemSettings(
        onset=0.4, frame_on=0.0, frame_off=0.0, min_length_s=0.05, max_length_s=0.05
    )
    stems: Mapping[str, StemSettings] = field(default_factory=dict)

    def of(self, notes: Notes) -> StemSettings:
        """The settings that hold for one stem of a transcriber.

        Those by name come first, then the levels that the model states, then the rest.
        """
        if notes.stem in self.stems:
            return self.stems[notes.stem]
        chosen = self.drums if notes.drums else self.pitched
        if notes.levels is None:
            return chosen
        return replace(chosen, **asdict(notes.levels))


DEFAULT_SETTINGS = TrackerSettings()


class NoteTracker:
    """Turns network frames into note events, one frame a call.

    Parameters
    ----------
    notes : sequence of Notes
        The manifest's stems and pitches, in the order of the network's outputs.
    hop : int
        Network frame spacing in samples at `sample_rate`.
    lookahead : int
        Samples of audio after the described moment that each frame has heard.
    sample_rate : int
        In Hz; turns the lengths of `settings` into samples.
    delay_frames : int
        Frames by which the network's outputs come late, see `rtsep.networks`.
    settings : TrackerSettings

    Attributes
    ----------
    decision_delay_samples : int
        No note-on has a `known_at` further than this behind its `sample`.

    Notes
    -----
    Frame k (from 0) describes sample ``(k + 1) * hop - lookahead`` and is known once
    the stream has reached ``(k + 1 + delay_frames) * hop``.
    """

    def __init__(
        self,
        notes: Sequence[Notes],
        *,
        hop: int,
        lookahead: int,
        sample_rate: int,
        delay_frames: int = 0,
        settings: TrackerSettings = DEFAULT_SETTINGS,
    ) -> None:
        self._keys = [(stem.stem, pitch) for stem in notes for pitch in stem.pitches]
        if len(set(self._keys)) != len(self._keys):
            raise ValueError("a pitch that is listed twice for one stem; expected it once")
        n = len(self._keys)
        self._hop = hop
        self._lookahead = lookahead
        self._delay = delay_frames * hop
        self.decision_delay_samples = decision_delay(hop, lookahead, delay_frames)

        chosen = [settings.of(stem) for stem in notes for _ in stem.pitches]
        self._levels = np.zeros((kernel.N_LEVELS, n), np.float32)
        self._limits = np.zeros((kernel.N_LIMITS, n), np.int64)
        self._levels[kernel.ONSET] = [s.onset for s in chosen]
        self._levels[kernel.FRAME_ON] = [s.frame_on for s in chosen]
        self._levels[kernel.FRAME_OFF] = [s.frame_off for s in chosen]
        self._limits[kernel.RELEASE_FRAMES] = [s.release_frames for s in chosen]
        shortest = [max(1, round(s.min_length_s * sample_rate)) for s in chosen]
        longest = [max(1, round(s.max_length_s * sample_rate)) for s in chosen]
        self._limits[kernel.MIN_LENGTH] = shortest
        self._limits[kernel.MAX_LENGTH] = longest
        self._past = np.zeros((kernel.N_PAST, n), np.float32)
        self._state = np.zeros((kernel.N_STATE, n), np.int64)
        self._events = np.zeros((kernel.MAX_EVENTS_PER_NOTE * n, 3), np.int64)
        self._silence = np.zeros(n, np.float32)
        # Compile or load the kernel here, not in front of the first frame.
        self._frame = 0
        self._step(self._silence, self._silence, self._silence)
        self.reset()

    @property
    def n_notes(self) -> int:
        """Width of the network outputs that `push` takes."""
        return len(self._keys)

    def reset(self) -> None:
        """Forget everything: the next frame is frame 0 of a new stream."""
        self._frame = 0
        self._past.fill(0.0)
        self._state.fill(0)
        self._state[kernel.START] = -1

    def push(self, onset: Floats, frame: Floats, velocity: Floats) -> list[NoteEvent]:
        """Take the next network frame.

        Parameters
        ----------
        onset, frame, velocity : float32 [n_notes]
            From 0 to 1; what is not a number counts as 0.

        Returns
        -------
        list of NoteEvent
            What this frame decided, by `sample`, ends before starts.  All share one
            `known_at`, which grows from call to call.
        """
        known_at = (self._frame + 1) * self._hop + self._delay
        count = self._step(onset, frame, velocity)
        if count == 0:
            return []
        events = []
        for sample, column, loudness in self._events[:count].tolist():
            stem, pitch = self._keys[column]
            events.append(NoteEvent(sample, known_at, stem, pitch, loudness))
        events.sort(key=_in_time)
        return events

    def flush(self, end_sample: int) -> list[NoteEvent]:
        """End the stream: decide what waits for a next frame and end every note.

        Parameters
        ----------
        end_sample : int
            Where the mix ends; notes that still sound end there, or once they have
            their least length.  `reset` comes before the next stream.

        Returns
        -------
        list of NoteEvent
            Sorted by `known_at`.
        """
        if self._frame == 0:
            return []
        # What sounds goes on sounding as it did; only the onsets are over.
        events = self.push(self._silence, self._past[kernel.FRAME_1].copy(), self._silence)
        known_at = self._frame * self._hop + self._delay
        ends: list[NoteEvent] = []
        for column in np.flatnonzero(self._state[kernel.START] >= 0).tolist():
            start, _, below, fell = self._state[:, column].tolist()
            shortest, longest, _ = self._limits[:, column].tolist()
            end = min(end_sample, fell) if below else end_sample
            end = min(max(end, start + shortest), start + longest)
            stem, pitch = self._keys[column]
            ends.append(NoteEvent(end, max(known_at, end_sample, end), stem, pitch, 0))
        self._past.fill(0.0)
        self._state[kernel.START] = -1
        return sorted(events + ends, key=lambda event: (event.known_at, *_in_time(event)))

    def _step(self, onset: Floats, frame: Floats, velocity: Floats) -> int:
        self._frame += 1
        count: int = kernel.track_frame(
            onset,
            frame,
            velocity,
            self._frame * self._hop - self._lookahead,
            self._hop,
            self._levels,
            self._limits,
            self._past,
            self._state,
            self._events,
        )
        return count


def _in_time(event: NoteEvent) -> tuple[int, bool]:
    return event.sample, event.velocity > 0
