"""Where a trained network comes from, gathered for its manifest."""

import json
from pathlib import Path

import torch

from rtsep.bundle import Bundle
from rtsep.errors import SetupError
from rtsep.manifest import Training
from rtsep.output_file import replacing
from rtsep_export.collections import OPEN_COLLECTIONS
from rtsep_export.render import FONTS

START = "started-from.txt"


def training_record(run: Path, rendered: Path, network: str) -> Training:
    """Data, fonts, hours and command behind the weights in `run`.

    Parameters
    ----------
    run : Path
        A folder that `rtsep_export.training.train` wrote.
    rendered : Path
        The rendered songs of the training split, each with its ``recipe.json``.

    Raises
    ------
    SetupError
        The run or the recipes are missing, or a song's collection may not stand
        behind weights that ship.
    """
    recipes = [json.loads(p.read_text()) for p in sorted(rendered.glob("*/recipe.json"))]
    state_path = run / "state.pt"
    if not recipes or not state_path.is_file():
        missing = state_path if recipes else f"{rendered}/*/recipe.json"
        raise SetupError(f"no {missing}", "a trained run and its rendered songs")
    songs: dict[tuple[str, str], int] = {}
    for recipe in recipes:
        collection = next((c for c in OPEN_COLLECTIONS if recipe["song"].startswith(f"{c}-")), None)
        if collection is None:
            raise SetupError(
                f"{recipe['song']} in the training songs", "songs of the open collections only"
            )
        key = (collection, recipe["licence"])
        songs[key] = songs.get(key, 0) + 1
    fonts = sorted({recipe["font"] for recipe in recipes})
    state = torch.load(state_path, weights_only=True, map_location="cpu")
    start = run / START
    begun = f" from {start.read_text()}" if start.is_file() else ""
    seconds = sum(_seconds(p) for p in sorted(rendered.glob("*/mix.flac")))
    return Training(
        data=tuple(f"{c}: {n} songs, {licence}" for (c, licence), n in sorted(songs.items())),
        sound_fonts=tuple(f"{FONTS[f][1]} ({FONTS[f][2]})" for f in fonts),
        audio_hours=round(seconds / 3600, 2),
        command=(
            f"rtsep-export train {network} --minutes {state['elapsed'] / 60:.0f} "
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
    from pedalboard.io import AudioFile

    with AudioFile(str(path)) as file:
        return float(file.duration)
