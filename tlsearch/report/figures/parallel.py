"""The settings of all complete trials side by side, each trial a line."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go

from tlsearch.config.dimensions import Dimension
from tlsearch.config.dimensions import count as size
from tlsearch.report.context import ReportData
from tlsearch.report.figures.canvas import BLUE, GREY, ORANGE, canvas, label
from tlsearch.report.figures.scales import place, ticks
from tlsearch.report.figures.thinning import evenly
from tlsearch.report.figures.window import Window, window
from tlsearch.report.importances import leading
from tlsearch.report.wording import Absent, count, joined, plain, setting_text, value_text

MAX_DIMENSIONS = 10
MAX_LINES = 100
NOT_THERE = -0.13
"""Where a line passes a dimension that its choices do not have."""
_ROW = 58
_GOLDEN, _SPREAD, _FEW = 0.618, 0.05, 12
_STYLES = (
    ("the worse half", {"color": GREY, "width": 1, "dash": "dot"}),
    ("the better half", {"color": BLUE, "width": 1}),
    ("the best tenth", {"color": ORANGE, "width": 2}),
)


class Line(NamedTuple):
    """A complete trial; `settings` lacks the dimensions that its choices do not have."""

    number: int
    value: float
    settings: Mapping[str, Any]


class Parallel(NamedTuple):
    """Lines by rank, the best first, over the dimensions; more dimensions or trials than can be
    told apart are `left_out`, and thinned from `num_complete`.
    """

    metric: str
    dimensions: Mapping[str, Dimension]
    left_out: tuple[str, ...]
    lines: tuple[Line, ...]
    num_complete: int
    window: Window


def compute(data: ReportData) -> Parallel | Absent:
    """The searched settings of the complete trials."""
    searched = data.config.searched()
    if len(searched) < 2:
        return Absent("Fewer than two dimensions are searched: nothing to lay side by side.")
    lines = [
        Line(row.number, row.value, {n: row.run.params[n] for n in searched if n in row.sampled})
        for row in data.ranked
        if row.value is not None
    ]
    if not lines:
        return Absent("No trial has been completed yet.")
    names = leading(searched, data.importances, most=MAX_DIMENSIONS)
    return Parallel(
        metric=data.summary.metric,
        dimensions={name: searched[name] for name in names},
        left_out=tuple(name for name in searched if name not in names),
        lines=evenly(lines, MAX_LINES),
        num_complete=len(lines),
        window=window([line.value for line in lines], maximise=data.maximise),
    )


def draw(found: Parallel) -> go.Figure:
    """One scale under the other, the value's the last, each trial a line from scale to scale: SVG,
    which a page may draw without leave to run code, a phone has room for, and a printer draws well.
    """
    figure = canvas(x="", y="")
    for rank, (name, style) in enumerate(_STYLES):
        lines = [line for i, line in enumerate(found.lines) if _rank(i, found) == rank]
        told = f"{name} ({count(len(lines), 'trial')})"
        figure.add_scatter(
            x=[x for line in lines for x in (*_places(line, found), None)],
            y=[y for _ in lines for y in (*_heights(found), None)],
            text=[text for line in lines for text in _texts(line, found)],
            mode="lines",
            name=told,
            line=style,
            hovertemplate="%{text}<extra></extra>",
        )
    scales = [[(place(d, v), text) for v, text in ticks(d)] for d in found.dimensions.values()]
    ends = sorted((found.window.low, found.window.high), key=found.window.share)
    scales.append([(found.window.share(v), value_text(v, found.metric)) for v in ends])
    for y, scale in zip(_heights(found), scales, strict=True):
        _add_scale(figure, y, scale)
    partial = _partial(found)
    for y, name in zip(_heights(found), found.dimensions, strict=False):
        if name in partial:
            _add_tick(figure, NOT_THERE, y, "–")
    figure.update_xaxes(visible=False, range=[(NOT_THERE if partial else 0) - 0.06, 1.1])
    figure.update_yaxes(
        tickvals=list(_heights(found)),
        ticktext=[
            *(label(n, length=40).replace(".", ".<br>") for n in found.dimensions),
            plain(found.metric),
        ],
        range=[-len(found.dimensions) - 0.5, 0.3],
        showgrid=False,
        showline=False,
        ticks="",
    )
    height = 90 + _ROW * (len(found.dimensions) + 1)
    figure.update_layout(height=height, margin_b=12)
    return figure


def caption(found: Parallel) -> str:
    """How to read it."""
    beside = (
        " Lines that share a value lie beside one another."
        if any(map(_has_steps, found.dimensions.values()))
        else ""
    )
    dashes = (
        " A line at “–” passes a dimension that its choices do not have." if _partial(found) else ""
    )
    thinned = (
        f" {count(len(found.lines), 'trial')} of {found.num_complete:,} are drawn, evenly from "
        "the best to the worst."
        if len(found.lines) < found.num_complete
        else ""
    )
    left_out = f" Not shown: {joined(found.left_out)}." if found.left_out else ""
    return (
        "Each line is a complete trial, from scale to scale through its settings down to its "
        "value, further right the better. Where the thick lines of the best tenth run together, "
        "the best trials agree; where they spread, the setting mattered little or the search has "
        f"not decided.{beside}{dashes}{thinned}{left_out}"
    )


def alt(found: Parallel) -> str:
    """The best tenth in words; the table of trials holds all of it."""
    best = [line for i, line in enumerate(found.lines) if _rank(i, found) == len(_STYLES) - 1]
    told = "; ".join(
        f"{name} {_span([line.settings[name] for line in best if name in line.settings])}"
        for name in found.dimensions
    )
    return (
        f"Parallel coordinates of {count(found.num_complete, 'complete trial')}. The best tenth "
        f"has: {told}. The table of all trials holds every setting."
    )


def _partial(found: Parallel) -> set[str]:
    """The dimensions that not every line has."""
    return {n for n in found.dimensions if any(n not in line.settings for line in found.lines)}


def _span(values: Sequence[Any]) -> str:
    if not values:
        return "–"
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        low, high = setting_text(min(values)), setting_text(max(values))
        return low if low == high else f"{low} to {high}"
    return joined(sorted({setting_text(v) for v in values}))


def _rank(i: int, found: Parallel) -> int:
    if i < max(1, len(found.lines) // 10):
        return 2
    return 1 if i < len(found.lines) / 2 else 0


def _heights(found: Parallel) -> range:
    return range(0, -len(found.dimensions) - 1, -1)


def _places(line: Line, found: Parallel) -> list[float]:
    beside = (line.number * _GOLDEN % 1 - 0.5) * _SPREAD
    places = [
        (place(d, line.settings[n]) if n in line.settings else NOT_THERE) + beside * _has_steps(d)
        for n, d in found.dimensions.items()
    ]
    return [round(x, 3) for x in (*places, found.window.share(line.value))]


def _has_steps(dimension: Dimension) -> bool:
    """Whether many lines meet in a value: they are laid beside one another."""
    number = size(dimension)
    return number is not None and number <= _FEW


def _texts(line: Line, found: Parallel) -> list[str | None]:
    value = f"trial {line.number}: {value_text(line.value, found.metric)}"
    return [value] * (len(found.dimensions) + 1) + [None]


def _add_scale(figure: go.Figure, y: int, scale: Sequence[tuple[float, str]]) -> None:
    figure.add_scatter(
        x=[0, *(x for x, _ in scale), 1],
        y=[y] * (len(scale) + 2),
        mode="lines+markers",
        line={"color": GREY, "width": 1.5},
        marker={"symbol": "line-ns-open", "size": 8, "color": GREY},
        showlegend=False,
        hoverinfo="skip",
    )
    for x, text in scale:
        _add_tick(figure, x, y, text)


def _add_tick(figure: go.Figure, x: float, y: int, text: str) -> None:
    figure.add_annotation(
        x=x, y=y, text=label(text, length=16), showarrow=False, yshift=-13, font={"size": 11}
    )
