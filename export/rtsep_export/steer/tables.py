"""TagBox's tables: what steering takes out of mixtures, beside methods without training."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from msgspec import Struct

from rtsep.errors import SetupError
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
    improvement : float or None
        None where no second of the song counts.
    scale_free : float
        The same of the scale-invariant SDR.  The other rewards silence: that of an estimate
        next to nothing is 0 dB, which is far above a quiet source's in its mixture.
    """

    method: str
    song: str
    source: str
    improvement: float | None
    scale_free: float


def measure(
    songs: Iterable[Song],
    autoencoder: Autoencoder,
    rows: Sequence[Sequence[NamedTagger]],
    settings: Settings,
    known: Sequence[Figure] = (),
) -> Iterator[Figure]:
    """Every figure that is not known yet, song by song.

    The first row is measured besides on the autoencoder's own reconstruction of the
    mixture, as the public implementation has it.

    Parameters
    ----------
    rows : sequence of sequence of NamedTagger
        Taggers that steer together.
    """
    there = {(figure.method, figure.song, figure.source) for figure in known}
    for song in songs:
        yield from _without_training(song, there)
        for number, taggers in enumerate(rows):
            name = " + ".join(tagger.title for tagger in taggers)
            for source in song.sources:
                if not all(_knows(tagger, source) for tagger in taggers):
                    continue
                places = ("mixture",) if number else ("mixture", "reconstruction")
                for place in places:
                    end = "" if place == "mixture" else f" of its {place}"
                    methods = [f"{name}, {reading}{end}" for reading in READINGS]
                    if all((method, song.name, source) in there for method in methods):
                        continue
                    found = steered(song.mixture, source, autoencoder, taggers, settings, place)
                    for method, estimate in zip(methods, found, strict=True):
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


def _without_training(song: Song, there: Container[tuple[str, str, str]]) -> Iterator[Figure]:
    """The baselines, for the sources for which the paper has them."""
    if "drums" in song.sources and ("HPSS", song.name, "drums") not in there:
        percussive = hpss.separate(song.mixture[None], SAMPLE_RATE)["percussive"]
        yield _figure("HPSS", song, "drums", percussive[0])
    if "vocals" in song.sources and ("REPET-SIM", song.name, "vocals") not in there:
        foreground = repet_sim.separate(song.mixture[None], SAMPLE_RATE)["foreground"]
        yield _figure("REPET-SIM", song, "vocals", foreground[0])


def _figure(method: str, song: Song, source: str, estimate: Audio) -> Figure:
    truth = song.sources[source][None]
    scale_free = si_sdr(truth, estimate[None]) - si_sdr(truth, song.mixture[None])
    over = sdr_improvement(song, source, estimate)
    improvement = None if np.isnan(over) else over
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
            values = [value for f in of if (value := getattr(f, measured)) is not None]
            cell = f"{np.mean(values):.1f}" if values else "–"
            their = theirs.get(method.rpartition(", ")[0] or method, {}).get(source)
            cells.append(cell if their is None or not values else f"{cell} / {their:.1f}")
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return lines


class Conditions(Struct):
    """Figures of other conditions do not belong beside these."""

    autoencoder: str
    seconds: float
    steps: int


class Kept(Struct):
    """What has been measured so far, and in how many seconds."""

    conditions: Conditions
    taken_s: float
    figures: list[Figure]


def read_kept(path: Path, conditions: Conditions) -> Kept:
    """What an earlier run under the same conditions kept there, else nothing.

    Raises
    ------
    SetupError
        Something else is there.
    """
    if not path.exists():
        return Kept(conditions, 0.0, [])
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=Kept)
    except (OSError, msgspec.MsgspecError) as error:
        raise SetupError(f"{path}: {error}", "figures of an earlier run", "another name") from None
    if kept.conditions != conditions:
        raise SetupError(f"{path}: of {kept.conditions}", str(conditions), "another name")
    return kept


def write_kept(path: Path, kept: Kept) -> None:
    """Write it as JSON, under a temporary name first."""
    with replacing(path) as scratch:
        scratch.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n")
