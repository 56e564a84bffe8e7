"""Figures as PNG, for places that show pictures but run no script of ours: MLflow, Optuna Dashboard
and the kept results. Plotly's own export needs a browser, so matplotlib draws these few.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from html import unescape
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tlsearch.comparison.answers import Tables
from tlsearch.config.paths import Layout, evaluation_path
from tlsearch.execution.runs import RunRow
from tlsearch.report.comparison_text import arm_name
from tlsearch.report.context import Evaluation, ReportData, of_validation, read_report
from tlsearch.report.figures.comparison import POOLED, Expectations, Forest, Gains
from tlsearch.report.figures.model import Confusion, LearningCurves
from tlsearch.report.figures.search import History
from tlsearch.report.figures.style import BLUE, GREY, ORANGE, PURPLE, RED, SERIES
from tlsearch.report.wording import Absent, plain, printable, shortened
from tlsearch.search.champion import Stills
from tlsearch.search.store import Store

BEST_TRIALS = 10
"""So many trials get a confusion matrix of their own: drawing one takes a tenth of a second."""
WIDTH, NOTE_WIDTH = 9.0, 5.6
"""Inches, of a hundred dots each."""
SHARP = 200
"""Dots an inch of a figure for the dashboards; a picture in a note has 100, one to a pixel."""
_MARKERS = ("o", "s", "D", "^", "P", "X", "*")
_DASHES = ("--", ":", "-.", (0, (9, 3)))
_STATES = {
    "complete": ("o", BLUE),
    "pruned": ("x", GREY),
    "diverged": ("v", RED),
    "failed": ("s", PURPLE),
}


def search_stills(store: Store, layout: Layout) -> Stills:
    """What the dashboards show of a search."""
    data = read_report(store, layout)
    folder = layout.study(store.config.name)
    made = {name: draw(data) for name, draw in _SEARCH.items()}
    trials = {row.run.key: _of_trial(row, folder) for row in data.ranked[:BEST_TRIALS]}
    return Stills(
        study={f"{name}.png": png for name, png in made.items() if png is not None},
        trials={key: png for key, png in trials.items() if png is not None},
    )


def comparison_stills(tables: Tables) -> Stills:
    """What the dashboards show of a comparison."""
    png = answer_still(tables)
    return Stills(study={} if png is None else {"gains.png": png}, trials={})


def answer_still(tables: Tables, *, dots: int = SHARP) -> bytes | None:
    """A comparison's gains, or of splits their estimates; None where nothing was measured."""
    if tables.protocol.future is not None:
        expected = Expectations.compute(tables)
        return None if isinstance(expected, Absent) else _expectations(expected, dots=dots)
    found = Forest.compute(tables)
    if isinstance(found, Absent):
        return None
    title = f"Gains over {arm_name(tables.protocol.reference, tables)}"
    return _forest(found, title=title, dots=dots)


