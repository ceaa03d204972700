"""Single players for the live query model: rendered at the reference rate, and read back.

Voices of the chamber collections, each played by any instrument whose range it fits, in a
room of its own.  Training hears the query paper's eight instruments and many more, but not
the five that the paper keeps for the test (`rtsep_export.query.voices`).
"""

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pretty_midi
from pedalboard.io import AudioFile

from rtsep.errors import SetupError
from rtsep.output_file import replacing
from rtsep.rates import REFERENCE_RATE
from rtsep_export.collections import Song
from rtsep_export.dataset import at_work
from rtsep_export.query.voices import INSTRUMENTS, Instrument, dealt, first_voice
from rtsep_export.render import (
    FONTS,
    TEST_FONTS,
    TRAIN_FONTS,
    check_tools,
    produce,
    synthesise,
    write_flac,
)
from rtsep_export.rendered import Audio, read_part

MORE = {
    "piano": Instrument(0, 21, 108),
    "electric-piano": Instrument(4, 28, 103),
    "harpsichord": Instrument(6, 36, 89),
    "celesta": Instrument(8, 60, 108),
    "vibraphone": Instrument(11, 53, 89),
    "marimba": Instrument(12, 45, 96),
    "dulcimer": Instrument(15, 50, 86),
    "church-organ": Instrument(19, 36, 96),
    "reed-organ": Instrument(20, 36, 96),
    "accordion": Instrument(21, 53, 93),
    "harmonica": Instrument(22, 60, 96),
    "nylon-guitar": Instrument(24, 40, 88),
    "jazz-guitar": Instrument(26, 40, 86),
    "tremolo-strings": Instrument(44, 36, 96),
    "pizzicato-strings": Instrument(45, 36, 96),
    "harp": Instrument(46, 24, 103),
    "strings": Instrument(48, 36, 96),
    "choir": Instrument(52, 43, 84),
    "voice": Instrument(53, 43, 84),
    "muted-trumpet": Instrument(59, 54, 84),
    "brass-section": Instrument(61, 36, 84),
    "soprano-saxophone": Instrument(64, 56, 87),
    "tenor-saxophone": Instrument(66, 44, 75),
    "baritone-saxophone": Instrument(67, 36, 69),
    "english-horn": Instrument(69, 52, 81),
    "piccolo": Instrument(72, 74, 102),
    "recorder": Instrument(74, 60, 98),
    "pan-flute": Instrument(75, 60, 96),
    "shakuhachi": Instrument(77, 55, 84),
    "whistle": Instrument(78, 60, 96),
    "ocarina": Instrument(79, 60, 89),
    "square-lead": Instrument(80, 36, 96),
    "saw-lead": Instrument(81, 36, 96),
    "sitar": Instrument(104, 48, 77),
    "banjo": Instrument(105, 48, 81),
    "koto": Instrument(107, 48, 84),
    "fiddle": Instrument(110, 55, 96),
    "shanai": Instrument(111, 60, 84),
}


@dataclass(frozen=True)
class Plan:
    """How many solos of the paper's instruments and of the others, and how they sound.

    Attributes
    ----------
    unseen : bool
        With the five instruments that training does not hear.
    timbre : int
        As of `rtsep_export.render.synthesise`.
    """

    solos: int
    more: int
    seconds: float
    fonts: tuple[str, ...]
    unseen: bool = False
    timbre: int = 0


PLANS = {
    "train": Plan(40, 16, 20.0, TRAIN_FONTS, timbre=3),
    "valid": Plan(2, 1, 20.0, TRAIN_FONTS),
    "test": Plan(4, 0, 20.0, TEST_FONTS, unseen=True),
}


def solos_folder(rendered: Path, split: str) -> Path:
    """Where a split's solos lie, beside the rendered songs."""
    return rendered / "solos" / split


def render_solos(
    root: Path, rendered: Path, split: str, plan: Plan, *, workers: int = 1
) -> Iterator[tuple[int, int, str]]:
    """Render a split into `solos_folder`; solos already there are kept.

    Yields
    ------
    done, total, name
        After every solo, in the order they finish.
    """
    check_tools(plan.fonts)
    target, counts = solos_folder(rendered, split), {}
    for name, instrument in (INSTRUMENTS | MORE).items():
        several = plan.solos if name in INSTRUMENTS else plan.more
        counts[name] = several if instrument.seen or plan.unseen else 0
    jobs = [
        (root, songs, name, target / name / f"{number:03}.flac", plan)
        for name, number, songs in dealt(root, split, counts)
    ]
    yield from at_work(_job, jobs, workers)


def _job(job: tuple[Path, list[Song], str, Path, Plan]) -> str:
    root, songs, instrument, path, plan = job
    _render_solo(root, songs, instrument, path, plan)
    return f"{instrument} {path.stem}"


def _render_solo(root: Path, songs: list[Song], name: str, path: Path, plan: Plan) -> None:
    """The first voice of some songs that fits; nothing where it is there, or none fits."""
    if path.exists():
        return
    instrument = (INSTRUMENTS | MORE)[name]
    rng = np.random.default_rng([zlib.crc32(f"{name} {path.stem}".encode()), 19])
    found = first_voice(root, songs, instrument, plan.seconds, rng)
    if found is None:
        return
    song, voice = found
    font = plan.fonts[int(rng.integers(len(plan.fonts)))]
    timbre = int(rng.integers(-plan.timbre, plan.timbre + 1))
    track = pretty_midi.Instrument(instrument.program)
    track.notes = [
        pretty_midi.Note(int(rng.integers(55, 115)), n.pitch, n.onset, n.offset) for n in voice
    ]
    dry = synthesise([track], FONTS[font][0], plan.seconds, timbre=timbre)
    audio, _ = produce(dry, "other", rng)
    audio *= min(1.0, 0.98 / max(float(np.abs(audio).max()), 1e-9))
    path.parent.mkdir(parents=True, exist_ok=True)
    recipe = {"song": song.name, "licence": song.licence, "font": font}
    path.with_suffix(".json").write_text(json.dumps(recipe))
    # The sound last: a solo counts from when it is there.
    with replacing(path) as scratch:
        write_flac(scratch, audio)


class Solos:
    """The solos of a split.

    Attributes
    ----------
    having : dict of str to list of int
        Numbers of the solos of every instrument.

    Raises
    ------
    SetupError
        There is none, or one is not at the reference rate.
    """

    def __init__(self, rendered: Path, split: str) -> None:
        folder = solos_folder(rendered, split)
        self.paths = sorted(folder.glob("*/[!.]*.flac"))
        if not self.paths:
            raise SetupError(f"no solos in {folder}", "solos", "run rtsep-export solos first")
        self.having: dict[str, list[int]] = {}
        for index, path in enumerate(self.paths):
            with AudioFile(str(path)) as file:
                if file.samplerate != REFERENCE_RATE:
                    raise SetupError(f"{path} at {file.samplerate:.0f} Hz", f"{REFERENCE_RATE} Hz")
            self.having.setdefault(path.parent.name, []).append(index)

    @cache  # noqa: B019  (they live as long as the training)
    def length(self, index: int) -> int:
        """Samples of solo number `index`."""
        with AudioFile(str(self.paths[index])) as file:
            return int(file.frames)

    def part(self, index: int, _: str, start: int, samples: int) -> Audio:
        """A part of a solo, ``[2, samples]``; silence before its start and past its end."""
        return read_part(self.paths[index], start, samples)
