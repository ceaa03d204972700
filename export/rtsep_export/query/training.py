"""Training of one of the five models on random pairs.

The losses of equations 16 and 21 are stepped together, by the loop that all networks
here share: with a time budget, where the paper has 200 epochs.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rtsep_export.devices import best_device, mixed_precision
from rtsep_export.query import losses
from rtsep_export.query.folded import Folded
from rtsep_export.query.networks import Model, QueryModel
from rtsep_export.query.pairs import Batch, Pairs

VALID_PAIRS, VALID_BATCH = 48, 12


class QueryTask:
    """A model, its data and its loss.

    Parameters
    ----------
    folder : Path
        Of parts, with splits ``train`` and ``valid``.
    seconds : float
        Length of a clip.
    valid_pairs : int
        How many to validate on.
    """

    def __init__(
        self,
        folder: Path,
        model: Model,
        *,
        seconds: float = 3.0,
        batch: int = 12,
        valid_pairs: int = VALID_PAIRS,
    ) -> None:
        self.model, self.batch = model, batch
        self.device = best_device()
        self.pairs = Pairs(folder / "train", seconds, self.device)
        valid, rng = Pairs(folder / "valid", seconds, self.device), np.random.default_rng(6)
        size = min(VALID_BATCH, valid_pairs)
        self.valid = [valid.draw(size, rng) for _ in range(valid_pairs // size)]
        self.network: nn.Module = QueryModel(model).to(self.device)

    def loss(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """The sum of the model's losses on a random batch."""
        batch = self.pairs.draw(self.batch, rng)
        assert isinstance(self.network, QueryModel)
        if self.device.type == "cuda":
            with mixed_precision(self.device):
                terms = self._terms(Folded(self.network), batch)
        else:
            terms = self._terms(self.network, batch)
        values = torch.stack(list(terms.values()))
        return values.sum(), dict(zip(terms, values.tolist(), strict=True))

    def _terms(self, network: QueryModel | Folded, batch: Batch) -> dict[str, Tensor]:
        sizes = batch.examples.shape
        queries = network.query(batch.examples.flatten(0, 2)[:, None]).unflatten(0, sizes[:3])
        terms = {"query": losses.query_loss(queries[0], queries[1])}
        asked = queries[0, :, 0]
        levels, notes = network.encode(batch.mixture, asked), None
        if self.model.transcribes:
            logits = network.transcribe(levels)
            terms["transcription"] = losses.transcription_loss(logits, batch.classes)
            notes = logits.softmax(1)
        if self.model.separates:
            if self.model.translates and network.training:
                levels = network.encode(batch.twin, asked)
            estimate = network.decode(levels, notes)
            terms["separation"] = losses.separation_loss(estimate, batch.source)
        return terms

    def score(self, network: nn.Module) -> dict[str, float]:
        """The losses on fixed pairs."""
        assert isinstance(network, QueryModel)
        found: dict[str, list[float]] = {}
        for batch in self.valid:
            for name, value in self._terms(network, batch).items():
                found.setdefault(name, []).append(float(value))
        means = {name: float(np.mean(values)) for name, values in found.items()}
        names = ("transcription", "separation")
        return means | {"score": -sum(means[n] for n in names if n in means)}
