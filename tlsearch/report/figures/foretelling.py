"""What each split makes one expect in each scenario, beside the accuracy on later images."""

from collections.abc import Mapping
from typing import NamedTuple

import plotly.graph_objects as go

from tlsearch.comparison.answers import Foretelling, Tables
from tlsearch.report.figures.bands import draw_bands, height_of, line_at
from tlsearch.report.figures.canvas import SERIES, canvas, label
from tlsearch.report.figures.panels import symbol
from tlsearch.report.verdict_text import arm_name
from tlsearch.report.wording import Absent, percent


class Line(NamedTuple):
    """One line of the figure."""

    place: str
    arm: str
    found: Foretelling


class Expectations(NamedTuple):
    """Estimates and what came true; `names` are those of arms for people."""

    arms: tuple[str, ...]
    places: tuple[str, ...]
    lines: tuple[Line, ...]
    names: Mapping[str, str]

    @property
    def height(self) -> int:
        """Pixels that leave each mark a line of its own."""
        return height_of(len(self.places), len(self.arms))


def compute(tables: Tables) -> Expectations | Absent:
    """All arms that have both figures."""
    lines = tuple(
        Line(place.scenario, arm.arm, arm.foretelling)
        for place in tables.scenarios
        for arm in place.arms
        if arm.foretelling
    )
    if not lines:
        return Absent("No split's estimate has been held against later images yet.")
    arms = tuple(dict.fromkeys(line.arm for line in lines))
    places = tuple(dict.fromkeys(line.place for line in lines))
    return Expectations(arms, places, lines, {arm: arm_name(arm, tables) for arm in arms})


def draw(found: Expectations) -> go.Figure:
    """An open mark at the estimate and a full one at the later accuracy, joined by a line."""
    figure = canvas(x="accuracy in per cent", y="")
    for i, arm in enumerate(found.arms):
        lines = [line for line in found.lines if line.arm == arm]
        heights = [
            line_at(found.places.index(line.place), i, num_lines=len(found.arms)) for line in lines
        ]
        named, shape = label(found.names[arm]), symbol(i)
        ends = [(line.found.later_accuracy, line.found.estimate, None) for line in lines]
        figure.add_scatter(
            x=[None if share is None else 100 * share for pair in ends for share in pair],
            y=[y for y in heights for _ in range(3)],
            text=[label(line.place) for line in lines for _ in range(3)],
            mode="lines+markers",
            name=named,
            line={"color": SERIES[i % len(SERIES)], "width": 2},
            marker={"size": 10, "symbol": [shape, f"{shape}-open", shape] * len(lines)},
            hovertemplate=f"{named}, %{{text}}: %{{x:.1f}} %<extra></extra>",
        )
    draw_bands(figure, found.places)
    return figure


def caption(_found: Expectations) -> str:
    """What the reader sees."""
    return (
        "Open marks are what a split made one expect (its own test part), full marks what came "
        "true on later images; both are means over redraws. An open mark to the right of its full "
        "one is too optimistic; intervals stand in the tables."
    )


def alt(found: Expectations) -> str:
    """The figure in words."""
    told = "; ".join(
        f"{found.names[line.arm]}, {line.place}: expected {percent(line.found.estimate)}, "
        f"came true {percent(line.found.later_accuracy)}"
        for line in found.lines
    )
    return f"Expected and later accuracy. {told}."
