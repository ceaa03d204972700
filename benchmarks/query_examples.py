"""``quality.py --task query``: whether an example of several instruments is told from one.

Every stem of the recordings alone, and every two that play at once; and the test solos,
alone and two at a time.  Those are remarked on that the network that ships for it takes for
several; the baseline is how close what a model takes out of an example by its own query comes
to that, for which one instrument should be easier than several.
"""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import common
from benchmarks.query_clips import duos
from rtsep.query.examples import SEVERAL, Clip
from rtsep.query.live_model import AnyQueryModel
from rtsep.query.several import likely_several
from rtsep.resample import mono_at
from rtsep_export.query.several import ranked
from rtsep_export.recordings import read_mono

Audio = common.Audio
Row = dict[str, Any]

RATE = 16_000
# Of a stem, from the first second on.
EXAMPLE_S = 5
EXAMPLE = slice(RATE, (1 + EXAMPLE_S) * RATE)
LEAST_RMS = 1e-3
# Stems that are several themselves.
MIXED = ("mixture", "bassdrums", "other")


def real_examples(root: Path) -> Iterator[tuple[str, bool, Audio]]:
    """Name, whether there are several, and ``[samples]`` at `RATE`."""
    for folder in sorted(path.parent for path in root.glob("*/mixture.flac")):
        stems = {}
        for path in sorted(p for p in folder.glob("*.flac") if p.stem not in MIXED):
            audio = read_mono(path, RATE)[EXAMPLE]
            if np.sqrt(np.mean(audio**2)) > LEAST_RMS:
                stems[path.stem] = audio
                yield f"{folder.name} {path.stem}", False, audio
        for (name, one), (other, two) in combinations(stems.items(), 2):
            if name[:5] != other[:5]:  # two violins are one to a query
                yield f"{folder.name} {name} and {other}", True, one + two


def rendered_examples(rendered: Path) -> Iterator[tuple[str, bool, Audio]]:
    """The same of the test solos, and of two of them at once."""
    for clip in duos(rendered):
        rate = clip.sample_rate
        parts = {name: mono_at(audio, rate, RATE)[EXAMPLE] for name, audio in clip.stems.items()}
        if min(np.sqrt(np.mean(a**2)) for a in parts.values()) > LEAST_RMS:
            for name, audio in parts.items():
                yield name, False, audio
            yield clip.name, True, sum(parts.values(), np.zeros(1, np.float32))


def example_rows(
    model: AnyQueryModel, dataset: str, examples: Iterator[tuple[str, bool, Audio]]
) -> list[Row]:
    """A row an example."""
    rows = []
    for name, several, audio in examples:
        likely = likely_several(audio[None], RATE)
        if likely is None:
            return []
        clip = Clip(name, audio[None], RATE)
        closeness = clip.closeness_db(model, clip.vector(model.embedder))
        row = {"dataset": dataset, "clip": name, "several": several}
        rows.append(row | {"likely": likely, "closeness_db": closeness})
    return rows


def measure_examples(model: AnyQueryModel, rendered: Path | None, data: Path | None) -> list[Row]:
    """Print the table of what is there, and give all rows."""
    rows = []
    if rendered is not None and (rendered / "solos" / "test").is_dir():
        rows += example_rows(model, "rendered test solos", rendered_examples(rendered))
    if data is not None and (data / "real").is_dir():
        rows += example_rows(model, "real recordings", real_examples(data / "real"))
    table = []
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        mine = [row for row in rows if row["dataset"] == dataset]
        alone, several = ([r for r in mine if r["several"] == many] for many in (False, True))
        if not alone or not several:
            continue
        areas = [
            ranked([r["likely"] for r in several], [r["likely"] for r in alone]),
            ranked(*([-r["closeness_db"] for r in group] for group in (several, alone))),
        ]
        remarked = [
            f"{sum(r['likely'] > SEVERAL for r in group)} of {len(group)}"
            for group in (alone, several)
        ]
        table.append([dataset, *remarked, *(f"{area:.2f}" for area in areas)])
    if table:
        columns = ("examples", "one, remarked on", "several, remarked on", "area under the ROC")
        common.print_table(
            f"Examples of several instruments told from those of one, {EXAMPLE_S} s each",
            (*columns, f"by how close {model.name} comes"),
            table,
        )
    return rows
