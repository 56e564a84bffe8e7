"""Figures of strategies: the value by freeze depth, by rate ratio and by every dimension."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import optuna
import plotly.graph_objects as go

from tlsearch.config.catalog import CATALOGUE, groups
from tlsearch.config.space import Choice, Dimension, Range
from tlsearch.execution.runs import RunRow
from tlsearch.report.context import SearchReport
from tlsearch.report.figures.search import optuna_figure
from tlsearch.report.figures.style import (
    BLUE,
    GREY,
    ORANGE,
    Window,
    canvas,
    evenly,
    hover_format,
    label,
    percent_axis,
    rounded,
    thinned_text,
    with_room,
)
from tlsearch.report.importances import leading
from tlsearch.report.wording import (
    Absent,
    count,
    joined,
    plain,
    setting_text,
    value_text,
)

DEPTH, RATIO = "freeze_depth", "lr_ratio"
MAX_CELLS = 300
"""Trials of a map: it has a column for each, and interpolates between them."""
_GOLDEN = 0.618
_SHADES = [[0, "rgba(59,130,196,0.04)"], [1, "rgba(59,130,196,0.80)"]]
MAX_PARALLEL, MAX_DIMENSIONS = 100, 10
MAX_SLICES, MAX_MARKS = 12, 600
_NOT_DRAWN = "No trial has been completed yet."


class Depth(NamedTuple):
    """The complete trials at one freeze depth, as (number, value) by number."""

    depth: int
    trials: tuple[tuple[int, float], ...]

    @property
    def median(self) -> float:
        """Their middle value."""
        return median(value for _, value in self.trials)


class Depths(NamedTuple):
    """All freeze depths that complete trials tried, and the names of the layer groups; `network` is
    empty where the study has only one.
    """

    metric: str
    groups: tuple[str, ...]
    depths: tuple[Depth, ...]
    network: str

    @classmethod
    def compute(cls, data: SearchReport) -> "Depths | Absent":
        """Complete trials by freeze depth: a pruned trial's value is of an earlier epoch."""
        if DEPTH not in data.space:
            return Absent("The study fixes the freeze depth: there is nothing to compare.")
        network, rows = on_one_network(data)
        found: dict[int, list[tuple[int, float]]] = {}
        for row in sorted(rows, key=lambda row: row.number):
            assert row.value is not None
            found.setdefault(row.run.params[DEPTH], []).append((row.number, row.value))
        if not found:
            return Absent(_NOT_DRAWN)
        depths = tuple(Depth(depth, tuple(found[depth])) for depth in sorted(found))
        names = groups(CATALOGUE[network]) if network else data.groups
        return cls(data.summary.metric, names, depths, network)

    def draw(self) -> go.Figure:
        """A mark for each trial, spread sideways so that none hides another; a line at the
        median.
        """
        figure = canvas(x="layer groups frozen from the input", y=plain(self.metric))
        shown = hover_format(self.metric)
        placed = [
            (d.depth + ((i * _GOLDEN + 0.5) % 1 - 0.5) * 0.4, number, value, d.depth)
            for d in self.depths
            for i, (number, value) in enumerate(d.trials)
        ]
        values = [rounded(value) for _, _, value, _ in placed]
        figure.add_scatter(
            x=[round(x, 3) for x, *_ in placed],
            y=values,
            customdata=[(number, depth) for _, number, _, depth in placed],
            mode="markers",
            name="trial",
            marker={"color": BLUE, "size": 8, "opacity": 0.75},
            hovertemplate=(
                f"trial %{{customdata[0]}}: %{{customdata[1]}} frozen, %{{y:{shown}}}"
                "<extra></extra>"
            ),
        )
        figure.add_scatter(
            x=[d.depth for d in self.depths],
            y=[d.median for d in self.depths],
            mode="markers",
            name="median",
            marker={"symbol": "line-ew-open", "color": ORANGE, "size": 34, "line": {"width": 3}},
            hovertemplate=f"median %{{y:{shown}}}<extra></extra>",
        )
        figure.update_xaxes(dtick=1, range=[-0.5, len(self.groups) - 0.5])
        return figure.update_yaxes(
            percent_axis(self.metric), range=with_room(min(values), max(values))
        )

    @property
    def caption(self) -> str:
        """What the reader sees, and how little it proves."""
        names = ", ".join(self.groups)
        return (
            f"Complete trials{_whose(self.network)} by the number of layer groups frozen, of "
            f"{names}: 0 freezes none, {len(self.groups) - 1} all but the head. A hint, no "
            "comparison: the sampler tries more where it went well, and the other dimensions "
            "differ from trial to trial."
        )

    @property
    def alt(self) -> str:
        text = "; ".join(
            f"{d.depth} frozen: median {value_text(d.median, self.metric)} of "
            f"{count(len(d.trials), 'trial')}"
            for d in self.depths
        )
        return f"{plain(self.metric)} by freeze depth. {text}."


