"""Optuna's figures of the search in the look of the report, the baselines beside them."""

import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from statistics import median
from typing import Any, NamedTuple

import optuna
import plotly.graph_objects as go
from optuna.exceptions import ExperimentalWarning

from tlsearch.execution.runs import RunRow
from tlsearch.report.context import SearchReport
from tlsearch.report.figures.style import (
    BLUE,
    DASHES,
    GREY,
    ORANGE,
    PERCENT,
    PURPLE,
    RED,
    Window,
    canvas,
    dress,
    evenly,
    hover_format,
    label,
    percent_axis,
    rounded,
)
from tlsearch.report.importances import NUM_RESAMPLES, Importances, Share
from tlsearch.report.wording import (
    Absent,
    count,
    duration,
    joined,
    percent,
    plain,
    value_text,
)

MAX_LINES = 60
"""Courses of complete and of pruned trials each."""
MAX_BARS = 600
_STATES = {
    "complete": ("circle", BLUE),
    "pruned": ("x-thin-open", GREY),
    "diverged": ("triangle-down", RED),
    "failed": ("square-open", PURPLE),
}


def optuna_figure(
    plot: Callable[..., go.Figure], study: optuna.Study, *args: Any, **options: Any
) -> go.Figure:
    """One of `optuna.visualization`'s figures in the report's look."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return dress(plot(study, *args, **options))


def add_baselines(figure: go.Figure, found: Mapping[str, float], metric: str, **ends: Any) -> None:
    """A dashed line at each baseline's value: over the given `x` from end to end, or over `y`."""
    (axis, span), *_ = ends.items()
    other = "y" if axis == "x" else "x"
    for i, (name, value) in enumerate(found.items()):
        figure.add_scatter(
            **{axis: span, other: [value, value]},
            mode="lines",
            name=label(plain(name)),
            line={"color": GREY, "width": 1.5, "dash": DASHES[i % len(DASHES)]},
            hovertemplate=(
                f"{label(plain(name))} %{{{other}:{hover_format(metric)}}}<extra></extra>"
            ),
        )


# Every trial in the order of sampling.


class TrialPoint(NamedTuple):
    """A trial that ended; `value` None where it has none. A pruned one's is its last epoch's."""

    number: int
    state: str
    value: float | None


