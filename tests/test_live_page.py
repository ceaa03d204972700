"""docs/live.md: its figures and its example are those of the code."""

import re
import tomllib
from pathlib import Path

import msgspec
import pytest
import typer

from rtsep.bundle import load_bundle
from rtsep.cli.app import app
from rtsep.latency import added_latency, separator_latency, step_gain
from rtsep.live.session import LIVE_PRESETS, Session, load_session
from rtsep.presets import PRESETS

PAGE = (Path(__file__).parents[1] / "docs/live.md").read_text("utf-8")


def stated(preset_name: str, block: int) -> int:
    preset = PRESETS[preset_name]
    latency = separator_latency(load_bundle(preset.bundle).manifest, preset, 48_000)
    assert latency is not None
    latency -= step_gain(block, preset.hop, preset.synthesis)
    return added_latency(latency, block, preset.hop, 48_000)


def test_the_latency_table_is_what_the_arithmetic_gives() -> None:
    table = PAGE.split("<!-- latency -->\n")[1].split("<!-- /latency -->")[0]
    head, _, *rows = [
        [cell.strip().replace(",", "") for cell in line.strip("|").split("|")]
        for line in table.splitlines()
    ]
    presets = [name.strip("`") for name in head[1:]]
    assert tuple(presets) == LIVE_PRESETS
    assert len(rows) >= 6
    for row in rows:
        for preset, cell in zip(presets, row[1:], strict=True):
            samples = stated(preset, int(row[0]))
            assert cell == f"{samples} ({samples / 48:.1f} ms)"


def test_the_session_of_the_page_is_one(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    path = tmp_path / "set.toml"
    path.write_text(example, "utf-8")
    session = load_session(path)
    assert session.stems["bass"].invert
    assert session.midi.drum(38) == 40
    assert msgspec.to_builtins(session)["stems"].keys() == tomllib.loads(example)["stems"].keys()
    assert session != Session()


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#:]+)\)", PAGE))
def test_the_links_of_the_page_lead_somewhere(target: str) -> None:
    assert (Path(__file__).parents[1] / "docs" / target).exists()


def test_the_options_of_the_page_are_there() -> None:
    live = typer.main.get_command(app).commands["live"]
    there = {name for parameter in live.params for name in parameter.opts}
    lines = [line for line in PAGE.splitlines() if "rtsep" in line or line.startswith("| `--")]
    used = set(re.findall(r"--[a-z][a-z-]+", "\n".join(lines))) - {"--unbuffered"}  # of jq
    assert used
    assert used <= there
