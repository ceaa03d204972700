"""``quality.py --task query``: how well a query model takes out what an example names.

What ``rtsep query`` asks of both models that ship, or one model for files, is measured here
and by `query_clips`; a model for live use as it plays.

Test pairs of ``rtsep-export parts`` are found by ``--parts`` or RTSEP_PARTS, real players
by ``--data`` or RTSEP_DATA.  SDR is mir_eval's, of one source by itself; precision is
scikit-learn's, micro-averaged over the notes; both as in the paper (Lin et al. 2021).  The
baseline is the mixture itself.  Synthesised scores are heard by an independent pitch
tracker, pYIN (Mauch and Dixon 2014, as in librosa).
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import numpy.typing as npt

from benchmarks import common
from benchmarks.query_clips import PRESET, measure_clips, measure_live
from benchmarks.query_examples import measure_examples
from rtsep.manifest import Manifest
from rtsep.query.examples import Clip, Part, Query, ask
from rtsep.query.live_model import AnyQueryModel, LiveModel, open_query_models
from rtsep.query.model import QueryModel, find_query_model
from rtsep.query.score import play_score
from rtsep.query.spectra import OverlapAdd, centred, mask, spectrum
from rtsep.rates import REFERENCE_RATE
from rtsep_export.query.evaluation import precision, sdr
from rtsep_export.query.networks import LOWEST_NOTE, SILENCE
from rtsep_export.query.pairs import TEST_S, Asked, fixed_pairs
from rtsep_export.query.voices import INSTRUMENTS
from rtsep_export.recordings import read_mono

Audio = common.Audio
Row = dict[str, Any]

PLAYERS = ("violin", "viola", "cello", "flute", "clarinet", "saxophone", "bassoon")
SCALE, NOTE_S = (0, 2, 4, 5, 7, 9, 11, 12), 0.5
TOLERANCE_CENTS = 50.0


@dataclass(frozen=True)
class Estimate:
    """What a model gives of a pair.

    Attributes
    ----------
    phased : float32 array, shape (samples,), or None
        The estimated magnitudes with the mixture's phase.
    masked : float32 array, shape (samples,)
        The mixture under a mask.
    classes : int array, shape (frames,), or None
        As of `rtsep_export.query.pairs.Asked`.
    """

    phased: Audio | None
    masked: Audio
    classes: npt.NDArray[np.int64] | None


def query_of(models: Sequence[AnyQueryModel], example: Audio, sample_rate: int) -> Query:
    """What an example ``[1, samples]`` names; one model alone needs no weight."""
    clip = Clip("example", example, sample_rate)
    if len(models) > 1:
        return ask(models, clip)
    (model,) = models
    return Query(clip.name, (Part(model, clip.vector(model.embedder), 1.0),))


def estimate(models: Sequence[AnyQueryModel], pair: Asked) -> Estimate:
    """Of one model for files both ways from its estimate to audio; the stem; the notes."""
    model = models[0]
    rate = model.embedder.sample_rate
    asked = query_of(models, pair.example[None], rate)
    if isinstance(model, LiveModel) or len(models) > 1:
        found = asked.stem(pair.mixture[None], rate)
        return Estimate(None, found.audio[0], heard_classes(model.manifest, found.logits))
    query = asked.parts[0].vector
    n_fft, hop = model.n_fft, model.manifest.hop
    mixture = np.float32(model.heard(pair.mixture[None], rate)[1]) * pair.mixture
    heard = spectrum(centred(mixture, n_fft), n_fft, hop, 0, len(mixture) // hop + 1)
    low, high = heard[:, : model.bins], heard[:, model.bins :]
    parts = list(model.separate(np.abs(low), query))
    found = np.concatenate([part for _, part, _ in parts])
    logits = [part for _, _, part in parts if part is not None]
    phase = low / np.maximum(np.abs(low), 1e-9)
    ways = []
    for spectra in (found * phase, mask(found, np.abs(low)) * low):
        inverse = OverlapAdd(mixture.shape, n_fft, hop)
        inverse.add(np.concatenate([spectra, 0 * high], axis=-1).astype(np.complex64), 0)
        ways.append(inverse.audio())
    classes = heard_classes(model.manifest, np.concatenate(logits) if logits else None)
    return Estimate(*ways, classes)


def heard_classes(manifest: Manifest, logits: Audio | None) -> npt.NDArray[np.int64] | None:
    """The classes that are likeliest, counted as the pairs do: from a piano's lowest note."""
    if logits is None:
        return None
    pitches = [*(p - LOWEST_NOTE for p in manifest.notes[0].pitches), SILENCE]
    return np.array(pitches)[logits.argmax(1)]