def on_one_network(data: SearchReport) -> tuple[str, Sequence[RunRow]]:
    """The best trial's network, "" where the study has only one, and the complete trials on it,
    best first: another network's groups are cut elsewhere.
    """
    if not data.ranked or len(data.config.backbone.names) == 1:
        return "", data.ranked
    network = data.ranked[0].run.backbone
    return network, [row for row in data.ranked if row.run.backbone == network]


def _whose(network: str) -> str:
    return f" on {network}, the best trial's network," if network else ""


class RateMap(NamedTuple):
    """The complete trials by freeze depth and rate ratio, as (depth, ratio, value) by number;
    `network` is empty where the study has only one.
    """

    metric: str
    trials: tuple[tuple[int, float, float], ...]
    num_complete: int
    network: str
    maximise: bool
    study: optuna.Study

    @classmethod
    def compute(cls, data: SearchReport) -> "RateMap | Absent":
        """Of several networks the trials on the best one's."""
        searched = data.config.searched()
        fixed = [plain(name) for name in (DEPTH, RATIO) if name not in searched]
        if fixed:
            return Absent(
                f"The study fixes the {' and the '.join(fixed)}: there is no map to draw."
            )
        network, rows = on_one_network(data)
        if any(len({row.sampled[name] for row in rows}) < 2 for name in (DEPTH, RATIO)):
            return Absent(
                "Complete trials with two freeze depths and two rate ratios make a map; there are "
                "none yet."
            )
        kept = sorted(evenly(rows, MAX_CELLS), key=lambda row: row.number)
        return cls(
            data.summary.metric,
            tuple((r.sampled[DEPTH], r.sampled[RATIO], r.value or 0.0) for r in kept),
            len(rows),
            network,
            data.maximise,
            data.study_of(kept),
        )

    def draw(self) -> go.Figure:
        """Optuna's map, darker where it is better, with a mark for each trial."""
        figure = optuna_figure(
            optuna.visualization.plot_contour,
            self.study,
            [DEPTH, RATIO],
            target_name=plain(self.metric),
        )
        heights, marks, *_ = figure.data
        values = sorted(value for *_, value in self.trials)
        quarter = len(values) // 4  # one diverged corner would leave the others in one colour
        low, high = (
            (values[quarter], values[-1]) if self.maximise else (values[0], values[-1 - quarter])
        )
        heights.update(
            z=[[None if z != z else rounded(float(z)) for z in row] for row in heights.z],
            zmin=low,
            zmax=high if high > low else low + 1e-9,
            colorscale=_SHADES,
            reversescale=not self.maximise,
            contours={"coloring": "heatmap"},
            line={"width": 0},
            showscale=False,
            hoverinfo="skip",
        )
        marks.update(
            text=[value_text(value, self.metric) for *_, value in self.trials],
            marker={"color": ORANGE, "size": 6, "line": {"width": 0}},
            hovertemplate="%{x} frozen, rate ratio %{y:.3g}: %{text}<extra></extra>",
        )
        figure.data = (heights, marks)
        figure.update_xaxes(title={"text": "layer groups frozen from the input"}, dtick=1)
        return figure.update_yaxes(title={"text": "rate ratio"}, exponentformat="none")

    @property
    def caption(self) -> str:
        """What the map shows, and why it is no comparison."""
        thinned = thinned_text(len(self.trials), self.num_complete, used="used")
        return (
            f"Each mark is a complete trial{_whose(self.network)} and the colour between them "
            f"interpolates their {plain(self.metric)}, darker the better. The rate ratio is the "
            "factor on the learning rate from each layer group to the next towards the input. The "
            "sampler chose where to try, and the other settings differ from trial to trial, so the "
            "map shows where the search has been; only a comparison tells one place from "
            f"another.{thinned}"
        )

    @property
    def alt(self) -> str:
        ordered = sorted(self.trials, key=lambda trial: trial[2], reverse=self.maximise)
        (depth, ratio, best), *_, (low_depth, low_ratio, worst) = ordered
        return (
            f"Map of {plain(self.metric)} by freeze depth and rate ratio of "
            f"{count(len(self.trials), 'trial')}: best {value_text(best, self.metric)} with "
            f"{depth} frozen and a rate ratio of {ratio:.2g}; worst "
            f"{value_text(worst, self.metric)} with {low_depth} frozen and {low_ratio:.2g}."
        )


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
    def compute(cls, data: SearchReport) -> "Parallel | Absent":
        """The searched settings of the complete trials."""
        searched = data.config.searched()
        if len(searched) < 2:
            return Absent("Fewer than two dimensions are searched: nothing to lay side by side.")
        if not data.ranked:
            return Absent(_NOT_DRAWN)
        taken = [name for name in searched if any(name in row.sampled for row in data.ranked)]
        names = leading(taken, data.importances, most=MAX_DIMENSIONS)
        shown = evenly(data.ranked, MAX_PARALLEL)
        return cls(
            metric=data.summary.metric,
            maximise=data.maximise,
            dimensions=names,
            left_out=tuple(name for name in searched if name not in names),
            numbers=tuple(row.number for row in shown),
            num_complete=len(data.ranked),
            best=_best_tenth(data.ranked, names),
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
        return (
            "Each line is a complete trial, from scale to scale through its value and its settings "
            "(None: a dimension that its choices do not have). Where the thick lines of the best "
            "tenth run together, the best trials agree; where they spread, the setting mattered "
            f"little or the search has not decided."
            f"{thinned_text(len(self.numbers), self.num_complete, left_out=self.left_out)}"
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


def _best_tenth(ranked: Sequence[RunRow], names: Sequence[str]) -> Mapping[str, str]:
    """The settings of the best trials in words, without dimensions that none of them has."""
    best = [row.sampled for row in ranked[: _num_best(ranked)]]
    found = {name: [params[name] for params in best if name in params] for name in names}
    return {name: _span(values) for name, values in found.items() if values}


def _span(values: Sequence[Any]) -> str:
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
    def compute(cls, data: SearchReport) -> "Slices | Absent":
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
        return cls(
            metric=data.summary.metric,
            dimensions={name: searched[name] for name in names},
            left_out=tuple(name for name in searched if name not in names),
            medians={
                name: _medians(name, data.ranked)
                for name in names
                if isinstance(searched[name], Choice)
            },
            best=_best_tenth(data.ranked, names),
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
        medians = f" Medians: {self._medians_text}." if self.medians else ""
        return (
            f"Each mark is a complete trial, its {plain(self.metric)} against one of its settings; "
            f"the star is trial {self.winner}, a line the median of an option.{medians} Trials "
            f"beyond the axis stand at its edge. A slope or a higher line is a hint, no effect: "
            "the sampler tries more where it went well, and the other settings differ."
            f"{thinned_text(len(self.numbers), self.num_complete, left_out=self.left_out)}"
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
