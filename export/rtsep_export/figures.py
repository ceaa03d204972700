"""Measured figures into the manifests of bundles.

What ``benchmarks/quality.py --json`` wrote is read here and stated by the bundles, so
that no figure is ever typed in by hand.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from rtsep.bundle import load_bundle
from rtsep.errors import RtsepError
from rtsep.manifest import Quality
from rtsep.presets import PRESETS
from rtsep_export.to_onnx import restate


def state_figures(report_path: Path, models: Path) -> dict[str, int]:
    """Put the figures of a report into every bundle of a folder that they are about.

    Returns
    -------
    dict of str to int
        How many figures each bundle now states.

    Raises
    ------
    RtsepError
        The report cannot be read, or is none.
    """
    try:
        report = json.loads(report_path.read_text())
        rows = [row for row in report["rows"] if row["dataset"].startswith("rendered")]
        figures = {path: [*_figures(path, rows, report)] for path in sorted(models.glob("*.onnx"))}
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, RtsepError):
            raise
        raise RtsepError(
            f"{report_path}: {type(error).__name__} {error}",
            "what benchmarks/quality.py --json writes",
        ) from None
    for path, quality in figures.items():
        restate(path, quality=tuple(quality))
    return {path.stem: len(quality) for path, quality in figures.items()}


def _figures(path: Path, rows: list[Any], report: Any) -> Iterator[Quality]:
    manifest = load_bundle(path).manifest
    if manifest.task == "transcribe":
        yield from _note_figures([part.stem for part in manifest.notes], report, rows)
        return
    for preset in PRESETS.values():
        if preset.bundle != manifest.name:
            continue
        for stem in manifest.stems:
            ours, mix = (
                [r["si_sdr"] for r in rows if r["method"] == method and r["stem"] == stem]
                for method in (f"rtsep {preset.name}", "mix")
            )
            if ours:
                yield Quality(
                    dataset=f"{rows[0]['dataset']}, {len(ours)} clips",
                    metric="SI-SDR, dB",
                    stem=stem,
                    value=round(fmean(ours), 2),
                    baseline="mix",
                    baseline_value=round(fmean(mix), 2),
                    preset=preset.name,
                )


def _note_figures(stems: list[str], report: Any, rows: list[Any]) -> Iterator[Quality]:
    notes = [row for row in report.get("notes", []) if row["tolerance_s"] == 0.05]
    for stem in stems:
        ours = [n["f1"] for n in notes if n["notes"].startswith(f"rtsep, {stem}")]
        rival = [n["f1"] for n in notes if n["notes"].startswith(f"Basic Pitch on rtsep's {stem}")]
        if ours:
            yield Quality(
                dataset=f"{rows[0]['dataset']}, {len({r['clip'] for r in rows})} clips",
                metric="note onset F1, 50 ms",
                stem=stem,
                value=round(ours[0], 3),
                baseline="Basic Pitch on the separated stem" if rival else "silence",
                baseline_value=round(rival[0], 3) if rival else 0.0,
            )
