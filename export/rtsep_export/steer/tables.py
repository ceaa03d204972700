"""TagBox's tables: what steering takes out of mixtures, beside methods without training."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from rtsep.output_file import replacing
from rtsep_export.baselines import hpss, repet_sim
from rtsep_export.devices import best_device
from rtsep_export.measures import Audio, museval_sdr, si_sdr
from rtsep_export.steer.autoencoder import SAMPLE_RATE, Autoencoder
from rtsep_export.steer.frozen import NamedTagger
from rtsep_export.steer.sources import Song
from rtsep_export.steer.steering import Settings, Target, inverse, reconstructed, steer, transform
from rtsep_export.steer.tags import target

SOURCES = ("vocals", "bass", "drums", "guitar", "piano", "strings")
# What the paper prints (its tables 1 and 2): MUSDB18 for vocals, Slakh2100 for the others.
THEIRS = {
    "HPSS": {"drums": 0.3},
    "REPET-SIM": {"vocals": 7.8},
    "FCN, MTAT": {"vocals": 7.9, "drums": 7.3, "guitar": 9.6, "piano": 8.6, "strings": 10.4},
    "HCNN, MTAT": {"vocals": 6.6, "drums": 6.5, "guitar": 8.8, "piano": 7.3, "strings": 8.5},
    "FCN, Jamendo": dict(zip(SOURCES, (7.4, 6.9, 7.3, 9.3, 8.7, 10.5), strict=True)),
    "HCNN, Jamendo": dict(zip(SOURCES, (6.8, 6.7, 7.3, 8.3, 8.1, 9.0), strict=True)),
}
# What is taken for the source: what the mask keeps, or what it leaves (the paper's text).
READINGS = ("kept", "removed")


@dataclass(frozen=True)
class Figure:
    """SDR of one estimate over that of the mixture itself, in dB, as museval has it.

    Attributes
    ----------
    scale_free : float
        The same of the scale-invariant SDR.  The other rewards silence: that of an estimate
        next to nothing is 0 dB, which is far above a quiet source's in its mixture.
    """

    method: str
    song: str
    source: str
    improvement: float
    scale_free: float


def measure(
    songs: Iterable[Song],
    autoencoder: Autoencoder,
    rows: Sequence[Sequence[NamedTagger]],
    settings: Settings,
) -> Iterator[Figure]:
    """Every figure, song by song.

    The first row is measured besides on the autoencoder's own reconstruction of the
    mixture, as the public implementation has it.

    Parameters
    ----------
    rows : sequence of sequence of NamedTagger
        Taggers that steer together.
    """
    for song in songs:
        yield from _without_training(song)
        for number, taggers in enumerate(rows):
            name = " + ".join(tagger.title for tagger in taggers)
            for source in song.sources:
                if not all(_knows(tagger, source) for tagger in taggers):
                    continue
                places = ("mixture",) if number else ("mixture", "reconstruction")
                for place in places:
                    found = steered(song.mixture, source, autoencoder, taggers, settings, place)
                    for reading, estimate in zip(READINGS, found, strict=True):
                        method = f"{name}, {reading}"
                        if place != "mixture":
                            method += f" of its {place}"
                        yield _figure(method, song, source, estimate)


def steered(
    mixture: Audio,
    source: str,
    autoencoder: Autoencoder,
    taggers: Sequence[NamedTagger],
    settings: Settings,
    place: str,
) -> tuple[Audio, Audio]:
    """What the mask of a source keeps of the mixture or its reconstruction, and what it leaves."""
    device = best_device()
    heard, autoencoder = torch.from_numpy(mixture).to(device), autoencoder.to(device)
    if place == "reconstruction":
        heard = reconstructed(heard, autoencoder)
    targets = [
        Target(tagger.network.to(device), target([source], tagger.tags, tagger.instruments))
        for tagger in taggers
    ]
    n_fft = settings.n_ffts[0]
    mask = steer(heard, autoencoder, targets, settings)[0]
    kept = inverse(mask * transform(heard, n_fft), n_fft, len(heard))
    return kept.cpu().numpy(), (heard - kept).cpu().numpy()


def _knows(tagger: NamedTagger, source: str) -> bool:
    return source in tagger.instruments or source in tagger.tags


def _without_training(song: Song) -> Iterator[Figure]:
    """The baselines, for the sources for which the paper has them."""
    if "drums" in song.sources:
        percussive = hpss.separate(song.mixture[None], SAMPLE_RATE)["percussive"]
        yield _figure("HPSS", song, "drums", percussive[0])
    if "vocals" in song.sources:
        foreground = repet_sim.separate(song.mixture[None], SAMPLE_RATE)["foreground"]
        yield _figure("REPET-SIM", song, "vocals", foreground[0])


def _figure(method: str, song: Song, source: str, estimate: Audio) -> Figure:
    truth = song.sources[source][None]
    scale_free = si_sdr(truth, estimate[None]) - si_sdr(truth, song.mixture[None])
    improvement = sdr_improvement(song, source, estimate)
    return Figure(method, song.name, source, improvement, scale_free)


def sdr_improvement(song: Song, source: str, estimate: Audio) -> float:
    """In dB, of an estimate over the mixture as an estimate; NaN where no second counts."""
    truth, mixture = song.sources[source][None, None], song.mixture[None, None]
    found = museval_sdr(truth, estimate[None, None], SAMPLE_RATE)
    return float((found - museval_sdr(truth, mixture, SAMPLE_RATE))[0])


def tables(figures: Sequence[Figure], taken_s: float) -> list[str]:
    """Mean improvements by method and source, ours beside theirs, in Markdown."""
    songs = len({figure.song for figure in figures})
    return [
        f"SDR improvement over the mixture in dB (museval), mean over {songs} songs, "
        f"{taken_s / 60:.0f} min; ours / theirs",
        "",
        *_table(figures, "improvement", THEIRS),
        "",
        "The same in scale-invariant SDR, which silence does not raise; ours",
        "",
        *_table(figures, "scale_free", {}),
    ]


def _table(
    figures: Sequence[Figure], measured: str, theirs: Mapping[str, Mapping[str, float]]
) -> list[str]:
    methods = list(dict.fromkeys(figure.method for figure in figures))
    sources = [s for s in SOURCES if any(figure.source == s for figure in figures)]
    lines = [f"| method | {' | '.join(sources)} |", "| --- |" + " ---: |" * len(sources)]
    for method in sorted(methods, key=lambda m: m not in THEIRS):
        cells = []
        for source in sources:
            of = [f for f in figures if (f.method, f.source) == (method, source)]
            values = [value for f in of if not np.isnan(value := getattr(f, measured))]
            cell = f"{np.mean(values):.1f}" if values else "–"
            their = theirs.get(method.rpartition(", ")[0] or method, {}).get(source)
            cells.append(cell if their is None or not values else f"{cell} / {their:.1f}")
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return lines


def write_figures(path: Path, figures: Sequence[Figure], about: Mapping[str, object]) -> None:
    """Keep the figures as JSON, under a temporary name first."""
    rows = [vars(figure) for figure in figures]
    with replacing(path) as scratch:
        scratch.write_text(json.dumps({**about, "figures": rows}, indent=1) + "\n")
