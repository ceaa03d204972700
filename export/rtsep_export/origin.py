"""Where a trained network comes from, gathered for its manifest."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from rtsep.bundle import Bundle
from rtsep.errors import SetupError
from rtsep.manifest import Training
from rtsep.output_file import replacing
from rtsep_export.collections import OPEN_COLLECTIONS
from rtsep_export.network_names import NetworkName
from rtsep_export.query.networks import SAMPLE_RATE
from rtsep_export.query.solos import solos_folder
from rtsep_export.render import FONTS

START = "started-from.txt"


def training_record(run: Path, rendered: Path, network: NetworkName) -> Training:
    """Data, fonts, hours and command behind the weights in `run`.

    Parameters
    ----------
    run : Path
        A folder that `rtsep_export.training.train` wrote.
    rendered : Path
        What ``rtsep-export render`` wrote, and for what learns from solos ``solos``: each
        song and solo with its recipe.

    Raises
    ------
    SetupError
        The run or the recipes are missing, or a song's collection may not stand
        behind weights that ship.
    """
    recipes = {"songs": sorted((rendered / "train").glob("*/recipe.json"))}
    audio = [path.with_name("mix.flac") for path in recipes["songs"]]
    if network in (NetworkName.query_live, NetworkName.several):
        stated = sorted(solos_folder(rendered, "train").glob("*/*.json"))
        # An interrupted rendering may have left a recipe without its solo.
        recipes["solos"] = [path for path in stated if path.with_suffix(".flac").is_file()]
        audio += [path.with_suffix(".flac") for path in recipes["solos"]]
    return _record(run, rendered, recipes, audio, f"train {network}")


def parts_record(run: Path, parts: Path) -> Training:
    """The same for a model that ``rtsep-export learn-query`` trained, in a run by its name.

    Parameters
    ----------
    parts : Path
        What ``rtsep-export parts`` wrote.
    """
    audio = sorted((parts / "train").glob("*/[!.]*.npy"))
    recipes = {"parts": [path.with_suffix(".json") for path in audio]}
    return _record(run, parts, recipes, audio, f"learn-query {run.resolve().name}")


def _record(
    run: Path,
    folder: Path,
    recipes: Mapping[str, Sequence[Path]],
    audio: Sequence[Path],
    command: str,
) -> Training:
    for kind, paths in recipes.items():
        if not paths:
            raise SetupError(f"no {kind} with their recipes in {folder}", "what it learnt from")
    state_path = run / "state.pt"
    if not state_path.is_file():
        raise SetupError(f"no {state_path}", "a trained run")
    counts: Counter[tuple[str, str, str]] = Counter()
    fonts = set()
    for kind, path in ((kind, path) for kind, paths in recipes.items() for path in paths):
        recipe = json.loads(path.read_text())
        collection = next((c for c in OPEN_COLLECTIONS if recipe["song"].startswith(f"{c}-")), None)
        if collection is None:
            raise SetupError(
                f"{recipe['song']} in the training {kind}", f"{kind} of the open collections only"
            )
        counts[collection, kind, recipe["licence"]] += 1
        fonts.add(recipe["font"])
    state = torch.load(state_path, weights_only=True, map_location="cpu")
    start = run / START
    begun = f" from {start.read_text()}" if start.is_file() else ""
    return Training(
        data=tuple(
            f"{c}: {n} {kind}, {licence}" for (c, kind, licence), n in sorted(counts.items())
        ),
        sound_fonts=tuple(f"{FONTS[f][1]} ({FONTS[f][2]})" for f in sorted(fonts)),
        audio_hours=round(sum(map(_seconds, audio)) / 3600, 2),
        command=(
            f"rtsep-export {command} --minutes {state['elapsed'] / 60:.0f} "
            f"({state['step']} steps on {state['device']}{begun})"
        ),
        remarks="rendered with FluidSynth and pedalboard; no recording of a performance",
    )


def note_start(run: Path, bundle: Bundle) -> None:
    """Keep in a run's folder which bundle its weights began with, and how that was trained."""
    run.mkdir(parents=True, exist_ok=True)
    text = f"{bundle.name} {bundle.manifest.version}: {bundle.manifest.training.command}"
    with replacing(run / START) as scratch:
        scratch.write_text(text)


def _seconds(path: Path) -> float:
    if path.suffix == ".npy":
        return float(np.load(path, mmap_mode="r").size) / SAMPLE_RATE
    from pedalboard.io import AudioFile

    with AudioFile(str(path)) as file:
        return float(file.duration)
