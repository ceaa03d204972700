"""The manifest inside a bundle: what a model states about itself.

A bundle is one ONNX file; its metadata entry ``rtsep`` holds this manifest as JSON, which
`rtsep.manifest_checks` reads and writes.
Sizes are in samples at `Manifest.sample_rate`; `rtsep.rates.rate_factor` scales them
at run time.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

METADATA_KEY = "rtsep"
FORMAT_VERSION = 1
MAX_BANDS = 4096
QUERY_TASKS = ("query", "embed", "synthesise")
STEERING_TASKS = ("reconstruct", "tag")

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

    Attributes
    ----------
    level_db : float or None
        RMS, in dB of full scale, to which a clip is brought before; None: heard as it is.
    """

    n_fft: Positive
    bins: Positive
    level_db: Annotated[float, Meta(ge=-90.0, le=0.0)] | None = None


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
    task : {"separate", "transcribe", "query", "embed", "synthesise", "reconstruct", "tag"}
        "query", "embed" and "synthesise" are the parts of a query model: one stem of a
        mixture, which a query vector names; the vector of an example; a new score in the
        stem's timbre.  "query" of the domain "mask" is for live use: one mask, by taps.
        "reconstruct" and "tag" are the frozen models that ``rtsep steer`` works with: an
        autoencoder of audio, and what names what is heard in it.
    domain : {"mask", "audio", "notes", "spectrogram"}
        "mask": features in, masks in the bands of the first front end out.
        "audio": waveform in; stems out, or what is steered by (chunk state only).  "notes":
        features in, note probabilities out.  "spectrogram": magnitudes in and out (query
        models).
    stems : tuple of str
        Separators: all stems, the residual last.  Transcribers: empty.
    notes : tuple of Notes
        Transcribers: pitches in the order of the outputs, concatenated.  Query models: the
        one part that they hear, after whose pitches comes silence.
    hop : int
        Network frame spacing in samples; for "audio" 1, of an autoencoder the samples that
        one latent vector stands for.
    lookahead : int
        Samples of audio after a frame's end that the network must hear before its
        output for that frame; 0 for a model that works on the spot.
    spectrogram : Spectrogram or None
        What query models work on.
    query : int
        Length of their query vector, else 0.
    query_space : str
        Which network made the vectors that they understand.
    latent : int
        Values of an autoencoder's latent vectors, else 0.
    tags : tuple of str
        What a tagger's outputs are called, in their order.
    """

    format: int
    name: Name
    version: Annotated[str, Meta(pattern=r"^\d+\.\d+\.\d+$")]
    description: str
    licence: Annotated[str, Meta(min_length=1)]
    task: Literal["separate", "transcribe", "query", "embed", "synthesise", "reconstruct", "tag"]
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
    latent: Annotated[int, Meta(ge=0, le=4096)] = 0
    tags: tuple[Annotated[str, Meta(min_length=1, max_length=64)], ...] = ()
    state: Taps | Chunk
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    training: Training
    quality: tuple[Quality, ...] = ()


def band_count(front_end: FrontEnd) -> int:
    """How many bands `rtsep.bands.band_edges` makes for a front end.

    It stops counting above `MAX_BANDS`: the parameters may come from a stranger.
    """
    count, low = 0, front_end.min_hz
    while low < front_end.max_hz and count <= MAX_BANDS:
        low += max(front_end.min_width_hz, low * (front_end.ratio - 1.0))
        count += 1
    return count