def _canvas(title: str, *, width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(_plain(title, length=80), loc="left")
    axes.set_axisbelow(True)
    axes.grid(color="#e3e6ea", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: Figure, *, dots: int) -> bytes:
    file = BytesIO()
    with warnings.catch_warnings():
        # A class's name in a script that matplotlib's font lacks, or too long for its place.
        warnings.filterwarnings("ignore", message="Glyph|constrained_layout not applied")
        figure.savefig(file, format="png", dpi=dots)
    return file.getvalue()


def _plain(text: str, *, length: int = 40) -> str:
    """A text as matplotlib writes it: a `$` begins no formula."""
    return shortened(printable(unescape(text)), length).replace("$", r"\$")


def _legend(figure: Figure) -> None:
    figure.legend(loc="outside lower center", ncols=4, frameon=False)


def _history(data: ReportData) -> bytes | None:
    found = History.compute(data)
    if isinstance(found, Absent):
        return None
    figure, axes = _canvas("The search over time", width=WIDTH, height=4.6)
    last = max(point.number for point in found.points)
    for (name, value), dash in zip(found.baselines.items(), _DASHES, strict=False):
        axes.axhline(value, color=GREY, linestyle=dash, linewidth=1.2, label=plain(name))
    if found.best:
        numbers, values = zip(*found.best, strict=True)
        steps = ([*numbers, last], [*values, values[-1]])
        axes.step(*steps, where="post", color=ORANGE, label="best so far")
    for state, (marker, colour) in _STATES.items():
        points = [p for p in found.points if p.state == state]
        places = [found.window.place(p.value) for p in points]
        if points:
            axes.scatter(
                [p.number for p in points], places, marker=marker, color=colour, label=state
            )
    axes.set(xlabel="trial", ylabel=plain(found.metric), ylim=found.window.axis)
    _per_cent(axes, found.metric)
    _legend(figure)
    return _png(figure, dots=SHARP)


def _curves(data: ReportData) -> bytes | None:
    found = LearningCurves.compute(data)
    if isinstance(found, Absent):
        return None
    figure, axes = _canvas("Learning curves of the best trials", width=WIDTH, height=4.6)
    for i, curve in enumerate(found.curves):
        look: dict[str, Any] = {"color": SERIES[i % len(SERIES)], "marker": _MARKERS[i % 7]}
        if curve.is_baseline:
            look = {"color": GREY, "linestyle": _DASHES[i % len(_DASHES)]}
        shares = [epoch / curve.num_epochs for epoch in curve.epochs]
        axes.plot(shares, curve.accuracies, markersize=4, label=_plain(curve.name), **look)
    axes.set(xlabel="share of the training's epochs", ylabel="validation accuracy")
    axes.set_ylim(bottom=found.low)
    _per_cent(axes, "accuracy")
    _legend(figure)
    return _png(figure, dots=SHARP)


def _per_cent(axes: Axes, metric: str) -> None:
    if metric.endswith("accuracy"):
        axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))


def _gains(data: ReportData) -> bytes | None:
    found = Gains.compute(data)
    if isinstance(found, Absent):
        return None
    figure, axes = _canvas(
        "What the winner gains", width=WIDTH, height=1.4 + 0.4 * len(found.gains)
    )
    names = [f"over {_plain(gain.baseline)}" for gain in found.gains]
    for name, gain in zip(names, (gain.gain for gain in found.gains), strict=True):
        _interval(
            axes, name, 100 * gain.mean, 100 * gain.low, 100 * gain.high, color=BLUE, marker="o"
        )
    axes.axvline(0, color=GREY, linestyle="--")
    axes.margins(y=0.2)
    axes.invert_yaxis()
    axes.set_xlabel("gain in points of test accuracy")
    return _png(figure, dots=SHARP)


def _interval(
    axes: Axes, y: Any, mean: float, low: float | None, high: float | None, **look: Any
) -> None:
    ends = [[mean - (mean if low is None else low)], [(mean if high is None else high) - mean]]
    axes.errorbar([mean], [y], xerr=ends, capsize=3, linestyle="none", **look)


def _forest(found: Forest, *, title: str, dots: int) -> bytes:
    """A band for each scenario, in it a line for each arm."""
    figure, axes = _bands(title, found.places, found.arms)
    for mark in found.marks:
        i = found.arms.index(mark.arm)
        _interval(
            axes,
            _height(found.places.index(mark.place), i, len(found.arms)),
            mark.mean,
            mark.low,
            mark.high,
            **_look(mark.arm, found.study),
            markersize=9 if mark.place == POOLED else 6,
            label=_plain(mark.arm) if mark.place == found.places[0] else None,
        )
    axes.axvline(0, color=GREY, linestyle="--")
    axes.set_xlabel(f"points over {_plain(found.reference)}")
    _legend(figure)
    return _png(figure, dots=dots)


