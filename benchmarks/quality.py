"""How well the stems and the notes come out, beside the baselines and the ceiling.

Run ``python benchmarks/quality.py``; ``--task query`` measures a query model instead, see
`benchmarks/query_quality.py`.  Songs rendered by ``rtsep-export render`` are
found by ``--rendered`` or RTSEP_RENDERED, the real recordings by ``--data`` or
RTSEP_DATA; what is not there is left out with a line that says so.  The measures and
their conventions stand in `benchmarks/metrics.py`, the baselines in
`benchmarks/baselines`.  Everything hears the same clips.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import common
from benchmarks.baselines import oracle
from benchmarks.clips import STEMS, Clip, real_clips, rendered_clip, song_folders
from benchmarks.metrics import TimedNote
from benchmarks.note_quality import NoteTrial, print_notes
from rtsep.bundle import Bundle
from rtsep.engine import Engine
from rtsep.note_events import collect_notes
from rtsep.presets import PRESETS
from rtsep.separate import separate_audio
from rtsep_export.baselines import hpss, repet_sim
from rtsep_export.measures import museval_sdr, si_sdr

Audio = common.Audio
Row = dict[str, Any]

SCORED = ("drums", "bass", "guitar", "piano")
TARGET_IMPROVEMENT_DB = 4.0
TWO_SIDED = {"HPSS": hpss, "REPET-SIM": repet_sim}
MEASURES = {
    "si_sdr": ("SI-SDR, dB, mean over the clips", np.mean),
    "si_sdr_improvement": ("SI-SDR improvement over the mix, dB, mean over the clips", np.mean),
    "sdr": ("SDR (BSSEval v4 as in museval), dB, median over the clips", np.median),
}


def separate(
    engine: Engine, mix: Audio, sample_rate: int
) -> tuple[dict[str, Audio], list[TimedNote]]:
    """Stems and notes of a whole clip by one engine."""
    blocks = list(separate_audio(engine, [mix], sample_rate, mix.shape[0]))
    stems = np.concatenate([block.stems for block in blocks], axis=2)
    events = [event for block in blocks for event in block.notes]
    notes = [
        TimedNote(note.stem, note.pitch, note.onset / sample_rate, note.offset / sample_rate)
        for note in collect_notes(events)
    ]
    return dict(zip(engine.stems, stems, strict=True)), notes


def score(
    clip: Clip, dataset: str, method: str, estimates: dict[str, Audio], side: str = ""
) -> list[Row]:
    """One row a stem that both the clip and the method have."""
    stems = [stem for stem in clip.stems if stem in estimates]
    true = np.stack([clip.stems[stem] for stem in stems])
    heard = np.stack([estimates[stem] for stem in stems])
    sdr = museval_sdr(true, heard, clip.sample_rate)
    rows = []
    for index, stem in enumerate(stems):
        ours, mix = si_sdr(true[index], heard[index]), si_sdr(true[index], clip.mix)
        rows.append(
            {
                "dataset": dataset,
                "clip": clip.name,
                "method": method,
                "side": side,
                "stem": stem,
                "si_sdr": ours,
                "si_sdr_improvement": ours - mix,
                "sdr": float(sdr[index]),
            }
        )
    return rows


def baseline_rows(
    clip: Clip, dataset: str, separators: dict[str, Bundle]
) -> tuple[list[Row], list[str]]:
    """The mix, HPSS, REPET-SIM and every preset's oracle on one clip."""
    rows = score(clip, dataset, "mix", dict.fromkeys(STEMS, clip.mix))
    methods = ["mix"]
    for name, baseline in TWO_SIDED.items():
        methods.append(name)
        for side, audio in baseline.separate(clip.mix, clip.sample_rate).items():
            rows += score(clip, dataset, name, dict.fromkeys(STEMS, audio), side)
    for preset, bundle in separators.items():
        if bundle.manifest.domain == "mask":
            name = f"oracle masks, {preset}"
            methods.append(name)
            ideal = oracle.separate(
                clip.mix, clip.stems, PRESETS[preset], bundle.manifest, clip.sample_rate
            )
            rows += score(clip, dataset, name, ideal)
    return rows, methods


