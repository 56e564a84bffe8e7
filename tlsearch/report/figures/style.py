"""What all figures share: their look, their axes, and how names become safe text.

Colours of text, lines and grid are left to the page, which knows whether it is light or dark.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any, NamedTuple, Protocol, TypeVar

import plotly.graph_objects as go

from tlsearch.config.search_options import METRICS
from tlsearch.report.wording import Absent, count, joined, printable, shortened

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
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star")
DASHES = ("dash", "dot", "dashdot", "longdash", "longdashdot")
PERCENT = ".3~p"
"""d3's format of an axis in per cent: as many digits as its ticks need, `94.5%`."""
T = TypeVar("T")


class Drawable(Protocol):
    """What a figure shows, as plain values that tests compare; `draw` makes plotly's figure of it.

    `caption` says how to read it, `alt` tells in words what it shows.
    """

    def draw(self) -> go.Figure: ...
    @property
    def caption(self) -> str: ...
    @property
    def alt(self) -> str: ...


class Picture(NamedTuple):
    """A figure in its place: `plot` is plotly's JSON, or None where `caption` says why not."""

    id: str
    title: str
    caption: str
    alt: str
    plot: str | None
    height: int


def make_picture(
    name: str, title: str, compute: Callable[[], Drawable | Absent], *, height: int
) -> Picture:
    """The figure drawn, or the reason why there is none: one figure never costs the report.
    `height`, in pixels, is of figures that set none themselves.
    """
    try:
        found = compute()
        if isinstance(found, Absent):
            return Picture(name, title, found.reason, "", None, 0)
        figure = found.draw()
        height = figure.layout.height or height
        return Picture(name, title, found.caption, found.alt, figure.to_json(), height)
    except Exception as error:  # a defect of ours, or a library's: the rest is as good without it
        why = shortened(f"{type(error).__name__}: {error}".partition("\n")[0], 200)
        return Picture(name, title, f"This figure could not be drawn ({why}).", "", None, 0)


def canvas(*, x: str, y: str) -> go.Figure:
    """An empty figure with named axes."""
    return dress(go.Figure(), x=x, y=y)


def dress(figure: go.Figure, *, x: str | None = None, y: str | None = None) -> go.Figure:
    """Give a figure, ours or Optuna's, of one panel or of several, the look that all have; axes
    keep their names where none is given.
    """
    figure.update_layout(
        template="none",
        title=None,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13},
        margin={"l": 56, "r": 12, "t": 12, "b": 48},
        hovermode="closest",
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
    )
    for update, name in ((figure.update_xaxes, x), (figure.update_yaxes, y)):
        title = {"standoff": 8} if name is None else {"text": name, "standoff": 8}
        update(title=title, automargin=True, zeroline=False)
    return figure


def label(name: str, *, length: int = 24) -> str:
    """A user's name as text that plotly shows letter by letter."""
    return escape(shortened(printable(name), length))


def percent_axis(metric: str) -> dict[str, Any]:
    """How an axis writes the metric: shares in per cent."""
    return {"tickformat": PERCENT} if METRICS[metric].is_share else {}


def hover_format(metric: str) -> str:
    """How a hover text writes the metric."""
    return ".1%" if METRICS[metric].is_share else ".4g"


def with_room(low: float, high: float) -> list[float]:
    """An axis from `low` to `high` with a margin; never without extent."""
    room = 0.06 * (high - low) or 0.02 * max(abs(high), 0.5)
    return [low - room, high + room]


def intervals(
    means: Sequence[float], lows: Sequence[float | None], highs: Sequence[float | None]
) -> dict[str, Any]:
    """Error bars as plotly takes them; none where an end is unknown."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [0.0 if h is None else h - m for m, h in zip(means, highs, strict=True)],
        "arrayminus": [0.0 if low is None else m - low for m, low in zip(means, lows, strict=True)],
        "thickness": 1.5,
        "width": 4,
    }


class Window(NamedTuple):
    """The part of a study's values that an axis shows: a few bad trials would flatten the rest.
    What lies beyond `low` and `high`, or has no value, is drawn at the worse edge.
    """

    low: float
    high: float
    maximise: bool

    @classmethod
    def of(
        cls, values: Iterable[float], *, beside: Iterable[float] = (), maximise: bool
    ) -> "Window":
        """The span of the better three quarters of `values`, and of what is shown `beside` them."""
        ordered = sorted(values, reverse=not maximise)
        kept = ordered[len(ordered) // 4 :] + [v for v in beside if math.isfinite(v)]
        return cls(*((min(kept), max(kept)) if kept else (0.0, 1.0)), maximise)

    @property
    def axis(self) -> list[float]:
        """The axis' range: the window with a margin."""
        return with_room(self.low, self.high)

    def holds(self, value: float | None) -> bool:
        """Whether a value is drawn where it is."""
        return value is not None and self.low <= value <= self.high

    def place(self, value: float | None) -> float:
        """Where a value is drawn."""
        better = value is not None and (value > self.high if self.maximise else value < self.low)
        if value is not None and (self.holds(value) or better):
            return min(max(value, self.low), self.high)
        worst, end = (self.low, self.axis[0]) if self.maximise else (self.high, self.axis[1])
        return worst + 0.6 * (end - worst)


def evenly(items: Sequence[T], limit: int) -> tuple[T, ...]:
    """At most `limit` of them, at even distances, the first and the last among them: a page of
    thousands of lines is slow, and shows no more.
    """
    if len(items) <= limit:
        return tuple(items)
    last = len(items) - 1
    return tuple(items[round(i * last / (limit - 1))] for i in range(limit))


def thinned_text(shown: int, num: int, *, used: str = "drawn", left_out: Sequence[str] = ()) -> str:
    """A sentence where `evenly` has left trials out, another where dimensions are not shown, each
    with a space before it; else "".
    """
    best = f" {count(shown, 'trial')} of {num:,} are {used}, evenly from the best to the worst."
    return (best if shown < num else "") + (f" Not shown: {joined(left_out)}." if left_out else "")


def rounded(value: float) -> float:
    """Five significant digits: more than a screen shows, and half the page."""
    return float(f"{value:.5g}")
