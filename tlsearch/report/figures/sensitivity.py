"""How accuracy depends on the learning rate: each arm's configuration at many rates."""

from collections.abc import Mapping
from typing import NamedTuple

import plotly.graph_objects as go

from tlsearch.comparison.answers import SweepOverview, SweepPoint, Tables
from tlsearch.report.figures.canvas import label
from tlsearch.report.figures.panels import bars, height_of, look, panels, place_of
from tlsearch.report.verdict_text import arm_name
from tlsearch.report.wording import Absent, count, percent, setting_text

RATE = "lr"


class Curve(NamedTuple):
    """An arm's accuracies in one scenario over ascending rates; only points that were scored."""

    place: str
    arm: str
    points: tuple[SweepPoint, ...]


class Sensitivity(NamedTuple):
    """All curves over the learning rate; `names` are those of arms for people."""

    arms: tuple[str, ...]
    places: tuple[str, ...]
    curves: tuple[Curve, ...]
    names: Mapping[str, str]

    @property
    def height(self) -> int:
        """Pixels."""
        return height_of(len(self.places))


def compute(tables: Tables) -> Sensitivity | Absent:
    """All sweeps over the rate that have been scored at two rates or more."""
    curves = tuple(
        curve
        for place in tables.scenarios
        for sweep in place.sweeps
        if sweep.dimension == RATE and len((curve := _curve(place.scenario, sweep)).points) > 1
    )
    if not curves:
        return Absent("The comparison sweeps no arm over the learning rate, or not yet.")
    arms = tuple(dict.fromkeys(curve.arm for curve in curves))
    places = tuple(dict.fromkeys(curve.place for curve in curves))
    return Sensitivity(arms, places, curves, {arm: arm_name(arm, tables) for arm in arms})


def draw(found: Sensitivity) -> go.Figure:
    """A panel for each scenario, a curve for each arm, over rates on a logarithmic axis."""
    figure = panels(found.places, x="learning rate", y="test accuracy in per cent")
    for curve in found.curves:
        index = found.arms.index(curve.arm)
        row, column = place_of(found.places.index(curve.place))
        named = label(found.names[curve.arm])
        scored = [(p, p.accuracy) for p in curve.points if p.accuracy is not None]
        means = [100 * accuracy for _, accuracy in scored]
        lows, highs = (
            [None if end is None else 100 * end for end in ends]
            for ends in ([p.low for p, _ in scored], [p.high for p, _ in scored])
        )
        figure.add_scatter(
            x=[p.setting for p, _ in scored],
            y=[round(mean, 3) for mean in means],
            error_y=bars(means, lows, highs),
            customdata=[_told(p) for p, _ in scored],
            mode="lines+markers",
            name=named,
            legendgroup=curve.arm,
            showlegend=curve is next(c for c in found.curves if c.arm == curve.arm),
            hovertemplate=f"{named}: %{{customdata}}<extra></extra>",
            row=row,
            col=column,
            **look(index),
        )
    figure.update_xaxes(type="log", exponentformat="power", dtick=1)
    return figure


def caption(_found: Sensitivity) -> str:
    """What the reader sees."""
    return (
        "The configuration that tuning chose for each arm, trained again at each of these learning "
        "rates: marks are mean test accuracies, bars 95 % intervals. A run that diverged counts as "
        "0 %. The wider the top of a curve, the less the rate has to be right."
    )


def alt(found: Sensitivity) -> str:
    """The figure in words."""
    told = "; ".join(
        f"{found.names[curve.arm]}, {curve.place}: {', '.join(map(_told, curve.points))}"
        for curve in found.curves
    )
    return f"Test accuracy by learning rate. {told}."


def _curve(place: str, sweep: SweepOverview) -> Curve:
    scored = tuple(point for point in sweep.points if point.accuracy is not None)
    return Curve(place, sweep.arm, scored)


def _told(point: SweepPoint) -> str:
    """A point in words: `75.3 % at 0.01`, with what diverged."""
    assert point.accuracy is not None
    lost = ""
    if point.diverged:
        lost = f" ({point.diverged} of {count(point.seeds, 'run')} diverged)"
    return f"{percent(point.accuracy)} at {setting_text(point.setting)}{lost}"
