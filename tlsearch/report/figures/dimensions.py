"""Optuna's figures of the searched dimensions: side by side, and each against the value."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import optuna
import plotly.graph_objects as go

from tlsearch.config.space import Choice, Dimension, Range
from tlsearch.execution.runs import RunRow
from tlsearch.report.context import ReportData
from tlsearch.report.figures.search import optuna_figure
from tlsearch.report.figures.style import (
    BLUE,
    GREY,
    ORANGE,
    Window,
    evenly,
    hover_format,
    label,
    percent_axis,
    rounded,
)
from tlsearch.report.importances import leading
from tlsearch.report.wording import Absent, count, joined, plain, setting_text, value_text

MAX_PARALLEL, MAX_DIMENSIONS = 100, 10
MAX_SLICES, MAX_MARKS = 12, 600
_NOT_DRAWN = "No trial has been completed yet."


# The settings of all complete trials side by side.


class Parallel(NamedTuple):
    """Trials by rank, the best first, over the dimensions; more dimensions or trials than can be
    texts apart are `left_out`, and thinned from `num_complete`. `best` holds, for each dimension,
    the settings of the best tenth in words; `whole` are dimensions of whole numbers.
    """

    metric: str
    maximise: bool
    dimensions: tuple[str, ...]
    left_out: tuple[str, ...]
    numbers: tuple[int, ...]
    num_complete: int
    best: Mapping[str, str]
    whole: frozenset[str]
    study: optuna.Study

    @classmethod
    def compute(cls, data: ReportData) -> "Parallel | Absent":
        """The searched settings of the complete trials."""
        searched = data.config.searched()
        if len(searched) < 2:
            return Absent("Fewer than two dimensions are searched: nothing to lay side by side.")
        if not data.ranked:
            return Absent(_NOT_DRAWN)
        taken = [name for name in searched if any(name in row.sampled for row in data.ranked)]
        names = leading(taken, data.importances, most=MAX_DIMENSIONS)
        shown = evenly(data.ranked, MAX_PARALLEL)
        best = shown[: _num_best(shown)]
        return cls(
            metric=data.summary.metric,
            maximise=data.maximise,
            dimensions=names,
            left_out=tuple(name for name in searched if name not in names),
            numbers=tuple(row.number for row in shown),
            num_complete=len(data.ranked),
            best={
                name: _span([row.sampled[name] for row in best if name in row.sampled])
                for name in names
            },
            whole=frozenset(
                name for name in names if isinstance(d := searched[name], Range) and d.whole
            ),
            study=data.study_of(shown),
        )

    def draw(self) -> go.Figure:
        """Optuna's lines turned, scale under scale, so that a phone has room for them and names
        are read; by rank the worse half, the better half and the best tenth.
        """
        figure = optuna_figure(
            optuna.visualization.plot_parallel_coordinate,
            self.study,
            list(self.dimensions),
            target_name=plain(self.metric),
        )
        *lines, _ = figure.data  # the last one is a scale of colours
        names = [plain(self.metric), *sorted(self.dimensions)]  # Optuna's order
        shapes = figure.layout.shapes
        notes = [
            note
            for note in figure.layout.annotations
            if names[note.x] not in self.whole or note.text.isdecimal()
        ]
        figure.data = ()
        # Its first scale is the value's; the better end of it is the right one.
        lines.sort(key=lambda line: line.y[0] if self.maximise else 1 - line.y[0])
        num, num_best = len(lines), _num_best(lines)
        groups = [
            ("the worse half", {"color": GREY, "width": 1, "dash": "dot"}, lines[: num // 2]),
            ("the better half", {"color": BLUE, "width": 1}, lines[num // 2 : num - num_best]),
            ("the best tenth", {"color": ORANGE, "width": 2}, lines[num - num_best :]),
        ]
        for name, style, members in groups:
            for i, line in enumerate(members):
                line.update(
                    x=[rounded(place) for place in line.y],
                    y=line.x,
                    name=f"{name} ({count(len(members), 'trial')})",
                    legendgroup=name,
                    showlegend=i == 0,
                    line=style,
                    opacity=0.8,
                )
                figure.add_trace(line)
        figure.layout.annotations, figure.layout.shapes = (), ()  # an update would keep colours
        figure.update_layout(
            annotations=[
                {**note.to_plotly_json(), "x": note.y, "y": note.x, "xanchor": "center",
                 "xshift": 0, "yshift": -11, "font": {"size": 11}, "text": label(note.text)}
                for note in notes
            ],
            shapes=[
                {**shape.to_plotly_json(), "x0": 0, "x1": 1, "y0": shape.x0, "y1": shape.x1}
                for shape in shapes
            ],
            height=110 + 58 * len(names),
        )  # fmt: skip
        figure.update_xaxes(
            visible=False, tickvals=None, ticktext=None, range=[-0.08, 1.08], fixedrange=False
        )
        return figure.update_yaxes(
            visible=True,
            tickvals=list(range(len(names))),
            ticktext=[label(name, length=40).replace(".", ".<br>") for name in names],
            range=[len(names) - 0.4, -0.3],
            showgrid=False,
            fixedrange=False,
        )

    @property
    def caption(self) -> str:
        thinned = (
            f" {count(len(self.numbers), 'trial')} of {self.num_complete:,} are drawn, evenly from "
            "the best to the worst."
            if len(self.numbers) < self.num_complete
            else ""
        )
        left_out = f" Not shown: {joined(self.left_out)}." if self.left_out else ""
        return (
            "Each line is a complete trial, from scale to scale through its value and its settings "
            "(None: a dimension that its choices do not have). Where the thick lines of the best "
            "tenth run together, the best trials agree; where they spread, the setting mattered "
            f"little or the search has not decided.{thinned}{left_out}"
        )

    @property
    def alt(self) -> str:
        best = "; ".join(f"{name} {text}" for name, text in self.best.items())
        return (
            f"Parallel coordinates of {count(self.num_complete, 'complete trial')}. The best tenth "
            f"has: {best}. The table of all trials holds every setting."
        )


def _num_best(items: Sequence[Any]) -> int:
    return max(1, len(items) // 10)


def _span(values: Sequence[Any]) -> str:
    if not values:
        return "–"
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        low, high = setting_text(min(values)), setting_text(max(values))
        return low if low == high else f"{low} to {high}"
    return joined(sorted({setting_text(v) for v in values}))


# The value by each dimension.


class Slices(NamedTuple):
    """Each searched dimension but the freeze depth, which has a figure of its own.

    `medians` are of a choice's options over all complete trials, as (value, trials); `best` tells
    the settings of the best tenth. Of `num_complete` trials `numbers` are drawn.
    """

    metric: str
    dimensions: Mapping[str, Dimension]
    left_out: tuple[str, ...]
    medians: Mapping[str, Mapping[str, tuple[float, int]]]
    best: Mapping[str, str]
    numbers: tuple[int, ...]
    num_complete: int
    winner: int
    window: Window
    study: optuna.Study

    @classmethod
    def compute(cls, data: ReportData) -> "Slices | Absent":
        """Ranges and choices that complete trials sampled."""
        searched = {n: d for n, d in data.config.searched().items() if n != "freeze_depth"}
        if not searched:
            return Absent("The study searches nothing beside the freeze depth.")
        if data.summary.best is None:
            return Absent(_NOT_DRAWN)
        taken = [name for name in searched if any(name in row.sampled for row in data.ranked)]
        if not taken:
            return Absent("No complete trial has a searched setting.")
        names = leading(taken, data.importances, most=MAX_SLICES)
        shown = evenly(data.ranked, MAX_MARKS)
        values = [row.value for row in data.ranked if row.value is not None]
        best = {
            name: [row.sampled[name] for row in data.ranked if name in row.sampled]
            for name in names
        }
        return cls(
            metric=data.summary.metric,
            dimensions={name: searched[name] for name in names},
            left_out=tuple(name for name in searched if name not in names),
            medians={
                name: _medians(name, data.ranked)
                for name in names
                if isinstance(searched[name], Choice)
            },
            best={name: _span(found[: _num_best(found)]) for name, found in best.items()},
            numbers=tuple(row.number for row in shown),
            num_complete=len(values),
            winner=data.summary.best.number,
            window=Window.of(values, maximise=data.maximise),
            study=data.study_of(shown),
        )

    def draw(self) -> go.Figure:
        """Optuna's plots, which stand in one row, in a grid; the winner a star, and a line at the
        median of an option.
        """
        figure = optuna_figure(
            optuna.visualization.plot_slice, self.study, list(self.dimensions),
            target_name=plain(self.metric),
        )  # fmt: skip
        shown = hover_format(self.metric)
        for trace, name in zip(figure.data, sorted(self.dimensions), strict=True):
            numbers, values = list(trace.marker.color), list(trace.y)
            wins = [number == self.winner for number in numbers]
            options = self._options(name)
            trace.update(
                x=[options.get(x, x) if options else rounded(x) for x in trace.x],
                y=[rounded(self.window.place(value)) for value in values],
                customdata=list(zip(numbers, map(rounded, values), strict=True)),
                marker={
                    "color": [ORANGE if won else BLUE for won in wins],
                    "symbol": ["star" if won else "circle" for won in wins],
                    "size": [14 if won else 6 for won in wins],
                    "opacity": [1 if won else 0.6 for won in wins],
                    "line": {"width": 0},
                    "showscale": False,
                    "colorbar": None,
                },
                hovertemplate=(
                    f"trial %{{customdata[0]}}: %{{x}}, %{{customdata[1]:{shown}}}<extra></extra>"
                ),
            )
            if options:
                figure.update_xaxes(
                    {"categoryarray": list(options.values())},
                    selector={"anchor": trace.yaxis or "y"},
                )
                medians = self.medians[name]
                figure.add_scatter(
                    x=[label(option) for option in medians],
                    y=[rounded(self.window.place(value)) for value, _ in medians.values()],
                    mode="markers",
                    marker={"symbol": "line-ew-open", "color": ORANGE, "size": 28,
                            "line": {"width": 3}},
                    hovertemplate=f"median %{{y:{shown}}}<extra></extra>",
                    xaxis=trace.xaxis,
                    yaxis=trace.yaxis,
                )  # fmt: skip
        into_grid(figure, len(self.dimensions))
        figure.update_layout(showlegend=False)
        figure.update_xaxes(exponentformat="none")
        figure.update_xaxes(dtick="D2", selector={"type": "log"})
        return figure.update_yaxes(percent_axis(self.metric), range=self.window.axis, nticks=5)

    def _options(self, name: str) -> Mapping[str, str]:
        """The names that Optuna gives a choice's options, and ours; empty for a range."""
        dimension = self.dimensions[name]
        if not isinstance(dimension, Choice):
            return {}
        return {repr(value): label(setting_text(value)) for value in dimension.values}

    @property
    def caption(self) -> str:
        """What the reader sees, and how little it proves."""
        thinned = (
            f" {count(len(self.numbers), 'trial')} of {self.num_complete:,} are drawn, evenly from "
            "the best to the worst."
            if len(self.numbers) < self.num_complete
            else ""
        )
        left_out = f" Not shown: {joined(self.left_out)}." if self.left_out else ""
        medians = f" Medians: {self._medians_text}." if self.medians else ""
        return (
            f"Each mark is a complete trial, its {plain(self.metric)} against one of its settings; "
            f"the star is trial {self.winner}, a line the median of an option.{medians} Trials "
            f"beyond the axis stand at its edge. A slope or a higher line is a hint, no effect: "
            "the sampler tries more where it went well, and the other settings differ."
            f"{thinned}{left_out}"
        )

    @property
    def alt(self) -> str:
        best = "; ".join(f"{name} {text}" for name, text in self.best.items())
        return (
            f"{plain(self.metric)} against each searched dimension. The best tenth of the trials "
            f"has: {best}."
        )

    @property
    def _medians_text(self) -> str:
        return "; ".join(
            f"{name}: "
            + ", ".join(
                f"{option} {value_text(value, self.metric)} ({count(num, 'trial')})"
                for option, (value, num) in medians.items()
            )
            for name, medians in self.medians.items()
        )


