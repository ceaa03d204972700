"""``rtsep models`` and ``rtsep info``."""

from collections.abc import Sequence

from rich.table import Table

from rtsep.bundle import Bundle, load_bundle, shipped_bundles
from rtsep.cli.console import complain, one_line, stdout
from rtsep.latency import decision_delay, delay_frames, separator_latency
from rtsep.manifest import Chunk, Manifest, Quality, Taps
from rtsep.presets import PRESETS
from rtsep.rates import NATIVE_RATES


def show_models() -> None:
    """Print a table of the bundles that come with the package."""
    bundles = [load_bundle(name) for name in shipped_bundles()]
    if not bundles:
        complain("no models come with this rtsep; name a bundle's path with --model")
        return
    table = _table("name", "version", "task", "stems, notes or tags", "MB", "presets")
    for bundle in bundles:
        manifest = bundle.manifest
        served = [preset.name for preset in PRESETS.values() if preset.bundle == bundle.name]
        table.add_row(
            bundle.name,
            manifest.version,
            manifest.task,
            _about(manifest),
            f"{bundle.size_bytes / 1e6:.1f}",
            ", ".join(served) or ("all" if manifest.task == "transcribe" else ""),
        )
    stdout().print(table)


def _about(manifest: Manifest) -> str:
    names = manifest.stems or manifest.tags or [part.stem for part in manifest.notes]
    return ", ".join(map(one_line, names))


def show_bundle(name_or_path: str) -> None:
    """Print everything that a bundle states.

    Raises
    ------
    BundleError
        It cannot be read or trusted.
    """
    bundle = load_bundle(name_or_path)
    manifest = bundle.manifest
    console = stdout()
    facts = _table("", "", header=False)
    for key, value in _facts(bundle):
        facts.add_row(key, one_line(value))
    console.print(facts)
    tensors = _table("tensor", "direction", "shape", title="Tensors (float32)")
    for direction, group in (("in", manifest.inputs), ("out", manifest.outputs)):
        for tensor in group:
            shape = " x ".join("free" if size < 0 else str(size) for size in tensor.shape)
            tensors.add_row(one_line(tensor.name), direction, shape)
    console.print(tensors)
    if manifest.task == "separate":
        console.print(_latency_table(manifest))
    if manifest.quality:
        console.print(_quality_table(manifest.quality))


def _facts(bundle: Bundle) -> list[tuple[str, str]]:
    manifest, training = bundle.manifest, bundle.manifest.training
    rate = manifest.sample_rate
    facts = [
        ("bundle", f"{manifest.name} {manifest.version}"),
        ("description", manifest.description),
        ("licence", manifest.licence),
        ("task", f"{manifest.task} (domain: {manifest.domain})"),
        ("file", f"{bundle.path}, {bundle.size_bytes:,} bytes, ONNX opset {bundle.opset}"),
    ]
    if manifest.stems:
        facts.append(("stems", f"{', '.join(manifest.stems)} (the last one is the residual)"))
    for part in manifest.notes:
        low, high = min(part.pitches), max(part.pitches)
        kind = "drum onsets" if part.drums else "notes"
        facts.append((f"notes: {part.stem}", f"{len(part.pitches)} {kind}, MIDI {low} to {high}"))
    if manifest.tags:
        facts.append(("tags", ", ".join(manifest.tags)))
    facts += [
        ("sample rate", f"{rate} Hz"),
        ("hop", f"{manifest.hop} samples ({1000 * manifest.hop / rate:.1f} ms)"),
        (
            "lookahead",
            f"{manifest.lookahead} samples ({1000 * manifest.lookahead / rate:.1f} ms)",
        ),
        *_note_delay(manifest),
        ("state", _state(manifest.state)),
        ("training data", ", ".join(training.data)),
        ("sound fonts", ", ".join(training.sound_fonts) or "none"),
        ("training audio", f"{training.audio_hours:g} hours"),
        ("training command", training.command),
    ]
    if training.remarks:
        facts.append(("remarks", training.remarks))
    return facts


def _note_delay(manifest: Manifest) -> list[tuple[str, str]]:
    if manifest.task != "transcribe":
        return []
    late = decision_delay(manifest.hop, manifest.lookahead, delay_frames(manifest.state))
    ms = 1000 * late / manifest.sample_rate
    return [("decision delay", f"a note is known {late} samples ({ms:.1f} ms) after it sounds")]


def _state(state: Taps | Chunk) -> str:
    if isinstance(state, Taps):
        reach = state.taps * sum(state.dilations)
        return (
            f"taps: {len(state.dilations)} layers of {state.channels} channels, "
            f"{state.taps} taps each, {reach} frames back"
        )
    return (
        f"chunks of {state.chunk} with {state.left} before and {state.right} after, "
        f"cross-faded over {state.crossfade}"
    )


def _latency_table(manifest: Manifest) -> Table:
    columns = ["preset", *(f"{rate / 1000:g} kHz" for rate in NATIVE_RATES)]
    table = _table(*columns, title="Algorithmic latency in samples (ms)")
    for preset in PRESETS.values():
        cells = []
        for rate in NATIVE_RATES:
            samples = separator_latency(manifest, preset, rate)
            cells.append("" if samples is None else f"{samples} ({1000 * samples / rate:.1f})")
        table.add_row(preset.name, *cells)
    return table


def _quality_table(rows: Sequence[Quality]) -> Table:
    table = _table(
        "data", "metric", "preset", "stem", "value", "baseline", "its value", title="Quality"
    )
    for row in rows:
        table.add_row(
            *map(one_line, (row.dataset, row.metric, row.preset or "any", row.stem)),
            f"{row.value:.2f}",
            one_line(row.baseline),
            f"{row.baseline_value:.2f}",
        )
    return table


def _table(*columns: str, title: str | None = None, header: bool = True) -> Table:
    table = Table(title=title, title_justify="left", box=None, show_header=header, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
