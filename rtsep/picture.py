"""One picture of a result: mix and stems as spectrograms, the notes drawn on them.

matplotlib draws it and comes with the extra ``rtsep[demo]``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from rtsep.bands import band_matrix
from rtsep.errors import SetupError
from rtsep.note_events import Note
from rtsep.output_file import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float32]

LOWEST_HZ, HIGHEST_HZ = 30.0, 16_000.0
RANGE_DB = 66.0
_ROWS, _COLUMNS = 240, 1200
_WINDOW_S = 0.085

_PAPER, _INK, _FAINT = "#0b0d12", "#e8eaf0", "#8a90a0"
_COLOURS = {
    "drums": "#ff9f45",
    "bass": "#4f9dff",
    "guitar": "#4fd18b",
    "piano": "#e86fd0",
    "other": "#9aa4b8",
}
_MORE_COLOURS = ("#ffd166", "#5ad7e0", "#b08cff", "#ff7a70", "#b5d94f")

#: Where drums are drawn, by General MIDI note: kicks low, cymbals high.
_DRUM_HZ = {
    **dict.fromkeys((35, 36), 60.0),
    **dict.fromkeys((41, 43, 45, 47, 48, 50), 130.0),
    **dict.fromkeys((37, 38, 39, 40), 260.0),
    **dict.fromkeys((42, 44, 46), 8_500.0),
    **dict.fromkeys((49, 51, 52, 53, 55, 57, 59), 4_200.0),
}
_OTHER_DRUM_HZ = 1_000.0


def draw_overview(
    path: Path,
    mix: Floats,
    stems: Mapping[str, Floats],
    notes: Sequence[Note],
    sample_rate: int,
    *,
    drums: str = "drums",
) -> None:
    """Draw the mix and its stems above each other as one PNG, whole or not at all.

    All panels share one scale of loudness and of time, so that what is quiet in the
    mix looks quiet in its stem.

    Parameters
    ----------
    path : Path
        Replaced if it is there.
    mix : float32 array, shape (channels, samples)
    stems : mapping of str to float32 array, shape (channels, samples)
        Top to bottom.
    notes : sequence of Note
        Drawn in their stem's panel, and all of them on the mix.
    sample_rate : int
        In Hz.
    drums : str
        The stem whose notes are drawn as ticks rather than at a pitch.

    Raises
    ------
    SetupError
        matplotlib is not installed.
    OutputError
        The file cannot be written.
    ValueError
        The mix is empty, or a stem is not as long as it.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise SetupError(
            "matplotlib is not installed", remedy="install it with pip install 'rtsep[demo]'"
        ) from None
    if mix.ndim != 2 or mix.shape[-1] == 0:
        raise ValueError(f"a mix of shape {mix.shape}; expected (channels, samples), not empty")
    for name, audio in stems.items():
        if audio.ndim != 2 or audio.shape[-1] != mix.shape[-1]:
            raise ValueError(f"{name} of shape {audio.shape}; expected {mix.shape[-1]} samples")

    seconds = mix.shape[-1] / sample_rate
    height = 2.9 + 1.85 * len(stems)
    more = iter(_MORE_COLOURS * len(stems))
    colours = {name: _COLOURS.get(name) or next(more) for name in stems}
    figure = Figure(figsize=(16.0, height), dpi=110, facecolor=_PAPER)
    FigureCanvasAgg(figure)
    panels = figure.subplots(
        1 + len(stems),
        sharex=True,
        squeeze=False,
        gridspec_kw={
            "height_ratios": [1.5] + [1.0] * len(stems),
            "left": 0.065,
            "right": 0.985,
            "top": 1.0 - 0.45 / height,
            "bottom": 0.55 / height,
            "hspace": 0.06,
        },
    )[:, 0]

    levels = _spectrogram(mix, sample_rate)
    # A silent mix stays dark: 0 dB here is a sine at about -90 dBFS.
    top_db = max(float(levels.max()), 0.0)
    _draw_panel(panels[0], levels, top_db, seconds, sample_rate, "mix", _INK)
    for name in stems:
        _draw_notes(
            panels[0],
            [n for n in notes if n.stem == name],
            sample_rate,
            colours[name],
            ticks=name == drums,
            weight=1.8,
        )
    for panel, (name, audio) in zip(panels[1:], stems.items(), strict=True):
        own = [note for note in notes if note.stem == name]
        levels = _spectrogram(audio, sample_rate)
        _draw_panel(panel, levels, top_db, seconds, sample_rate, name, colours[name])
        _draw_notes(panel, own, sample_rate, "#ffffff", ticks=name == drums, weight=1.8)
        if own:
            panel.text(
                0.995,
                0.93,
                f"{len(own)} notes",
                transform=panel.transAxes,
                ha="right",
                va="top",
                color=_INK,
                fontsize=9,
                alpha=0.8,
            )
    figure.text(
        0.065,
        1.0 - 0.15 / height,
        f"{seconds:.1f} s of music, {len(stems)} stems, {len(notes)} notes",
        ha="left",
        va="top",
        color=_INK,
        fontsize=12,
    )
    panels[-1].set_xlabel("seconds", color=_FAINT, fontsize=10)
    with replacing(path) as part:
        figure.savefig(part, format="png", facecolor=_PAPER)


