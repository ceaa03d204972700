"""How fast the engine is: a hop against its deadline, memory, start-up, and the rivals.

Run ``python benchmarks/engine.py`` (``--quick`` for a look).  The process pins itself,
and with it every process that it starts, to one core, and every library to one thread;
rivals hear as many seconds of audio as we do.  Figures of a shared machine are noisy:
the load average is printed first, and the tail percentiles hold its interruptions too.
"""

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from pedalboard.io import AudioFile

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import common
from benchmarks.rival_speed import print_rivals
from rtsep.bundle import Bundle
from rtsep.engine import Engine
from rtsep.presets import PRESETS, Preset
from rtsep.separate import separate_audio

RATES = (44_100, 48_000, 96_000)
# What the project asks of itself: the most, or with a minus sign the least, that will do.
TARGETS = {
    "live, 48 kHz: real-time factor": 0.30,
    "live, 48 kHz: p99.9 of a hop over its duration": 0.5,
    "live, 48 kHz: p99.9 of a hop's CPU time over its duration": 0.5,
    "rtsep separate, whole command on a song: × real time": -15.0,
    "rtsep separate, whole command: × the fastest rival": -1.0,
    "resident memory of a live engine, MB": 350.0,
    "import rtsep, s": 0.5,
    "rtsep separate to its first progress step, s": 3.0,
}


def time_hops(
    separator: Bundle,
    transcriber: Bundle | None,
    preset: Preset,
    rate: int,
    seconds: float,
    *,
    query: Bundle | None = None,
) -> dict[str, Any]:
    """Time every call of `Engine.process` on blocks of one masking hop.

    Notes are taken after each call and counted in its time.  One second goes before.  A
    query model is asked for one more stem.

    Returns
    -------
    dict
        `common.hop_statistics`, the deadline, latency and real-time factors.
    """
    engine = Engine(separator, transcriber, preset, query=query)
    hop = preset.hop
    engine.prepare(rate, hop)
    if query is not None:
        engine.ask(np.ones(query.manifest.query, np.float32))
    audio = common.speed_mix(seconds + 1.0, rate)
    count = audio.shape[1] // hop
    blocks = np.ascontiguousarray(audio[:, : count * hop].reshape(2, count, hop).swapaxes(0, 1))
    out = np.empty((len(engine.stems), 2, hop), np.float32)
    warm = rate // hop
    for block in blocks[:warm]:
        engine.process(block, out)
    notes = len(engine.take_notes())
    times_us, cpu_us = np.empty((2, count - warm))
    clock, cpu_clock = time.perf_counter_ns, time.thread_time_ns
    gc.collect()
    for index, block in enumerate(blocks[warm:]):
        cpu_start = cpu_clock()
        start = clock()
        engine.process(block, out)
        notes += len(engine.take_notes())
        times_us[index] = (clock() - start) / 1000
        cpu_us[index] = (cpu_clock() - cpu_start) / 1000
    duration = times_us.size * hop / rate
    return {
        **common.hop_statistics(times_us),
        "p999_cpu_us": float(np.percentile(cpu_us, 99.9)),
        "preset": preset.name,
        "sample_rate": rate,
        "deadline_us": hop / rate * 1e6,
        "latency_samples": engine.latency_samples,
        "latency_ms": engine.latency_samples / rate * 1e3,
        "real_time_factor": float(times_us.sum()) / 1e6 / duration,
        "real_time_factor_cpu": float(cpu_us.sum()) / 1e6 / duration,
        "note_events": notes,
        "misses": engine.misses,
        "device": engine.device,
    }


def print_hops(rows: list[dict[str, Any]], seconds: float, notes: bool) -> None:
    """The table of presets and rates."""
    table = [
        [
            f"{row['preset']}, {row['sample_rate'] / 1000:g} kHz",
            f"{row['latency_samples']} = {row['latency_ms']:.1f} ms",
            f"{row['deadline_us']:.0f}",
            *(f"{row[key]:.0f}" for key in ("median_us", "p99_us", "p999_us", "max_us")),
            f"{row['p999_us'] / row['deadline_us']:.0%}",
            f"{row['p999_cpu_us'] / row['deadline_us']:.0%}",
            f"{row['real_time_factor']:.3f}",
            f"{row['real_time_factor_cpu']:.3f}",
        ]
        for row in rows
    ]
    what = "stems and notes" if notes else "stems only"
    columns = (
        "preset",
        "latency, samples",
        "hop, µs",
        "median",
        "p99",
        "p99.9",
        "max",
        "p99.9 of hop",
        "CPU p99.9",
        "real-time factor",
        "CPU",
    )
    remark = (
        f"Baseline: the duration of the hop.  Device: {rows[0]['device']}.  Times are wall "
        "time, interruptions by other work on the machine included; CPU: the thread's own "
        "processor time, without them."
    )
    title = f"Time a hop, µs: stereo, {what}, {seconds:g} s of synthetic music each"
    common.print_table(title, columns, table, remark)