def _expectations(found: Expectations, *, dots: int) -> bytes:
    """An open mark at each estimate, a full one at the later accuracy."""
    arms = tuple(dict.fromkeys(line.arm for line in found.lines))
    places = tuple(dict.fromkeys(line.place for line in found.lines))
    title = "The splits' estimates and the accuracy on later images"
    figure, axes = _bands(title, places, arms)
    for line in found.lines:
        i = arms.index(line.arm)
        y = _height(places.index(line.place), i, len(arms))
        ends = [100 * line.found.later_accuracy, 100 * line.found.estimate]
        look = _look(line.arm, arms)
        axes.plot(ends, [y, y], color=look["color"])
        axes.plot(ends[1:], [y], markerfacecolor="white", linestyle="none", **look)
        name = _plain(line.arm) if line.place == places[0] else None
        axes.plot(ends[:1], [y], linestyle="none", label=name, **look)
    axes.set_xlabel("accuracy in per cent")
    _legend(figure)
    return _png(figure, dots=dots)


def _look(arm: str, arms: Sequence[str]) -> dict[str, Any]:
    """The colour and the marker of an arm, as in the page."""
    i = arms.index(arm)
    return {"color": SERIES[i % len(SERIES)], "marker": _MARKERS[i % len(_MARKERS)]}


def _bands(title: str, places: tuple[str, ...], arms: tuple[str, ...]) -> tuple[Figure, Axes]:
    height = 1.6 + 0.18 * max(len(arms) + 1, 2) * len(places)
    figure, axes = _canvas(title, width=WIDTH, height=height)
    for band in range(1, len(places)):
        axes.axhline(band - 0.5, color=GREY, linewidth=0.5)
    axes.set_yticks(range(len(places)), [_plain(place, length=28) for place in places])
    axes.set_ylim(len(places) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    return figure, axes


def _height(band: int, line: int, num_lines: int) -> float:
    return band - 0.4 + 0.8 / num_lines * (line + 0.5)


def _confusion(data: ReportData) -> bytes | None:
    found = Confusion.compute(data)
    if isinstance(found, Absent):
        return None
    return confusion_still(found, title=f"Confusion matrix, {found.part} part")


def confusion_still(
    found: Confusion, *, title: str, width: float = WIDTH, dots: int = SHARP
) -> bytes:
    """Right answers in blue on the diagonal, mistakes in orange, each by the share of its row."""
    figure, axes = _canvas(title, width=width, height=0.82 * width)
    counts, shares = found.cells
    hit = np.eye(len(counts), dtype=bool)
    for mask, colour in ((hit, BLUE), (~hit & (counts > 0), ORANGE)):
        shades = LinearSegmentedColormap.from_list("shades", ["white", colour])
        shown = np.ma.masked_array(shares, ~mask)
        axes.imshow(shown, cmap=shades, vmin=-0.05, vmax=max(shown.max(fill_value=0), 1e-9) * 1.2)
    for i, j in np.argwhere((counts > 0) | hit).tolist():
        axes.text(j, i, str(counts[i, j]), ha="center", va="center", size=8)
    names = [_plain(name, length=16) for name in found.names]
    axes.set_xticks(range(len(names)), names, rotation=90 if len(names) > 12 else 0)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted", ylabel="true")
    axes.grid(visible=False)
    return _png(figure, dots=dots)


def _of_trial(row: RunRow, folder: Path) -> bytes | None:
    """The confusion matrix of a trial's validation part, for its note."""
    found = of_validation(evaluation_path(folder, row.run.key), row.run.label)
    if not isinstance(found, Evaluation):
        return None
    title = f"{row.run.label[:1].upper()}{row.run.label[1:]}, validation part"
    return confusion_still(Confusion.of(found), title=title, width=NOTE_WIDTH, dots=100)


_SEARCH: Mapping[str, Callable[[ReportData], bytes | None]] = {
    "gains": _gains,
    "history": _history,
    "curves": _curves,
    "confusion": _confusion,
}
"""What the dashboards show of a search, by file name."""
