"""The paper's condition: 16 kHz mono mixtures of bass, guitar and piano with their scores.

Acoustic piano, distorted electric guitar and electric bass (paper, section 3.1), here
rendered from the MIDI collections, with instruments resting now and then, as they do in
the paper's songs but not in the busiest excerpts of ours: what the clip-level mixture
loss says comes from clips without one.  A song is one int16 array of its stems and a JSON
file of its notes; the mixture is the stems' sum.
"""

import json
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pretty_midi

from rtsep.errors import SetupError
from rtsep.output_file import replacing
from rtsep_export.collections import ALL_COLLECTIONS, Song, list_songs, load_midi
from rtsep_export.dataset import worker_pool
from rtsep_export.render import (
    FONTS,
    TEST_FONTS,
    TRAIN_FONTS,
    active_rms,
    busiest_start,
    check_tools,
    synthesise,
)
from rtsep_export.stems import stem_of

INSTRUMENTS = ("bass", "guitar", "piano")
SAMPLE_RATE = 16_000
CLIP_S = 4.0
# General MIDI programs that count as the paper's instruments.
PAPER_PROGRAMS = {"bass": (33, 34), "guitar": (29, 30), "piano": (0, 1)}
# dB RMS of a stem where it plays; their differences give about the input SI-SDR of the
# paper's Table 1 (1.2, -5.8 and -2.3 dB).
LEVEL_DB = {"bass": -20.0, "guitar": -24.4, "piano": -22.0}
SPREAD_DB = 2.0
# How likely an instrument plays in a clip; at least one does.
PLAYS = {"bass": 0.7, "guitar": 0.6, "piano": 0.7}
LENGTHS_S = {"train": 48.0, "valid": 12.0, "test": 24.0}

Note = tuple[int, int, float, float]  # instrument, MIDI note, onset and offset in seconds
Stems = npt.NDArray[np.float32]


