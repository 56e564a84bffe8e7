"""What all figures share: their look, and how names become safe text on an axis.

Colours of text, lines and grid are left to the page, which knows whether it is light or dark.
"""

from collections.abc import Callable
from html import escape
from typing import Any, NamedTuple

import plotly.graph_objects as go

from tlsearch.report.wording import printable, shortened

# Distinct for the colour-blind (after Okabe and Ito) and readable on white and on near-black.
BLUE, ORANGE, GREEN, PURPLE, RED, GREY = (
    "#3b82c4",
    "#d9730d",
    "#2a9d6f",
    "#a05fc0",
    "#d1495b",
    "#808890",
)
SERIES = (BLUE, ORANGE, GREEN, PURPLE, RED)
PERCENT = ".3~p"
"""d3's format of an axis in per cent: as many digits as its ticks need, `94.5%`."""


class Picture(NamedTuple):
    """A figure in its place: `plot` is plotly's JSON, or None where `caption` says why not.

    `alt` tells in words what the figure shows.
    """

    id: str
    title: str
    caption: str
    alt: str
    plot: str | None
    height: int


def drawn_or_told(name: str, title: str, draw: Callable[[], Picture]) -> Picture:
    """What `draw` makes, or in its place that it failed: one figure never costs the report."""
    try:
        return draw()
    except Exception as error:  # a defect of ours, or a library's: the rest is as good without it
        why = shortened(f"{type(error).__name__}: {error}".partition("\n")[0], 200)
        return Picture(name, title, f"This figure could not be drawn ({why}).", "", None, 0)


def canvas(*, x: str, y: str) -> go.Figure:
    """An empty figure with named axes."""
    figure = go.Figure()
    dress(figure, x=x, y=y)
    return figure


def dress(figure: go.Figure, *, x: str, y: str) -> None:
    """Give a figure, of one panel or of several, the look that all have."""
    figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13},
        margin={"l": 56, "r": 12, "t": 12, "b": 48},
        hovermode="closest",
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
    )
    figure.update_xaxes(title={"text": x, "standoff": 8}, automargin=True, zeroline=False)
    figure.update_yaxes(title={"text": y, "standoff": 8}, automargin=True, zeroline=False)


def label(name: str, *, length: int = 24) -> str:
    """A user's name as text that plotly shows letter by letter."""
    return escape(shortened(printable(name), length))


def percent_axis(metric: str) -> dict[str, Any]:
    """How an axis writes the metric: accuracies in per cent."""
    return {"tickformat": PERCENT} if metric.endswith("accuracy") else {}


def hover_format(metric: str) -> str:
    """How a hover text writes the metric."""
    return ".1%" if metric.endswith("accuracy") else ".4g"


def with_room(low: float, high: float) -> list[float]:
    """An axis from `low` to `high` with a margin; never without extent."""
    room = 0.06 * (high - low) or 0.02 * max(abs(high), 0.5)
    return [low - room, high + room]
