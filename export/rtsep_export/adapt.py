"""Adapt a shipped separator to a song from nothing but its mixture and its score.

The score, put on the mixture's time (`rtsep_export.alignment`), leads a factorisation of
the mixture into stems (`rtsep_export.pseudo_stems`); the separator then learns from these
as it once learnt from true ones, for a few minutes and on this music alone.
"""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from pedalboard.io import AudioFile
from torch import Tensor, nn

from rtsep.audio_files import AudioReader
from rtsep.bundle import Bundle
from rtsep.errors import AudioError
from rtsep.manifest import Training
from rtsep.rates import REFERENCE_RATE
from rtsep_export.alignment import align, load_score
from rtsep_export.devices import mixed_precision
from rtsep_export.features import (
    HEADS,
    SEPARATOR_HOP,
    edges,
    features,
    mask_targets,
    target_frames,
)
from rtsep_export.from_onnx import load_separator
from rtsep_export.pseudo_stems import Grid, pseudo_stems
from rtsep_export.rendered import Notes
from rtsep_export.separation import STRIDE, Targets, segment_sdr, stems_loss
from rtsep_export.stems import STEMS, stem_of
from rtsep_export.tcn import Separator
from rtsep_export.to_onnx import export_separator
from rtsep_export.training import Report, Schedule, train

SLACK_S = 0.08
LEARNING_RATE = 5e-4
FRAMES, BATCH = 640, 8
GRID = Grid(4096, 1024, REFERENCE_RATE)


@dataclass(frozen=True)
class Adapted:
    """What became of an adaptation.

    Attributes
    ----------
    before, after : dict of str to float
        SDR in dB, against the stems that the score gave, of the stems that it names.
    match : float
        `rtsep_export.alignment.Alignment.match`.
    """

    before: dict[str, float]
    after: dict[str, float]
    match: float


