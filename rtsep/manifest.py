"""The manifest inside a bundle: what a model states about itself.

A bundle is one ONNX file; its metadata entry ``rtsep`` holds this manifest as JSON.
Sizes are in samples at `Manifest.sample_rate`; `rtsep.rates.rate_factor` scales them
at run time.
"""

from collections.abc import Callable, Iterator
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from rtsep.errors import BundleError
from rtsep.rates import FILE_RATE_RANGE, NATIVE_RATES

METADATA_KEY = "rtsep"
FORMAT_VERSION = 1
MAX_BANDS = 4096
QUERY_TASKS = ("query", "embed", "synthesise")

Count = Annotated[int, Meta(ge=0, le=1 << 20)]
Positive = Annotated[int, Meta(ge=1, le=1 << 20)]
Hertz = Annotated[float, Meta(gt=-1000.0, le=200_000.0)]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every record: immutable, no unknown fields."""


class Tensor(Strict, frozen=True):
    """A float32 tensor of the graph.  A dimension of -1 is free."""

    name: Annotated[str, Meta(min_length=1, max_length=128)]
    shape: tuple[Annotated[int, Meta(ge=-1, le=1 << 20)], ...]


class FrontEnd(Strict, frozen=True):
    """How audio becomes one feature vector a network frame.

    A frame of `n_fft` samples under `rtsep.windows.analysis_window` with a fall of
    ``synthesis // 2``; bands by `rtsep.bands`; see `rtsep.features` for the values.
    """

    n_fft: Positive
    synthesis: Positive
    min_hz: Hertz
    max_hz: Hertz
    min_width_hz: Annotated[float, Meta(gt=0.0, le=10_000.0)]
    ratio: Annotated[float, Meta(gt=1.0, le=4.0)]
    values: tuple[Literal["level", "pan"], ...]


class Spectrogram(Strict, frozen=True):
    """Magnitudes of a centred short-time transform under a periodic Hann window.

    A frame every `Manifest.hop` samples; of its ``n_fft // 2 + 1`` bins the lowest `bins`.
    """

    n_fft: Positive
    bins: Positive


class Taps(Strict, frozen=True, tag="taps"):
    """A causal network run one frame at a time, its history kept outside the graph.

    Each call takes `features` ``[1, F]`` and `taps` ``[L, K, C]``, the input
    activation of layer ``l`` of ``k * dilations[l]`` frames ago for k = K..1 (oldest
    first, zeros before the start), and returns, beside its outputs ``[1, ...]``, the
    new input activation of every layer, `activations` ``[L, C]``.
    """

    channels: Positive
    taps: Positive
    dilations: tuple[Positive, ...]


class Chunk(Strict, frozen=True, tag="chunk"):
    """A network run on chunks with context, by `rtsep.overlap_add`.

    Each call takes ``left + chunk + right`` frames (or samples, for `domain`
    "audio") and its outputs for ``left <= i < left + chunk`` count; neighbouring
    chunks overlap by `crossfade` and are cross-faded linearly.
    """

    chunk: Positive
    left: Count
    right: Count
    crossfade: Count


class Levels(Strict, frozen=True):
    """Probabilities at which a stem's notes start and end, see `rtsep.note_tracker`."""

    onset: Annotated[float, Meta(gt=0.0, le=1.0)]
    frame_on: Annotated[float, Meta(ge=0.0, le=1.0)]
    frame_off: Annotated[float, Meta(ge=0.0, le=1.0)]


class Notes(Strict, frozen=True):
    """One stem's share of a transcriber's outputs.

    `levels` are those at which this model does best; None leaves the tracker's own.
    """

    stem: Name
    pitches: tuple[Annotated[int, Meta(ge=0, le=127)], ...]
    drums: bool
    levels: Levels | None = None


class Quality(Strict, frozen=True):
    """One measured figure, never without its dataset and baseline."""

    dataset: str
    metric: str
    stem: str
    value: float
    baseline: str
    baseline_value: float
    preset: str = ""


class Training(Strict, frozen=True):
    """Where the weights come from."""

    data: tuple[str, ...]
    sound_fonts: tuple[str, ...]
    audio_hours: float
    command: str
    remarks: str = ""


class Manifest(Strict, frozen=True, kw_only=True):
    """Everything the engine needs to know about a model.

    Attributes
    ----------
    task : {"separate", "transcribe", "query", "embed", "synthesise"}
        The last three are the parts of a query model: one stem of a mixture, which a query
        vector names; the vector of an example; a new score in the stem's timbre.  "query" of
        the domain "mask" is for live use: one mask, by taps.
    domain : {"mask", "audio", "notes", "spectrogram"}
        "mask": features in, masks in the bands of the first front end out.
        "audio": waveform in, stems out (chunk state only).  "notes": features in,
        note probabilities out.  "spectrogram": magnitudes in and out (query models).
    stems : tuple of str
        Separators: all stems, the residual last.  Transcribers: empty.
    notes : tuple of Notes
        Transcribers: pitches in the order of the outputs, concatenated.  Query models: the
        one part that they hear, after whose pitches comes silence.
    hop : int
        Network frame spacing in samples; for "audio" 1.
    lookahead : int
        Samples of audio after a frame's end that the network must hear before its
        output for that frame; 0 for a model that works on the spot.
    spectrogram : Spectrogram or None
        What query models work on.
    query : int
        Length of their query vector, else 0.
    query_space : str
        Which network made the vectors that they understand.
    """

    format: int
    name: Name
    version: Annotated[str, Meta(pattern=r"^\d+\.\d+\.\d+$")]
    description: str
    licence: Annotated[str, Meta(min_length=1)]
    task: Literal["separate", "transcribe", "query", "embed", "synthesise"]
    domain: Literal["mask", "audio", "notes", "spectrogram"]
    stems: tuple[Name, ...] = ()
    notes: tuple[Notes, ...] = ()
    sample_rate: int
    hop: Positive
    lookahead: Count
    front_ends: tuple[FrontEnd, ...] = ()
    spectrogram: Spectrogram | None = None
    query: Annotated[int, Meta(ge=0, le=4096)] = 0
    query_space: Annotated[str, Meta(pattern=r"^([0-9a-f]{32})?$")] = ""
    state: Taps | Chunk
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    training: Training
    quality: tuple[Quality, ...] = ()


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


def band_count(front_end: FrontEnd) -> int:
    """How many bands `rtsep.bands.band_edges` makes for a front end.

    It stops counting above `MAX_BANDS`: the parameters may come from a stranger.
    """
    count, low = 0, front_end.min_hz
    while low < front_end.max_hz and count <= MAX_BANDS:
        low += max(front_end.min_width_hz, low * (front_end.ratio - 1.0))
        count += 1
    return count


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
    if m.spectrogram is not None:
        _check_spectrogram(m, m.spectrogram, need)
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


def _check_spectrogram(
    m: Manifest, spectrogram: Spectrogram, need: Callable[[bool, str, str], None]
) -> None:
    need(m.task in QUERY_TASKS, f"{m.task} of {m.domain}", "a query model")
    low, high = FILE_RATE_RANGE
    need(low <= m.sample_rate <= high, f"sample rate {m.sample_rate}", f"{low} to {high}")
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
