"""What the pruner saw: every trial's value from step to step, and where trials were ended early."""

from collections import Counter
from statistics import quantiles
from typing import NamedTuple

import plotly.graph_objects as go

from tlsearch.execution.runs import RunRow
from tlsearch.report.context import ReportData
from tlsearch.report.figures.canvas import BLUE, GREY, ORANGE, canvas, hover_format, percent_axis
from tlsearch.report.figures.thinning import evenly, rounded
from tlsearch.report.figures.window import Window, window
from tlsearch.report.wording import Absent, count, joined, plain

MAX_LINES = 60
"""Of complete and of pruned trials each."""
MAX_TICKS = 12
MAX_STEPS = 60
_MIN_BAND = 4
"""Fewer complete trials have no quarters."""


class Course(NamedTuple):
    """A trial's values at `steps`: epochs, or folds with the mean so far."""

    number: int
    steps: tuple[int, ...]
    values: tuple[float, ...]


class Band(NamedTuple):
    """The middle half of the complete trials at a step."""

    step: int
    low: float
    median: float
    high: float


class Intermediate(NamedTuple):
    """Courses of complete trials, best first, and of pruned ones by number, thinned from
    `num_complete` and `num_pruned`; `pruned_at` counts all pruned ones by their last step.
    """

    metric: str
    step: str
    complete: tuple[Course, ...]
    pruned: tuple[Course, ...]
    band: tuple[Band, ...]
    num_complete: int
    num_pruned: int
    pruned_at: tuple[tuple[int, int], ...]
    window: Window