def _octaves(sample_rate: int) -> tuple[float, float]:
    """Lowest and highest frequency shown, as octaves above 1 Hz."""
    return float(np.log2(LOWEST_HZ)), float(np.log2(min(HIGHEST_HZ, sample_rate / 2.0)))


def _spectrogram(audio: Floats, sample_rate: int) -> Floats:
    """Levels in dB on a logarithmic frequency axis, shape (rows, columns).

    Power per octave rather than per Hz (3 dB an octave up), which shows music's
    quiet upper partials beside its loud bass.
    """
    length = 1 << round(np.log2(_WINDOW_S * sample_rate))
    # Zero padding makes the bins narrow enough for rows at 30 Hz.
    n_fft = 4 * length
    n = audio.shape[-1]
    hop = max(n // _COLUMNS, sample_rate // 400, 1)
    padded = np.pad(audio, ((0, 0), (length // 2, length)))
    frames = sliding_window_view(padded, length, axis=-1)[:, : n + 1 : hop]
    window = np.hanning(length).astype(np.float32)
    edges = np.exp2(np.linspace(*_octaves(sample_rate), _ROWS + 1))
    rows = band_matrix(edges, n_fft, sample_rate, cover=False)
    rows *= (np.sqrt(edges[1:] * edges[:-1]) / rows.sum(axis=1))[:, None].astype(np.float32)
    power = np.empty((_ROWS, frames.shape[1]), np.float32)
    for start in range(0, frames.shape[1], 64):
        spectra = np.fft.rfft(frames[:, start : start + 64] * window, n_fft)
        total = (spectra.real**2 + spectra.imag**2).sum(axis=0, dtype=np.float32)
        power[:, start : start + 64] = rows @ total.T
    levels: Floats = 10.0 * np.log10(power + np.float32(1e-12))
    return levels


def _draw_panel(
    panel: "Axes",
    levels: Floats,
    top_db: float,
    seconds: float,
    sample_rate: int,
    name: str,
    colour: str,
) -> None:
    """One spectrogram from the paper's colour through `colour` to white."""
    from matplotlib.colors import LinearSegmentedColormap

    shades = [(0.0, _PAPER), (0.65, colour), (1.0, "#ffffff")]
    if name == "mix":
        shades = [
            (0.0, _PAPER),
            (0.35, "#22283c"),
            (0.7, "#66709a"),
            (1.0, "#e4e8f4"),
        ]
    octaves = _octaves(sample_rate)
    panel.imshow(
        levels,
        origin="lower",
        aspect="auto",
        interpolation="bilinear",
        extent=(0.0, seconds, *octaves),
        vmin=top_db - RANGE_DB,
        vmax=top_db,
        cmap=LinearSegmentedColormap.from_list(name, shades),
    )
    panel.set_xlim(0.0, seconds)
    panel.set_ylim(*octaves)
    panel.set_facecolor(_PAPER)
    marks = [m for m in (50, 100, 200, 500, 1000, 2000, 5000, 10000) if m < 2.0 ** octaves[1]]
    panel.set_yticks(np.log2(marks), [f"{m // 1000} k" if m >= 1000 else str(m) for m in marks])
    panel.tick_params(colors=_FAINT, labelsize=8, length=2)
    for spine in panel.spines.values():
        spine.set_visible(False)
    panel.text(
        -0.045,
        0.5,
        name,
        transform=panel.transAxes,
        rotation=90,
        ha="center",
        va="center",
        color=colour,
        fontsize=13,
        fontweight="bold",
    )


def _draw_notes(
    panel: "Axes",
    notes: Sequence[Note],
    sample_rate: int,
    colour: str,
    *,
    ticks: bool,
    weight: float,
) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgba
    from matplotlib.patheffects import Normal, Stroke

    if not notes:
        return
    lines: list[Any] = []
    for note in notes:
        onset, offset = note.onset / sample_rate, note.offset / sample_rate
        if ticks:
            height = np.log2(_DRUM_HZ.get(note.pitch, _OTHER_DRUM_HZ))
            lines.append([(onset, height - 0.45), (onset, height + 0.45)])
        else:
            height = np.log2(440.0) + (note.pitch - 69) / 12
            lines.append([(onset, height), (offset, height)])
    shades = [to_rgba(colour, 0.5 + 0.5 * note.velocity / 127) for note in notes]
    panel.add_collection(
        LineCollection(
            lines,
            colors=shades,
            linewidths=weight,
            capstyle="butt",
            path_effects=[Stroke(linewidth=weight + 1.6, foreground=_PAPER, alpha=0.75), Normal()],
        ),
        autolim=False,
    )
