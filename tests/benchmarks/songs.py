"""A small rendered split, as rtsep-export writes it, and a folder of recordings."""

from pathlib import Path

import mido
import numpy as np
import numpy.typing as npt
from pedalboard.io import AudioFile

RATE = 48_000
SECONDS = 2.0
Audio = npt.NDArray[np.float32]


def stems(seconds: float = SECONDS, rate: int = RATE) -> dict[str, Audio]:
    """Drums (noise bursts), bass (110 Hz) and piano (880 Hz), apart left and right."""
    rng = np.random.default_rng(3)
    time_s = np.arange(round(seconds * rate)) / rate
    burst = np.exp(-(time_s % 0.5) * 60) * rng.standard_normal(time_s.size)
    parts = {
        "drums": 0.2 * np.stack([burst, burst]),
        "bass": 0.2 * np.outer([1, 1], np.sin(2 * np.pi * 110 * time_s)),
        "piano": 0.1 * np.outer([1, 0.3], np.sin(2 * np.pi * 880 * time_s)),
    }
    return {stem: audio.astype(np.float32) for stem, audio in parts.items()}


def write(path: Path, audio: Audio, rate: int = RATE) -> None:
    """Write a FLAC file of 16 bits."""
    with AudioFile(str(path), "w", rate, audio.shape[0], bit_depth=16) as file:
        file.write(audio)


def write_song(folder: Path) -> None:
    """A song in which guitar and other are silent."""
    folder.mkdir(parents=True)
    parts = stems()
    silence = np.zeros_like(parts["drums"])
    for stem in ("drums", "bass", "guitar", "piano", "other"):
        write(folder / f"{stem}.flac", parts.get(stem, silence))
    write(folder / "mix.flac", np.sum(list(parts.values()), axis=0))
    midi = mido.MidiFile(ticks_per_beat=960)
    # 100 bpm: a tick is 0.625 ms.
    midi.add_track().append(mido.MetaMessage("set_tempo", tempo=600_000))
    for stem, pitch in (("drums", 36), ("bass", 45), ("piano", 81)):
        track = midi.add_track(stem)
        for _ in range(5):
            track.append(mido.Message("note_on", note=pitch, velocity=90, time=0))
            track.append(mido.Message("note_on", note=pitch, velocity=0, time=800))
    midi.save(folder / "notes.mid")


def write_recordings(root: Path) -> None:
    """One recording that can be scored at 16 kHz, one that has no stem of ours."""
    parts = stems(rate=16_000)
    for name, files in (
        ("band", {"bass": "bass", "vocals": "piano", "bassdrums": "drums"}),
        ("trio", {"violin": "bass", "cello": "piano"}),
    ):
        folder = root / name
        folder.mkdir(parents=True)
        for file, part in files.items():
            write(folder / f"{file}.flac", parts[part], 16_000)
        write(folder / "mixture.flac", np.sum([parts[p] for p in files.values()], axis=0), 16_000)
