"""Supervised training of the transcriber on stored mixes.

Targets are piano rolls on the transcriber's frames, onset and activity after
"Onsets and Frames" (Hawthorne et al., ISMIR 2018).  The network may listen
`LOOKAHEAD` samples past the moment a frame describes; an onset between two frames is
shared out between them, so that its time can be read more finely than a frame.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from rtsep.manifest import Notes
from rtsep.rates import REFERENCE_RATE
from rtsep_export.devices import best_device, mixed_precision
from rtsep_export.features import TRANSCRIBER_FRONT_ENDS, TRANSCRIBER_HOP, n_features
from rtsep_export.stems import DRUM_CLASS_OF_KEY, DRUM_CLASSES, PITCHED, PITCHES
from rtsep_export.store import MixStore
from rtsep_export.tcn import Transcriber

LOOKAHEAD = 3 * TRANSCRIBER_HOP
ONSET_WIDTH = 1.5  # frames from an onset's middle to where its target reaches zero
POSITIVE_WEIGHTS = {"onset": 3.0, "frame": 1.5}

Array = npt.NDArray[np.float32]

NOTES = (
    *(Notes(stem=s, pitches=tuple(PITCHES[s]), drums=False) for s in PITCHED),
    Notes(stem="drums", pitches=tuple(DRUM_CLASSES), drums=True),
)
N_NOTES = sum(len(n.pitches) for n in NOTES)


def _columns() -> dict[tuple[str, int], int]:
    columns: dict[tuple[str, int], int] = {}
    offset = 0
    for part in NOTES:
        columns |= {(part.stem, pitch): offset + i for i, pitch in enumerate(part.pitches)}
        offset += len(part.pitches)
    return columns


COLUMN = _columns()


def rolls(
    notes: Sequence[tuple[str, int, float, float, int]], n_frames: int
) -> tuple[Array, Array, Array]:
    """Onset, activity and velocity targets, ``[n_frames, N_NOTES]`` each.

    Parameters
    ----------
    notes : sequence
        Stem, pitch, onset and offset in seconds, MIDI velocity.
    """
    onset = np.zeros((n_frames, N_NOTES), np.float32)
    frame, velocity = np.zeros_like(onset), np.zeros_like(onset)
    for stem, pitch, start_s, stop_s, strength in notes:
        key = DRUM_CLASS_OF_KEY.get(pitch, -1) if stem == "drums" else pitch
        column = COLUMN.get((stem, key))
        if column is None:
            continue
        middle = (start_s * REFERENCE_RATE + LOOKAHEAD) / TRANSCRIBER_HOP - 1
        last = (stop_s * REFERENCE_RATE + LOOKAHEAD) / TRANSCRIBER_HOP - 1
        low, high = int(np.ceil(middle - ONSET_WIDTH)), int(np.floor(middle + ONSET_WIDTH))
        for k in range(max(low, 0), min(high + 1, n_frames)):
            share = 1 - abs(k - middle) / ONSET_WIDTH
            if share >= onset[k, column]:
                onset[k, column], velocity[k, column] = share, strength / 127
        frame[max(round(middle), 0) : max(round(last), 0), column] = 1.0
    return onset, frame, velocity


class TranscriptionTask:
    """The transcriber, its data and its loss."""

    def __init__(
        self, train: Path, valid: Path, *, frames: int = 384, batch: int = 8, bfloat16: bool = True
    ) -> None:
        self.train = MixStore(train, "notefeatures")
        self.valid = MixStore(valid, "notefeatures")
        self.frames, self.batch, self.bfloat16 = frames, batch, bfloat16
        self.device = best_device()
        self.network: nn.Module = make_transcriber().to(self.device)

    @lru_cache(maxsize=64)  # noqa: B019  (a task lives as long as the training)
    def _rolls(self, store: MixStore, name: str) -> tuple[Array, Array, Array]:
        return rolls(store.notes(name), len(store.array(name, "notefeatures")))

    def _batch(
        self, store: MixStore, names: Sequence[str], rng: np.random.Generator
    ) -> tuple[Tensor, list[Tensor]]:
        columns: list[list[Array]] = [[], [], [], []]
        for name in names:
            last = len(store.array(name, "notefeatures")) - self.frames
            start = int(rng.integers(max(last, 1)))
            part = store.window(name, "notefeatures", start, self.frames)
            cut = [r[start : start + self.frames] for r in self._rolls(store, name)]
            for column, value in zip(columns, [part, *cut], strict=True):
                column.append(value)
        features, *targets = (torch.from_numpy(np.stack(c)).to(self.device) for c in columns)
        return features, targets

    def loss(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Binary cross-entropy of onsets and activity, plus velocity at the onsets."""
        names = [self.train.draw(rng) for _ in range(self.batch)]
        features, (onset, frame, velocity) = self._batch(self.train, names, rng)
        gain = torch.from_numpy(rng.uniform(-0.8, 0.3, (self.batch, 1, 1)).astype(np.float32))
        gain = gain.to(self.device)
        features = (features + gain).clamp_min(-2.0)
        with mixed_precision(self.device, wanted=self.bfloat16):
            outputs = self.network(features)
        onset_logit, frame_logit, velocity_logit = (o.float() for o in outputs)
        losses = {
            "onset": _bce(onset_logit, onset, POSITIVE_WEIGHTS["onset"]),
            "frame": _bce(frame_logit, frame, POSITIVE_WEIGHTS["frame"]),
        }
        struck = onset > 0
        error = (torch.sigmoid(velocity_logit) - velocity)[struck]
        losses["velocity"] = error.square().sum() / max(int(struck.sum()), 1)
        total = 200 * losses["onset"] + 60 * losses["frame"] + 1.0 * losses["velocity"]
        return total, {k: float(v.detach()) for k, v in losses.items()}

    def score(self, network: nn.Module) -> dict[str, float]:
        """Frame-wise F-measure of onsets per stem on the validation mixes."""
        rng = np.random.default_rng(5)
        hits, guesses, truths = np.zeros(N_NOTES), np.zeros(N_NOTES), np.zeros(N_NOTES)
        for name in self.valid.names:
            features, (onset, _, _) = self._batch(self.valid, [name, name], rng)
            with mixed_precision(self.device, wanted=self.bfloat16):
                logit = network(features)[0].float()
            guess = (torch.sigmoid(logit) > 0.4).cpu().numpy()
            truth = (onset > 0.3).cpu().numpy()
            hits += (guess & truth).sum((0, 1))
            guesses += guess.sum((0, 1))
            truths += truth.sum((0, 1))
        figures, offset = {}, 0
        for part in NOTES:
            span = slice(offset, offset + len(part.pitches))
            both = guesses[span].sum() + truths[span].sum()
            figures[part.stem] = float(2 * hits[span].sum() / max(both, 1))
            offset += len(part.pitches)
        return figures | {"score": float(np.mean(list(figures.values())))}


def make_transcriber() -> Transcriber:
    """The shipped transcriber's shape, with fresh weights.

    Onset and activity start out rare, so that the first steps are not spent on
    learning that most notes are silent.
    """
    network = Transcriber(n_features(TRANSCRIBER_FRONT_ENDS), N_NOTES)
    with torch.no_grad():
        network.head.bias[: 2 * N_NOTES] = -5.0
    return network


def _bce(logit: Tensor, target: Tensor, positive: float) -> Tensor:
    weight = torch.tensor(positive, device=logit.device)
    return functional.binary_cross_entropy_with_logits(logit, target, pos_weight=weight)