def pair_rows(models: Sequence[AnyQueryModel], dataset: str, pairs: Sequence[Asked]) -> list[Row]:
    """A row a pair, with a progress bar."""
    rows = []
    with common.progress() as bar:
        task = bar.add_task(dataset, total=len(pairs))
        for pair in pairs:
            found = estimate(models, pair)
            right = None
            if found.classes is not None and pair.classes.size:
                right = precision(pair.classes, found.classes[: len(pair.classes)])
            rows.append(
                {
                    "dataset": dataset,
                    "instrument": pair.instrument,
                    "other": pair.other,
                    "sdr": None if found.phased is None else sdr(pair.source, found.phased),
                    "masked_sdr": sdr(pair.source, found.masked),
                    "mixture_sdr": sdr(pair.source, pair.mixture),
                    "precision": right,
                }
            )
            bar.advance(task)
    return rows


def real_pairs(root: Path, sample_rate: int) -> Iterator[Asked]:
    """Every two players of each recording, the example from the recording's end."""
    samples = round(TEST_S * sample_rate)
    for folder in sorted(path.parent for path in root.glob("*/mixture.flac")):
        players = sorted(p for p in folder.glob("*.flac") if p.stem.startswith(PLAYERS))
        audio = {path.stem: read_mono(path, sample_rate) for path in players}
        for pair in combinations(audio, 2):
            for name, other in (pair, pair[::-1]):
                if name[:5] == other[:5] or len(audio[name]) < 2 * samples:
                    continue  # two violins are one to the model
                source, example = audio[name][:samples], audio[name][-samples:]
                mixture = source + audio[other][:samples]
                yield Asked(name, other, source, mixture, example, np.zeros(0, np.int64))


def pitch_rows(model: QueryModel, pairs: Sequence[Asked]) -> list[Row]:
    """A scale in the timbre of each instrument's first pair, and what pYIN hears of it."""
    rows = []
    first = {pair.instrument: pair for pair in reversed(pairs)}
    for name, pair in sorted(first.items()):
        about = INSTRUMENTS[name]
        base = (about.lowest + about.highest) // 2 - 6
        score = [(base + s, k * NOTE_S, (k + 1) * NOTE_S) for k, s in enumerate(SCALE)]
        player, rate = model.score_embedder, model.sample_rate
        query = player.embed(player.heard(pair.example[None], rate))
        heard, _ = model.heard(pair.mixture[None], rate)
        audio, _ = play_score(model, heard, query, score, [])
        rows.append({"instrument": name, **pitch_agreement(audio, model.sample_rate, score)})
    return rows


def pitch_agreement(
    audio: Audio, sample_rate: int, score: Sequence[tuple[int, float, float]]
) -> dict[str, float]:
    """Share of the voiced frames within notes that are on their pitch, and share voiced."""
    hop = 256
    found_hz, voiced, _ = librosa.pyin(
        audio, sr=sample_rate, fmin=30.0, fmax=2100.0, frame_length=2048, hop_length=hop
    )
    right, heard, total = 0, 0, 0
    for pitch, onset, offset in score:
        # The edges of notes belong to two pitches.
        frames = slice(
            round((onset + 0.05) * sample_rate / hop), round((offset - 0.05) * sample_rate / hop)
        )
        hz = found_hz[frames][voiced[frames]]
        cents = 1200 * np.log2(hz / librosa.midi_to_hz(pitch))
        right += int((np.abs(cents) <= TOLERANCE_CENTS).sum())
        heard += len(hz)
        total += len(found_hz[frames])
    return {"on_pitch": right / heard if heard else 0.0, "voiced": heard / max(total, 1)}


