"""``quality.py --task query``: what a query model takes out of songs, duos and recordings.

Of a model for live use it is what it takes out as a mix plays.  Every stem of every clip is
asked for by the loudest seconds of its first half, and measured in the second:
scale-invariant SDR, beside the mixture and, where the separator has a stem of that name,
beside that stem of an engine that nothing is asked of.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import common
from benchmarks.clips import Clip, read_audio, rendered_clip, song_folders
from benchmarks.engine import time_hops
from rtsep.bundle import Bundle
from rtsep.engine import QUERIED, Engine
from rtsep.presets import PRESETS
from rtsep.query.model import Embedder
from rtsep.rates import REFERENCE_RATE
from rtsep.resample import at_rate, mono_at
from rtsep_export.measures import is_silent, loudest, si_sdr
from rtsep_export.query.solos import Solos, solos_folder
from rtsep_export.query.voices import INSTRUMENTS

Audio = common.Audio
Row = dict[str, Any]
# A stem of a mix, by an example, both at the reference rate.
Take = Callable[[Audio, Audio], Audio]

PRESET = "live"
EXAMPLE_S, RENDERED_S = 3.0, 20.0
COST_S = 10.0
BLOCK = 4800
DUOS = "duos of rendered solos"
# How many names later, in their order, the other instrument of a duo comes.
APART = (1, 5)


def recordings(root: Path) -> Iterator[Clip]:
    """Real recordings at the reference rate with all their stems, whatever these are called."""
    for place in sorted(root.glob("*/mixture.flac")):
        mix, rate = read_audio(place)
        if rate < REFERENCE_RATE // 2:
            continue
        others = [path for path in sorted(place.parent.glob("*.flac")) if path != place]
        stems = {path.stem: at_rate(read_audio(path)[0], rate, REFERENCE_RATE) for path in others}
        yield Clip(place.parent.name, REFERENCE_RATE, at_rate(mix, rate, REFERENCE_RATE), stems)


def duos(rendered: Path) -> Iterator[Clip]:
    """Two test solos at once: every instrument beside some others."""
    solos = Solos(rendered, "test")
    names = sorted(solos.having)
    for apart, (number, name) in product(APART, enumerate(names)):
        pair = (name, names[(number + apart) % len(names)])
        stems = {}
        for stem in pair:
            those = solos.having[stem]
            solo = those[apart % len(those)]
            stems[stem] = solos.part(solo, stem, 0, round(RENDERED_S * REFERENCE_RATE))
        mix = np.sum(list(stems.values()), axis=0)
        yield Clip(" and ".join(pair), REFERENCE_RATE, mix, stems)


def played(engine: Engine, mix: Audio, query: Audio | None = None) -> dict[str, Audio]:
    """The engine's stems of a mix, in time with it, cut to whole blocks."""
    engine.prepare(REFERENCE_RATE, BLOCK, mix.shape[0])
    if query is not None:
        engine.ask(query)
    stems = np.zeros((len(engine.stems), mix.shape[0], BLOCK), np.float32)
    found = []
    for start in range(0, mix.shape[1] - BLOCK + 1, BLOCK):
        engine.process(np.ascontiguousarray(mix[:, start : start + BLOCK]), stems)
        found.append(stems.copy())
    late = engine.latency_samples
    return dict(zip(engine.stems, np.concatenate(found, axis=2)[..., late:], strict=True))


def clip_rows(take: Take, plain: Engine, dataset: str, clip: Clip) -> Iterator[Row]:
    """A row for every stem that sounds in both halves, and not alone.

    Parameters
    ----------
    plain : Engine
        That is asked nothing.
    """
    half = clip.mix.shape[1] // 2
    separated = played(plain, clip.mix[:, half:])
    for stem, audio in clip.stems.items():
        rest = (clip.mix - audio)[:, half:]
        if any(map(is_silent, (audio[:, :half], audio[:, half:], rest))):
            continue
        heard = mono_at(audio[:, :half], clip.sample_rate, REFERENCE_RATE)
        example = heard[loudest(heard, round(EXAMPLE_S * REFERENCE_RATE))]
        found = take(np.ascontiguousarray(clip.mix[:, half:]), example[None])
        # What plays live ends a latency sooner.
        samples = min(found.shape[1], *(part.shape[1] for part in separated.values()))
        found = found[:, :samples]
        true, mix = (whole[:, half : half + samples] for whole in (audio, clip.mix))
        before = si_sdr(true, mix)
        yield {
            "dataset": dataset,
            "clip": clip.name,
            "stem": stem,
            "mixture": before,
            "queried": si_sdr(true, found) - before,
            "level": gain_db(true, found),
            "rest": gain_db(rest[:, :samples], found),
            "separated": si_sdr(true, separated[stem][:, :samples]) - before
            if stem in separated
            else None,
        }


