"""Each searched range against the value, one small plot for each."""

from collections.abc import Mapping
from math import ceil, log10
from typing import Any, NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from tlsearch.config.dimensions import Range
from tlsearch.report.context import ReportData
from tlsearch.report.figures.canvas import (
    BLUE,
    ORANGE,
    dress,
    hover_format,
    label,
    percent_axis,
    with_room,
)
from tlsearch.report.figures.scales import ticks
from tlsearch.report.figures.thinning import evenly, rounded
from tlsearch.report.figures.window import Window, window
from tlsearch.report.importances import leading
from tlsearch.report.wording import Absent, count, joined, plain, setting_text

MAX_SLICES = 12
MAX_TRIALS = 600
_COLUMNS, _ROW = 2, 190


class Slice(NamedTuple):
    """Trials as (number, setting, value), the best first; those that have the setting."""

    dimension: Range
    trials: tuple[tuple[int, float, float], ...]


class Slices(NamedTuple):
    """A slice for each searched range but the freeze depth, which has a figure of its own.

    Of `num_complete` trials `num_shown` are drawn; `winner` is the trial of the answer.
    """

    metric: str
    slices: Mapping[str, Slice]
    left_out: tuple[str, ...]
    num_complete: int
    num_shown: int
    winner: int
    window: Window


def compute(data: ReportData) -> Slices | Absent:
    """The searched ranges of numbers; choices are compared under strategies."""
    ranges = {
        name: dimension
        for name, dimension in data.config.searched().items()
        if isinstance(dimension, Range) and name != "freeze_depth"
    }
    if not ranges:
        return Absent("The study searches no range of numbers beside the freeze depth.")
    if data.summary.best is None:
        return Absent("No trial has been completed yet.")
    rows = [(row, row.value) for row in data.ranked if row.value is not None]
    taken = [name for name in ranges if any(name in row.sampled for row, _ in rows)]
    if not taken:
        return Absent("No complete trial has a setting from a range of numbers.")
    names = leading(taken, data.importances, most=MAX_SLICES)
    shown = evenly(rows, MAX_TRIALS)
    slices = {
        name: Slice(
            ranges[name],
            tuple((r.number, r.sampled[name], v) for r, v in shown if name in r.sampled),
        )
        for name in names
    }
    return Slices(
        metric=data.summary.metric,
        slices=slices,
        left_out=tuple(name for name in ranges if name not in names),
        num_complete=len(rows),
        num_shown=len(shown),
        winner=data.summary.best.number,
        window=window([value for _, value in rows], maximise=data.maximise),
    )


def draw(found: Slices) -> go.Figure:
    """Plots in two columns that share the axis of values; the winner a star."""
    rows = ceil(len(found.slices) / _COLUMNS)
    height = 40 + _ROW * rows
    figure = make_subplots(
        rows=rows,
        cols=min(_COLUMNS, len(found.slices)),
        shared_yaxes=True,
        horizontal_spacing=0.04,
        vertical_spacing=0.3 / rows,
    )
    dress(figure, x="", y="")
    for i, (name, part) in enumerate(found.slices.items()):
        place = {"row": i // _COLUMNS + 1, "col": i % _COLUMNS + 1}
        _add_slice(figure, found, part, place)
        named = ticks(part.dimension, most=3)
        figure.update_xaxes(
            type="log" if part.dimension.log else "linear",
            range=_axis(part.dimension),
            tickvals=[value for value, _ in named],
            ticktext=[text for _, text in named],
            tickangle=0,
            title={"text": label(name, length=32), "standoff": 4},
            **place,
        )
    figure.update_yaxes(percent_axis(found.metric), range=found.window.axis, nticks=5)
    figure.update_layout(height=height, showlegend=False)
    return figure


def caption(found: Slices) -> str:
    """What the reader sees, and how little it proves."""
    thinned = (
        f" {count(found.num_shown, 'trial')} of {found.num_complete:,} are drawn, evenly from the "
        "best to the worst."
        if found.num_shown < found.num_complete
        else ""
    )
    left_out = f" Not shown: {joined(found.left_out)}." if found.left_out else ""
    return (
        f"Each mark is a complete trial, its {plain(found.metric)} against one of its settings; "
        f"the star is trial {found.winner}. Trials beyond the axis stand at its edge. The other "
        "settings differ from mark to mark, and the sampler tries more where it went well, so a "
        f"slope is a hint, no effect.{thinned}{left_out}"
    )


def alt(found: Slices) -> str:
    """Where the best tenth of each slice lies."""
    return (
        f"{plain(found.metric)} against each searched range of numbers. The best tenth of the "
        f"trials lies at: {'; '.join(_best(name, part) for name, part in found.slices.items())}."
    )


def _best(name: str, part: Slice) -> str:
    found = [setting for _, setting, _ in part.trials[: max(1, len(part.trials) // 10)]]
    return f"{name} {setting_text(min(found))} to {setting_text(max(found))}"


def _axis(dimension: Range) -> list[float]:
    low, high = dimension.low, dimension.high
    return with_room(log10(low), log10(high)) if dimension.log else with_room(low, high)


def _add_slice(figure: go.Figure, found: Slices, part: Slice, place: Mapping[str, Any]) -> None:
    shown = hover_format(found.metric)
    for wins, style in (
        (False, {"color": BLUE, "size": 6, "opacity": 0.75}),
        (True, {"color": ORANGE, "size": 14, "symbol": "star"}),
    ):
        trials = [t for t in part.trials if (t[0] == found.winner) == wins]
        figure.add_scatter(
            x=[rounded(setting) for _, setting, _ in trials],
            y=[rounded(found.window.place(value)) for _, _, value in trials],
            customdata=[(number, rounded(value)) for number, _, value in trials],
            mode="markers",
            marker=style,
            hovertemplate=(
                f"trial %{{customdata[0]}}: %{{x}}, %{{customdata[1]:{shown}}}<extra></extra>"
            ),
            **place,
        )
