"""Marks of several arms in several scenarios: a band for each scenario, a line for each arm."""

from collections.abc import Sequence

import plotly.graph_objects as go

from tlsearch.report.figures.canvas import GREY, label


def line_at(band: int, line: int, *, num_lines: int) -> float:
    """Where a line lies on the axis; band 0 is the topmost."""
    return 0.4 - band - 0.8 / num_lines * (line + 0.5)


def draw_bands(figure: go.Figure, names: Sequence[str]) -> None:
    """Name the bands at the axis, and draw what parts them."""
    for band in range(1, len(names)):
        figure.add_hline(y=0.5 - band, line={"color": GREY, "width": 0.5})
    figure.update_yaxes(
        tickvals=[-band for band in range(len(names))],
        ticktext=[label(name, length=28) for name in names],
        range=[0.5 - len(names), 0.5],
        showgrid=False,
    )


def height_of(num_bands: int, num_lines: int) -> int:
    """Pixels that leave each mark a line of its own."""
    return 110 + 18 * max(num_lines + 1, 2) * num_bands
