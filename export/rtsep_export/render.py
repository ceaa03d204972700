"""Render songs to stems: FluidSynth for the notes, pedalboard for the room.

One excerpt a song.  Every choice (font, programs, timbre, tempo, transposition, levels,
panning, equaliser, reverb) comes from a generator seeded by the song's name and the
take's number, so a data set is the same on every machine that has the same fonts.
"""

import json
import os
import shutil
import subprocess
import tempfile
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pedalboard
import pretty_midi
from pedalboard.io import AudioFile

from rtsep.errors import SetupError
from rtsep_export.collections import Song, load_midi
from rtsep_export.stems import PROGRAMS, STEMS, stem_of

SAMPLE_RATE = 48_000
Audio = npt.NDArray[np.float32]

# Loudness of a stem in its mix, dB RMS over its own active part, before the spread.
STEM_LEVEL_DB = {"drums": -20.0, "bass": -21.0, "guitar": -24.0, "piano": -24.0, "other": -25.0}
LEVEL_SPREAD_DB = 3.5

# The fonts of Debian's packages.  The test split uses one that training never hears.
FONTS = {
    "fluidr3": ("/usr/share/sounds/sf2/FluidR3_GM.sf2", "fluid-soundfont-gm", "MIT"),
    "musescore": (
        "/usr/share/sounds/sf2/MuseScore_General_Full.sf2",
        "musescore-general-soundfont-lossless",
        "MIT",
    ),
    "gmbank": ("/usr/share/sounds/sf2/sf_GMbank.sf2", "csound-soundfont", "LGPL-2.1+"),
    "timgm6mb": ("/usr/share/sounds/sf2/TimGM6mb.sf2", "timgm6mb-soundfont", "GPL-2"),
}
TRAIN_FONTS = ("fluidr3", "musescore", "gmbank")
TEST_FONTS = ("timgm6mb",)


@dataclass(frozen=True)
class Recipe:
    """What was drawn for one take of one song; stored beside the audio."""

    song: str
    licence: str
    split: str
    font: str
    take: int
    start_s: float
    tempo: float
    transpose: int
    programs: dict[str, list[int]]
    timbres: dict[str, int]
    gains_db: dict[str, float]


def check_tools(fonts: tuple[str, ...]) -> None:
    """Refuse early where FluidSynth or a font is missing."""
    if shutil.which("fluidsynth") is None:
        raise SetupError("no fluidsynth", "FluidSynth 2", "apt-get install fluidsynth")
    for font in fonts:
        path, package, _ = FONTS[font]
        if not Path(path).is_file():
            raise SetupError(f"no {path}", f"the font {font}", f"apt-get install {package}")


def render_song(
    root: Path,
    song: Song,
    folder: Path,
    *,
    seconds: float,
    fonts: tuple[str, ...],
    timbre: int = 0,
    take: int = 0,
) -> bool:
    """Render one excerpt into ``folder/<song>/`` as FLAC stems, their mix and notes.

    Parameters
    ----------
    timbre : int
        Every stem's samples are moved up or down by as many semitones at most, as
        `synthesise` does.

    Returns
    -------
    bool
        False where the song has no excerpt worth rendering, or is there already.
    """
    target = folder / (song.name + (f"-{take}" if take else ""))
    if target.exists():
        return False
    rng = np.random.default_rng([zlib.crc32(song.name.encode()), take])
    midi = load_midi(root, song)
    font = fonts[rng.integers(len(fonts))]
    tempo = float(rng.uniform(0.88, 1.12))
    transpose = int(rng.integers(-3, 4))
    start_s = busiest_start(midi, seconds * tempo, rng)
    parts = _parts(midi, start_s, seconds, tempo, transpose, song, rng)
    if sum(len(i.notes) for i in parts.values() for i in i) < 10:
        return False
    stems, gains, timbres = {}, {}, {}
    for stem in STEMS:
        if parts[stem]:
            timbres[stem] = int(rng.integers(-timbre, timbre + 1)) if timbre else 0
            audio = synthesise(parts[stem], FONTS[font][0], seconds, timbre=timbres[stem])
            stems[stem], gains[stem] = produce(audio, stem, rng)
    if not stems:
        return False
    recipe = Recipe(
        song.name,
        song.licence,
        song.split,
        font,
        take,
        start_s,
        tempo,
        transpose,
        {s: [int(i.program) for i in p] for s, p in parts.items() if p},
        timbres,
        gains,
    )
    _write(target, stems, parts, recipe, seconds)
    return True