class Song:
    """A mixture, the stems that its score gives, and what a separator learns from them."""

    def __init__(self, heard: Tensor, stems: Tensor, head: str) -> None:
        self.features, self.head = heard, head
        self.target = HEADS[head].target
        hop, first_end = target_frames(head)
        self.stride = hop // SEPARATOR_HOP
        self._statistics = mask_targets(stems, self.target, hop, first_end, 1.0)

    def targets(self, starts: Sequence[int], frames: int) -> Targets:
        """What belongs to `frames` network frames from each of some starts."""
        stride = self.stride
        energy, ratio, floor = (
            torch.stack([_part(t, s // stride, frames // stride) for s in starts])
            for t in self._statistics
        )
        return {self.target: (energy, ratio, floor)}

    def whole(self) -> Targets:
        """What belongs to the song from its start to its end."""
        energy, ratio, floor = (t[None] for t in self._statistics)
        return {self.target: (energy, ratio, floor)}


class Adaptation:
    """The task that `rtsep_export.training.train` works on."""

    def __init__(self, network: Separator, song: Song) -> None:
        self.network: nn.Module = network
        self.song = song

    def loss(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """As `rtsep_export.separation.SeparationTask.loss`, for one head and one song."""
        song, stride = self.song, self.song.stride
        frames = min(FRAMES, len(song.features) // stride * stride)
        last = (len(song.features) - frames) // stride
        starts = [stride * int(rng.integers(last + 1)) for _ in range(BATCH)]
        parts = torch.stack([song.features[s : s + frames] for s in starts])
        with mixed_precision(parts.device):
            masks = self.network(parts, STRIDE)[song.head]
        targets = song.targets(starts, frames)
        loss, sdr = stems_loss(masks.float(), targets, song.head, 0, STRIDE)
        return loss, {"sdr": sdr}

    def score(self, network: nn.Module) -> dict[str, float]:
        """SDR in dB of every stem over the whole song."""
        found = self.sdr(network)
        figures = dict(zip(STEMS, found.tolist(), strict=True))
        return figures | {"score": float(found.mean())}

    def sdr(self, network: nn.Module) -> Tensor:
        """``[n_stems]``, in dB, against the stems that the score gave."""
        song = self.song
        with torch.no_grad():
            masks = network(song.features[None])[song.head]
        return segment_sdr(masks, song.whole(), song.head, 0)[0]


def _part(values: Tensor, start: int, count: int) -> Tensor:
    """Rows from `start` on; zeros, which weigh nothing, past the end."""
    part = values[start : start + count]
    return nn.functional.pad(part, (0, 0) * (part.ndim - 1) + (0, count - len(part)))


def adapt(
    bundle: Bundle, mix_path: Path, score_path: Path, output: Path, budget_s: float, report: Report
) -> Adapted:
    """Write a bundle for the music of a recording and its score.

    Parameters
    ----------
    bundle : Bundle
        A separator that comes with rtsep.
    budget_s : float
        Training time.
    report : callable
        As for `rtsep_export.training.train`.

    Raises
    ------
    AudioError
        An unusable recording or score, or two that do not belong together.
    BundleError
        A bundle that is not of rtsep's making.
    OutputError
        `output` cannot be written.
    """
    network = load_separator(bundle)
    (head,) = network.heads
    mix = _read(mix_path)
    notes, named, match, slack_s = _notes(mix, score_path)
    front_ends = bundle.manifest.front_ends
    heard = features(mix, front_ends, SEPARATOR_HOP)
    stems = _stems(network, mix, heard, notes, slack_s, edges(front_ends[0]))
    task = Adaptation(network, Song(heard, stems, head))
    before = task.sdr(network)
    with tempfile.TemporaryDirectory() as folder:
        schedule = Schedule(budget_s, learning_rate=LEARNING_RATE, weight_decay=0.0)
        weights = train(task, schedule, Path(folder), report)
        network.load_state_dict(torch.load(weights, weights_only=True))
    after = task.sdr(network.eval())
    training = _record(bundle.manifest.training, mix_path, budget_s)
    name = re.sub(r"[^a-z0-9._-]+", "-", output.stem.lower()).strip("-._")[:64] or "adapted"
    version = bundle.manifest.version
    export_separator(network, head, output, training, version, name=name, front_ends=front_ends)
    rows = [STEMS.index(stem) for stem in named]
    return Adapted(
        {STEMS[i]: float(before[i]) for i in rows},
        {STEMS[i]: float(after[i]) for i in rows},
        match,
    )


def _read(path: Path) -> Tensor:
    """Stereo audio at the reference rate, ``[2, samples]``."""
    with AudioReader(path):
        pass  # refuses what cannot be used
    with AudioFile(str(path)) as file, file.resampled_to(REFERENCE_RATE) as resampled:
        audio = np.asarray(resampled.read(resampled.frames), np.float32)
    return torch.from_numpy(np.repeat(audio, 2, axis=0) if len(audio) == 1 else audio)


def _notes(mix: Tensor, path: Path) -> tuple[Notes, list[str], float, float]:
    """The score's notes on the mixture's time, the stems they name, the match, the slack."""
    midi = load_score(path)
    named = [stem for stem in STEMS if any(stem_of(i) == stem for i in midi.instruments if i.notes)]
    if not set(named) - {STEMS[-1]}:
        raise AudioError(
            f"{path} has no track of {', '.join(STEMS[:-1])}",
            "a score with programs that name the instruments",
            "set the tracks' programs",
        )
    alignment = align(mix.numpy(), REFERENCE_RATE, midi)
    notes = [
        (
            stem_of(instrument),
            note.pitch,
            alignment.to_audio(note.start),
            alignment.to_audio(note.end),
            note.velocity,
        )
        for instrument in midi.instruments
        for note in instrument.notes
    ]
    exact = alignment.audio_s is alignment.score_s
    return notes, named, alignment.match, 0.0 if exact else SLACK_S


def _stems(
    network: Separator,
    mix: Tensor,
    heard: Tensor,
    notes: Notes,
    slack_s: float,
    band_edges: npt.NDArray[np.float64],
) -> Tensor:
    """The stems that the score gives, with the network's own masks as a guide."""
    (head,) = network.heads
    with torch.no_grad():
        masks = network(heard[None])[head][0]
    bins, times = GRID.bins_hz, GRID.times_s(mix.shape[-1])
    # The mask of network frame k is for audio about (k + 1) hops in, less its lookahead.
    ahead = HEADS[head].lookahead / REFERENCE_RATE
    frame = np.round((times + ahead) * REFERENCE_RATE / SEPARATOR_HOP - 0.75).astype(int)
    band = np.searchsorted(band_edges, bins, side="right") - 1
    rows = masks[frame.clip(0, len(masks) - 1)][:, :, band.clip(0, masks.shape[-1] - 1)]
    return pseudo_stems(mix, notes, rows.permute(1, 2, 0), GRID, STEMS, slack_s=slack_s)


def _record(before: Training, mix_path: Path, budget_s: float) -> Training:
    """The origin of the weights, with what was added to it."""
    remark = f"adapted to {mix_path.name} from its mixture and score, {budget_s / 60:.0f} min"
    return msgspec.structs.replace(
        before, remarks="; ".join(part for part in (before.remarks, remark) if part)
    )