def _medians(name: str, rows: Sequence[RunRow]) -> dict[str, tuple[float, int]]:
    found: dict[str, list[float]] = {}
    for row in rows:
        if name in row.sampled and row.value is not None:
            found.setdefault(setting_text(row.sampled[name]), []).append(row.value)
    return {option: (median(values), len(values)) for option, values in sorted(found.items())}


def into_grid(figure: go.Figure, num: int, *, columns: int = 2, row_pixels: int = 200) -> None:
    """Lay a row of plots that share an axis of values out in rows of `columns`."""
    columns = min(columns, num)
    rows = -(-num // columns)
    gap, foot = 0.04, 66 / (row_pixels * rows)  # names and ticks stand below each row
    for i in range(num):
        row, column = divmod(i, columns)
        end = "" if i == 0 else str(i + 1)
        width, height = (1 - gap * (columns - 1)) / columns, 1 / rows
        left, top = column * (width + gap), 1 - row * height
        figure.layout[f"xaxis{end}"].update(domain=[left, left + width])
        bottom = max(0.0, top - height + foot) if row < rows - 1 else 0.0
        figure.layout[f"yaxis{end}"].update(
            domain=[bottom, top], showticklabels=column == 0, title={"text": ""}
        )
    figure.update_layout(width=None, height=60 + row_pixels * rows)