def ask(question: str, *options: str) -> dict[str, Any]:
    """Ask `benchmarks/fresh.py` in a fresh process."""
    command = [sys.executable, str(common.ROOT / "benchmarks" / "fresh.py"), question, *options]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=common.single_thread_environment(),
    )
    if done.returncode:
        raise SystemExit(f"{question}: {done.stderr.strip()[-500:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def start_up(
    separator: Bundle, transcriber: Bundle | None, preset: str, repeats: int
) -> dict[str, float]:
    """Start-up times, medians over fresh processes, and resident memory.

    A process that is not counted goes first and warms the caches.
    """
    models = ["--separator", str(separator.path), "--preset", preset]
    if transcriber is not None:
        models += ["--transcriber", str(transcriber.path)]
    imports = [ask("import")["import_s"] for _ in range(repeats + 1)][1:]
    built = [ask("construct", *models) for _ in range(repeats + 1)][1:]
    figures = {"import_s": float(np.median(imports))}
    figures |= {key: float(np.median([run[key] for run in built])) for key in built[0]}
    return figures | ask("memory", *models)


def print_start_up(figures: dict[str, float], preset: str, file_preset: str) -> None:
    """The table of start-up times and memory."""
    table = [
        ["import rtsep", f"{figures['import_s']:.3f} s"],
        ["imports of engine and bundle reader", f"{figures['imports_s']:.3f} s"],
        ["bundles read and checked", f"{figures['bundles_s']:.3f} s"],
        [f"Engine() and prepare(), {preset}", f"{figures['engine_s']:.3f} s"],
        ["first block", f"{figures['first_block_s']:.3f} s"],
        [
            f"rtsep separate --preset {file_preset}, to its first percent",
            f"{figures['first_progress_s']:.3f} s",
        ],
        [f"resident memory, {preset}, prepared", f"{figures['rss_at_start_mb']:.0f} MB"],
        [f"resident memory, {preset}, after 10 s of audio", f"{figures['rss_mb']:.0f} MB"],
    ]
    remark = "Fresh processes, warm caches, medians of the times.  MB are 10^6 bytes."
    common.print_table("Start-up and memory", ("", "measured"), table, remark)


def file_speed(
    separator: Bundle, transcriber: Bundle | None, preset: Preset, mix: common.Audio, rate: int
) -> float:
    """Seconds that a whole file takes in memory, engine built and warm."""
    engine = Engine(separator, transcriber, preset)
    for _ in separate_audio(engine, [mix[:, :rate]], rate, 2):
        pass
    start = time.perf_counter()
    for _ in separate_audio(engine, [mix], rate, 2):
        pass
    return time.perf_counter() - start


