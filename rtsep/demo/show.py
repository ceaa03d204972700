"""Separate the demo's clip, draw it, and say where everything is."""

from pathlib import Path

import numpy as np
from rich.console import Console

from rtsep.audio_files import Audio, AudioReader
from rtsep.bundle import load_bundle
from rtsep.engine import Engine
from rtsep.errors import SetupError
from rtsep.presets import PRESETS
from rtsep.songs import find_separator, find_transcriber, separate_song

CLIP = Path(__file__).parent / "clip.flac"


def show(output: Path, clip: Path = CLIP) -> None:
    """Write stems, MIDI and ``overview.png`` to `output`, replacing what is there.

    Parameters
    ----------
    output : Path
        A folder.
    clip : Path
        An audio file.

    Raises
    ------
    RtsepError
        Something is missing or cannot be written.
    """
    if not clip.exists():
        raise SetupError(f"the demo's clip {clip} is missing", remedy="install rtsep again")
    from rtsep.picture import draw_overview

    console = Console(highlight=False, soft_wrap=True)
    preset = PRESETS["offline"]
    separator, transcriber = find_separator(preset.bundle), find_transcriber()
    engine = Engine(separator, transcriber, preset)
    console.print(
        f"Taking {clip.name} apart ({preset.name} preset, on {engine.device.upper()}) ..."
    )
    song = separate_song(engine, transcriber, clip, output, overwrite=True)
    overview = output / "overview.png"
    stems = {stem: read_audio(path) for stem, path in song.stems.items()}
    drums = next((part.stem for part in transcriber.manifest.notes if part.drums), "drums")
    draw_overview(overview, read_audio(clip), stems, song.notes, song.sample_rate, drums=drums)

    seconds = song.frames / song.sample_rate
    for stem, path in song.stems.items():
        console.print(f"  {stem:8} {path}", markup=False)
    console.print(f"  {'notes':8} {song.midi} ({len(song.notes)} notes)", markup=False)
    console.print(f"  {'picture':8} {overview}", markup=False)
    console.print(
        f"{seconds:.1f} s of music in {song.wall_s:.2f} s: "
        f"{song.speed:.1f}x real time (real-time factor {1 / song.speed:.3f})"
    )
    live = Engine(load_bundle(PRESETS["live"].bundle), transcriber, PRESETS["live"])
    live.prepare(song.sample_rate, 128)
    latency, delay = live.latency_samples, live.note_delay_samples
    console.print(
        f"Live, the stems come {latency} samples ({1000 * latency / song.sample_rate:.1f} ms) "
        f"after the mix, the notes within {1000 * delay / song.sample_rate:.0f} ms"
    )


def read_audio(path: Path) -> Audio:
    """A whole file, shape (channels, frames)."""
    with AudioReader(path) as reader:
        return np.concatenate(list(reader.blocks()), axis=1)
