"""Manifests as JSON, read and written, and what must hold between their fields."""

from collections.abc import Callable, Iterator
from typing import TypeAlias

import msgspec

from rtsep.errors import BundleError
from rtsep.manifest import (
    FORMAT_VERSION,
    MAX_BANDS,
    QUERY_TASKS,
    STEERING_TASKS,
    Chunk,
    Levels,
    Manifest,
    Spectrogram,
    Taps,
    band_count,
)
from rtsep.rates import FILE_RATE_RANGE, NATIVE_RATES

Need: TypeAlias = Callable[[bool, str, str], None]


def decode(text: str | bytes) -> Manifest:
    """Read a manifest, checking its version first and then every field.

    Raises
    ------
    BundleError
        A newer format version, malformed JSON, or a field that is missing, unknown,
        of the wrong type, out of range or at odds with another.
    """
    try:
        version = msgspec.json.decode(text, type=_Versioned).format
    except msgspec.DecodeError as error:
        raise BundleError(f"a manifest that cannot be read ({error})", "JSON") from None
    if version != FORMAT_VERSION:
        remedy = "update rtsep" if version > FORMAT_VERSION else "export the bundle again"
        raise BundleError(
            f"a bundle of manifest version {version}", f"version {FORMAT_VERSION}", remedy
        )
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
    except msgspec.DecodeError as error:
        raise BundleError(f"a manifest that does not hold ({error})") from None
    _check(manifest)
    return manifest


def encode(manifest: Manifest) -> str:
    """The manifest as the JSON text that goes into the bundle."""
    _check(manifest)
    return msgspec.json.encode(manifest).decode()


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _texts(inner)


class _Versioned(msgspec.Struct):
    format: int


def _check(m: Manifest) -> None:
    """Refuse fields that contradict each other."""

    def need(holds: bool, found: str, expected: str) -> None:
        if not holds:
            raise BundleError(f"a manifest with {found}", expected)

    for text in _texts(msgspec.to_builtins(m)):
        need(all(c.isprintable() or c in "\n\t" for c in text), "control characters", "text")
    need(
        (m.task in QUERY_TASKS) == (m.query > 0) == bool(m.query_space),
        f"a query vector of {m.query} values to {m.task}",
        "one for query models and their space, none for others",
    )
    need(
        (m.domain == "spectrogram") == (m.spectrogram is not None),
        f"a spectrogram for the domain {m.domain}",
        "one for the domain of that name",
    )
    need(
        (m.task == "reconstruct") == (m.latent > 0) and (m.task == "tag") == bool(m.tags),
        f"latent vectors of {m.latent} values and {len(m.tags)} tags to {m.task}",
        "the one for autoencoders, the other for taggers",
    )
    if m.spectrogram is not None:
        _check_spectrogram(m, m.spectrogram, need)
        return
    if m.task in STEERING_TASKS:
        _check_steering(m, need)
        return
    need(m.sample_rate in NATIVE_RATES, f"sample rate {m.sample_rate}", f"one of {NATIVE_RATES}")
    if m.task in QUERY_TASKS:
        by_taps = m.domain == "mask" and isinstance(m.state, Taps)
        need(m.task == "query" and by_taps, f"{m.task} of {m.domain}", "query of mask, by taps")
        need(not m.stems and not m.notes, "stems or notes of a live query", "neither")
    need((m.task == "transcribe") == (m.domain == "notes"), f"{m.task} of {m.domain}", "a pair")
    if m.task == "separate":
        need(len(m.stems) >= 2, f"{len(m.stems)} stems", "at least one and a residual")
        need(len(set(m.stems)) == len(m.stems), "two stems of one name", "different names")
    if m.task == "transcribe":
        need(len(m.notes) >= 1, "no notes", "the notes of at least one stem")
        heard = [notes.stem for notes in m.notes]
        need(len(set(heard)) == len(heard), "two notes of one stem", "different stems")
        for notes in m.notes:
            n_different = len(set(notes.pitches))
            need(0 < n_different == len(notes.pitches), "no or repeated pitches", "each once")
            levels = notes.levels or Levels(onset=1.0, frame_on=0.0, frame_off=0.0)
            need(levels.frame_off <= levels.frame_on, "frame levels upside down", "off below on")
    if m.domain == "audio":
        need(isinstance(m.state, Chunk), "audio in and out by taps", "the chunk state")
        need(m.hop == 1 and not m.front_ends, "a hop or front end for raw audio", "neither")
        need(m.lookahead == 0, "a lookahead for raw audio", "right context in its place")
    else:
        need(len(m.front_ends) >= 1, "no front end", "at least one")
    if isinstance(m.state, Taps):
        need(len(m.state.dilations) >= 1, "no layers", "at least one")
        reach = m.state.taps * max(m.state.dilations)
        need(reach <= 1 << 16, f"a history of {reach} frames", "at most 65,536")
    else:
        state = m.state
        need(2 * state.crossfade <= state.chunk, "a cross-fade over half a chunk", "at most half")
        need(state.chunk + state.left + state.right <= 1 << 20, "a huge chunk", "at most 2^20")
    for end in m.front_ends:
        need(
            end.n_fft & (end.n_fft - 1) == 0 and 64 <= end.n_fft <= 65536,
            f"an FFT of {end.n_fft}",
            "a power of two from 64 to 65,536",
        )
        need(end.synthesis % 2 == 0 and end.synthesis <= end.n_fft, "a bad window", "an even fall")
        need(end.min_hz < end.max_hz, "bands upside down", "min_hz below max_hz")
        n_different = len(set(end.values))
        need(0 < n_different == len(end.values), "a front end's values", "level, pan or both")
        need(band_count(end) <= MAX_BANDS, "a huge number of bands", f"at most {MAX_BANDS}")