def measure_live(
    bundle: Bundle, separator: Bundle, rendered: Path | None, data: Path | None, songs: int
) -> dict[str, Any]:
    """Print the tables of what is there, of a model for live use, and give every figure."""
    engine = Engine(separator, None, PRESETS[PRESET], query=bundle, device="cpu")

    embedder = Embedder(bundle, device="cpu")

    def take(mix: Audio, example: Audio) -> Audio:
        query = embedder.embed(embedder.heard(example, REFERENCE_RATE))
        return played(engine, mix, query)[QUERIED]

    cost = print_cost(separator, bundle)
    rows = measure_clips(take, separator, rendered, data, songs)
    return {"model": bundle.name, "cost": cost, "rows": rows}


def print_cost(separator: Bundle, bundle: Bundle) -> list[dict[str, Any]]:
    """What one more stem costs the engine, stems only, and the latency with it."""
    rows = [
        {"query": asked is not None}
        | time_hops(separator, None, PRESETS[PRESET], REFERENCE_RATE, COST_S, query=asked)
        for asked in (None, bundle)
    ]
    table = [
        [
            "one more stem, by a query" if row["query"] else "stems alone",
            f"{row['latency_samples']} = {row['latency_ms']:.1f} ms",
            f"{row['real_time_factor_cpu']:.3f}",
        ]
        for row in rows
    ]
    title = f"The engine at {REFERENCE_RATE / 1000:g} kHz, {COST_S:g} s of synthetic music"
    common.print_table(title, ("", "latency, samples", "share of a core"), table)
    return rows


def measure_clips(
    take: Take,
    separator: Bundle,
    rendered: Path | None,
    data: Path | None,
    songs: int,
) -> list[Row]:
    """Print the tables of what is there, and give all rows."""
    plain = Engine(separator, None, PRESETS[PRESET], device="cpu")
    all_rows: list[Row] = []
    sets: list[tuple[str, Iterable[Clip]]] = []
    if rendered is None:
        print("rendered songs left out: give --rendered or set RTSEP_RENDERED\n")
    else:
        folders = song_folders(rendered, "test", songs)
        sets.append(("rendered test split", (rendered_clip(f, RENDERED_S) for f in folders)))
        if solos_folder(rendered, "test").is_dir():
            sets.append((DUOS, duos(rendered)))
        else:
            print(f"{DUOS} left out: rtsep-export solos -o {rendered} renders them\n")
    if data is None or not (data / "real").is_dir():
        print("real recordings left out: give --data or set RTSEP_DATA to a folder with real/\n")
    else:
        sets.append(("real recordings", recordings(data / "real")))
    for dataset, clips in sets:
        rows = []
        with common.progress() as bar:
            task = bar.add_task(dataset, total=None)
            for clip in clips:
                rows += clip_rows(take, plain, dataset, clip)
                bar.advance(task)
        print_rows(rows, dataset)
        all_rows += rows
    return all_rows


def gain_db(part: Audio, found: Audio) -> float:
    """How loud a part of the mix is in what was found, beside how loud it was, not below -60.

    An estimate next to silence has the best of SI-SDRs where all others are wrong.
    """
    share = float((part * found).sum() / max(float((part**2).sum()), 1e-12))
    return 20 * float(np.log10(max(abs(share), 1e-3)))


def print_rows(rows: Sequence[Row], dataset: str) -> None:
    """Stems down, and the mean of all."""
    names = sorted({row["stem"] for row in rows})
    groups = [(name, [row for row in rows if row["stem"] == name]) for name in names]
    if dataset == DUOS:
        for title, seen in (("heard in training", True), ("not heard", False)):
            groups.append((title, [row for row in rows if INSTRUMENTS[row["stem"]].seen == seen]))
    table = []
    for title, mine in [*((t, found) for t, found in groups if found), ("all", list(rows))]:
        means = [common.mean_of(mine, m) for m in ("mixture", "queried", "separated")]
        means += [f"{np.median([row[m] for row in mine]):.0f}" for m in ("level", "rest")]
        table.append([title, str(len(mine)), *means])
    common.print_table(
        f"By example: SI-SDR of the mixture and improvement over it, dB: {dataset}, "
        f"second half of every clip, {len(rows)} stems; median level in dB of what is asked for, "
        "and of the rest, in what comes out",
        ("stem", "clips", "mixture", "by example", "the separator's own stem", "level", "rest"),
        table,
    )
