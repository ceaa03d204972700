"""What adapting to a song from its mixture and score gains, against the song's true stems.

Run ``python benchmarks/adapt.py``.  Songs of the test split that ``rtsep-export render``
wrote are found by ``--rendered`` or RTSEP_RENDERED.  Every second song's score is put into
another tempo first, so that the alignment has its work to do.  The same engine and preset
separate with the shipped bundle and with the adapted one.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks import common
from benchmarks.clips import Clip, rendered_clip, song_folders
from benchmarks.quality import SCORED, separate
from rtsep.bundle import Bundle, load_bundle
from rtsep.engine import Engine
from rtsep.errors import AudioError
from rtsep.presets import PRESETS
from rtsep_export.adapt import adapt
from rtsep_export.alignment import load_score
from rtsep_export.measures import si_sdr

Row = dict[str, Any]


def stretched_score(song: Path, target: Path, rng: np.random.Generator) -> None:
    """Write a song's score with its tempo changed by up to a quarter every few seconds."""
    midi = load_score(song / "notes.mid")
    before = np.arange(0.0, midi.get_end_time() + 4.0, 4.0)
    after = np.concatenate(([0.0], np.cumsum(rng.uniform(0.8, 1.25, len(before) - 1) * 4.0)))
    for instrument in midi.instruments:
        for note in instrument.notes:
            note.start, note.end = (
                float(t) for t in np.interp((note.start, note.end), before, after)
            )
    midi.write(str(target))


def improvements(clip: Clip, bundle: Bundle, preset: str) -> dict[str, float]:
    """SI-SDR over the mixture's, in dB, of the named stems that sound."""
    stems, _ = separate(Engine(bundle, None, PRESETS[preset]), clip.mix, clip.sample_rate)
    return {
        stem: si_sdr(clip.stems[stem], stems[stem]) - si_sdr(clip.stems[stem], clip.mix)
        for stem in SCORED
        if stem in clip.stems
    }


def main() -> None:
    """Adapt to some songs and print what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rendered", type=Path, default=os.environ.get("RTSEP_RENDERED"))
    parser.add_argument("--songs", type=int, default=4)
    parser.add_argument("--minutes", type=float, default=10.0, help="training time a song")
    parser.add_argument("--preset", default="live", choices=list(PRESETS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    if args.rendered is None:
        parser.error("no --rendered and no RTSEP_RENDERED: what 'rtsep-export render' wrote")
    torch.set_num_threads(args.threads)
    shipped = load_bundle(PRESETS[args.preset].bundle)
    common.print_machine(common.machine())
    rng = np.random.default_rng(0)
    rows: list[Row] = []
    for number, song in enumerate(song_folders(args.rendered, "test", args.songs)):
        with tempfile.TemporaryDirectory() as folder:
            score, output = song / "notes.mid", Path(folder) / "adapted.onnx"
            if number % 2:
                score = Path(folder) / "score.mid"
                stretched_score(song, score, rng)
            torch.manual_seed(1)
            began = time.monotonic()
            budget_s = args.minutes * 60.0
            try:
                adapt(shipped, song / "mix.flac", score, output, budget_s, lambda *_: None)
            except AudioError as refusal:
                # A score that is the song's own should not be refused: it counts.
                rows.append({"song": song.name, "refused": str(refusal)})
                common.console().print(f"{song.name}: {refusal}", soft_wrap=True)
                continue
            taken = time.monotonic() - began
            clip = rendered_clip(song, 600.0)
            before = improvements(clip, shipped, args.preset)
            after = improvements(clip, load_bundle(output), args.preset)
        rows.append(
            {
                "song": song.name,
                "seconds": clip.seconds,
                "score": "in another tempo" if number % 2 else "in time",
                "minutes": taken / 60.0,
                "before": before,
                "after": after,
            }
        )
        print_row(rows[-1])
    adapted = [row for row in rows if "refused" not in row]
    gains = [np.mean([*r["after"].values()]) - np.mean([*r["before"].values()]) for r in adapted]
    if gains:
        common.console().print(
            f"mean gain {np.mean(gains):.2f} dB over {len(gains)} songs, "
            f"least {min(gains):.2f} dB, {len(rows) - len(gains)} refused"
        )
    if args.json:
        common.write_json(args.json, {"machine": common.machine(), "rows": rows})


def print_row(row: Row) -> None:
    """A song's figures: SI-SDR improvement over the mixture, before > after."""
    cells = [
        f"{stem} {row['before'][stem]:.1f} > {row['after'][stem]:.1f}" for stem in row["before"]
    ]
    common.console().print(
        f"{row['song']} ({row['seconds']:.0f} s, score {row['score']}, {row['minutes']:.1f} min): "
        + ", ".join(cells),
        soft_wrap=True,
    )


if __name__ == "__main__":
    common.run_to_the_end(main)