def summary(rows: list[Row], method: str, stem: str, measure: str) -> tuple[float, str]:
    """A method's figure for a stem, NaN without any, and the side it was taken from.

    Two-sided baselines give each stem the side with the better mean SI-SDR.
    """
    mine = [row for row in rows if row["method"] == method and row["stem"] == stem]
    sides = sorted({row["side"] for row in mine})
    if not sides:
        return float("nan"), ""
    best = max(sides, key=lambda s: np.mean([r["si_sdr"] for r in mine if r["side"] == s]))
    values = [row[measure] for row in mine if row["side"] == best and not np.isnan(row[measure])]
    _, average = MEASURES[measure]
    return float(average(values)) if values else float("nan"), best


def print_separation(rows: list[Row], methods: list[str], about: str) -> None:
    """One table a measure: methods down, stems across."""
    sides = []
    for name in TWO_SIDED:
        chosen = [f"{stem} {summary(rows, name, stem, 'si_sdr')[1]}" for stem in STEMS]
        sides.append(f"{name} takes {', '.join(c for c in chosen if ' ' in c.strip())}")
    counts = {s: len({r["clip"] for r in rows if r["stem"] == s}) for s in STEMS}
    scored = ", ".join(f"{stem} {count}" for stem, count in counts.items())
    for measure, (title, _) in MEASURES.items():
        table = []
        for method in methods:
            values = {stem: summary(rows, method, stem, measure)[0] for stem in STEMS}
            present = [values[stem] for stem in SCORED if not np.isnan(values[stem])]
            mean = float(np.mean(present)) if present else float("nan")
            table.append([method, *(_decibel(v) for v in values.values()), _decibel(mean)])
        note = f"clips a stem: {scored}.  Baseline: the untreated mix.  " + ";  ".join(sides)
        columns = ("method", *STEMS, "mean of the first four")
        common.print_table(f"{title}: {about}", columns, table, note)


def _decibel(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2f}"


def print_targets(rows: list[Row], presets: Iterable[str]) -> list[Row]:
    """Whether each preset reaches what the project asks of the rendered songs."""
    verdicts: list[Row] = []
    for preset in presets:
        ours = {s: summary(rows, f"rtsep {preset}", s, "si_sdr")[0] for s in STEMS}
        gains = [summary(rows, f"rtsep {preset}", stem, "si_sdr_improvement")[0] for stem in SCORED]
        gain = float(np.mean([g for g in gains if not np.isnan(g)]))
        beaten = [
            f"{stem} ({name})"
            for name in TWO_SIDED
            for stem in STEMS
            if ours[stem] <= summary(rows, name, stem, "si_sdr")[0]
        ]
        verdicts.append({"preset": preset, "mean_improvement_db": gain, "not_above": beaten})
    table = [
        [
            v["preset"],
            f"{v['mean_improvement_db']:.2f} dB",
            "yes" if v["mean_improvement_db"] >= TARGET_IMPROVEMENT_DB else "NO",
            "yes" if not v["not_above"] else "NO: " + ", ".join(v["not_above"]),
        ]
        for v in verdicts
    ]
    columns = (
        "preset",
        "mean SI-SDR improvement",
        f"at least {TARGET_IMPROVEMENT_DB:g} dB",
        "above HPSS and REPET-SIM on every stem",
    )
    common.print_table("Targets, rendered songs (SI-SDR)", columns, table)
    return verdicts


