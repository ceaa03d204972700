"""URMP in its own layout, for those who have it (Li et al., IEEE Trans. Multimedia 2019).

``ROOT/NN_Piece_vn_vc/`` holds ``AuSep_1_vn_NN_Piece.wav`` and ``Notes_1_vn_NN_Piece.txt``
for every player: onset in seconds, frequency in Hz and duration in seconds a line.  The
paper names no pieces of its training set: here every piece with an instrument that only
the test may hear is a test piece, and so is every third of the others.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pedalboard
import pretty_midi

from rtsep.errors import AudioError, SetupError
from rtsep_export.query.networks import SAMPLE_RATE
from rtsep_export.query.parts import PLANS, draw_shifts, store_part
from rtsep_export.query.voices import INSTRUMENTS, Note
from rtsep_export.recordings import read_mono

CODES = {
    "vn": "violin",
    "va": "viola",
    "vc": "cello",
    "fl": "flute",
    "cl": "clarinet",
    "sax": "saxophone",
    "tpt": "trumpet",
    "tbn": "trombone",
    "db": "double-bass",
    "ob": "oboe",
    "bn": "bassoon",
    "hn": "horn",
    "tba": "tuba",
}
TRACK = re.compile(r"AuSep_(\d+)_([a-z]+)_(.+)\.wav")
TEST_EVERY = 3


def convert_urmp(root: Path, folder: Path, split: str) -> Iterator[tuple[int, int, str]]:
    """Store a split of URMP in ``folder/<split>``; parts already there are kept.

    The validation parts are the test's: the paper has none.

    Yields
    ------
    done, total, name
        After every track.

    Raises
    ------
    SetupError
        No pieces where URMP has them.
    AudioError
        A track without its notes, or one that cannot be read.
    """
    pieces = sorted(p for p in root.glob("[0-9]*_*") if p.is_dir())
    tracks = [t for piece in _split(pieces, split) for t in sorted(piece.glob("AuSep_*.wav"))]
    if not tracks:
        raise SetupError(
            f"no pieces in {root}",
            "01_Jupiter_vn_vc/AuSep_1_vn_01_Jupiter.wav and so on",
            "name URMP's own folder",
        )
    rng = np.random.default_rng(20)
    for done, track in enumerate(tracks, 1):
        match = TRACK.fullmatch(track.name)
        if match is not None and match[2] in CODES:
            target = folder / split / CODES[match[2]]
            if not (target / f"{match[3]}-{match[1]}.npy").exists():
                shifts = draw_shifts(PLANS[split].shifts, rng)
                audio, notes = read_mono(track, SAMPLE_RATE), _read_notes(track)
                rows = np.stack([audio, *(_pitched(audio, s) for s in shifts)])
                twins = [
                    [Note(n.pitch + s, n.onset, n.offset) for n in notes] for s in (0, *shifts)
                ]
                about = {"licence": "URMP, for research", "shifts": shifts}
                store_part(target, f"{match[3]}-{match[1]}", rows, twins, about)
        yield done, len(tracks), track.stem


def _split(pieces: list[Path], split: str) -> list[Path]:
    seen = [p for p in pieces if all(INSTRUMENTS[i].seen for i in _players(p))]
    training = [p for number, p in enumerate(seen) if number % TEST_EVERY]
    return training if split == "train" else [p for p in pieces if p not in training]


def _players(piece: Path) -> list[str]:
    matches = (TRACK.fullmatch(path.name) for path in piece.glob("AuSep_*.wav"))
    return [CODES[m[2]] for m in matches if m is not None and m[2] in CODES]


def _read_notes(track: Path) -> list[Note]:
    path = track.with_name(track.name.replace("AuSep", "Notes")).with_suffix(".txt")
    try:
        rows = [[float(field) for field in line.split()] for line in path.read_text().splitlines()]
        return [
            Note(round(float(pretty_midi.hz_to_note_number(hz))), onset, onset + duration)
            for onset, hz, duration in (row for row in rows if row)
        ]
    except (OSError, ValueError) as error:
        raise AudioError(
            f"{path}: {error}", "onset, frequency and duration of a note a line"
        ) from None


def _pitched(audio: npt.NDArray[np.float32], semitones: int) -> npt.NDArray[np.float32]:
    pitched = pedalboard.time_stretch(
        audio[None], SAMPLE_RATE, stretch_factor=1.0, pitch_shift_in_semitones=semitones
    )
    row = np.zeros_like(audio)
    count = min(len(audio), pitched.shape[1])
    row[:count] = pitched[0, :count]
    return row
