"""What each arm gains over the reference arm, in each scenario and over all: a forest plot."""

from collections.abc import Mapping
from typing import NamedTuple

import plotly.graph_objects as go

from tlsearch.comparison.answers import Gain, Tables
from tlsearch.report.figures.bands import draw_bands, height_of, line_at
from tlsearch.report.figures.canvas import GREY, SERIES, canvas, label
from tlsearch.report.figures.panels import symbol
from tlsearch.report.verdict_text import arm_name
from tlsearch.report.wording import MINUS, Absent, points

POOLED = "all scenarios"


class Line(NamedTuple):
    """One mark of the figure."""

    place: str
    gain: Gain


class Forest(NamedTuple):
    """Gains in test accuracy over `reference` with their intervals; the pooled ones come first.

    `names` are those of arms for people.
    """

    reference: str
    arms: tuple[str, ...]
    places: tuple[str, ...]
    lines: tuple[Line, ...]
    names: Mapping[str, str]

    @property
    def height(self) -> int:
        """Pixels that leave each mark a line of its own."""
        return height_of(len(self.places), len(self.arms))


def compute(tables: Tables) -> Forest | Absent:
    """All gains that were measured."""
    lines = [Line(POOLED, gain) for gain in tables.gains] if len(tables.scenarios) > 1 else []
    for place in tables.scenarios:
        lines += [Line(place.scenario, arm.gain) for arm in place.arms if arm.gain]
    if not lines:
        return Absent("No two arms have been scored on the same test images.")
    arms = tuple(dict.fromkeys(line.gain.arm for line in lines))
    places = tuple(dict.fromkeys(line.place for line in lines))
    names = {arm: arm_name(arm, tables) for arm in (*arms, tables.protocol.reference)}
    return Forest(tables.protocol.reference, arms, places, tuple(lines), names)


def draw(found: Forest) -> go.Figure:
    """A band for each scenario, a line for each arm in it, a dashed line at no gain."""
    figure = canvas(x=f"points over {label(found.names[found.reference])}", y="")
    for i, arm in enumerate(found.arms):
        lines = [line for line in found.lines if line.gain.arm == arm]
        named = label(found.names[arm])
        figure.add_scatter(
            x=[100 * line.gain.mean for line in lines],
            y=[
                line_at(found.places.index(line.place), i, num_lines=len(found.arms))
                for line in lines
            ],
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [100 * (line.gain.high - line.gain.mean) for line in lines],
                "arrayminus": [100 * (line.gain.mean - line.gain.low) for line in lines],
                "thickness": 1.5,
                "width": 4,
            },
            customdata=[(label(line.place), _told(line.gain)) for line in lines],
            mode="markers",
            name=named,
            marker={
                "color": SERIES[i % len(SERIES)],
                "size": [14 if line.place == POOLED else 9 for line in lines],
                "symbol": symbol(i),
                # Marks of several sizes would be taken for bubbles, see-through and ringed.
                "opacity": 1,
                "line": {"width": 0},
            },
            hovertemplate=f"{named}, %{{customdata[0]}}: %{{customdata[1]}}<extra></extra>",
        )
    figure.add_vline(x=0, line={"color": GREY, "width": 1.5, "dash": "dash"})
    draw_bands(figure, found.places)
    return figure


def caption(found: Forest) -> str:
    """What the reader sees."""
    pooled = " Large marks are means over all scenarios." if POOLED in found.places else ""
    return (
        "How much more of the test images each arm answers rightly than "
        f"{found.names[found.reference]}: marks are means, bars 95 % intervals, each for "
        f"itself.{pooled} A bar that crosses the dashed line proves no difference; verdicts are in "
        "the tables."
    )


def alt(found: Forest) -> str:
    """The figure in words."""
    told = "; ".join(
        f"{found.names[line.gain.arm]}, {line.place}: {_told(line.gain)}" for line in found.lines
    )
    return f"Gains in test accuracy over {found.names[found.reference]}. {told}."


def _told(gain: Gain) -> str:
    low, high = points(gain.low), points(gain.high)
    return f"{points(gain.mean)} points ({low} to {high})".replace("-", MINUS)
