"""The clips that `quality.py` measures on: rendered songs and real recordings."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from mido import MidiFile, tick2second
from pedalboard.io import AudioFile, StreamResampler

from benchmarks.metrics import TimedNote
from rtsep.errors import AudioError
from rtsep.rates import native_rate
from rtsep_export.measures import is_silent

Audio = npt.NDArray[np.float32]

STEMS = ("drums", "bass", "guitar", "piano", "other")
# Real stems under these names are scored as they are; "bassdrums" is two of ours in
# one and cannot be; everything else is part of "other".
UNSCORED = ("bassdrums",)


@dataclass(frozen=True)
class Clip:
    """A mix and what is known of it.

    Attributes
    ----------
    mix : float32 array, shape (channels, frames)
    stems : dict
        Every stem that the clip defines and that is not silent, shaped as the mix.
    silent : int
        Stems that the clip has and that are silent: not scored, but counted.
    notes : list of TimedNote
        Of all stems; "other" too where the score has it.
    """

    name: str
    sample_rate: int
    mix: Audio
    stems: dict[str, Audio]
    silent: int = 0
    notes: list[TimedNote] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Length of the clip."""
        return self.mix.shape[1] / self.sample_rate


def read_audio(path: Path, seconds: float | None = None) -> tuple[Audio, int]:
    """The beginning of an audio file, float32 (channels, frames), and its sample rate."""
    with AudioFile(str(path)) as file:
        rate = int(file.samplerate)
        frames = file.frames if seconds is None else min(file.frames, round(seconds * rate))
        return np.asarray(file.read(frames), np.float32), rate


def song_folders(root: Path, split: str, limit: int) -> list[Path]:
    """At most `limit` songs of a rendered split, spread evenly over the sorted names.

    Raises
    ------
    AudioError
        There are none.
    """
    songs = sorted(path.parent for path in (root / split).glob("*/mix.flac"))
    if not songs:
        raise AudioError(
            f"no rendered song in {root / split}",
            "folders with mix.flac, a FLAC a stem and notes.mid",
            "render them with rtsep-export render, or give another --rendered",
        )
    count = min(limit, len(songs))
    return [songs[index * len(songs) // count] for index in range(count)]


def rendered_clip(folder: Path, seconds: float) -> Clip:
    """The beginning of one rendered song, with its true notes."""
    mix, rate = read_audio(folder / "mix.flac", seconds)
    stems = {stem: read_audio(folder / f"{stem}.flac", seconds)[0] for stem in STEMS}
    sounding = {stem: audio for stem, audio in stems.items() if not is_silent(audio)}
    length = mix.shape[1] / rate
    notes = [note for note in read_notes(folder / "notes.mid") if note.onset_s < length]
    return Clip(folder.name, rate, mix, sounding, len(stems) - len(sounding), notes)


def read_notes(path: Path) -> list[TimedNote]:
    """Notes of a MIDI file with one tempo, each named after its track."""
    file = MidiFile(str(path))
    tempos = [m.tempo for track in file.tracks for m in track if m.type == "set_tempo"]
    tempo = tempos[0] if tempos else 500_000
    notes: list[TimedNote] = []
    for track in file.tracks:
        ticks = 0
        sounding: dict[tuple[int, int], list[float]] = {}
        for message in track:
            ticks += message.time
            if message.type not in ("note_on", "note_off"):
                continue
            now = tick2second(ticks, file.ticks_per_beat, tempo)
            started = sounding.setdefault((message.channel, message.note), [])
            if message.type == "note_on" and message.velocity:
                started.append(now)
            elif started:
                notes.append(TimedNote(track.name, message.note, started.pop(0), now))
    return notes


def real_clips(root: Path) -> Iterator[Clip | str]:
    """The real recordings: a clip, or why a folder gives none."""
    for folder in sorted(path.parent for path in root.glob("*/mixture.flac")):
        files = {path.stem: path for path in folder.glob("*.flac") if path.stem != "mixture"}
        ours = [name for name in files if name in STEMS and name != "other"]
        if not ours:
            yield f"{folder.name}: none of drums, bass, guitar, piano on its own"
            continue
        mix, rate = read_audio(folder / "mixture.flac")
        groups: dict[str, Audio] = {}
        for name, path in sorted(files.items()):
            stem = name if name in STEMS else "other"
            if name not in UNSCORED:
                groups[stem] = groups.get(stem, np.float32(0.0)) + read_audio(path)[0]
        stems = {stem: groups[stem] for stem in STEMS if stem in groups}
        sounding = {stem: audio for stem, audio in stems.items() if not is_silent(audio)}
        native = native_rate(rate)
        yield Clip(
            folder.name,
            native,
            _resampled(mix, rate, native),
            {stem: _resampled(audio, rate, native) for stem, audio in sounding.items()},
            len(stems) - len(sounding),
        )


def _resampled(audio: Audio, rate: int, target: int) -> Audio:
    """Mix and references go through the same resampler, so its delay cancels out."""
    if rate == target:
        return audio
    resampler = StreamResampler(rate, target, audio.shape[0])
    return np.concatenate([resampler.process(audio), resampler.process(None)], axis=1)