def print_pairs(rows: Sequence[Row], about: str) -> None:
    """Instruments down, measures across, and the means of seen, unseen and all."""
    names = sorted({row["instrument"] for row in rows})
    groups: list[tuple[str, list[Row]]] = [
        (name, [r for r in rows if r["instrument"] == name]) for name in names
    ]
    known = [r for r in rows if r["instrument"] in INSTRUMENTS]
    for seen, title in ((True, "seen"), (False, "unseen")):
        groups.append((title, [r for r in known if INSTRUMENTS[r["instrument"]].seen is seen]))
    groups.append(("overall", list(rows)))
    table = []
    for title, mine in groups:
        if mine:
            means = [
                common.mean_of(mine, m) for m in ("mixture_sdr", "sdr", "masked_sdr", "precision")
            ]
            table.append([title, str(len(mine)), *means])
    columns = ("instrument", "pairs", "mixture", "with its phase", "under a mask", "precision")
    common.print_table(f"SDR in dB and precision of the notes: {about}", columns, table)


def print_pitches(rows: Sequence[Row]) -> None:
    """How much of the synthesised scales is on pitch."""
    table = [[r["instrument"], f"{r['on_pitch']:.2f}", f"{r['voiced']:.2f}"] for r in rows]
    means = [f"{np.mean([r[key] for r in rows]):.2f}" for key in ("on_pitch", "voiced")]
    columns = ("instrument", "on pitch", "voiced")
    common.print_table(
        "Synthesised scales, heard by pYIN: share of the voiced frames within "
        f"{TOLERANCE_CENTS:g} cents of the score",
        columns,
        [*table, ["mean", *means]],
    )


def measure_queries(args: argparse.Namespace) -> dict[str, Any]:
    """Print the tables of what is asked, and give every figure."""
    separators, _ = common.open_models([PRESET], args.separator, args.transcriber)
    place = (separators[PRESET], args.rendered, args.data, args.songs)
    if args.model is not None:
        bundle = find_query_model(args.model)
        if bundle.manifest.domain == "mask":
            live = LiveModel(bundle, device="cpu", separator=separators[PRESET])
            rows = measure_pairs([live], args.parts, args.data, args.pairs)[1]
            return {"pairs": rows, **measure_live(bundle, *place)}
    models = open_query_models(args.model, device="cpu")
    report = measure_files(models, args.parts, args.data, args.pairs)
    report["examples"] = measure_examples(models[0], args.rendered, args.data)

    def take(mix: Audio, example: Audio) -> Audio:
        return query_of(models, example, REFERENCE_RATE).stem(mix, REFERENCE_RATE).audio

    report["clips"] = measure_clips(take, *place)
    return report


def measure_files(
    models: Sequence[AnyQueryModel], parts: Path | None, data: Path | None, per_instrument: int
) -> dict[str, Any]:
    """Print the tables of what is there, and give every figure."""
    pairs, rows = measure_pairs(models, parts, data, per_instrument)
    names = [model.name for model in models]
    report: dict[str, Any] = {"models": names, "rows": rows, "pitches": []}
    player = models[0]
    if pairs and isinstance(player, QueryModel) and player.plays_scores:
        report["pitches"] = pitch_rows(player, pairs)
        print_pitches(report["pitches"])
    return report


def measure_pairs(
    models: Sequence[AnyQueryModel], parts: Path | None, data: Path | None, per_instrument: int
) -> tuple[list[Asked], list[Row]]:
    """Print the tables of pairs; those that are rendered, and the rows of all."""
    rendered: list[Asked] = []
    all_rows: list[Row] = []
    if parts is None:
        print("rendered pairs left out: give --parts or set RTSEP_PARTS\n")
    else:
        rendered = list(fixed_pairs(parts / "test", per_instrument))
        rows = pair_rows(models, "rendered test parts", rendered)
        print_pairs(rows, f"rendered test parts, unseen font, {len(rows)} pairs of {TEST_S:g} s")
        all_rows += rows
    if data is None or not (data / "real").is_dir():
        print("real players left out: give --data or set RTSEP_DATA to a folder with real/\n")
    else:
        players = list(real_pairs(data / "real", models[0].embedder.sample_rate))
        rows = pair_rows(models, "real players", players)
        print_pairs(rows, f"real players, {len(rows)} pairs of {TEST_S:g} s")
        all_rows += rows
    return rendered, all_rows
