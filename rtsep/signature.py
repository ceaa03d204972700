"""Which tensors a model must have, by what its manifest says it is."""

from typing import TypeAlias

from rtsep.manifest import STEERING_TASKS, Chunk, Manifest, Taps, band_count

Shapes: TypeAlias = dict[str, tuple[int, ...]]


def signature(manifest: Manifest) -> tuple[Shapes, Shapes]:
    """Inputs and outputs that a model of this manifest must have, batch included.

    =====================  ===========================  =================================
    model                  inputs                       outputs
    =====================  ===========================  =================================
    taps, masks            features [1, F],             masks [1, S, B],
                           taps [L, K, C]               activations [L, C]
    taps, notes            the same                     onset, frame, velocity [1, N],
                                                        activations [L, C]
    chunk, masks           features [1, T, F]           masks [1, T, S, B]
    chunk, notes           features [1, T, F]           onset, frame, velocity [1, T, N]
    chunk, audio           audio [1, 2, T]              stems [1, S, 2, T]
    taps, query            features [1, F],             masks [1, 1, B],
                           taps [L, K, C], query [1, Q] activations [L, C]
    query                  mixture [1, 1, T, K],        separated [1, 1, T, K],
                           query [1, Q]                 logits [1, N + 1, T]
    embed                  query_spectrogram            query [1, Q]
                           [1, 1, T, K]
    synthesise             mixture [1, 1, T, K],        synthesised [1, 1, T, K]
                           score [1, N + 1, T],
                           query [1, Q]
    reconstruct            audio [1, 1, T]              latent [1, W, T / hop],
                                                        codes [1, T / hop],
                                                        decoded [1, 1, T]
    tag                    audio [1, T]                 tags [1, G]
    =====================  ===========================  =================================

    F counts the values of all front ends, B the bands of the first one, S the stems,
    N the pitches of all notes, K the bins of a spectrogram, Q the values of a query, W those
    of a latent vector, G the tags; T is left + chunk + right.  A query model that hears no
    notes has no logits.
    """
    m, state = manifest, manifest.state
    if m.spectrogram is not None and isinstance(state, Chunk):
        return _query_signature(m, m.spectrogram.bins, state.left + state.chunk + state.right)
    if m.task in STEERING_TASKS and isinstance(state, Chunk):
        return _steering_signature(m, state.chunk)
    n_stems = 1 if m.task == "query" else len(m.stems)
    time = (state.left + state.chunk + state.right,) if isinstance(state, Chunk) else ()
    if m.domain == "audio":
        return {"audio": (1, 2, *time)}, {"stems": (1, n_stems, 2, *time)}
    inputs: Shapes = {"features": (1, *time, feature_count(m))}
    outputs: Shapes = {}
    if m.domain == "mask":
        outputs["masks"] = (1, *time, n_stems, band_count(m.front_ends[0]))
    else:
        n_notes = sum(len(notes.pitches) for notes in m.notes)
        outputs |= dict.fromkeys(("onset", "frame", "velocity"), (1, *time, n_notes))
    if isinstance(state, Taps):
        layers = len(state.dilations)
        inputs["taps"] = (layers, state.taps, state.channels)
        outputs["activations"] = (layers, state.channels)
    if m.query:
        inputs["query"] = (1, m.query)
    return inputs, outputs


def feature_count(manifest: Manifest) -> int:
    """Values a network frame: those of every front end in every one of its bands."""
    return sum(len(end.values) * band_count(end) for end in manifest.front_ends)


def _query_signature(m: Manifest, bins: int, frames: int) -> tuple[Shapes, Shapes]:
    magnitudes, query = (1, 1, frames, bins), (1, m.query)
    notes = (1, sum(len(part.pitches) for part in m.notes) + 1, frames)
    if m.task == "embed":
        return {"query_spectrogram": magnitudes}, {"query": query}
    if m.task == "synthesise":
        inputs = {"mixture": magnitudes, "score": notes, "query": query}
        return inputs, {"synthesised": magnitudes}
    outputs: Shapes = {"separated": magnitudes}
    if m.notes:
        outputs["logits"] = notes
    return {"mixture": magnitudes, "query": query}, outputs


def _steering_signature(m: Manifest, samples: int) -> tuple[Shapes, Shapes]:
    if m.task == "tag":
        return {"audio": (1, samples)}, {"tags": (1, len(m.tags))}
    frames = samples // m.hop
    audio = (1, 1, samples)
    return {"audio": audio}, {
        "latent": (1, m.latent, frames),
        "codes": (1, frames),
        "decoded": audio,
    }