class History(NamedTuple):
    """All trials by number beside the baselines; `best` are improvements as (trial, value)."""

    metric: str
    points: tuple[TrialPoint, ...]
    best: tuple[tuple[int, float], ...]
    baselines: Mapping[str, float]
    window: Window
    study: optuna.Study

    @classmethod
    def compute(cls, data: SearchReport) -> "History | Absent":
        """The history of the trials that ended."""
        metric, maximise = data.summary.metric, data.maximise
        ended = [row for row in data.trials if row.state in _STATES]
        if not ended:
            return Absent("No trial has ended yet.")
        points = tuple(TrialPoint(r.number, r.state, last_value(r, metric)) for r in ended)
        best: list[tuple[int, float]] = []
        for number, state, value in points:
            is_better = not best or (
                (value or 0.0) != best[-1][1] and ((value or 0.0) > best[-1][1]) == maximise
            )
            if state == "complete" and value is not None and is_better:
                best.append((number, value))
        complete = [p.value for p in points if p.state == "complete" and p.value is not None]
        shown = complete or [p.value for p in points if p.value is not None]
        baselines = data.baseline_values
        return cls(
            metric,
            points,
            tuple(best),
            baselines,
            Window.of(shown, beside=baselines.values(), maximise=maximise),
            data.study_of(ended),
        )

    def draw(self) -> go.Figure:
        """Optuna's marks and its line of the best value; marks of other states differ in shape."""
        figure = optuna_figure(
            optuna.visualization.plot_optimization_history,
            self.study,
            target_name=plain(self.metric),
        )
        drawn = figure.data[:2]  # the third is of constraints, which a search has none of
        figure.data = ()
        last = max(point.number for point in self.points)
        add_baselines(figure, self.baselines, self.metric, x=[-0.5, last + 0.5])
        if drawn:
            _, best = drawn
            best.update(
                y=[rounded(v) if math.isfinite(v) else None for v in best.y],
                name="best so far",
                line={"color": ORANGE, "width": 2, "shape": "hv"},
                hovertemplate=(f"best so far %{{y:{hover_format(self.metric)}}}<extra></extra>"),
            )
            figure.add_trace(best)
        for state, (symbol, colour) in _STATES.items():
            found = [p for p in self.points if p.state == state]
            if not found:
                continue
            marks = drawn[0] if drawn and state == "complete" else go.Scatter(mode="markers")
            marks.update(
                x=[p.number for p in found],
                y=[rounded(self.window.place(p.value)) for p in found],
                customdata=[value_text(p.value, self.metric) for p in found],
                name=state,
                marker={
                    "symbol": symbol,
                    "color": colour,
                    "size": 8,
                    "line": {"color": colour, "width": 1.5},
                },
                hovertemplate=f"trial %{{x}}: {state}, %{{customdata}}<extra></extra>",
            )
            figure.add_trace(marks)
        figure.update_xaxes(title={"text": "trial"})
        return figure.update_yaxes(
            percent_axis(self.metric), title={"text": plain(self.metric)}, range=self.window.axis
        )

    @property
    def caption(self) -> str:
        outside = sum(not self.window.holds(p.value) for p in self.points)
        edge = (
            f" {count(outside, 'trial')} without a value or beyond the axis stand at its edge."
            if outside
            else ""
        )
        return (
            "Each mark is a trial, in the order of sampling; a pruned trial stands at its last "
            "epoch's value. Horizontal lines are the baselines, the mean over their seeds."
            f"{edge}"
        )

    @property
    def alt(self) -> str:
        counts = Counter(point.state for point in self.points)
        states = ", ".join(f"{counts[state]} {state}" for state in _STATES if counts[state])
        if not self.best:
            return f"Trials over time: {states}."
        number, value = self.best[-1]
        lines = [f"{plain(n)} {value_text(v, self.metric)}" for n, v in self.baselines.items()]
        beside = f" Baselines: {', '.join(lines)}." if lines else ""
        return (
            f"Trials over time: {states}. The best value, {value_text(value, self.metric)}, was "
            f"first reached by trial {number}.{beside}"
        )


def last_value(row: RunRow, metric: str) -> float | None:
    """A run's value; of a pruned one that of its last epoch, or its mean over folds so far."""
    value = row.value
    if value is None and row.state == "pruned" and row.epochs:
        last = row.epochs[-1]
        value = getattr(row.folds[-1], f"mean_{metric}") if row.folds else getattr(last, metric)
    return value if value is not None and math.isfinite(value) else None


# How the values are spread.


class ValueShares(NamedTuple):
    """The empirical distribution of the complete trials' values, beside the baselines."""

    metric: str
    values: tuple[float, ...]
    baselines: Mapping[str, float]
    maximise: bool
    study: optuna.Study

    @classmethod
    def compute(cls, data: SearchReport) -> "ValueShares | Absent":
        """Of all complete trials."""
        values = tuple(sorted(row.value for row in data.ranked if row.value is not None))
        if len(values) < 2:
            return Absent("Fewer than two trials have been completed: nothing is spread.")
        study = data.study_of(data.ranked)
        return cls(data.summary.metric, values, data.baseline_values, data.maximise, study)

    def draw(self) -> go.Figure:
        """Optuna's line, a dashed one at each baseline."""
        figure = optuna_figure(optuna.visualization.plot_edf, self.study)
        (line,) = figure.data
        line.update(
            x=[rounded(x) for x in line.x],
            y=[rounded(y) for y in line.y],
            name="trials",
            line={"color": BLUE, "width": 2, "shape": "hv"},
            hovertemplate=f"%{{y:.0%}} at most %{{x:{hover_format(self.metric)}}}<extra></extra>",
        )
        add_baselines(figure, self.baselines, self.metric, y=[0, 1])
        figure.update_xaxes(percent_axis(self.metric), title={"text": plain(self.metric)})
        return figure.update_yaxes(
            title={"text": "share of complete trials"}, tickformat=PERCENT, range=[0, 1.02]
        )

    @property
    def caption(self) -> str:
        beside = "; ".join(
            f"{percent(self._better(value))} of the trials do better than {plain(name)}"
            for name, value in self.baselines.items()
        )
        return (
            "The share of complete trials whose value is at most that on the axis. Dashed lines "
            f"are the baselines, the mean over their seeds{f': {beside}' if beside else ''}."
        )

    @property
    def alt(self) -> str:
        middle = value_text(median(self.values), self.metric)
        ends = [value_text(value, self.metric) for value in (self.values[0], self.values[-1])]
        return (
            f"Distribution of the {plain(self.metric)} of {count(len(self.values), 'trial')}: "
            f"from {ends[0]} to {ends[1]}, half of them at most {middle}."
        )

    def _better(self, value: float) -> float:
        better = sum((v > value) if self.maximise else (v < value) for v in self.values)
        return better / len(self.values)


