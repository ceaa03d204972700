"""What a setting reaches on the test clips: SI-SDR, note accuracy, false positives."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

import mir_eval
import numpy as np
import numpy.typing as npt
import pretty_midi
import torch
from torch import Tensor

from rtsep_export.measures import is_silent, si_sdr
from rtsep_export.scores.clips import Clips
from rtsep_export.scores.losses import piano_roll
from rtsep_export.scores.networks import FRAME_S, HOP, LOWEST_NOTE, Network, signals, spectra
from rtsep_export.scores.songs import CLIP_S, INSTRUMENTS, SAMPLE_RATE

SAMPLES = round(CLIP_S * SAMPLE_RATE)

Audio = npt.NDArray[np.float32]


@dataclass
class Notes:
    """Detected notes in frames, right and wrong, and every clip's accuracy by instrument."""

    hits: int = 0
    false: int = 0
    accuracies: list[list[float]] = field(default_factory=lambda: [[], [], []])

    def accuracy(self) -> list[float]:
        """Mean over the clips of mir_eval's multi-pitch accuracy."""
        return [float(np.mean(a)) if a else float("nan") for a in self.accuracies]

    def false_positive_rate(self) -> float:
        """Share of the detected notes that are not in the score."""
        return self.false / max(self.false + self.hits, 1)


def clips_of(clips: Clips) -> Iterator[tuple[Audio, Tensor]]:
    """Sources, shape (3, samples), and score of every clip."""
    for song, clip in clips.places:
        sources, notes = clips.songs[song].clip(clip)
        yield sources, piano_roll(notes, 1 + SAMPLES // HOP)


@torch.no_grad()
def separation(network: Network | None, clips: Clips) -> dict[str, list[float]]:
    """SI-SDR in dB of every instrument in the clips where it plays, and not alone.

    The mixture's phase goes with the masked magnitudes.  Without a network it is the
    mixture that is compared, the tables' last row.
    """
    found: dict[str, list[float]] = {name: [] for name in INSTRUMENTS}
    for sources, _ in clips_of(clips):
        sounding = [not is_silent(source) for source in sources]
        if sum(sounding) < 2:
            continue
        mixture = sources.sum(0)
        if network is None:
            estimates = np.broadcast_to(mixture, sources.shape)
        else:
            spectrum = spectra(torch.from_numpy(mixture))
            masks = network(spectrum.abs()[None])[0].sigmoid()
            estimates = signals(masks * spectrum, SAMPLES).numpy()
        for i in np.flatnonzero(sounding):
            found[INSTRUMENTS[i]].append(si_sdr(sources[i], estimates[i]))
    return found


@torch.no_grad()
def transcription(network: Network, clips: Clips, *, isolated: bool) -> Notes:
    """Note accuracy on the mixtures, or on each true source by itself.

    A note counts in a frame where its probability passes 0.5; a clip in which neither the
    score nor the network has an instrument does not count for it.
    """
    notes = Notes()
    for sources, score in clips_of(clips):
        audio = torch.from_numpy(sources if isolated else sources.sum(0, keepdims=True))
        logits = network(spectra(audio).abs())
        rows = range(len(INSTRUMENTS))
        heard = torch.stack([logits[i if isolated else 0, i] for i in rows]) > 0.0
        for i in rows:
            guess, truth = heard[i].numpy(), score[i].numpy() > 0
            notes.hits += int((guess & truth).sum())
            notes.false += int((guess & ~truth).sum())
            if guess.any() or truth.any():
                notes.accuracies[i].append(_accuracy(truth, guess))
    return notes


def _accuracy(truth: npt.NDArray[np.bool_], guess: npt.NDArray[np.bool_]) -> float:
    times = np.arange(truth.shape[1]) * FRAME_S
    with warnings.catch_warnings():
        # It warns where one side has no notes at all, which counts as nothing right.
        warnings.simplefilter("ignore")
        found = mir_eval.multipitch.metrics(times, _pitches(truth), times, _pitches(guess))
    return float(found[2])


def _pitches(roll: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.float64]]:
    """Frequencies in Hz that sound in each frame."""
    return [
        pretty_midi.note_number_to_hz(np.flatnonzero(column) + LOWEST_NOTE) for column in roll.T
    ]