def command_line(mix: common.Audio, rate: int, options: list[str]) -> dict[str, Any]:
    """``rtsep separate`` on a WAV file, the second of two runs."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "mix.wav"
        with AudioFile(str(path), "w", rate, 2, 16) as file:
            file.write(mix)
        answer: dict[str, Any] = {}
        for run in ("first", "second"):
            output = str(Path(scratch) / run)
            answer = ask("separate", "--audio", str(path), "--output", output, "--", *options)
    return answer


def print_targets(measured: dict[str, float]) -> list[dict[str, Any]]:
    """What the project asks of itself, and what this run found."""
    rows = []
    for name, limit in TARGETS.items():
        if name in measured:
            value = measured[name]
            reached = value >= -limit if limit < 0 else value <= limit
            rows.append({"target": name, "limit": limit, "measured": value, "reached": reached})
    table = [
        [
            row["target"],
            f"at {'least' if row['limit'] < 0 else 'most'} {abs(row['limit']):g}",
            f"{row['measured']:.3g}",
            "yes" if row["reached"] else "NO",
        ]
        for row in rows
    ]
    common.print_table("Targets", ("", "wanted", "measured", "reached"), table)
    return rows


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="of audio a preset and rate")
    parser.add_argument("--file-seconds", type=float, default=30.0, help="for ours and the rivals")
    parser.add_argument("--song-seconds", type=float, default=180.0, help="for the whole command")
    parser.add_argument("--quick", action="store_true", help="5 s of audio everywhere")
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=list(PRESETS))
    parser.add_argument("--rates", nargs="+", type=int, choices=(*RATES, 88_200), default=RATES)
    parser.add_argument("--core", type=int, help="the core to pin to; the last one if not given")
    parser.add_argument("--separator", help="one bundle for every preset")
    parser.add_argument("--transcriber", help="a bundle; the shipped one if not given")
    parser.add_argument("--rivals-python", default=sys.executable, help="has the rivals")
    parser.add_argument("--no-rivals", action="store_true")
    parser.add_argument("--json", type=Path, help="write every figure here too")
    return parser.parse_args()


def main() -> None:
    """Measure everything and print the tables."""
    args = _arguments()
    seconds = 5.0 if args.quick else args.seconds
    file_seconds = 8.0 if args.quick else args.file_seconds
    facts = common.machine()
    facts["pinning"] = common.pin_to_one_core(args.core)
    common.print_machine(facts)
    print(facts["pinning"] + "\n")
    separators, transcriber = common.open_models(args.presets, args.separator, args.transcriber)
    report: dict[str, Any] = {"machine": facts, "hops": []}
    with common.progress() as bar:
        task = bar.add_task("time a hop", total=len(args.presets) * len(args.rates))
        for name, bundle in separators.items():
            for rate in args.rates:
                row = time_hops(bundle, transcriber, PRESETS[name], rate, seconds)
                report["hops"].append(row)
                bar.advance(task)
    print_hops(report["hops"], seconds, transcriber is not None)

    preset = "live" if "live" in separators else args.presets[0]
    repeats = 2 if args.quick else 5
    mix = common.speed_mix(file_seconds, 44_100)
    last = args.presets[-1]
    options = ["--preset", last] + ([] if transcriber is not None else ["--no-midi"])
    if args.separator:
        options += ["--model", str(separators[last].path)]
    if args.transcriber:
        options += ["--transcriber", str(args.transcriber)]
    separation = command_line(mix, 44_100, options)
    song_seconds = file_seconds if args.quick else args.song_seconds
    song = command_line(common.speed_mix(song_seconds, 44_100), 44_100, options)
    figures = start_up(separators[preset], transcriber, preset, repeats)
    figures["first_progress_s"] = separation["first_progress_s"]
    report["process"] = figures
    print_start_up(figures, preset, last)

    ours = {f"rtsep separate --preset {last}, whole command": separation["total_s"]}
    for name, bundle in separators.items():
        speed = file_speed(bundle, transcriber, PRESETS[name], mix, 44_100)
        ours[f"rtsep {name}"] = speed
    stream = next((r for r in report["hops"] if r["preset"] == preset), report["hops"][0])
    files = print_rivals(ours, stream, mix, None if args.no_rivals else args.rivals_python)
    report["files"] = files
    song_speed = song_seconds / song["total_s"]
    report["song"] = {"seconds": song_seconds, "total_s": song["total_s"], "speed": song_speed}
    print(
        f"The whole command on a song of {song_seconds:.0f} s: {song['total_s']:.2f} s, "
        f"{song_speed:.1f}× real time.\n"
    )
    measured = {
        "rtsep separate, whole command on a song: × real time": song_speed,
        "resident memory of a live engine, MB": figures["rss_mb"],
        "import rtsep, s": figures["import_s"],
        "rtsep separate to its first progress step, s": figures["first_progress_s"],
    }
    rivals = [row["speed"] for row in files if row["parameters"] is not None]
    if rivals:
        ratio = files[0]["speed"] / max(rivals)
        measured["rtsep separate, whole command: × the fastest rival"] = ratio
    for row in report["hops"]:
        if row["preset"] == "live" and row["sample_rate"] == 48_000:
            measured["live, 48 kHz: real-time factor"] = row["real_time_factor"]
            share = row["p999_us"] / row["deadline_us"]
            measured["live, 48 kHz: p99.9 of a hop over its duration"] = share
            share = row["p999_cpu_us"] / row["deadline_us"]
            measured["live, 48 kHz: p99.9 of a hop's CPU time over its duration"] = share
    report["targets"] = print_targets(measured)
    common.write_json(args.json, report)


if __name__ == "__main__":
    common.run_to_the_end(main)
