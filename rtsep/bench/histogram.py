"""A picture of a soak: how regularly the callback came, and how long it took.

matplotlib draws it and comes with the extra ``rtsep[bench]``.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rtsep.bench.results import Soak, Spread, Trace
from rtsep.errors import SetupError
from rtsep.output_file import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS = 200


def draw_histogram(path: Path, soak: Soak, trace: Trace) -> None:
    """Draw one PNG, whole or not at all.

    Raises
    ------
    SetupError
        matplotlib is not installed.
    OutputError
        It cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise SetupError(
            "matplotlib, which draws the picture, is not installed",
            remedy="pip install 'rtsep[bench]'",
        ) from None
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    beside = ", ".join(soak.loads)
    figure.suptitle(
        f"{soak.callbacks:,} callbacks at {soak.sample_rate:,} Hz / {soak.block}, "
        f"preset {soak.preset}, load {beside}: {soak.misses:,} misses, {soak.clicks:,} clicks"
    )
    intervals, durations = figure.subplots(1, 2)
    period = 1e6 * soak.block / soak.sample_rate
    _draw(intervals, np.diff(trace.started_ns) / 1000.0, soak.interval_us, "from one to the next")
    intervals.axvline(period, color="0.4", linewidth=0.8, label=f"period {period:,.0f}")
    intervals.legend()
    _draw(durations, trace.spent_ns / 1000.0, soak.callback_us, "duration")
    with replacing(path) as part:
        figure.savefig(part, dpi=130, format="png")


def _draw(axes: "Axes", values: NDArray[np.float64], spread: Spread, what: str) -> None:
    """Counts on a logarithmic scale, so that the one late callback shows."""
    if values.size:
        # Half the bins where nearly all are, half over what is left.
        middle = max(spread.p99_9, 1e-3)
        edges = np.linspace(0.0, middle, _BINS // 2)
        if spread.max > middle:
            edges = np.concatenate((edges, np.linspace(middle, spread.max, _BINS // 2)[1:]))
        axes.hist(values, bins=edges.tolist(), color="#4f9dff")
    for share, colour in (("p50", "#2a7"), ("p99", "#e90"), ("p99_9", "#e60"), ("max", "#c22")):
        value = getattr(spread, share)
        name = share.replace("_", ".")
        axes.axvline(value, color=colour, linewidth=1.0, label=f"{name} {value:,.0f}")
    axes.set_yscale("log")
    axes.set_xscale("symlog", linthresh=max(spread.p99_9, 1.0))
    axes.set_xlabel(f"µs, {what}")
    axes.set_ylabel("callbacks")
    axes.legend()
