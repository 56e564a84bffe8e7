"""The values of complete trials by each searched choice."""

from collections.abc import Mapping
from math import ceil
from statistics import median
from typing import Any, NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from tlsearch.config.dimensions import Choice
from tlsearch.report.context import ReportData
from tlsearch.report.figures.canvas import BLUE, ORANGE, dress, hover_format, label, percent_axis
from tlsearch.report.figures.thinning import evenly, rounded
from tlsearch.report.figures.window import Window, window
from tlsearch.report.importances import leading
from tlsearch.report.wording import Absent, count, joined, plain, setting_text, value_text

MAX_CHOICES = 8
MAX_OPTIONS = 12
MAX_MARKS = 100
"""Of each option; the medians are of all its trials."""
_COLUMNS, _ROW = 2, 230
_GOLDEN = 0.618


class Option(NamedTuple):
    """The complete trials that took an option, as (number, value), the best first; maybe none."""

    name: str
    trials: tuple[tuple[int, float], ...]

    @property
    def median(self) -> float | None:
        """Their middle value."""
        return median(value for _, value in self.trials) if self.trials else None


class Choices(NamedTuple):
    """Each searched choice with its options, in the study's order."""

    metric: str
    choices: Mapping[str, tuple[Option, ...]]
    left_out: tuple[str, ...]
    window: Window


def compute(data: ReportData) -> Choices | Absent:
    """The choices that are searched, the network among them; a list of numbers is one, too."""
    searched = {
        name: dimension
        for name, dimension in data.config.searched().items()
        if isinstance(dimension, Choice) and name != "freeze_depth"
    }
    if not searched:
        return Absent("The study searches no choice between options.")
    if not data.ranked:
        return Absent("No trial has been completed yet.")
    few = [name for name, d in searched.items() if len(d.values) <= MAX_OPTIONS]
    if not few:
        return Absent(
            f"Every searched choice has more than {MAX_OPTIONS} options, too many to tell apart: "
            f"{joined(tuple(searched))}."
        )
    names = leading(few, data.importances, most=MAX_CHOICES)
    return Choices(
        metric=data.summary.metric,
        choices={name: _options(name, searched[name], data) for name in names},
        left_out=tuple(name for name in searched if name not in names),
        window=window(
            [r.value for r in data.ranked if r.value is not None], maximise=data.maximise
        ),
    )


def _options(name: str, choice: Choice, data: ReportData) -> tuple[Option, ...]:
    found: dict[Any, list[tuple[int, float]]] = {value: [] for value in choice.values}
    for row in data.ranked:
        if name in row.sampled and row.value is not None:
            found[row.sampled[name]].append((row.number, row.value))
    return tuple(Option(setting_text(value), tuple(trials)) for value, trials in found.items())


def draw(found: Choices) -> go.Figure:
    """A plot for each choice: a mark for each trial, spread sideways, a line at the median."""
    rows = ceil(len(found.choices) / _COLUMNS)
    figure = make_subplots(
        rows=rows,
        cols=min(_COLUMNS, len(found.choices)),
        shared_yaxes=True,
        horizontal_spacing=0.04,
        vertical_spacing=0.3 / rows,
    )
    dress(figure, x="", y="")
    for i, (name, options) in enumerate(found.choices.items()):
        place = {"row": i // _COLUMNS + 1, "col": i % _COLUMNS + 1}
        _add_choice(figure, found, options, place)
        figure.update_xaxes(
            tickvals=list(range(len(options))),
            ticktext=[label(option.name, length=16) for option in options],
            range=[-0.5, len(options) - 0.5],
            tickangle=0,
            title={"text": label(name, length=32), "standoff": 4},
            **place,
        )
    figure.update_yaxes(percent_axis(found.metric), range=found.window.axis, nticks=6)
    figure.update_layout(height=40 + _ROW * rows, showlegend=False)
    return figure


def _add_choice(
    figure: go.Figure, found: Choices, options: tuple[Option, ...], place: Mapping[str, Any]
) -> None:
    shown = hover_format(found.metric)
    marks = [
        (i + ((k * _GOLDEN + 0.5) % 1 - 0.5) * 0.5, number, value)
        for i, option in enumerate(options)
        for k, (number, value) in enumerate(evenly(option.trials, MAX_MARKS))
    ]
    figure.add_scatter(
        x=[round(x, 3) for x, _, _ in marks],
        y=[rounded(found.window.place(value)) for _, _, value in marks],
        customdata=[(number, rounded(value)) for _, number, value in marks],
        mode="markers",
        marker={"color": BLUE, "size": 6, "opacity": 0.75},
        hovertemplate=f"trial %{{customdata[0]}}: %{{customdata[1]:{shown}}}<extra></extra>",
        **place,
    )
    medians = [(i, o.median, len(o.trials)) for i, o in enumerate(options) if o.median is not None]
    figure.add_scatter(
        x=[i for i, _, _ in medians],
        y=[rounded(found.window.place(value)) for _, value, _ in medians],
        customdata=[(number, rounded(value)) for _, value, number in medians],
        mode="markers",
        marker={"symbol": "line-ew-open", "color": ORANGE, "size": 28, "line": {"width": 3}},
        hovertemplate=(
            f"median %{{customdata[1]:{shown}}} of %{{customdata[0]}} trials<extra></extra>"
        ),
        **place,
    )


def caption(found: Choices) -> str:
    """What the reader sees, and how little it proves."""
    most = max(len(option.trials) for options in found.choices.values() for option in options)
    thinned = (
        f" Of an option's trials at most {MAX_MARKS} are drawn, evenly from the best to the worst."
        if most > MAX_MARKS
        else ""
    )
    left_out = f" Not shown: {joined(found.left_out)}." if found.left_out else ""
    return (
        f"Each mark is a complete trial, each line the median of an option. {_told(found)}. Trials "
        "beyond the axis stand at its edge. The sampler tries an option more often where it went "
        "well, and with other settings, so a higher line is a hint that a comparison has to "
        f"prove.{thinned}{left_out}"
    )


def alt(found: Choices) -> str:
    """The medians in words."""
    return f"{plain(found.metric)} by each searched choice. {_told(found)}."


def _told(found: Choices) -> str:
    return "; ".join(
        f"{name}: "
        + ", ".join(
            f"{option.name} {value_text(option.median, found.metric)} "
            f"({count(len(option.trials), 'trial')})"
            if option.trials
            else f"{option.name} in no trial"
            for option in options
        )
        for name, options in found.choices.items()
    )
