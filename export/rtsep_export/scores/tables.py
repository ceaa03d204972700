"""The paper's two tables and its false-positive rates, ours beside theirs."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rtsep.output_file import replacing
from rtsep_export.scores.clips import Clips
from rtsep_export.scores.evaluation import separation, transcription
from rtsep_export.scores.networks import CHANNELS, Network
from rtsep_export.scores.settings import MAKE, SETTINGS
from rtsep_export.scores.songs import INSTRUMENTS
from rtsep_export.scores.training import load_network

# What the paper prints: bass, guitar, piano.
THEIR_SI_SDR: dict[str, tuple[float, ...] | None] = {
    "supervised": (11.1, 5.7, 7.7),
    "isolated-clip": (7.5, 1.2, 4.2),
    "isolated-harmonic": (7.8, 0.4, 4.1),
    "isolated-both": (8.4, 1.6, 5.0),
    "joint": (9.0, 2.7, 5.3),
    "joint-aml": (9.1, 2.8, 5.4),
    "joint-atl": (9.0, 2.5, 5.7),
    "factorised": None,
    "mixture": (1.2, -5.8, -2.3),
    "baseline": (7.3, 0.5, 3.5),
}
THEIR_ACCURACY = {
    ("transcriber", "mixture"): (0.85, 0.44, 0.58),
    ("joint", "mixture"): (0.84, 0.42, 0.54),
    ("joint-aml", "mixture"): (0.86, 0.51, 0.61),
    ("joint-atl", "mixture"): (0.85, 0.50, 0.60),
    ("transcriber", "iso tracks"): (0.91, 0.52, 0.66),
    ("joint", "iso tracks"): (0.90, 0.53, 0.63),
    ("joint-aml", "iso tracks"): (0.91, 0.58, 0.68),
    ("joint-atl", "iso tracks"): (0.91, 0.57, 0.66),
}
THEIR_FALSE_POSITIVES = {"joint": 0.37, "joint-aml": 0.17, "joint-atl": 0.19}

Results = dict[str, Any]


def measure(runs: Path, clips: Clips, channels: int = CHANNELS) -> Iterator[tuple[str, Results]]:
    """Every figure of the tables for the settings trained in `runs`.

    Yields
    ------
    name, results
        After every setting; those that have not been trained are left out.
    """
    yield "mixture", {"si_sdr": _means(separation(None, clips))}
    for name, setting in SETTINGS.items():
        path = runs / name / "model.pt"
        if not path.is_file() or name == "classifier":
            continue
        results = _training(runs / name)
        if "separator" in setting.learns:
            results["si_sdr"] = _means(separation(_load("separator", path, channels), clips))
        if "transcriber" in setting.learns:
            network = _load("transcriber", path, channels)
            for place, isolated in (("mixture", False), ("iso tracks", True)):
                notes = transcription(network, clips, isolated=isolated)
                results[place] = notes.accuracy()
                results[f"false positives, {place}"] = notes.false_positive_rate()
        yield name, results


def _load(name: str, path: Path, channels: int) -> Network:
    network = MAKE[name](channels)
    load_network(network, name, path)
    return network.eval()


def _means(found: dict[str, list[float]]) -> list[float]:
    return [float(np.mean(found[name])) if found[name] else float("nan") for name in INSTRUMENTS]


def _training(folder: Path) -> Results:
    progress = torch.load(folder / "state.pt", weights_only=True, map_location="cpu")["progress"]
    return {"training_s": progress["elapsed_s"], "epochs": progress["epoch"]}


def tables(results: Mapping[str, Results], clips: int) -> list[str]:
    """Both tables in Markdown, and the false-positive rates."""
    head = " | ".join(INSTRUMENTS)
    lines = [
        f"Table 1: SI-SDR in dB, mean over the clips in which an instrument plays ({clips} clips); "
        "ours / theirs",
        "",
        f"| training | {head} | mean | minutes |",
        "| --- |" + " ---: |" * (len(INSTRUMENTS) + 2),
    ]
    for name, theirs in THEIR_SI_SDR.items():
        if name not in results:
            continue
        ours = results[name]["si_sdr"]
        title = SETTINGS[name].title if name in SETTINGS else "input mixture"
        cells = [f"{value:.1f}" for value in (*ours, np.mean(ours))]
        if theirs is not None:
            pairs = zip(cells, (*theirs, np.mean(theirs)), strict=True)
            cells = [f"{a} / {b:.1f}" for a, b in pairs]
        minutes = results[name].get("training_s")
        cells.append("" if minutes is None else f"{minutes / 60:.0f}")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "Table 2: note accuracy (mir_eval's multi-pitch accuracy, mean over the clips); "
        "ours / theirs",
        "",
        f"| training | evaluated on | {head} |",
        "| --- | --- |" + " ---: |" * len(INSTRUMENTS),
    ]
    for (name, place), theirs in THEIR_ACCURACY.items():
        if place in results.get(name, {}):
            pairs = zip(results[name][place], theirs, strict=True)
            cells = [f"{a:.2f} / {b:.2f}" for a, b in pairs]
            lines.append(f"| {SETTINGS[name].title} | {place} | " + " | ".join(cells) + " |")
    lines += ["", "Detected notes that are not in the score, on mixtures; ours / theirs", ""]
    for name, rate in THEIR_FALSE_POSITIVES.items():
        if name in results:
            ours = results[name]["false positives, mixture"]
            lines.append(f"- {SETTINGS[name].title}: {ours:.2f} / {rate:.2f}")
    return lines


def write_results(path: Path, results: Mapping[str, Results], clips: int) -> None:
    """Keep the figures as JSON, under a temporary name first."""
    with replacing(path) as scratch:
        scratch.write_text(json.dumps({"clips": clips, "settings": results}, indent=1) + "\n")