def compute(data: ReportData) -> Intermediate | Absent:
    """The courses of the search's trials."""
    metric, folds = data.summary.metric, data.config.data.split.folds
    complete = [course for row in data.ranked if (course := _course(row, metric)).steps]
    pruned = [
        course
        for row in data.trials
        if row.state == "pruned" and (course := _course(row, metric)).steps
    ]
    if not complete and not pruned:
        return Absent("No trial of the search has completed an epoch yet.")
    band = _band(complete)
    ends = [course.values[-1] for course in complete] or [c.values[-1] for c in pruned]
    # The band's beginning is wanted, too: a window of the ends alone would hide how trials rise.
    beside = [v for b in band[len(band) // 4 :] for v in (b.low, b.high)]
    return Intermediate(
        metric=metric,
        step="fold" if folds else "epoch",
        complete=evenly(complete, MAX_LINES),
        pruned=evenly(pruned, MAX_LINES),
        band=band,
        num_complete=len(complete),
        num_pruned=len(pruned),
        pruned_at=tuple(sorted(Counter(course.steps[-1] for course in pruned).items())),
        window=window(ends, beside=beside, maximise=data.maximise),
    )


def _course(row: RunRow, metric: str) -> Course:
    if row.folds:
        points = [(fold.fold, getattr(fold, f"mean_{metric}")) for fold in row.folds]
    elif len(row.run.folds) > 1:  # it ended in its first fold
        points = []
    else:
        points = [(epoch.epoch, getattr(epoch, metric)) for epoch in row.epochs]
    return Course(row.number, tuple(s for s, _ in points), tuple(v for _, v in points))


def _band(complete: list[Course]) -> tuple[Band, ...]:
    """Over the steps that every complete trial has: early stopping must not bend the band."""
    if len(complete) < _MIN_BAND:
        return ()
    shared = min((course.steps for course in complete), key=len)
    columns = [[course.values[i] for course in complete] for i in range(len(shared))]
    return tuple(
        Band(step, *quantiles(column, n=4, method="inclusive"))
        for step, column in zip(shared, columns, strict=True)
    )


def draw(found: Intermediate) -> go.Figure:
    """Thin lines, a cross at each pruned end, and over them the middle half of the complete."""
    figure = canvas(x=found.step, y=plain(found.metric))
    shown = hover_format(found.metric)
    for name, courses, style in (
        ("pruned", found.pruned, {"color": GREY, "width": 1, "dash": "dot"}),
        ("complete", found.complete, {"color": BLUE, "width": 0.8}),
    ):
        kept = [
            (c.number, evenly(list(zip(c.steps, c.values, strict=True)), MAX_STEPS))
            for c in courses
        ]
        figure.add_scatter(
            x=[x for _, points in kept for x in (*(s for s, _ in points), None)],
            y=[y for _, points in kept for y in (*(rounded(v) for _, v in points), None)],
            text=[number for number, points in kept for _ in range(len(points) + 1)],
            mode="lines",
            name=name,
            line=style,
            opacity=0.7,
            hovertemplate=f"trial %{{text}}, {found.step} %{{x}}: %{{y:{shown}}}<extra></extra>",
        )
    figure.add_scatter(
        x=[course.steps[-1] for course in found.pruned],
        y=[rounded(found.window.place(course.values[-1])) for course in found.pruned],
        text=[course.number for course in found.pruned],
        mode="markers",
        name="pruned here",
        marker={"symbol": "x-thin-open", "color": GREY, "size": 8, "line": {"width": 1.5}},
        hovertemplate=f"trial %{{text}} pruned after {found.step} %{{x}}<extra></extra>",
    )
    if found.band:
        _add_band(figure, found)
    figure.update_xaxes(rangemode="tozero", tickformat="d")
    if max(course.steps[-1] for course in (*found.complete, *found.pruned)) <= MAX_TICKS:
        figure.update_xaxes(dtick=1)  # else some whole numbers would stand there twice
    figure.update_yaxes(percent_axis(found.metric), range=found.window.axis)
    return figure


def _add_band(figure: go.Figure, found: Intermediate) -> None:
    steps = [b.step for b in found.band]
    figure.add_scatter(
        x=[*steps, *reversed(steps)],
        y=[rounded(v) for v in (*(b.high for b in found.band), *(b.low for b in found.band[::-1]))],
        mode="lines",
        line={"width": 0},
        fill="toself",
        fillcolor="rgba(217,115,13,0.35)",
        name="middle half of the complete",
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=steps,
        y=[rounded(b.median) for b in found.band],
        mode="lines",
        line={"color": ORANGE, "width": 2.5, "dash": "dash"},
        name="their median",
        hovertemplate=(
            f"median, {found.step} %{{x}}: %{{y:{hover_format(found.metric)}}}<extra></extra>"
        ),
    )


def caption(found: Intermediate) -> str:
    """What is drawn, how many trials were pruned and where."""
    pruned = (
        f"{count(found.num_pruned, 'trial')} were pruned, most of them after {found.step} "
        f"{_commonest(found)}; a cross marks where."
        if found.num_pruned > 1
        else "No trial was pruned."
        if not found.num_pruned
        else f"One trial was pruned, after {found.step} {found.pruned_at[0][0]}, at the cross."
    )
    thinned = [
        f"{count(len(drawn), 'line')} of {number:,} {name}"
        for name, drawn, number in (
            ("complete", found.complete, found.num_complete),
            ("pruned trials", found.pruned, found.num_pruned),
        )
        if len(drawn) < number
    ]
    told = f" Drawn are {joined(thinned)}, evenly; the band is of all." if thinned else ""
    of = "the mean over the folds so far" if found.step == "fold" else "the value"
    return (
        f"Each line is a trial: {of} after each {found.step}. {pruned} Lines may leave the axis at "
        f"its worse end; the cross of a pruned trial that ended beyond it stands at its edge.{told}"
    )


def alt(found: Intermediate) -> str:
    """The figure in words."""
    ends = ", ".join(f"{number} after {found.step} {step}" for step, number in found.pruned_at)
    told = f" Pruned: {ends}." if ends else ""
    return (
        f"{plain(found.metric)} by {found.step} of {count(found.num_complete, 'complete trial')} "
        f"and {count(found.num_pruned, 'pruned trial')}.{told}"
    )


def _commonest(found: Intermediate) -> int:
    return max(found.pruned_at, key=lambda item: item[1])[0]