def busiest_start(midi: pretty_midi.PrettyMIDI, span_s: float, rng: np.random.Generator) -> float:
    """Second at which most stems play at once, among a few random places."""
    last = max(midi.get_end_time() - span_s, 0.0)
    best, best_score = 0.0, -1.0
    for start in rng.uniform(0.0, last, 6) if last > 0 else [0.0]:
        score = 0.0
        counts = dict.fromkeys(STEMS, 0)
        for instrument in midi.instruments:
            counts[stem_of(instrument)] += sum(
                start <= n.start < start + span_s for n in instrument.notes
            )
        score = sum(min(n, 40) / 40 for n in counts.values())
        if score > best_score:
            best, best_score = float(start), score
    return best


def _parts(
    midi: pretty_midi.PrettyMIDI,
    start_s: float,
    seconds: float,
    tempo: float,
    transpose: int,
    song: Song,
    rng: np.random.Generator,
) -> dict[str, list[pretty_midi.Instrument]]:
    """Cut, stretch, transpose and re-orchestrate the tracks of every stem."""
    parts: dict[str, list[pretty_midi.Instrument]] = {stem: [] for stem in STEMS}
    chosen: dict[str, int] = {}
    for stem, programs in PROGRAMS.items():
        chosen[stem] = int(programs[rng.integers(len(programs))])
    vary = rng.random() < 0.6
    for instrument in midi.instruments:
        stem = stem_of(instrument)
        program = instrument.program
        if stem in chosen and (vary or stem == "drums"):
            program = chosen[stem]
        elif stem == "other" and rng.random() < 0.5:
            program = int(program) // 8 * 8 + int(rng.integers(8))
        copy = pretty_midi.Instrument(program, is_drum=instrument.is_drum)
        shift = 0 if instrument.is_drum else transpose
        for note in instrument.notes:
            on, off = (note.start - start_s) / tempo, (note.end - start_s) / tempo
            pitch = note.pitch + shift
            if 0.0 <= on < seconds - 0.1 and off > on + 0.01 and 0 <= pitch <= 127:
                off = min(off, seconds)
                copy.notes.append(pretty_midi.Note(max(note.velocity, 20), pitch, on, off))
        copy.pitch_bends = [
            pretty_midi.PitchBend(b.pitch, (b.time - start_s) / tempo)
            for b in instrument.pitch_bends
            if 0.0 <= (b.time - start_s) / tempo < seconds
        ]
        if copy.notes:
            parts[stem].append(copy)
    return parts


def synthesise(
    parts: list[pretty_midi.Instrument],
    font: str,
    seconds: float,
    sample_rate: int = SAMPLE_RATE,
    timbre: int = 0,
) -> Audio:
    """The dry sound of some tracks, shape (2, frames) at `sample_rate` in Hz.

    Parameters
    ----------
    timbre : int
        Semitones by which a font's samples are moved while the notes keep their pitch, as
        if the instruments were smaller or larger: the notes are played lower and slower,
        and what comes out is taken to be at a higher rate.
    """
    frames = round(seconds * sample_rate)
    faster = 2 ** (timbre / 12)
    midi = pretty_midi.PrettyMIDI(resolution=960)
    midi.instruments = [_lower_and_slower(part, timbre, faster) for part in parts]
    with tempfile.TemporaryDirectory() as folder:
        source, raw = Path(folder) / "part.mid", Path(folder) / "part.raw"
        midi.write(str(source))
        command = ["fluidsynth", "-ni", "-q", "-R", "0", "-C", "0", "-g", "0.4"]
        command += ["-r", str(sample_rate / faster), "-o", "synth.dynamic-sample-loading=1"]
        command += ["-o", "synth.polyphony=128", "-T", "raw", "-O", "float"]
        command += ["-F", str(raw), font, str(source)]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode or not raw.is_file():
            raise SetupError(f"fluidsynth failed: {done.stderr.decode(errors='replace')[-200:]}")
        samples = np.fromfile(raw, np.float32).reshape(-1, 2).T
    audio = np.zeros((2, frames), np.float32)
    length = min(frames, samples.shape[1])
    audio[:, :length] = samples[:, :length]
    return audio


def _lower_and_slower(
    part: pretty_midi.Instrument, semitones: int, factor: float
) -> pretty_midi.Instrument:
    moved = pretty_midi.Instrument(part.program, is_drum=part.is_drum, name=part.name)
    down = 0 if part.is_drum else semitones
    moved.notes = [
        pretty_midi.Note(n.velocity, n.pitch - down, n.start * factor, n.end * factor)
        for n in part.notes
        if 0 <= n.pitch - down <= 127
    ]
    moved.pitch_bends = [pretty_midi.PitchBend(b.pitch, b.time * factor) for b in part.pitch_bends]
    return moved


