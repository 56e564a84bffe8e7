"""Figures of the page as PNG, for places that show pictures but run no script of ours: MLflow,
Optuna Dashboard and the kept results. Plotly's own export needs a browser, so matplotlib draws what
these few are made of: marks, lines, bars of error, cells and axes.
"""

import warnings
from html import unescape
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tlsearch.config.paths import evaluation_path
from tlsearch.execution.runs import RunRow
from tlsearch.report.comparison import ComparisonReport
from tlsearch.report.context import Report
from tlsearch.report.evaluation import Evaluation, of_validation
from tlsearch.report.figures.model import Confusion
from tlsearch.report.figures.style import PERCENT, Drawable
from tlsearch.report.html import entries
from tlsearch.report.wording import Absent, printable, shortened
from tlsearch.search.champion import Stills

BEST_TRIALS = 10
"""So many trials get a confusion matrix of their own: drawing one takes a tenth of a second."""
WIDTH, NOTE_WIDTH = 9.0, 5.6
"""Inches, of a hundred dots each."""
SHARP = 200
"""Dots an inch of a figure for the dashboards; a picture in a note has 100, one to a pixel."""
_SEARCH = ("gains", "history", "curves", "confusion")
"""What the dashboards show of a search."""
_PIXEL = 0.72
"""Points, where a hundred pixels are an inch."""
_TITLE_PIXELS = 40
_MARKERS = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "triangle-up": "^",
    "triangle-down": "v",
    "cross": "P",
    "x": "X",
    "x-thin": "x",
    "star": "*",
}
_DASHES: dict[str, Any] = {
    "dash": "--",
    "dot": ":",
    "dashdot": "-.",
    "longdash": (0, (9, 3)),
    "longdashdot": (0, (9, 3, 2, 3)),
}


def stills_of(report: Report, folder: Path) -> Stills:
    """What the dashboards show of a study, whose files lie in `folder`."""
    if isinstance(report, ComparisonReport):
        png = answer_still(report)
        return Stills(study={} if png is None else {"gains.png": png}, trials={})
    made = {name: _still(report, name) for name in _SEARCH}
    trials = {row.run.key: _of_trial(row, folder) for row in report.ranked[:BEST_TRIALS]}
    return Stills(
        study={f"{name}.png": png for name, png in made.items() if png is not None},
        trials={key: png for key, png in trials.items() if png is not None},
    )


def answer_still(report: ComparisonReport, *, dots: int = SHARP) -> bytes | None:
    """A comparison's gains, or of splits their estimates; None where nothing was measured."""
    (name,) = entries(report)["answer"]
    return _still(report, name, dots=dots)


def _still(report: Report, name: str, *, dots: int = SHARP) -> bytes | None:
    every = {name: entry for found in entries(report).values() for name, entry in found.items()}
    entry = every[name]
    found = entry.compute(report)
    if isinstance(found, Absent):
        return None
    part = f", {found.part} part" if isinstance(found, Confusion) else ""
    return draw_still(found, title=f"{entry.title}{part}", height=entry.height, dots=dots)


def _of_trial(row: RunRow, folder: Path) -> bytes | None:
    """The confusion matrix of a trial's validation part, for its note."""
    found = of_validation(evaluation_path(folder, row.run.key), row.run.label)
    if not isinstance(found, Evaluation):
        return None
    title = f"{row.run.label[:1].upper()}{row.run.label[1:]}, validation part"
    height = round(82 * NOTE_WIDTH) - _TITLE_PIXELS
    return draw_still(
        Confusion.of(found), title=title, height=height, width=NOTE_WIDTH, dots=100
    )  # fmt: skip


