"""Small multiples: a panel for each scenario, an arm drawn alike in all of them."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from tlsearch.report.figures.canvas import SERIES, dress, label

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_COLUMNS = 2
_PANEL_PIXELS = 230
_HEAD_PIXELS = 100


def panels(names: Sequence[str], *, x: str, y: str) -> go.Figure:
    """Empty panels with the names of scenarios above them, two in a row, all of one range."""
    rows, columns = _shape(len(names))
    figure = make_subplots(
        rows=rows,
        cols=columns,
        shared_xaxes="all",
        shared_yaxes="all",
        subplot_titles=[label(name, length=28) for name in names],
        horizontal_spacing=0.04,
        vertical_spacing=46 / height_of(len(names)),
    )
    dress(figure, x="", y="")
    figure.update_annotations(font={"size": 13})
    for place in range(len(names)):
        row, column = place_of(place)
        if place + columns >= len(names):
            figure.update_xaxes(title={"text": x}, showticklabels=True, row=row, col=column)
        if column == 1:
            figure.update_yaxes(title={"text": y}, row=row, col=column)
    # Legends above panels would lie upon the first one's title.
    figure.update_layout(legend={"y": 1 + 34 / height_of(len(names))}, margin={"t": 64})
    return figure


def place_of(index: int) -> tuple[int, int]:
    """Row and column of a panel, from 1."""
    return index // _COLUMNS + 1, index % _COLUMNS + 1


def height_of(num_panels: int) -> int:
    """Pixels that a figure of so many panels takes."""
    return _HEAD_PIXELS + _PANEL_PIXELS * _shape(num_panels)[0]


def look(index: int) -> dict[str, Any]:
    """How the arm of this number is drawn: by colour, by dash and by shape."""
    colour = SERIES[index % len(SERIES)]
    return {
        "line": {"color": colour, "width": 2, "dash": _DASHES[index % len(_DASHES)]},
        "marker": {"color": colour, "size": 7, "symbol": symbol(index)},
    }


def symbol(index: int) -> str:
    """The shape of an arm's marks."""
    return SYMBOLS[index % len(SYMBOLS)]


def bars(
    means: Sequence[float], lows: Sequence[float | None], highs: Sequence[float | None]
) -> dict[str, Any]:
    """Intervals as plotly takes them; none where an end is unknown."""
    above = [0.0 if h is None else h - m for m, h in zip(means, highs, strict=True)]
    below = [0.0 if low is None else m - low for m, low in zip(means, lows, strict=True)]
    return {
        "type": "data",
        "symmetric": False,
        "array": above,
        "arrayminus": below,
        "thickness": 1.2,
        "width": 3,
    }


def _shape(num_panels: int) -> tuple[int, int]:
    columns = min(_COLUMNS, max(num_panels, 1))
    return -(-num_panels // columns), columns
