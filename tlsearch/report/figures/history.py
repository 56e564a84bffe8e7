"""The search over time: every trial's value, the best so far, the baselines."""

import math
from typing import NamedTuple

import plotly.graph_objects as go

from tlsearch.execution.runs import RunRow
from tlsearch.report.context import ReportData
from tlsearch.report.figures.canvas import (
    BLUE,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    canvas,
    hover_format,
    label,
    percent_axis,
)
from tlsearch.report.figures.window import Window, shown_values, window
from tlsearch.report.wording import Absent, count, plain, value_text

_MARKS = {
    "complete": ("circle", BLUE),
    "pruned": ("x-thin-open", GREY),
    "diverged": ("triangle-down", RED),
    "failed": ("square-open", PURPLE),
}
_DASHES = ("dash", "dot", "dashdot", "longdash")


class Point(NamedTuple):
    """A trial that ended; `value` None where it has none."""

    number: int
    state: str
    value: float | None


class History(NamedTuple):
    """All trials by number, and the improvements as (trial, best value so far).

    A pruned trial's value is that of its last epoch. `window` is the part of the values that the
    axis shows.
    """

    metric: str
    points: tuple[Point, ...]
    best: tuple[tuple[int, float], ...]
    baselines: tuple[tuple[str, float], ...]
    window: Window


def compute(data: ReportData) -> History | Absent:
    """The history of the trials that ended."""
    metric = data.summary.metric
    points = tuple(
        Point(row.number, row.state, _value(row, metric))
        for row in data.trials
        if row.state in _MARKS
    )
    if not points:
        return Absent("No trial has ended yet.")
    best: list[tuple[int, float]] = []
    for number, state, value in points:
        if state != "complete" or value is None:
            continue
        if not best or (value > best[-1][1] if data.maximise else value < best[-1][1]):
            best.append((number, value))
    baselines = tuple((n, v) for n, v in data.summary.baselines.items() if v is not None)
    values = shown_values((point.state, point.value) for point in points)
    shown = window(values, beside=[value for _, value in baselines], maximise=data.maximise)
    return History(metric, points, tuple(best), baselines, shown)


def draw(history: History) -> go.Figure:
    """Marks differ in shape, lines in their dashes: colour is never alone."""
    figure = canvas(x="trial", y=plain(history.metric))
    last = max(point.number for point in history.points)
    shown = hover_format(history.metric)
    for i, (name, value) in enumerate(history.baselines):
        figure.add_scatter(
            x=[-0.5, last + 0.5],
            y=[value, value],
            mode="lines",
            name=label(plain(name)),
            line={"color": GREY, "width": 1.5, "dash": _DASHES[i % len(_DASHES)]},
            hovertemplate=f"{label(plain(name))} %{{y:{shown}}}<extra></extra>",
        )
    if history.best:
        numbers, values = zip(*history.best, strict=True)
        figure.add_scatter(
            x=[*numbers, last],
            y=[*values, values[-1]],
            mode="lines",
            name="best so far",
            line={"color": ORANGE, "width": 2, "shape": "hv"},
            hovertemplate=f"best so far %{{y:{shown}}}<extra></extra>",
        )
    for state, (symbol, colour) in _MARKS.items():
        found = [p for p in history.points if p.state == state]
        if found:
            figure.add_scatter(
                x=[p.number for p in found],
                y=[history.window.place(p.value) for p in found],
                customdata=[value_text(p.value, history.metric) for p in found],
                mode="markers",
                name=state,
                marker={
                    "symbol": symbol,
                    "color": colour,
                    "size": 8,
                    "line": {"color": colour, "width": 1.5},
                },
                hovertemplate=f"trial %{{x}}: {state}, %{{customdata}}<extra></extra>",
            )
    figure.update_yaxes(percent_axis(history.metric), range=history.window.axis)
    return figure


def caption(history: History) -> str:
    """What the reader sees."""
    outside = sum(not history.window.holds(p.value) for p in history.points)
    edge = (
        f" {count(outside, 'trial')} without a value or beyond the axis stand at its edge."
        if outside
        else ""
    )
    return (
        "Each mark is a trial, in the order of sampling; a pruned trial stands at its last epoch's "
        f"value. Horizontal lines are the baselines on the same validation images.{edge}"
    )


def alt(history: History) -> str:
    """The figure in words."""
    told = ", ".join(
        f"{sum(p.state == state for p in history.points)} {state}"
        for state in _MARKS
        if any(p.state == state for p in history.points)
    )
    if not history.best:
        return f"Trials over time: {told}."
    number, value = history.best[-1]
    lines = [f"{plain(n)} {value_text(v, history.metric)}" for n, v in history.baselines]
    beside = f" Baselines: {', '.join(lines)}." if lines else ""
    return (
        f"Trials over time: {told}. The best value, {value_text(value, history.metric)}, was first "
        f"reached by trial {number}.{beside}"
    )


def _value(row: RunRow, metric: str) -> float | None:
    value = row.value
    if value is None and row.state == "pruned" and row.epochs:
        last = row.epochs[-1]
        value = getattr(row.folds[-1], f"mean_{metric}") if row.folds else getattr(last, metric)
    return value if value is not None and math.isfinite(value) else None
