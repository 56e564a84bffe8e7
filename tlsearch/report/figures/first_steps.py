"""The largest gradients of the first steps, where training breaks down if it does."""

from collections.abc import Mapping
from typing import NamedTuple

import plotly.graph_objects as go

from tlsearch.comparison.answers import Estimate, Tables
from tlsearch.report.figures.bands import draw_bands, height_of, line_at
from tlsearch.report.figures.canvas import SERIES, canvas, label
from tlsearch.report.figures.panels import bars, symbol
from tlsearch.report.verdict_text import arm_name
from tlsearch.report.wording import Absent

MEASURE = "early_gradient_norm"


class Line(NamedTuple):
    """One mark of the figure."""

    place: str
    arm: str
    norm: Estimate


class FirstSteps(NamedTuple):
    """Largest gradient norms in the first tenth of the steps; `names` are of arms for people."""

    arms: tuple[str, ...]
    places: tuple[str, ...]
    lines: tuple[Line, ...]
    names: Mapping[str, str]

    @property
    def height(self) -> int:
        """Pixels that leave each mark a line of its own."""
        return height_of(len(self.places), len(self.arms))


def compute(tables: Tables) -> FirstSteps | Absent:
    """Every arm whose gradients were measured."""
    lines = tuple(
        Line(place.scenario, arm.arm, arm.measures[MEASURE])
        for place in tables.scenarios
        for arm in place.arms
        if MEASURE in arm.measures
    )
    if not lines:
        return Absent("The comparison does not measure gradients in the first steps, or not yet.")
    arms = tuple(dict.fromkeys(line.arm for line in lines))
    places = tuple(dict.fromkeys(line.place for line in lines))
    return FirstSteps(arms, places, lines, {arm: arm_name(arm, tables) for arm in arms})


def draw(found: FirstSteps) -> go.Figure:
    """A band for each scenario, a line for each arm in it, norms on a logarithmic axis."""
    figure = canvas(x="largest gradient norm", y="")
    for i, arm in enumerate(found.arms):
        lines = [line for line in found.lines if line.arm == arm]
        named = label(found.names[arm])
        means = [line.norm.mean for line in lines]
        figure.add_scatter(
            x=[float(f"{mean:.5g}") for mean in means],
            y=[
                line_at(found.places.index(line.place), i, num_lines=len(found.arms))
                for line in lines
            ],
            error_x=bars(means, [x.norm.low for x in lines], [x.norm.high for x in lines]),
            customdata=[(label(line.place), _told(line.norm)) for line in lines],
            mode="markers",
            name=named,
            marker={"color": SERIES[i % len(SERIES)], "size": 9, "symbol": symbol(i)},
            hovertemplate=f"{named}, %{{customdata[0]}}: %{{customdata[1]}}<extra></extra>",
        )
    draw_bands(figure, found.places)
    figure.update_xaxes(type="log")
    return figure


def caption(_found: FirstSteps) -> str:
    """What the reader sees."""
    return (
        "The largest norm of a gradient in the first tenth of the steps, where gradients may "
        "explode: marks are geometric means over seeds, bars their 95 % intervals."
    )


def alt(found: FirstSteps) -> str:
    """The figure in words."""
    told = "; ".join(
        f"{found.names[line.arm]}, {line.place}: {_told(line.norm)}" for line in found.lines
    )
    return f"Largest gradient norm in the first tenth of the steps. {told}."


def _told(norm: Estimate) -> str:
    if norm.low is None or norm.high is None:
        return f"{norm.mean:.3g}"
    return f"{norm.mean:.3g} ({norm.low:.3g} to {norm.high:.3g})"