# What the pruner saw.


class Intermediate(NamedTuple):
    """Values of trials from step to step, thinned from `num_complete` and `num_pruned`; steps are
    epochs, or folds with the mean so far. `pruned_at` counts all pruned trials by their last step.
    """

    metric: str
    step: str
    complete: tuple[int, ...]
    pruned: tuple[int, ...]
    num_complete: int
    num_pruned: int
    pruned_at: Mapping[int, int]
    window: Window
    study: optuna.Study

    @classmethod
    def compute(cls, data: SearchReport) -> "Intermediate | Absent":
        """The courses of the search's trials that got as far as a step."""
        complete = [row for row in data.ranked if data.course(row)]
        pruned = [row for row in data.trials if row.state == "pruned" and data.course(row)]
        if not complete and not pruned:
            return Absent("No trial of the search has completed an epoch yet.")
        shown = [*evenly(complete, MAX_LINES), *evenly(pruned, MAX_LINES)]
        ends = [data.course(row) for row in complete or pruned]
        values = [course[max(course)] for course in ends]
        # The better trials' beginning is wanted, too: ends alone would hide how trials rise.
        starts = [next(iter(course.values())) for course in ends[: max(1, len(ends) // 4)]]
        return cls(
            metric=data.summary.metric,
            step="fold" if data.config.data.split.folds else "epoch",
            complete=tuple(row.number for row in shown if row.state != "pruned"),
            pruned=tuple(row.number for row in shown if row.state == "pruned"),
            num_complete=len(complete),
            num_pruned=len(pruned),
            pruned_at=dict(sorted(Counter(max(data.course(row)) for row in pruned).items())),
            window=Window.of(values, beside=[median(starts)], maximise=data.maximise),
            study=data.study_of(shown),
        )

    def draw(self) -> go.Figure:
        """Optuna's lines: thin, those of pruned trials dotted with a cross at their end."""
        figure = optuna_figure(optuna.visualization.plot_intermediate_values, self.study)
        named: set[str] = set()
        ends = []
        for line in figure.data:
            number, last = int(line.name.removeprefix("Trial")), len(line.x) - 1
            state = "pruned" if number in self.pruned else "complete"
            style = {"color": BLUE, "width": 0.8}
            if state == "pruned":
                style = {"color": GREY, "width": 1, "dash": "dot"}
                ends.append((number, line.x[last], self.window.place(line.y[last])))
            line.update(
                y=[rounded(value) for value in line.y],
                mode="lines",
                marker=None,
                line=style,
                opacity=0.8,
                name=state,
                legendgroup=state,
                showlegend=state not in named,
                hovertemplate=(
                    f"trial {number}, {self.step} %{{x}}: %{{y:{hover_format(self.metric)}}}"
                    "<extra></extra>"
                ),
            )
            named.add(state)
        figure.add_scatter(
            x=[step for _, step, _ in ends],
            y=[rounded(value) for *_, value in ends],
            text=[number for number, *_ in ends],
            mode="markers",
            name="pruned here",
            marker={"symbol": "x-thin-open", "color": GREY, "size": 8, "line": {"width": 1.5}},
            hovertemplate=f"trial %{{text}} pruned after {self.step} %{{x}}<extra></extra>",
        )
        figure.update_layout(showlegend=True)
        last = max(step for line in figure.data for step in line.x)
        # With few steps plotly would mark halves, too, and round their labels.
        figure.update_xaxes(
            title={"text": self.step},
            rangemode="tozero",
            tickformat="d",
            dtick=1 if last <= 10 else None,
        )
        return figure.update_yaxes(
            percent_axis(self.metric), title={"text": plain(self.metric)}, range=self.window.axis
        )

    @property
    def caption(self) -> str:
        """What is drawn, how many trials were pruned and where."""
        if self.num_pruned:
            commonest = max(self.pruned_at, key=lambda step: self.pruned_at[step])
            pruned = (
                f"{count(self.num_pruned, 'trial')} pruned, most often after {self.step} "
                f"{commonest}; a cross marks where."
            )
        else:
            pruned = "No trial was pruned."
        thinned = [
            f"{count(drawn, 'line')} of {number:,} {name}"
            for name, drawn, number in (
                ("complete", len(self.complete), self.num_complete),
                ("pruned trials", len(self.pruned), self.num_pruned),
            )
            if drawn < number
        ]
        drawn = f" Drawn are {joined(thinned)}, evenly." if thinned else ""
        of = "the mean over the folds so far" if self.step == "fold" else "the value"
        return (
            f"Each line is a trial: {of} after each {self.step}. {pruned} Lines may leave the axis "
            "at its worse end; the cross of a pruned trial that ended beyond it stands at its "
            f"edge.{drawn}"
        )

    @property
    def alt(self) -> str:
        ends = ", ".join(f"{n} after {self.step} {step}" for step, n in self.pruned_at.items())
        pruned = f" Pruned: {ends}." if ends else ""
        return (
            f"{plain(self.metric)} by {self.step} of {count(self.num_complete, 'complete trial')} "
            f"and {count(self.num_pruned, 'pruned trial')}.{pruned}"
        )


# Which dimensions the values depended on.


class ImportancePlot(NamedTuple):
    """Shares of variance with their spread. Optuna's figure has no place for the spread."""

    found: Importances

    @classmethod
    def compute(cls, data: SearchReport) -> "ImportancePlot | Absent":
        """Computed once for all figures: they choose dimensions by it."""
        found = data.importances
        return found if isinstance(found, Absent) else cls(found)

    def draw(self) -> go.Figure:
        """Bars, the largest on top, each with its share."""
        shares = self.found.shares[::-1]
        names = [label(one.name, length=32) for one in shares]
        figure = canvas(x="share of the variance explained", y="")
        figure.add_bar(
            orientation="h",
            x=[rounded(one.share) for one in shares],
            y=names,
            marker={"color": BLUE},
            error_x={
                "array": [rounded(one.spread) for one in shares],
                "color": GREY,
                "thickness": 1.5,
                "width": 5,
            },
            hoverinfo="skip",
        )
        figure.add_scatter(
            x=[rounded(one.share + one.spread) for one in shares],
            y=names,
            text=[f" {_share_text(one)}" for one in shares],
            textposition="middle right",
            cliponaxis=False,
            mode="text",
            hoverinfo="skip",
        )
        longest = max(one.share + one.spread for one in shares)
        figure.update_xaxes(
            tickformat=PERCENT,
            range=[0, 1.4 * max(longest, 0.05)],
            tickvals=[0, 0.25, 0.5, 0.75, 1] if longest > 0.6 else None,
        )
        figure.update_layout(showlegend=False)
        return figure.update_yaxes(type="category")

    @property
    def caption(self) -> str:
        """What it is, and what it is not."""
        found = self.found
        of = f" of {found.num_complete}" if found.num_complete > found.num_trials else ""
        left_out = (
            f" Left out, since only some choices have them: {', '.join(found.left_out)}."
            if found.left_out
            else ""
        )
        unvaried = (
            f" Nothing is known of {joined(found.unvaried)}: all these trials had the same value."
            if found.unvaried
            else ""
        )
        return (
            f"fANOVA over {found.num_trials}{of} complete trials: how much of the variance of the "
            "values each dimension explains by itself, over its whole range. Lines reach one "
            f"standard deviation to either side, over {NUM_RESAMPLES} resamples of the trials: so "
            "much might another search of this length have given otherwise. It is no effect and no "
            "advice: it does not say which value is better, leaves out interactions, and sees only "
            f"what the sampler chose to try and the pruner let end.{left_out}{unvaried}"
        )

    @property
    def alt(self) -> str:
        shares = ", ".join(f"{one.name} {_share_text(one)}" for one in self.found.shares)
        return f"Share of the variance explained by each dimension: {shares}."


def _share_text(one: Share) -> str:
    return f"{100 * one.share:.0f} ± {100 * one.spread:.0f}\u00a0%"


# Which runs ran when.


class Timeline(NamedTuple):
    """The latest runs that ended, by their beginning as (name, state, begin, end); `earlier` of
    them are not shown, `most` ran at the same time.
    """

    runs: tuple[tuple[str, str, datetime, datetime], ...]
    earlier: int
    most: int
    study: optuna.Study

    @classmethod
    def compute(cls, data: SearchReport) -> "Timeline | Absent":
        """Trials, baselines and confirmations alike."""
        ended = sorted(
            (row for row in data.summary.rows if row.started and row.ended),
            key=lambda row: row.started,
        )
        if not ended:
            return Absent("No run has ended yet.")
        shown = ended[-MAX_BARS:]
        numbered = [(number, row) for number, row in enumerate(shown)]
        return cls(
            tuple((row.run.label, row.state, row.started, row.ended) for row in shown),
            len(ended) - len(shown),
            num_at_once([(row.started, row.ended) for row in ended]),
            data.study_of(shown, numbers=[number for number, _ in numbered]),
        )

    def draw(self) -> go.Figure:
        """Optuna's bars; states differ in colour and hatching."""
        figure = optuna_figure(optuna.visualization.plot_timeline, self.study)
        looks = {
            "COMPLETE": ("complete", BLUE, ""),
            "PRUNED": ("pruned", GREY, "/"),
            "FAIL": ("failed or diverged", RED, "x"),
        }
        for bars in figure.data:
            name, colour, hatching = looks[bars.name]
            runs = [self.runs[number] for number in bars.y]
            bars.update(
                name=name,
                width=0.8,
                text=[f"{label(run)}: {_took(start, end)}" for run, _, start, end in runs],
                hovertemplate="%{text}<extra></extra>",
                marker={
                    "color": colour,
                    "line": {"width": 0.5, "color": "rgba(128,128,128,0.6)"},
                    "pattern": {"shape": hatching, "size": 6, "solidity": 0.25},
                },
            )
        figure.update_layout(barmode="overlay", height=max(220, min(520, 130 + 8 * len(self.runs))))
        figure.update_xaxes(title={"text": "time of day"})
        return figure.update_yaxes(
            title={"text": "runs, by their beginning"},
            range=[len(self.runs) - 0.5, -0.5],
            showticklabels=False,
            showgrid=False,
        )

    @property
    def caption(self) -> str:
        earlier = f" {count(self.earlier, 'earlier run')} are not shown." if self.earlier else ""
        at_once = f"up to {self.most} ran at once" if self.most > 1 else "they ran one at a time"
        return (
            f"Every bar is a run, trials, baselines and confirmations alike; {at_once}. Of a run "
            f"that was interrupted, the last part is shown.{earlier}"
        )

    @property
    def alt(self) -> str:
        counts = Counter(state for _, state, *_ in self.runs)
        states = ", ".join(f"{number} {state}" for state, number in counts.items())
        (_, _, first, _), last = self.runs[0], max(end for *_, end in self.runs)
        return f"Timeline of {count(len(self.runs), 'run')} over {_took(first, last)}: {states}."


def _took(start: datetime, end: datetime) -> str:
    return duration((end - start).total_seconds())


def num_at_once(spans: Sequence[tuple[datetime, datetime]]) -> int:
    """How many of the spans overlap at most; one that begins where another ends does not."""
    moments = sorted([(end, -1) for _, end in spans] + [(start, 1) for start, _ in spans])
    num = most = 0
    for _, change in moments:
        num += change
        most = max(most, num)
    return max(most, 1)
