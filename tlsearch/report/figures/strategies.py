"""Figures of strategies: gains over baselines, freeze depth, and freeze depth by rate ratio."""

from statistics import median
from typing import NamedTuple

import optuna
import plotly.graph_objects as go

from tlsearch.config.catalog import CATALOGUE, groups
from tlsearch.report.answer import Gain, find_answer
from tlsearch.report.context import ReportData
from tlsearch.report.figures.search import optuna_figure
from tlsearch.report.figures.style import (
    BLUE,
    GREY,
    ORANGE,
    canvas,
    evenly,
    hover_format,
    intervals,
    label,
    percent_axis,
    rounded,
    with_room,
)
from tlsearch.report.wording import Absent, count, gain_text, plain, value_text

DEPTH, RATIO = "freeze_depth", "lr_ratio"
MAX_CELLS = 300
"""Trials of a map: it has a column for each, and interpolates between them."""
_GOLDEN = 0.618
_SHADES = [[0, "rgba(59,130,196,0.04)"], [1, "rgba(59,130,196,0.80)"]]


class Gains(NamedTuple):
    """Gains in test accuracy with their intervals, in the order of the baselines."""

    gains: tuple[Gain, ...]

    @classmethod
    def compute(cls, data: ReportData) -> "Gains | Absent":
        """The gains, once the test part was scored."""
        gains = find_answer(data).gains
        return cls(gains) if gains else Absent("The test part has not been scored yet.")

    def draw(self) -> go.Figure:
        """A mark and its interval for each baseline, with a line at no gain."""
        figure = canvas(x="gain in points of test accuracy", y="")
        gains = self.gains[::-1]
        means, lows, highs = (
            [100 * getattr(g.gain, end) for g in gains] for end in ("mean", "low", "high")
        )
        figure.add_scatter(
            x=means,
            y=[f"over {label(g.baseline, length=40)}" for g in gains],
            error_x=intervals(means, lows, highs),
            customdata=[gain_text(g.gain) for g in gains],
            mode="markers",
            marker={"color": BLUE, "size": 11},
            showlegend=False,
            hovertemplate="%{y}: %{customdata}<extra></extra>",
        )
        figure.add_vline(x=0, line={"color": GREY, "width": 1.5, "dash": "dash"})
        return figure.update_yaxes(type="category", range=[-0.6, len(gains) - 0.4])

    @property
    def caption(self) -> str:
        return (
            "Marks are means, bars 95 % intervals; a bar that crosses the dashed line proves no "
            "gain."
        )

    @property
    def alt(self) -> str:
        text = "; ".join(f"over {g.baseline} {gain_text(g.gain)}, {g.verdict}" for g in self.gains)
        return f"Gain of the winner in test accuracy: {text}."


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
    def compute(cls, data: ReportData) -> "Depths | Absent":
        """Complete trials by freeze depth: a pruned trial's value is of an earlier epoch."""
        if DEPTH not in data.space:
            return Absent("The study fixes the freeze depth: there is nothing to compare.")
        network = shown_network(data)
        found: dict[int, list[tuple[int, float]]] = {}
        for row in sorted(data.ranked, key=lambda row: row.number):
            if network in ("", row.run.backbone):  # another network's groups are cut elsewhere
                assert row.value is not None
                found.setdefault(row.run.params[DEPTH], []).append((row.number, row.value))
        if not found:
            return Absent("No trial has been completed yet.")
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
        whose = f" on {self.network}, the best trial's network," if self.network else ""
        return (
            f"Complete trials{whose} by the number of layer groups frozen, of {names}: 0 freezes "
            f"none, {len(self.groups) - 1} all but the head. A hint, no comparison: the sampler "
            "tries more where it went well, and the other dimensions differ from trial to trial."
        )

    @property
    def alt(self) -> str:
        text = "; ".join(
            f"{d.depth} frozen: median {value_text(d.median, self.metric)} of "
            f"{count(len(d.trials), 'trial')}"
            for d in self.depths
        )
        return f"{plain(self.metric)} by freeze depth. {text}."


def shown_network(data: ReportData) -> str:
    """The best trial's network; empty where the study has only one, or no complete trial."""
    several = len(data.config.backbone.names) > 1
    return data.ranked[0].run.backbone if data.ranked and several else ""


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
    def compute(cls, data: ReportData) -> "RateMap | Absent":
        """Of several networks the trials on the best one's."""
        searched = data.config.searched()
        fixed = [plain(name) for name in (DEPTH, RATIO) if name not in searched]
        if fixed:
            return Absent(
                f"The study fixes the {' and the '.join(fixed)}: there is no map to draw."
            )
        network = shown_network(data)
        rows = [row for row in data.ranked if network in ("", row.run.backbone)]
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
        whose = f" on {self.network}, the best trial's network," if self.network else ""
        thinned = (
            f" {count(len(self.trials), 'trial')} of {self.num_complete:,} are used, evenly from "
            "the best to the worst."
            if len(self.trials) < self.num_complete
            else ""
        )
        return (
            f"Each mark is a complete trial{whose} and the colour between them interpolates their "
            f"{plain(self.metric)}, darker the better. The rate ratio is the factor on the "
            "learning rate from each layer group to the next towards the input. The sampler chose "
            "where to try, and the other settings differ from trial to trial, so the map shows "
            f"where the search has been; only a comparison tells one place from another.{thinned}"
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