@dataclass(frozen=True)
class StoredSong:
    """A song of the data set.

    Attributes
    ----------
    stems : int16 array, shape (3, frames)
        In the order of `INSTRUMENTS`, memory-mapped.
    notes : list of (int, int, float, float)
        Instrument, MIDI note, onset and offset in seconds.
    targets : like stems, or None
        What a network is to learn from instead of the stems.
    """

    name: str
    stems: npt.NDArray[np.int16]
    notes: list[Note]
    targets: npt.NDArray[np.int16] | None = None

    @property
    def clips(self) -> int:
        """Whole clips of `CLIP_S` in it."""
        return int(self.stems.shape[1] // round(CLIP_S * SAMPLE_RATE))

    def clip(self, number: int) -> tuple[Stems, list[Note]]:
        """Stems in [-1, 1], shape (3, frames), and notes of one clip, in its own time."""
        return cut(self.stems, number), self.clip_notes(number)

    def clip_notes(self, number: int) -> list[Note]:
        """The notes of one clip alone."""
        begin, end = number * CLIP_S, (number + 1) * CLIP_S
        return [
            (i, pitch, max(on - begin, 0.0), min(off - begin, CLIP_S))
            for i, pitch, on, off in self.notes
            if on < end and off > begin
        ]


def cut(stems: npt.NDArray[np.int16], clip: int) -> Stems:
    """One clip of a song's stems, in [-1, 1]."""
    length = round(CLIP_S * SAMPLE_RATE)
    part = stems[:, clip * length : (clip + 1) * length]
    return part.astype(np.float32) / np.float32(32768)


def load_songs(folder: Path) -> list[StoredSong]:
    """All songs in a folder, in the order of their names.

    Raises
    ------
    SetupError
        There is none, or one is damaged.
    """
    songs = []
    for path in sorted(folder.glob("[!.]*.npy")):
        try:
            stems = np.load(path, mmap_mode="r")
            notes = json.loads(path.with_suffix(".json").read_text())["notes"]
        except (OSError, ValueError, KeyError) as error:
            raise SetupError(f"{path}: {error}", "a stored song", "delete it, run again") from None
        if stems.ndim != 2 or stems.shape[0] != len(INSTRUMENTS) or stems.dtype != np.int16:
            raise SetupError(
                f"{path}: {stems.dtype} {stems.shape}", f"int16 ({len(INSTRUMENTS)}, frames)"
            )
        songs.append(StoredSong(path.stem, stems, [tuple(note) for note in notes]))
    if not songs:
        raise SetupError(
            f"no songs in {folder}", "what 'rtsep-export songs' writes", "run it first"
        )
    return songs


def store_song(
    folder: Path, name: str, stems: Stems, notes: Sequence[Note], about: dict[str, object]
) -> None:
    """Write a song; `stems` has shape (3, frames) and is scaled down where it would clip."""
    folder.mkdir(parents=True, exist_ok=True)
    loudest = max(float(np.abs(stems).max()), float(np.abs(stems.sum(0)).max()))
    scale = min(1.0, 0.98 / max(loudest, 1e-9))
    samples = np.round(stems * scale * 32768).clip(-32768, 32767).astype(np.int16)
    (folder / f"{name}.json").write_text(json.dumps({"notes": list(notes), **about}))
    # The array last: a song counts from when it is there.
    with replacing(folder / f"{name}.npy") as scratch:
        np.save(scratch, samples)


def render_songs(
    root: Path,
    folder: Path,
    split: str,
    *,
    most: int | None = None,
    fonts: Sequence[str] | None = None,
    workers: int = 1,
) -> Iterator[tuple[int, int, str]]:
    """Render a split into ``folder/<split>``; songs already there are kept.

    Songs of the collections with bass, guitar and piano in them, `most` at most.  The
    test split's font is one that training never hears, unless `fonts` says otherwise.

    Yields
    ------
    done, total, name
        After every song, in the order they finish.
    """
    fonts = tuple(fonts or (TEST_FONTS if split == "test" else TRAIN_FONTS))
    check_tools(fonts)
    songs = [s for s in list_songs(root, ALL_COLLECTIONS) if s.split == split]
    songs = [s for s in songs if s.has >= set(INSTRUMENTS)]
    songs = [songs[i] for i in np.random.default_rng(11).permutation(len(songs))][:most]
    jobs = [(root, song, folder / split, fonts) for song in songs]
    with worker_pool(workers) as pool:
        for done, name in enumerate(pool.imap_unordered(_job, jobs), 1):
            yield done, len(jobs), name


def _job(job: tuple[Path, Song, Path, Sequence[str]]) -> str:
    root, song, folder, fonts = job
    with warnings.catch_warnings():
        # pretty_midi warns of tempo events outside the first track; harmless here.
        warnings.simplefilter("ignore")
        render_one(root, song, folder, fonts)
    return song.name


def render_one(root: Path, song: Song, folder: Path, fonts: Sequence[str]) -> bool:
    """Render one song's busiest excerpt; False where that is done, or nothing plays."""
    if (folder / f"{song.name}.npy").exists():
        return False
    rng = np.random.default_rng([zlib.crc32(song.name.encode()), 16])
    font = fonts[int(rng.integers(len(fonts)))]
    seconds = LENGTHS_S[song.split]
    midi = load_midi(root, song)
    start_s = busiest_start(midi, seconds, rng)
    stems = np.zeros((len(INSTRUMENTS), round(seconds * SAMPLE_RATE)), np.float32)
    notes: list[Note] = []
    for index, instrument in enumerate(INSTRUMENTS):
        program = int(rng.choice(PAPER_PROGRAMS[instrument]))
        part = _part(midi, instrument, program, start_s, seconds)
        level_db = LEVEL_DB[instrument] + float(rng.normal(0, SPREAD_DB))
        if not part.notes:
            continue
        audio = synthesise([part], FONTS[font][0], seconds, SAMPLE_RATE).mean(axis=0)
        gain = 10 ** (level_db / 20) / active_rms(audio[None], SAMPLE_RATE)
        stems[index] = gain * audio
        notes += [(index, n.pitch, n.start, n.end) for n in part.notes]
    if len({note[0] for note in notes}) < 2:
        return False
    about = {"font": font, "licence": song.licence, "start_s": start_s}
    store_song(folder, song.name, *with_rests(song.name, stems, notes), about)
    return True


def with_rests(name: str, stems: Stems, notes: Sequence[Note]) -> tuple[Stems, list[Note]]:
    """Silence instruments for whole clips, by chance but the same for the same name.

    Notes are cut at the edges of the clips.
    """
    rng = np.random.default_rng([zlib.crc32(name.encode()), 17])
    chances = np.array([PLAYS[instrument] for instrument in INSTRUMENTS])
    length = round(CLIP_S * SAMPLE_RATE)
    stems, kept = stems.copy(), []
    for clip in range(-(-stems.shape[1] // length)):
        while not (plays := rng.random(len(chances)) < chances).any():
            pass
        stems[~plays, clip * length : (clip + 1) * length] = 0
        begin, end = clip * CLIP_S, (clip + 1) * CLIP_S
        for instrument, pitch, on, off in notes:
            if plays[instrument] and on < end and off > begin:
                kept.append((instrument, pitch, max(on, begin), min(off, end)))
    return stems, kept


def _part(
    midi: pretty_midi.PrettyMIDI, stem: str, program: int, start_s: float, seconds: float
) -> pretty_midi.Instrument:
    """All tracks of a stem, cut, on one program."""
    part = pretty_midi.Instrument(program)
    for instrument in midi.instruments:
        if stem_of(instrument) != stem:
            continue
        for note in instrument.notes:
            on, off = note.start - start_s, min(note.end - start_s, seconds)
            if 0.0 <= on < seconds - 0.1 and off > on + 0.01 and 21 <= note.pitch <= 108:
                part.notes.append(pretty_midi.Note(max(note.velocity, 30), note.pitch, on, off))
    return part
