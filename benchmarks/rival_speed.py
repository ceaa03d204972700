"""The rivals' half of `engine.py`: whole files and streams, side by side."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import common

RATE = 44_100
RIVALS = {
    "hs-tasnet": "HS-TasNet (lucidrains)",
    "demucs": "Demucs (htdemucs)",
    "openunmix": "Open-Unmix (umxhq)",
}


def print_rivals(
    ours: dict[str, float], stream: dict[str, Any], mix: common.Audio, python: str | None
) -> list[dict[str, Any]]:
    """Run the rivals, print both tables, and hand back the figures.

    Parameters
    ----------
    ours : dict
        Seconds that `mix` took us, by name; the first is the whole command.
    stream : dict
        Our row of hop times for the streaming table.
    mix : float32 array, shape (2, frames)
        At 44.1 kHz, the rate of every rival.
    python : str or None
        Interpreter that has the rivals; None runs none.
    """
    seconds = mix.shape[1] / RATE
    results = {} if python is None else _run(mix, python)
    rows: list[dict[str, Any]] = [
        {"name": name, "seconds": took, "speed": seconds / took, "parameters": None}
        for name, took in ours.items()
    ]
    for rival, result in results.items():
        rows.append(
            {
                "name": f"{RIVALS[rival]} {result['version']}",
                "seconds": result["file_s"],
                "speed": seconds / result["file_s"],
                "parameters": result["parameters"],
            }
        )
    command = rows[0]["speed"]
    table = [
        [
            row["name"],
            f"{row['seconds']:.2f}",
            f"{row['speed']:.1f}×",
            "" if row["parameters"] is None else f"{row['parameters'] / 1e6:.1f} M",
            "" if row["parameters"] is None else f"{command / row['speed']:.1f}×",
        ]
        for row in rows
    ]
    stand_ins = "; ".join(
        f"{rival}: {', '.join(result['stand_ins'])}"
        for rival, result in results.items()
        if result["stand_ins"]
    )
    remark = (
        f"{seconds:g} s of 44.1 kHz stereo, one core, one thread.  Rivals: random weights, "
        "speed only; timed in memory, imports and set-up left out.\n"
        "The whole command counts start-up, file reading, writing five stems, and notes."
    )
    if stand_ins:
        remark += f"\nInert modules stood in for packages that these runs do not use: {stand_ins}."
    columns = ("whole files", "seconds", "× real time", "parameters", "command is faster by")
    common.print_table("Throughput against the rivals", columns, table, remark)
    _print_stream(stream, results.get("hs-tasnet"))
    return rows


def _run(mix: common.Audio, python: str) -> dict[str, dict[str, Any]]:
    """Every rival's result; a line for each that is not installed."""
    results = {}
    with tempfile.TemporaryDirectory() as scratch, common.progress() as bar:
        path = Path(scratch) / "mix.npy"
        np.save(path, mix)
        task = bar.add_task("rivals", total=len(RIVALS))
        missing = []
        for rival in RIVALS:
            result = common.run_rival(python, rival, [path])
            if "missing" in result:
                missing.append(f"{RIVALS[rival]}: {result['missing']} is missing in {python}")
            else:
                results[rival] = result
            bar.advance(task)
    for line in missing:
        print(line)
    if missing:
        print(f"to install the rivals:\n  {common.RIVALS_HELP}\n")
    return results


def _print_stream(ours: dict[str, Any], rival: dict[str, Any] | None) -> None:
    rows = [(f"rtsep {ours['preset']}, {ours['sample_rate'] / 1000:g} kHz, with notes", ours)]
    if ours["note_events"] == 0:
        rows = [(f"rtsep {ours['preset']}, {ours['sample_rate'] / 1000:g} kHz", ours)]
    if rival is not None:
        times = common.hop_statistics(rival["hops_us"])
        rows.append(
            (
                f"{RIVALS['hs-tasnet']} {rival['version']}, 44.1 kHz",
                {
                    **times,
                    "deadline_us": rival["hop"] / RATE * 1e6,
                    "latency_ms": rival["latency_samples"] / RATE * 1e3,
                    "real_time_factor": np.mean(rival["hops_us"]) / (rival["hop"] / RATE * 1e6),
                },
            )
        )
    table = [
        [
            name,
            f"{row['latency_ms']:.1f}",
            f"{row['deadline_us']:.0f}",
            *(f"{row[key]:.0f}" for key in ("median_us", "p99_us", "p999_us", "max_us")),
            f"{row['real_time_factor']:.3f}",
        ]
        for name, row in rows
    ]
    columns = (
        "streaming",
        "latency, ms",
        "hop, µs",
        "median",
        "p99",
        "p99.9",
        "max",
        "real-time factor",
    )
    remark = "Latency by construction; times of one hop in µs, on the same core."
    if rival is not None:
        remark += f"  {len(rival['hops_us'])} hops of the rival, oneDNN off, its faster way."
    common.print_table("Streaming against the rival that streams", columns, table, remark)
