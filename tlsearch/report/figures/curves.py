"""How the best trials and the baselines learnt."""

from typing import NamedTuple

import plotly.graph_objects as go

from tlsearch.execution.runs import RunRow
from tlsearch.report.context import ReportData
from tlsearch.report.figures.canvas import GREY, PERCENT, SERIES, canvas, label, with_room
from tlsearch.report.wording import Absent, percent, plain

TOP = 5
_SYMBOLS = ("circle", "square", "diamond", "cross", "star")
_DASHES = ("dash", "dot", "dashdot", "longdash")


class Curve(NamedTuple):
    """Validation accuracy after each of `epochs`, of `num_epochs` that were planned; of a
    cross-validation the means over the folds that reached the epoch.
    """

    name: str
    is_baseline: bool
    num_epochs: int
    epochs: tuple[int, ...]
    accuracies: tuple[float, ...]


class Curves(NamedTuple):
    """The best trials, best first, then the baselines; the axis begins at `low`. `folds` is None
    without any.
    """

    curves: tuple[Curve, ...]
    low: float
    folds: int | None


def compute(data: ReportData) -> Curves | Absent:
    """The curves of the winner, the best few others, and the baselines on the same split."""
    best = data.summary.best
    top = sorted(data.ranked, key=lambda row: best is None or row.number != best.number)[:TOP]
    found = [_curve(row, f"trial {row.number}", is_baseline=False) for row in top]
    by_key = {row.run.key: row for row in data.fixed}
    for name in data.config.baselines:
        row = by_key.get(f"{name}-seed-0")
        if row is not None:
            found.append(_curve(row, plain(name), is_baseline=True))
    curves = tuple(curve for curve in found if curve.epochs)
    if not curves:
        return Absent("No training has completed an epoch yet.")
    return Curves(curves, _low(curves), data.config.data.split.folds)


def draw(found: Curves) -> go.Figure:
    """Over the share of the training: a linear probe has more, and much cheaper, epochs."""
    figure = canvas(x="share of the training's epochs", y="validation accuracy")
    trials = baselines = 0
    for curve in found.curves:
        if curve.is_baseline:
            style = {"color": GREY, "width": 1.5, "dash": _DASHES[baselines % len(_DASHES)]}
            symbol, baselines = None, baselines + 1
        else:
            style = {"color": SERIES[trials % len(SERIES)], "width": 2}
            symbol, trials = _SYMBOLS[trials % len(_SYMBOLS)], trials + 1
        figure.add_scatter(
            x=[epoch / curve.num_epochs for epoch in curve.epochs],
            y=curve.accuracies,
            customdata=curve.epochs,
            mode="lines+markers" if symbol else "lines",
            name=label(curve.name),
            line=style,
            marker={"symbol": symbol, "size": 7},
            hovertemplate=(
                f"{label(curve.name)}, epoch %{{customdata}} of {curve.num_epochs}: "
                "%{y:.1%}<extra></extra>"
            ),
        )
    figure.update_xaxes(tickformat=PERCENT, range=[0, 1.03])
    highest = max(max(curve.accuracies) for curve in found.curves)
    figure.update_yaxes(tickformat=PERCENT, range=with_room(found.low, highest))
    return figure


def caption(found: Curves) -> str:
    """What the reader sees."""
    epochs = sorted({(c.is_baseline, c.num_epochs) for c in found.curves})
    longer = {c.name: c.num_epochs for c in found.curves if c.num_epochs != epochs[0][1]}
    means = f", mean over {found.folds} folds" if found.folds else ""
    told = "".join(f"; the {name} has {number}" for name, number in longer.items())
    return (
        f"Validation accuracy after each epoch{means}, over {epochs[0][1]} planned epochs{told}. "
        "Solid lines with marks: the best trials. Dashed: the baselines."
    )


def alt(found: Curves) -> str:
    """The figure in words."""
    told = ", ".join(f"{c.name} {percent(c.accuracies[-1])}" for c in found.curves)
    return f"Validation accuracy by epoch; at the last epoch: {told}."


def _low(curves: tuple[Curve, ...]) -> float:
    """Below the worst end by twice the spread of the ends: the first epochs would flatten it."""
    ends = [curve.accuracies[-1] for curve in curves]
    lowest = min(min(curve.accuracies) for curve in curves)
    return max(lowest, min(ends) - 2 * (max(ends) - min(ends)) - 0.05, 0.0)


def _curve(row: RunRow, name: str, *, is_baseline: bool) -> Curve:
    starts = [0, *(fold.last_epoch for fold in row.folds)]
    by_epoch: dict[int, list[float]] = {}
    for e in row.epochs:
        within = e.epoch - max(start for start in starts if start < e.epoch)
        by_epoch.setdefault(within, []).append(e.val_accuracy)
    return Curve(
        name=name,
        is_baseline=is_baseline,
        num_epochs=row.run.num_epochs,
        epochs=tuple(by_epoch),
        accuracies=tuple(sum(found) / len(found) for found in by_epoch.values()),
    )
