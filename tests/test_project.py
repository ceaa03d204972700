"""The project as a whole: what imports what, how fast it starts, what the README says."""

import ast
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from rtsep import probes
from rtsep.demo.show import show
from rtsep.errors import SetupError
from tests.rtsep.cli import CommandLine, music, write_audio

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "rtsep": ROOT / "rtsep",
    "rtsep_bridge": ROOT / "bridge/rtsep_bridge",
    "rtsep_export": ROOT / "export/rtsep_export",
}

#: Whole modules, from the ground up: each imports only from its own floor and below.
#: Those of one floor may import each other as long as no circle comes of it.
FLOORS = (
    ("errors", "rates", "windows", "bands", "fingerprint"),
    ("presets", "note_events", "general_midi", "truncation", "probes", "realtime"),
    ("kernels", "manifest", "signature", "latency", "output_file", "output_folder"),
    ("manifest_checks",),
    ("bundle", "mask_file", "stft", "features", "resample", "audio_files", "midi_files", "picture"),
    ("backend", "overlap_add", "note_tracker"),
    ("networks",),
    ("separators", "transcriber", "played_masks"),
    ("engine",),
    ("separate", "query"),
    ("songs", "doctor"),
    ("live",),
    ("bench",),
    ("cli", "demo", "__main__"),
)
RUNTIME = {"numpy", "numba", "llvmlite", "onnxruntime", "onnx", "google", "msgspec"} | {
    "pedalboard",
    "mido",
    "typer",
    "rich",
    "jack",
    "sounddevice",
}


def modules(package: str) -> Iterator[tuple[str, Path]]:
    """Dotted name and file of every module of a package."""
    root = PACKAGES[package]
    for path in sorted(root.rglob("*.py")):
        parts = [package, *path.relative_to(root).with_suffix("").parts]
        yield ".".join(part for part in parts if part != "__init__"), path


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def floor(name: str) -> int:
    """The floor of a dotted module name, or of something in that module."""
    part = name.split(".")[1]
    floors = [number for number, parts in enumerate(FLOORS) if part in parts]
    assert floors, f"{name} has no floor; put it on the lowest one on which it can stand"
    return floors[0]


def test_imports_point_down_the_floors() -> None:
    for name, path in modules("rtsep"):
        if name == "rtsep":
            continue
        for target in imports(path):
            if target.startswith("rtsep.") and target.split(".")[1] != "__version__":
                assert floor(target) <= floor(name), f"{name} imports {target}"


def test_packages_import_each_other_one_way() -> None:
    forbidden = {
        "rtsep": {"rtsep_bridge", "rtsep_export"},
        "rtsep_bridge": {"rtsep_export", "torch"},
        "rtsep_export": {"rtsep_bridge"},
    }
    for package, names in forbidden.items():
        for module, path in modules(package):
            found = {target.split(".")[0] for target in imports(path)} & names
            if module.startswith("rtsep.cli"):
                found -= {"rtsep_bridge", "rtsep_export"}  # loaded by the command that needs it
            assert not found, f"{module} imports {found}"


def test_the_runtime_imports_only_what_it_installs() -> None:
    for module, path in modules("rtsep"):
        roots = {target.split(".")[0] for target in imports(path)}
        foreign = roots - RUNTIME - {"rtsep"} - set(sys.stdlib_module_names)
        if module.startswith("rtsep.cli"):
            foreign -= {"rtsep_bridge", "rtsep_export"}  # in one distribution with rtsep
        if module in ("rtsep.picture", "rtsep.bench.histogram"):
            foreign.discard("matplotlib")
        assert not foreign, f"{module} imports {foreign}"


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_import_is_light() -> None:
    # Processor time, so that a busy machine does not fail the test.
    code = "from time import process_time as t; a = t(); import rtsep; print(t() - a)"
    assert min(float(python(code)) for _ in range(3)) <= 0.5
    loaded = set(python("import rtsep; print(*sys.modules)").split())
    assert not loaded & {"numpy", "numba", "onnxruntime", "pedalboard", "torch", "scipy"}


