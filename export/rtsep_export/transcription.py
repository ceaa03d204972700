"""Supervised training of the transcriber on random mixes.

Its targets are those of `rtsep_export.note_rolls`.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rtsep_export.device_mixes import mixes_for
from rtsep_export.devices import best_device, mixed_precision
from rtsep_export.features import TRANSCRIBER_FRONT_ENDS, n_features, recoloured
from rtsep_export.mixes import own_segments
from rtsep_export.note_rolls import N_NOTES, NOTES, POSITIVE_WEIGHTS
from rtsep_export.segments import TranscriberSegment
from rtsep_export.tcn import Transcriber


class TranscriptionTask:
    """The transcriber, its data and its loss."""

    def __init__(
        self,
        rendered: Path,
        *,
        frames: int = 384,
        batch: int = 8,
        bfloat16: bool = True,
        workers: int = 0,
    ) -> None:
        self.bfloat16 = bfloat16
        prepare = TranscriberSegment(frames)
        self.device = best_device()
        self.mixes = mixes_for(rendered / "train", prepare, batch, workers, self.device)
        self.valid = own_segments(rendered / "valid", prepare)
        self.network: nn.Module = make_transcriber().to(self.device)

    def loss(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Binary cross-entropy of onsets and activity, plus velocity at the onsets."""
        batch = {name: array.to(self.device) for name, array in self.mixes.draw(rng).items()}
        features = recoloured(batch["features"], rng, TRANSCRIBER_FRONT_ENDS)
        onset, frame, velocity = batch["onset"], batch["frame"], batch["velocity"]
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
        hits, guesses, truths = np.zeros(N_NOTES), np.zeros(N_NOTES), np.zeros(N_NOTES)
        for segment in self.valid:
            with mixed_precision(self.device, wanted=self.bfloat16):
                logit = network(segment["features"].to(self.device))[0].float()
            guess = (torch.sigmoid(logit) > 0.4).cpu().numpy()
            truth = (segment["onset"] > 0.3).numpy()
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