def draw_still(
    found: Drawable, *, title: str, height: int, width: float = WIDTH, dots: int = SHARP
) -> bytes:
    """A figure as it is on the page, below its title; `height` in pixels where it sets none."""
    plot = found.draw()
    pixels = (plot.layout.height or height) + _TITLE_PIXELS
    figure = Figure(figsize=(width, pixels / 100), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(_plain(title, length=80), loc="left")
    axes.set_axisbelow(True)
    axes.grid(color="#e3e6ea", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    for trace in plot.data:
        (_draw_cells if trace.type == "heatmap" else _draw_marks)(axes, trace)
    for line in plot.layout.shapes:
        look = {"color": line.line.color, "linestyle": _DASHES.get(line.line.dash, "-")}
        is_upright = line.x0 == line.x1
        draw_line = axes.axvline if is_upright else axes.axhline
        draw_line(line.x0 if is_upright else line.y0, linewidth=line.line.width, **look)
    _dress(axes, "x", plot.layout.xaxis)
    _dress(axes, "y", plot.layout.yaxis)
    if axes.get_legend_handles_labels()[1]:
        figure.legend(loc="outside lower center", ncols=4, frameon=False)
    file = BytesIO()
    with warnings.catch_warnings():
        # A class's name in a script that matplotlib's font lacks, or too long for its place.
        warnings.filterwarnings("ignore", message="Glyph|constrained_layout not applied")
        figure.savefig(file, format="png", dpi=dots)
    return file.getvalue()


def _draw_marks(axes: Axes, trace: go.Scatter) -> None:
    """Marks, alike or each of its own symbol and size, and the line through them."""
    x, y = ([np.nan if v is None else v for v in values] for values in (trace.x, trace.y))
    colour = trace.marker.color or trace.line.color
    name = _plain(trace.name) if trace.name and trace.showlegend is not False else None
    if "lines" in trace.mode:
        axes.plot(
            x,
            y,
            color=trace.line.color,
            linestyle=_DASHES.get(trace.line.dash, "-"),
            linewidth=_PIXEL * trace.line.width,
            drawstyle="steps-post" if trace.line.shape == "hv" else "default",
            label=name if "markers" not in trace.mode else None,
        )
    if "markers" in trace.mode:
        found = (trace.marker.symbol or "circle", trace.marker.size or 6)  # plotly's own
        symbols, sizes = (list(f) if isinstance(f, tuple) else [f] * len(x) for f in found)
        for symbol, size in dict.fromkeys(zip(symbols, sizes, strict=True)):
            kept = [i for i in range(len(x)) if (symbols[i], sizes[i]) == (symbol, size)]
            axes.plot(
                [x[i] for i in kept],
                [y[i] for i in kept],
                linestyle="none",
                marker=_MARKERS[symbol.removesuffix("-open")],
                markersize=_PIXEL * size,
                color=colour,
                markerfacecolor="white" if symbol.endswith("-open") else colour,
                label=name,
            )
            name = None
    if trace.error_x.array is not None:
        ends = [trace.error_x.arrayminus, trace.error_x.array]
        axes.errorbar(x, y, xerr=ends, color=colour, capsize=3, linestyle="none")


def _draw_cells(axes: Axes, trace: go.Heatmap) -> None:
    """Cells in the shades of a scale, with their texts; None is no cell."""
    rgba = [np.array(shade[5:-1].split(","), float) for _, shade in trace.colorscale]
    colours = [tuple(shade / (255, 255, 255, 1)) for shade in rgba]
    shades = LinearSegmentedColormap.from_list("shades", colours)
    cells = np.ma.masked_invalid(np.array(trace.z, dtype=float))
    axes.imshow(cells, cmap=shades, vmin=trace.zmin, vmax=trace.zmax)
    for (i, j), text in np.ndenumerate(np.array(trace.text)):
        axes.text(j, i, text, ha="center", va="center", size=8)


def _dress(axes: Axes, side: str, found: Any) -> None:
    """Give an axis the name, the range and the ticks that it has on the page."""
    options: dict[str, Any] = {f"{side}label": found.title.text}
    if found.range is not None:
        options[f"{side}lim"] = found.range
    axes.set(**options)
    axis = axes.xaxis if side == "x" else axes.yaxis
    if found.tickvals is not None:
        names = [_plain(text, length=28) for text in found.ticktext]
        turned = 90 if side == "x" and len(names) > 12 else 0
        axis.set_ticks(found.tickvals, names, rotation=turned)
    if found.tickformat == PERCENT:
        axis.set_major_formatter(PercentFormatter(xmax=1))
    if found.showgrid is False:
        axis.grid(visible=False)


def _plain(text: str, *, length: int = 40) -> str:
    """A text as matplotlib writes it: a `$` begins no formula."""
    return shortened(printable(unescape(text)), length).replace("$", r"\$")
