"""The notes' half of `quality.py`: ours a stem, and Basic Pitch as the rival.

Basic Pitch (Bittner et al., ICASSP 2022) names no instruments, so it is compared twice:
on the whole mix with the notes of all stems pooled, and stem by stem on our separated
stems and on the true ones.  On the true stems nothing has to be separated, which is
more than a separator can give it.  It has no drums.
"""

from pathlib import Path
from typing import Any

from pedalboard.io import AudioFile

from benchmarks import common
from benchmarks.clips import Clip
from benchmarks.metrics import Counts, TimedNote, note_counts, onset_counts, pooled

PITCHED = ("bass", "guitar", "piano")
TOLERANCES_S = (0.05, 0.02)


class NoteTrial:
    """Collects our notes and the audio that the rival will hear.

    Parameters
    ----------
    preset : str
        Whose stems the rival hears; notes are the same in every preset.
    scratch : Path
        Folder for that audio.
    """

    def __init__(self, preset: str, scratch: Path) -> None:
        self.preset = preset
        self.scratch = scratch
        self.clips: list[Clip] = []
        self.ours: list[list[TimedNote]] = []
        self.files: dict[tuple[int, str], Path] = {}

    def add(self, clip: Clip, stems: dict[str, common.Audio], notes: list[TimedNote]) -> None:
        """Take in one clip: its true notes, our notes, our stems."""
        number = len(self.clips)
        self.clips.append(clip)
        self.ours.append(notes)
        audio = {"mix": clip.mix}
        for stem in PITCHED:
            if stem in clip.stems:
                audio |= {f"true {stem}": clip.stems[stem], f"our {stem}": stems[stem]}
        for name, samples in audio.items():
            path = self.scratch / f"{number}-{name.replace(' ', '-')}.wav"
            with AudioFile(str(path), "w", clip.sample_rate, samples.shape[0], 16) as file:
                file.write(samples)
            self.files[number, name] = path


def print_notes(trial: NoteTrial, about: str, rivals_python: str) -> list[dict[str, Any]]:
    """Run the rival, print the table, and hand back its figures."""
    result = common.run_rival(rivals_python, "basic-pitch", list(trial.files.values()))
    heard: dict[tuple[int, str], list[TimedNote]] = {}
    if "missing" in result:
        print(f"no Basic Pitch: {result['missing']} is missing; {common.RIVALS_HELP}\n")
    else:
        for (number, name), notes in zip(trial.files, result["notes"], strict=True):
            heard[number, name] = [TimedNote("", p, a, b) for a, b, p, _ in notes]
    rows = _ours(trial) + (_basic_pitch(trial, heard) if heard else [])
    table = []
    for name, (wide, tight) in rows:
        table.append(
            [
                name,
                f"{wide.precision:.3f}",
                f"{wide.recall:.3f}",
                f"{wide.f1:.3f}",
                f"{tight.f1:.3f}",
                str(wide.reference),
                str(wide.estimated),
            ]
        )
    columns = (
        "notes of",
        "precision 50 ms",
        "recall 50 ms",
        "F1 50 ms",
        "F1 20 ms",
        "true",
        "found",
    )
    remark = (
        "Onset and pitch (50 cents), offsets ignored; counts summed over the clips.  The same "
        "pitch struck again within 50 ms, in a stem or a pool, counts once.\n"
        '"with other" counts the notes of the other stem as well, which rtsep does not '
        "transcribe and Basic Pitch cannot tell apart."
    )
    if heard:
        remark += f"\nBasic Pitch {result['version']}, its ONNX network and default thresholds."
    common.print_table(f"Note F1 (mir_eval): {about}", columns, table, remark)
    return [
        {"notes": name, "tolerance_s": tolerance, "f1": counts.f1, **vars(counts)}
        for name, pair in rows
        for tolerance, counts in zip(TOLERANCES_S, pair, strict=True)
    ]


_Row = tuple[str, tuple[Counts, Counts]]


def _ours(trial: NoteTrial) -> list[_Row]:
    both = list(zip(trial.clips, trial.ours, strict=True))

    def pairs(stem: str) -> list[tuple[list[TimedNote], list[TimedNote]]]:
        return [(_of(clip.notes, stem), _of(ours, stem)) for clip, ours in both]

    rows = [_row(f"rtsep, {stem}", pairs(stem)) for stem in PITCHED]
    rows.append(_row("rtsep, drums (onsets of any drum)", pairs("drums"), strokes=True))
    for name, stems in _pools():
        estimated = [_of(ours, *PITCHED) for ours in trial.ours]
        true = [_of(clip.notes, *stems) for clip in trial.clips]
        rows.append(_row(f"rtsep, {name}", list(zip(true, estimated, strict=True))))
    return rows


def _basic_pitch(trial: NoteTrial, heard: dict[tuple[int, str], list[TimedNote]]) -> list[_Row]:
    rows = []
    for name, stems in _pools():
        pairs = [
            (_of(clip.notes, *stems), heard[number, "mix"])
            for number, clip in enumerate(trial.clips)
        ]
        rows.append(_row(f"Basic Pitch on the mix, {name}", pairs))
    for kind in ("our", "true"):
        for stem in PITCHED:
            pairs = [
                (_of(clip.notes, stem), heard[number, f"{kind} {stem}"])
                for number, clip in enumerate(trial.clips)
                if (number, f"{kind} {stem}") in heard
            ]
            source = f"rtsep's {stem} ({trial.preset})" if kind == "our" else f"the true {stem}"
            rows.append(_row(f"Basic Pitch on {source}", pairs))
    return rows


def _pools() -> list[tuple[str, tuple[str, ...]]]:
    return [("pooled", PITCHED), ("pooled with other", (*PITCHED, "other"))]


def _of(notes: list[TimedNote], *stems: str) -> list[TimedNote]:
    return [note for note in notes if note.stem in stems]


def _row(
    name: str, pairs: list[tuple[list[TimedNote], list[TimedNote]]], *, strokes: bool = False
) -> _Row:
    """Counts at both tolerances, summed over (true, estimated) of the clips."""
    count = onset_counts if strokes else note_counts
    wide, tight = Counts(), Counts()
    for true, estimated in pairs:
        if not strokes:
            true, estimated = pooled(true), pooled(estimated)
        wide += count(true, estimated, TOLERANCES_S[0])
        tight += count(true, estimated, TOLERANCES_S[1])
    return name, (wide, tight)