def _check_steering(m: Manifest, need: Need) -> None:
    _check_file_rate(m, need)
    need(m.domain == "audio", f"{m.task} of {m.domain}", "of audio")
    need(not m.stems and not m.notes, "stems or notes of a model to steer with", "neither")
    need(not m.front_ends and not m.lookahead, "a front end or lookahead", "audio alone")
    need(len(set(m.tags)) == len(m.tags), "two tags of one name", "different names")
    plain = isinstance(m.state, Chunk) and not (m.state.left or m.state.right or m.state.crossfade)
    need(plain, "audio by taps, or in chunks with a context", "plain chunks")
    if isinstance(m.state, Chunk):
        size = m.state.chunk
        need(0 < size <= 1 << 20 and size % m.hop == 0, f"a chunk of {size}", "whole hops")


def _check_file_rate(m: Manifest, need: Need) -> None:
    low, high = FILE_RATE_RANGE
    need(low <= m.sample_rate <= high, f"sample rate {m.sample_rate}", f"{low} to {high}")


def _check_spectrogram(m: Manifest, spectrogram: Spectrogram, need: Need) -> None:
    need(m.task in QUERY_TASKS, f"{m.task} of {m.domain}", "a query model")
    _check_file_rate(m, need)
    need(not m.front_ends and not m.lookahead, "a front end or lookahead", "a spectrogram alone")
    need(
        spectrogram.n_fft % 2 == 0
        and spectrogram.n_fft <= 65536
        and spectrogram.bins <= spectrogram.n_fft // 2 + 1
        and m.hop <= spectrogram.n_fft,
        "a spectrogram that cannot be",
        "an even FFT of at most 65,536, bins that it has, and a hop within it",
    )
    need(len(m.notes) <= 1, f"{len(m.notes)} parts that it hears", "one")
    need(bool(m.notes) or m.task != "synthesise", "a score without notes", "its notes")
    for notes in m.notes:
        repeated = len(set(notes.pitches)) != len(notes.pitches)
        need(bool(notes.pitches) and not repeated, "no or repeated pitches", "each once")
    need(isinstance(m.state, Chunk), "a spectrogram by taps", "the chunk state")
    if isinstance(m.state, Chunk):
        size = m.state.chunk + m.state.left + m.state.right
        need(size <= 1 << 16 and not m.state.crossfade, "a huge or cross-faded chunk", "neither")
