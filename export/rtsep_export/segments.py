"""What the networks learn from, worked out of the stems and notes of a stretch of music."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rtsep.rates import REFERENCE_RATE
from rtsep_export.device_songs import Rolls
from rtsep_export.features import (
    HEADS,
    SEPARATOR_FRONT_ENDS,
    SEPARATOR_HOP,
    TRANSCRIBER_FRONT_ENDS,
    TRANSCRIBER_HOP,
    features,
    mask_targets,
    target_frames,
)
from rtsep_export.note_rolls import rolls
from rtsep_export.rendered import Audio, Notes, moved
from rtsep_export.score_supervision import activity

# As much as the longest window hears, in samples; a stretch begins with it.
HISTORY = 8192
# Speeds of playing; one is that of 44.1 kHz taken for 48 kHz, as live music may be.
SPEEDS = (1.0, 1.0, 0.91875, 0.95, 1.05)
# The arrays of a target: energy, ratio and floor of `rtsep_export.features`.
STATISTICS = {
    "live": ("energy", "ratio", "floor"),
    "offline": ("energy4", "ratio4", "floor4"),
}


@dataclass(frozen=True)
class SeparatorSegment:
    """Features and targets of a separator.

    Attributes
    ----------
    heads : tuple of str
    frames : int
        Of the network, after the history.
    scored : bool
        With what the losses from scores need, at every frame; else only what belongs to
        every second frame is worked out, and the speed may vary.
    """

    heads: tuple[str, ...]
    frames: int
    scored: bool = False

    @property
    def samples(self) -> int:
        """Length of the stretch that is needed."""
        return HISTORY + (self.frames + 1) * SEPARATOR_HOP

    def __call__(
        self, stems: Audio, notes: Notes, rng: np.random.Generator | None = None
    ) -> dict[str, Tensor]:
        """``features`` and the arrays of `STATISTICS`; scored, also those of the scores.

        Parameters
        ----------
        stems : ``[n_stems, 2, samples]``
        notes : Notes
            In seconds from the first sample.
        rng : Generator, optional
            Draws a speed.
        """
        audio = torch.from_numpy(stems)
        part = self._arrays(audio, rng)
        if self.scored:
            part |= self._score(self._mix(audio), notes)
        return part

    def of_batch(self, stems: Tensor, _: object, rng: np.random.Generator) -> dict[str, Tensor]:
        """Likewise of stems ``[batch, n_stems, 2, samples]``, without those of the scores."""
        return self._arrays(stems, rng)

    def _mix(self, stems: Tensor) -> Tensor:
        return stems.sum(-3)[..., : HISTORY + self.frames * SEPARATOR_HOP]

    def _arrays(self, stems: Tensor, rng: np.random.Generator | None) -> dict[str, Tensor]:
        speed = 1.0 if rng is None or self.scored else float(rng.choice(SPEEDS))
        rate, skip = REFERENCE_RATE * speed, HISTORY // SEPARATOR_HOP
        heard = features(self._mix(stems), SEPARATOR_FRONT_ENDS, SEPARATOR_HOP, rate, skip)
        part = {"features": heard}
        targets = {HEADS[head].target: target_frames(head) for head in self.heads}
        for target, (hop, first_end) in targets.items():
            every = 2 if target == "live" and not self.scored else 1
            found = mask_targets(stems, target, every * hop, HISTORY + first_end, speed)
            count = self.frames * SEPARATOR_HOP // hop
            if target == "offline":
                count -= 2 * HEADS["offline"].lookahead // hop
            frames_at = stems.ndim - 3
            for name, array in zip(STATISTICS[target], found, strict=True):
                whole = array.repeat_interleave(every, frames_at)
                part[name] = whole.narrow(frames_at, 0, min(count, whole.shape[frames_at]))
        return part

    def _score(self, mix: Tensor, notes: Notes) -> dict[str, Tensor]:
        count = self.frames * SEPARATOR_HOP // TRANSCRIBER_HOP
        own = moved(notes, HISTORY)
        onset, frame, _ = rolls(own, count)
        active = activity(own, SEPARATOR_HOP, self.frames)
        skip = HISTORY // TRANSCRIBER_HOP
        return {
            "notefeatures": features(mix, TRANSCRIBER_FRONT_ENDS, TRANSCRIBER_HOP, skip=skip),
            "onset": torch.from_numpy(onset),
            "frame": torch.from_numpy(frame),
            "active": torch.from_numpy(active),
        }


@dataclass(frozen=True)
class TranscriberSegment:
    """Features and piano rolls of a transcriber, over some of its frames."""

    frames: int

    @property
    def samples(self) -> int:
        """Length of the stretch that is needed."""
        return HISTORY + self.frames * TRANSCRIBER_HOP

    def __call__(self, stems: Audio, notes: Notes, _: object = None) -> dict[str, Tensor]:
        """``features``, ``onset``, ``frame`` and ``velocity``; arguments as above."""
        onset, frame, velocity = rolls(moved(notes, HISTORY), self.frames)
        heard = self._features(torch.from_numpy(stems))
        found = {"onset": onset, "frame": frame, "velocity": velocity}
        return {"features": heard} | {k: torch.from_numpy(v) for k, v in found.items()}

    def of_batch(self, stems: Tensor, rolls: Rolls, _: object) -> dict[str, Tensor]:
        """Likewise of stems ``[batch, n_stems, 2, samples]``."""
        onset, frame, velocity = rolls.part(HISTORY // TRANSCRIBER_HOP, self.frames)
        heard = self._features(stems)
        return {"features": heard, "onset": onset, "frame": frame, "velocity": velocity}

    def _features(self, stems: Tensor) -> Tensor:
        skip = HISTORY // TRANSCRIBER_HOP
        return features(stems.sum(-3), TRANSCRIBER_FRONT_ENDS, TRANSCRIBER_HOP, skip=skip)