def measure(
    clips: list[Clip],
    dataset: str,
    engines: dict[str, Engine],
    separators: dict[str, Bundle],
    trial: NoteTrial | None,
) -> tuple[list[Row], list[str]]:
    """Run everything on every clip, with a progress bar."""
    rows: list[Row] = []
    methods: list[str] = []
    with common.progress() as bar:
        task = bar.add_task(dataset, total=len(clips))
        for clip in clips:
            new, methods = baseline_rows(clip, dataset, separators)
            rows += new
            for preset, engine in engines.items():
                stems, notes = separate(engine, clip.mix, clip.sample_rate)
                rows += score(clip, dataset, f"rtsep {preset}", stems)
                if trial is not None and preset == trial.preset:
                    trial.add(clip, stems, notes)
            bar.advance(task)
    return rows, methods + [f"rtsep {preset}" for preset in engines]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=("stems", "query"), default="stems")
    parser.add_argument("--model", help="a query model; both that ship if not given")
    parser.add_argument("--parts", type=Path, default=os.environ.get("RTSEP_PARTS"))
    parser.add_argument("--pairs", type=int, default=10, help="pairs an instrument")
    parser.add_argument("--rendered", type=Path, default=os.environ.get("RTSEP_RENDERED"))
    parser.add_argument("--data", type=Path, default=os.environ.get("RTSEP_DATA"))
    parser.add_argument("--split", default="test")
    parser.add_argument("--songs", type=int, default=24, help="at most so many rendered songs")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each rendered song")
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=list(PRESETS))
    parser.add_argument("--separator", help="one bundle for every preset")
    parser.add_argument("--transcriber", help="a bundle; the shipped one if not given")
    parser.add_argument("--rivals-python", default=sys.executable, help="has basic-pitch")
    parser.add_argument("--json", type=Path, help="write every figure here too")
    return parser.parse_args()


def main() -> None:
    """Measure what is there and print the tables."""
    args = _arguments()
    facts = common.machine()
    common.print_machine(facts)
    if args.task == "query":
        from benchmarks.query_quality import measure_queries  # takes torch

        found = measure_queries(args)
        common.write_json(args.json, {"machine": facts, **found})
        return
    separators, transcriber = common.open_models(args.presets, args.separator, args.transcriber)
    # Notes are the same in every preset; the rival hears the stems of the last one.
    noted = args.presets[-1]
    engines = {
        preset: Engine(bundle, transcriber if preset == noted else None, PRESETS[preset])
        for preset, bundle in separators.items()
    }
    report: dict[str, Any] = {"machine": facts, "rows": []}
    if args.rendered is None:
        print("rendered songs left out: give --rendered or set RTSEP_RENDERED\n")
    else:
        folders = song_folders(args.rendered, args.split, args.songs)
        clips = [rendered_clip(folder, args.seconds) for folder in folders]
        with tempfile.TemporaryDirectory() as scratch:
            trial = None if transcriber is None else NoteTrial(noted, Path(scratch))
            rows, methods = measure(clips, f"rendered {args.split}", engines, separators, trial)
            about = f"rendered {args.split} split, {_extent(clips)}"
            print_separation(rows, methods, about)
            report["targets"] = print_targets(rows, engines)
            if trial is not None:
                report["notes"] = print_notes(trial, about, args.rivals_python)
        report["rows"] += rows
    if args.data is None or not (args.data / "real").is_dir():
        print("real recordings left out: give --data or set RTSEP_DATA to a folder with real/\n")
    else:
        found = list(real_clips(args.data / "real"))
        clips = [clip for clip in found if isinstance(clip, Clip)]
        rows, methods = measure(clips, "real", engines, separators, None)
        print_separation(rows, methods, f"real recordings, {_extent(clips)}")
        left_out = [text for text in found if isinstance(text, str)]
        print(f"left out of the real recordings ({len(left_out)}): " + "; ".join(left_out) + "\n")
        report["rows"] += rows
    common.write_json(args.json, report)


def _extent(clips: list[Clip]) -> str:
    seconds = sum(clip.seconds for clip in clips)
    silent = sum(clip.silent for clip in clips)
    return f"{len(clips)} clips, {seconds:.0f} s; {silent} silent stems not scored"


if __name__ == "__main__":
    common.run_to_the_end(main)