def test_the_engine_comes_without_torch_and_matplotlib() -> None:
    # Numba imports scipy where it is installed; ours never do (see above).
    code = "import rtsep, rtsep.songs; rtsep.Engine; print(*sys.modules)"
    assert not set(python(code).split()) & {"torch", "soundfile", "matplotlib"}


def test_the_command_line_starts_without_what_only_work_needs() -> None:
    loaded = set(python("import rtsep.cli; print(*sys.modules)").split())
    assert not loaded & {"numba", "onnxruntime", "onnx", "pedalboard", "torch"}
    assert not loaded & {"rtsep_bridge", "zmq", "rtmidi"}


def readme_blocks(language: str) -> list[str]:
    """The README's code blocks of one language."""
    text = (ROOT / "README.md").read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def readme_commands() -> list[str]:
    """Every line of the README's shell blocks."""
    return [line for block in readme_blocks("sh") for line in block.splitlines() if line.strip()]


def test_every_command_of_the_readme_runs(rtsep: CommandLine) -> None:
    for name in ("song.mp3", "one.mp3", "two.flac"):
        write_audio(rtsep.folder / name, music(0.3))
    ran = 0
    for command in readme_commands():
        words = shlex.split(command)
        if words[:2] == ["rtsep", "live"]:
            continue  # it never ends by itself; see below
        if words[0] == "rtsep":
            outcome = rtsep(*words[1:])
            assert outcome.status == 0, (command, outcome)
        elif words[0] == "make":
            dry = ["make", "--dry-run", *words[1:]]
            subprocess.run(dry, cwd=ROOT, capture_output=True, check=True)
        elif words[0] == "python":
            script = ROOT / words[1]
            compile(script.read_text("utf-8"), str(script), "exec")
        elif words[0] == "rtsep-export":
            typer_app = pytest.importorskip("rtsep_export.cli").app
            training = typer.main.get_command(typer_app).commands[words[1]]
            training.make_context(words[1], words[2:])  # refuses unknown options
        else:
            assert words[:2] == ["pip", "install"], f"no test runs {command!r}"
            assert words[2].startswith(".")
        ran += 1
    assert ran >= 8
    assert (rtsep.folder / "out/song/song.mid").exists()


def test_every_live_command_of_the_readme_plays(tmp_path: Path) -> None:
    commands = [command for command in readme_commands() if command.startswith("rtsep live")]
    assert commands
    if not probes.ask(probes.JACK).get("server"):
        pytest.skip("no JACK server answers, so nothing can play; .ci/run starts one")
    for command in commands:
        child = subprocess.Popen(
            [sys.executable, "-m", "rtsep", *shlex.split(command)[1:]],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        patience = threading.Timer(120, child.kill)
        patience.start()
        assert child.stdout is not None
        said = [next((line for line in child.stdout if "playing" in line), "")]
        child.send_signal(signal.SIGINT)
        said += child.communicate()
        patience.cancel()
        assert child.returncode == 0, (command, said)
        assert "rtsep  playing  jack" in said[0]
        assert "rtsep: played" in said[2]


def test_the_python_of_the_readme_runs(rtsep: CommandLine) -> None:
    blocks = readme_blocks("python")
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


def test_the_readme_names_every_command(rtsep: CommandLine) -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    for command in re.findall(r"^│ (\w+) ", rtsep("--help").out, re.MULTILINE):
        assert f"rtsep {command}" in text


def test_the_readme_links_to_what_exists() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / target).exists(), target


def test_the_demo_writes_what_it_says(
    rtsep: CommandLine, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = write_audio(rtsep.folder / "clip.flac", music(2))
    show(Path("demo-out"), clip)
    show(Path("demo-out"), clip)  # the second time over the first
    names = rtsep.files("demo-out")
    stems = {f"{stem}.wav" for stem in ("drums", "bass", "guitar", "piano", "other")}
    assert names == stems | {"overview.png", "demo-out.mid"}
    said = capsys.readouterr().out
    for name in names:
        assert str(Path("demo-out", name)) in said
    assert "256 samples" in said
    assert "real-time factor" in said
    with pytest.raises(SetupError):
        show(Path("demo-out"), rtsep.folder / "none.flac")
