"""Put measured figures into README.md, so that none is typed in by hand.

Run ``python benchmarks/readme_tables.py`` after ``benchmarks/quality.py --json
benchmarks/results/quality.json`` and ``benchmarks/engine.py --json
benchmarks/results/engine.json``.  It replaces what stands between ``<!-- presets -->``
and ``<!-- /presets -->``.
"""

import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.quality import SCORED, summary
from rtsep.bundle import load_bundle
from rtsep.latency import separator_latency
from rtsep.presets import PRESETS


def preset_rows(quality: list[dict[str, Any]], hops: list[dict[str, Any]]) -> list[str]:
    """A Markdown row for every preset and every baseline."""
    lines = [
        "| | latency at 48 kHz | share of one core | " + " | ".join(SCORED) + " | mean |",
        "| --- | --- | --- |" + " ---: |" * (len(SCORED) + 1),
    ]

    def figures(method: str) -> str:
        values = [summary(quality, method, s, "si_sdr_improvement")[0] for s in SCORED]
        return " | ".join(f"{v:.1f}" for v in [*values, fmean(values)])

    for preset in PRESETS.values():
        latency = separator_latency(load_bundle(preset.bundle).manifest, preset, 48_000)
        assert latency is not None  # masks run at every native rate
        load = [
            h["real_time_factor"]
            for h in hops
            if h["preset"] == preset.name and h["sample_rate"] == 48_000
        ]
        lines.append(
            f"| `{preset.name}` | {latency:,} samples ({latency / 48:.1f} ms) "
            f"| {load[0]:.2f} | {figures(f'rtsep {preset.name}')} |"
        )
    for method in ("HPSS", "REPET-SIM", "oracle masks, live"):
        lines.append(f"| {method} | | | {figures(method)} |")
    return lines


def main() -> None:
    """Rewrite the README's table."""
    results = ROOT / "benchmarks" / "results"
    quality = json.loads((results / "quality.json").read_text())["rows"]
    hops = json.loads((results / "engine.json").read_text())["hops"]
    rendered = [row for row in quality if row["dataset"].startswith("rendered")]
    clips = len({row["clip"] for row in rendered})
    readme = ROOT / "README.md"
    text = readme.read_text()
    start, rest = text.split("<!-- presets -->")
    _, end = rest.split("<!-- /presets -->")
    table = "\n".join(preset_rows(rendered, hops))
    about = (
        f"\nSI-SDR improvement over the untreated mix in dB, mean over {clips} clips of songs and "
        "a sound font\nthat training never heard; share of one core with notes on. The last row "
        "is the ceiling: the best\nmasks possible through the same windows and bands. `offline` "
        "works in chunks of 8 s, for files."
    )
    readme.write_text(f"{start}<!-- presets -->\n{table}\n{about}\n<!-- /presets -->{end}")


if __name__ == "__main__":
    main()
