"""How the best trials and the baselines learnt, epoch by epoch."""

from typing import NamedTuple

import plotly.graph_objects as go

from tlsearch.config.search_options import METRICS
from tlsearch.execution.runs import RunRow
from tlsearch.report.context import SearchReport
from tlsearch.report.figures.style import (
    DASHES,
    GREY,
    PERCENT,
    SERIES,
    canvas,
    hover_format,
    label,
    percent_axis,
    with_room,
)
from tlsearch.report.wording import Absent, plain, value_text

TOP_TRIALS = 5
_SYMBOLS = ("circle", "square", "diamond", "cross", "star")


class LearningCurve(NamedTuple):
    """The study's metric after each of `epochs`, of `num_epochs` that were planned; of a
    cross-validation the means over the folds that reached the epoch.
    """

    name: str
    is_baseline: bool
    num_epochs: int
    epochs: tuple[int, ...]
    values: tuple[float, ...]

    @classmethod
    def of(cls, row: RunRow, name: str, *, metric: str, is_baseline: bool) -> "LearningCurve":
        """The curve of one run."""
        starts = [0, *(fold.last_epoch for fold in row.folds)]
        by_epoch: dict[int, list[float]] = {}
        for e in row.epochs:
            within = e.epoch - max(start for start in starts if start < e.epoch)
            by_epoch.setdefault(within, []).append(getattr(e, metric))
        means = tuple(sum(found) / len(found) for found in by_epoch.values())
        return cls(name, is_baseline, row.run.num_epochs, tuple(by_epoch), means)


class LearningCurves(NamedTuple):
    """The best trials, best first, then the baselines. `folds` is None without any."""

    metric: str
    curves: tuple[LearningCurve, ...]
    folds: int | None

    @classmethod
    def compute(cls, data: SearchReport) -> "LearningCurves | Absent":
        """The curves of the best trial, the best few others, and the baselines on their first
        split.
        """
        best, metric = data.summary.best, data.summary.metric
        top = sorted(data.ranked, key=lambda row: best is None or row.number != best.number)
        found = [
            LearningCurve.of(row, f"trial {row.number}", metric=metric, is_baseline=False)
            for row in top[:TOP_TRIALS]
        ]
        found += [
            LearningCurve.of(row, plain(name), metric=metric, is_baseline=True)
            for name, row in data.baselines.items()
        ]
        curves = tuple(curve for curve in found if curve.epochs)
        if not curves:
            return Absent("No training has completed an epoch yet.")
        return cls(metric, curves, data.config.data.split.folds)

    def draw(self) -> go.Figure:
        """Over the share of the training; one of a single epoch, as a linear probe that is solved,
        is a level.
        """
        figure = canvas(x="share of the training's epochs", y=plain(self.metric))
        trials = baselines = 0
        for curve in self.curves:
            if curve.is_baseline:
                style = {"color": GREY, "width": 1.5, "dash": DASHES[baselines % len(DASHES)]}
                symbol, baselines = None, baselines + 1
            else:
                style = {"color": SERIES[trials % len(SERIES)], "width": 2}
                symbol, trials = _SYMBOLS[trials % len(_SYMBOLS)], trials + 1
            is_level = curve.num_epochs == 1
            figure.add_scatter(
                x=[0, 1] if is_level else [epoch / curve.num_epochs for epoch in curve.epochs],
                y=curve.values * 2 if is_level else curve.values,
                customdata=curve.epochs * 2 if is_level else curve.epochs,
                mode="lines+markers" if symbol else "lines",
                name=label(curve.name),
                line=style,
                marker={"symbol": symbol, "size": 7},
                hovertemplate=(
                    f"{label(curve.name)}, epoch %{{customdata}} of {curve.num_epochs}: "
                    f"%{{y:{hover_format(self.metric)}}}<extra></extra>"
                ),
            )
        figure.update_xaxes(tickformat=PERCENT, range=[0, 1.03])
        return figure.update_yaxes(percent_axis(self.metric), range=with_room(*self.span))

    @property
    def span(self) -> tuple[float, float]:
        """What the axis shows: beyond the worst end by twice the spread of the ends and no more,
        since the first epochs would flatten it.
        """
        ends = [curve.values[-1] for curve in self.curves]
        lowest = min(min(curve.values) for curve in self.curves)
        highest = max(max(curve.values) for curve in self.curves)
        room = 2 * (max(ends) - min(ends)) + 0.05
        if METRICS[self.metric].maximise:
            return max(lowest, min(ends) - room, 0.0), highest
        return lowest, min(highest, max(ends) + room)

    @property
    def caption(self) -> str:
        (_, planned), *_ = sorted({(c.is_baseline, c.num_epochs) for c in self.curves})
        longer = {c.name: c.num_epochs for c in self.curves if c.num_epochs != planned}
        means = f", mean over {self.folds} folds" if self.folds else ""
        others = "".join(f"; the {name} has {number}" for name, number in longer.items())
        return (
            f"{_sentence(plain(self.metric))} after each epoch{means}, over {planned} planned "
            f"epochs{others}. "
            "Solid lines with marks: the best trials. Dashed: the baselines."
        )

    @property
    def alt(self) -> str:
        ends = ", ".join(f"{c.name} {value_text(c.values[-1], self.metric)}" for c in self.curves)
        return f"{_sentence(plain(self.metric))} by epoch; at the last epoch: {ends}."


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