def produce(audio: Audio, stem: str, rng: np.random.Generator) -> tuple[Audio, float]:
    """Equalise, compress, place in a room, pan and set the level of one stem."""
    chain: list[pedalboard.Plugin] = [
        pedalboard.LowShelfFilter(float(rng.uniform(80, 300)), float(rng.normal(0, 2.5))),
        pedalboard.PeakFilter(
            float(np.exp(rng.uniform(np.log(300), np.log(4000)))),
            float(rng.normal(0, 3)),
            float(rng.uniform(0.5, 1.5)),
        ),
        pedalboard.HighShelfFilter(float(rng.uniform(3000, 8000)), float(rng.normal(0, 3))),
    ]
    if rng.random() < 0.4:
        chain.append(pedalboard.Compressor(-26.0, float(rng.uniform(2, 5)), 5.0, 120.0))
    if stem == "guitar" and rng.random() < 0.15:
        chain.append(pedalboard.Distortion(float(rng.uniform(8, 20))))
    if stem in ("guitar", "other") and rng.random() < 0.2:
        chain.append(pedalboard.Chorus(float(rng.uniform(0.3, 1.5)), 0.2, 7.0, 0.0, 0.4))
    wet = float(rng.uniform(0.0, 0.12 if stem == "bass" else 0.28))
    if rng.random() < 0.7:
        chain.append(
            pedalboard.Reverb(
                room_size=float(rng.uniform(0.1, 0.75)),
                damping=float(rng.uniform(0.2, 0.8)),
                wet_level=wet,
                dry_level=1.0 - wet,
                width=float(rng.uniform(0.3, 1.0)),
            )
        )
    audio = np.asarray(pedalboard.Pedalboard(chain)(audio, SAMPLE_RATE), np.float32)
    width = float(rng.uniform(0.0, 1.0))
    mid, side = audio.mean(axis=0), (audio[0] - audio[1]) / 2 * width
    pan = 0.1 * rng.normal() if stem in ("drums", "bass") else float(rng.uniform(-0.75, 0.75))
    angle = (float(np.clip(pan, -1, 1)) + 1) * np.pi / 4
    audio = np.stack([(mid + side) * np.cos(angle), (mid - side) * np.sin(angle)]) * np.sqrt(2)
    gain_db = STEM_LEVEL_DB[stem] + float(rng.normal(0, LEVEL_SPREAD_DB))
    return (audio * (10 ** (gain_db / 20) / active_rms(audio))).astype(np.float32), gain_db


def active_rms(audio: Audio, sample_rate: int = SAMPLE_RATE) -> float:
    """RMS of audio (channels, frames) over the half seconds within 30 dB of the loudest."""
    size = sample_rate // 2
    blocks = audio[:, : audio.shape[1] // size * size].reshape(len(audio), -1, size)
    power = (blocks**2).mean(axis=(0, 2))
    return float(np.sqrt(power[power >= power.max() * 1e-3].mean() + 1e-12))


def _write(
    target: Path,
    stems: dict[str, Audio],
    parts: dict[str, list[pretty_midi.Instrument]],
    recipe: Recipe,
    seconds: float,
) -> None:
    """Write a song's folder under a temporary name, then rename it."""
    frames = round(seconds * SAMPLE_RATE)
    silence = np.zeros((2, frames), np.float32)
    mix = np.sum([*stems.values(), silence], axis=0)
    scale = min(1.0, 0.95 / max(float(np.abs(mix).max()), 1e-9))
    scale = min([scale, *(0.98 / max(float(np.abs(s).max()), 1e-9) for s in stems.values())])
    scratch = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    # The stems are quantised first, so that the mix is their exact sum.
    total = silence.copy()
    for stem in STEMS:
        audio = (np.round(stems.get(stem, silence) * scale * 32768) / 32768).astype(np.float32)
        total += audio
        write_flac(scratch / f"{stem}.flac", audio)
    write_flac(scratch / "mix.flac", np.clip(total, -1, 32767 / 32768).astype(np.float32))
    midi = pretty_midi.PrettyMIDI(resolution=960)
    for stem, instruments in parts.items():
        for instrument in instruments:
            instrument.name = stem
            instrument.pitch_bends = []
            midi.instruments.append(instrument)
    midi.write(str(scratch / "notes.mid"))
    (scratch / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1))
    scratch.rename(target)


def write_flac(path: Path, audio: Audio) -> None:
    """16 bits a sample, shape (channels, frames)."""
    with AudioFile(str(path), "w", SAMPLE_RATE, audio.shape[0], bit_depth=16) as file:
        file.write(audio)
