"""Training of a tagger to steer by, on the rendered songs.

The fully convolutional network of Won et al. (`rtsep_export.steer.taggers.Fcn`) hears
mixes of some stems of the songs, and learns which instruments sound in them.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rtsep.rates import REFERENCE_RATE
from rtsep_export.devices import best_device
from rtsep_export.mixes import Arrays, Mixes, mono_at, varied
from rtsep_export.rendered import RenderedSongs
from rtsep_export.steer.taggers import HOP, SAMPLE_RATE, Fcn
from rtsep_export.stems import STEMS

# What the other stem is made of, by General MIDI program.
FAMILIES = {
    "organ": range(16, 24),
    "strings": range(40, 52),
    "voice": range(52, 55),
    "brass": range(56, 64),
    "winds": range(64, 80),
    "synth": range(80, 104),
}
TAGS = (*STEMS[:-1], *FAMILIES)
# The shortest that the network's pooling takes: 1,280 frames.
SAMPLES = 1280 * HOP
KEPT, STRANGER = 0.5, 0.3
SOUNDS = 1e-3
BATCH = 12


@dataclass(frozen=True)
class TaggedSegments:
    """Mixes of some stems of a song, now and then of another song's, and their tags."""

    samples: int = SAMPLES

    def __call__(self, songs: RenderedSongs, rng: np.random.Generator) -> Arrays:
        """``audio`` ``[samples]`` at 16 kHz and ``tags`` of 0 and 1."""
        needed = self.samples * REFERENCE_RATE // SAMPLE_RATE
        home = int(rng.integers(len(songs)))
        mix, tags = np.zeros((2, needed), np.float32), torch.zeros(len(TAGS))
        for stem in rng.permutation(STEMS):
            if tags.any() and rng.random() > KEPT:
                continue
            index = home
            if home not in songs.having[stem] or rng.random() < STRANGER:
                if not songs.having[stem]:
                    continue
                index = int(rng.choice(songs.having[stem]))
            start = int(rng.integers(max(songs.length(index) - needed, 0) + 1))
            audio = songs.part(index, stem, start, needed)
            if np.sqrt(np.mean(audio**2)) > SOUNDS:
                mix += varied(audio, rng)
                tags = torch.maximum(tags, tags_of(songs, index, stem))
        return {"audio": torch.from_numpy(mono_at(mix, SAMPLE_RATE, self.samples)), "tags": tags}


def tags_of(songs: RenderedSongs, index: int, stem: str) -> Tensor:
    """What a stem of a song is, as far as its recipe says, ``[TAGS]``."""
    found = torch.zeros(len(TAGS))
    if stem in TAGS:
        found[TAGS.index(stem)] = 1.0
        return found
    recipe = json.loads((songs.folders[index] / "recipe.json").read_text())
    for program in recipe["programs"].get(stem, ()):
        for family, programs in FAMILIES.items():
            if program in programs:
                found[TAGS.index(family)] = 1.0
    return found


class TaggerTask:
    """The tagger, its data and its loss."""

    def __init__(
        self, rendered: Path, *, samples: int = SAMPLES, batch: int = BATCH, workers: int = 0
    ) -> None:
        make = TaggedSegments(samples)
        self.mixes = Mixes(rendered / "train", make, batch, workers)
        songs, rng = RenderedSongs(rendered / "valid"), np.random.default_rng(8)
        self.valid = [make(songs, rng) for _ in range(4 * len(songs))]
        self.device = best_device()
        self.network: nn.Module = Fcn(len(TAGS)).to(self.device)

    def loss(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Binary cross-entropy of the tags."""
        batch = {name: array.to(self.device) for name, array in self.mixes.draw(rng).items()}
        assert isinstance(self.network, Fcn)
        logits = self.network.logits(batch["audio"])
        loss = functional.binary_cross_entropy_with_logits(logits, batch["tags"])
        return loss, {"entropy": float(loss.detach())}

    def score(self, network: nn.Module) -> dict[str, float]:
        """Average precision of every tag on fixed mixes, and their mean."""
        heard = torch.cat([network(s["audio"][None].to(self.device)).cpu() for s in self.valid])
        wanted = torch.stack([s["tags"] for s in self.valid])
        figures = {
            tag: average_precision(wanted[:, i].bool(), heard[:, i])
            for i, tag in enumerate(TAGS)
            if 0 < wanted[:, i].sum() < len(wanted)
        }
        return figures | {"score": float(np.mean([*figures.values()] or [0.0]))}


def average_precision(wanted: Tensor, heard: Tensor) -> float:
    """Mean precision over the ranks of what is wanted."""
    hits = wanted[heard.argsort(descending=True)]
    precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
    return float(precision[hits].mean())
