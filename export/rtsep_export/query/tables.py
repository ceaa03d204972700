"""The paper's Table 1, ours beside theirs, and its figure of single instruments."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from rtsep.output_file import replacing
from rtsep_export.query.checkpoints import load_query_model
from rtsep_export.query.evaluation import Found, evaluate
from rtsep_export.query.networks import MODELS
from rtsep_export.query.pairs import Asked
from rtsep_export.query.voices import INSTRUMENTS
from rtsep_export.training import snapshots

# Of the last fifth of a training, as the paper takes its last ten epochs.
CHECKPOINTS = 5
ROWS = ("seen", "unseen", "overall")
# Mean and half the width of the 95% interval, by row.
THEIR_SDR = {
    "separation": ((4.69, 0.31), (6.20, 0.26), (5.07, 0.22)),
    "multi-task": ((3.32, 0.18), (4.63, 0.34), (3.65, 0.22)),
    "msi": ((6.33, 0.17), (5.53, 0.15), (6.13, 0.15)),
    "msi-dis": ((5.04, 0.16), (3.99, 0.22), (4.77, 0.14)),
}
THEIR_PRECISION = {
    "transcription": ((0.72, 0.01), (0.61, 0.01), (0.69, 0.01)),
    "multi-task": ((0.72, 0.04), (0.58, 0.02), (0.69, 0.03)),
    "msi": ((0.71, 0.01), (0.61, 0.01), (0.69, 0.01)),
    "msi-dis": ((0.72, 0.01), (0.59, 0.01), (0.68, 0.00)),
}
Theirs = Mapping[str, tuple[tuple[float, float], ...]]
MEASURES: dict[str, tuple[str, Theirs]] = {
    "sdr": ("SDR in dB, the estimate with the mixture's phase", THEIR_SDR),
    "masked_sdr": ("SDR in dB, the mixture under the estimate's mask", {}),
    "precision": ("precision of the notes", THEIR_PRECISION),
}

# By model, by checkpoint, by pair.
Results = Mapping[str, Sequence[Sequence[Found]]]


def measure(
    runs: Path, pairs: Sequence[Asked], models: Sequence[str]
) -> Iterator[tuple[str, list[list[Found]]]]:
    """Figures of every pair for the last checkpoints of every model.

    Yields
    ------
    name, found
        After every model; outer list by checkpoint.
    """
    for name in models:
        yield (
            name,
            [evaluate(load_query_model(p, MODELS[name]), pairs) for p in snapshots(runs / name)],
        )


def chosen(found: Sequence[Found], row: str) -> list[Found]:
    """The pairs of a row of the table."""
    return [
        f for f in found if row == "overall" or INSTRUMENTS[f.instrument].seen == (row == "seen")
    ]


def mean_and_interval(
    found: Sequence[Sequence[Found]], measure: str, row: str
) -> tuple[float, float]:
    """Mean over pairs and checkpoints, and half the 95% interval of the checkpoints' means."""
    means = [np.mean([getattr(f, measure) for f in chosen(one, row)]) for one in found]
    half = 1.96 * np.std(means, ddof=1) / np.sqrt(len(means)) if len(means) > 1 else float("nan")
    return float(np.mean(means)), float(half)


def table(results: Results) -> list[str]:
    """Table 1 in Markdown, one part a measure."""
    pairs = len(next(iter(results.values()))[0])
    checkpoints = len(next(iter(results.values())))
    lines = []
    for measure, (title, theirs) in MEASURES.items():
        names = _having(results, measure)
        head = " | ".join(MODELS[name].title for name in names)
        lines += [
            f"{title}; ours / theirs; {pairs} pairs, mean and 95% interval over the last "
            f"{checkpoints} checkpoints",
            "",
            f"| | {head} |",
            "| --- |" + " ---: |" * len(names),
        ]
        for index, row in enumerate(ROWS):
            cells = []
            for name in names:
                mean, half = mean_and_interval(results[name], measure, row)
                cell = f"{mean:.2f} ± {half:.2f}"
                if name in theirs:
                    their_mean, their_half = theirs[name][index]
                    cell += f" / {their_mean:.2f} ± {their_half:.2f}"
                cells.append(cell)
            lines.append(f"| {row} | " + " | ".join(cells) + " |")
        lines.append("")
    first = next(iter(results.values()))
    for row in ROWS:
        mean, _ = mean_and_interval(first, "mixture_sdr", row)
        lines.append(f"SDR of the mixture, {row}: {mean:.2f} dB")
    return lines


def _having(results: Results, measure: str) -> list[str]:
    """The models that a measure is for."""
    return [n for n, found in results.items() if getattr(found[0][0], measure) is not None]


def plot(results: Results, path: Path) -> None:
    """Figure 4: SDR and precision of every instrument, the unseen ones last."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 1, figsize=(11, 7), layout="constrained")
    for axis, measure in zip(axes, ("sdr", "precision"), strict=True):
        names = _having(results, measure)
        heard = [i for i in INSTRUMENTS if any(f.instrument == i for f in results[names[0]][0])]
        for offset, name in enumerate(names):
            means = [
                np.mean(
                    [getattr(f, measure) for one in results[name] for f in one if f.instrument == i]
                )
                for i in heard
            ]
            places = np.arange(len(heard)) + 0.8 * (offset + 0.5) / len(names) - 0.4
            axis.bar(places, means, 0.8 / len(names), label=MODELS[name].title)
        axis.set_xticks(
            range(len(heard)),
            [i if INSTRUMENTS[i].seen else f"{i} *" for i in heard],
            rotation=15,
        )
        axis.set_ylabel("SDR in dB" if measure == "sdr" else "precision")
        axis.legend(ncols=len(names), loc="lower center", bbox_to_anchor=(0.5, 1.0))
        axis.grid(axis="y", alpha=0.3)
    axes[1].set_xlabel("* not heard in training")
    with replacing(path) as scratch:
        figure.savefig(scratch, format=path.suffix.lstrip(".") or "png")
    pyplot.close(figure)


def write_results(path: Path, results: Results) -> None:
    """Keep every pair's figures as JSON, under a temporary name first."""
    kept = {name: [[asdict(f) for f in one] for one in found] for name, found in results.items()}
    with replacing(path) as scratch:
        scratch.write_text(json.dumps(kept, indent=1) + "\n")
