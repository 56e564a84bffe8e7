"""What the winner gains over each baseline."""

from typing import NamedTuple

import plotly.graph_objects as go

from tlsearch.report.answer import Gain, find_answer
from tlsearch.report.context import ReportData
from tlsearch.report.figures.canvas import BLUE, GREY, canvas, label
from tlsearch.report.wording import Absent, gain_text


class Gains(NamedTuple):
    """Gains in test accuracy with their intervals, in the order of the baselines."""

    gains: tuple[Gain, ...]


def compute(data: ReportData) -> Gains | Absent:
    """The gains, once the test part was scored."""
    gains = find_answer(data).gains
    return Gains(gains) if gains else Absent("The test part has not been scored yet.")


def draw(found: Gains) -> go.Figure:
    """A mark and its interval for each baseline, with a line at no gain."""
    figure = canvas(x="gain in points of test accuracy", y="")
    gains = found.gains[::-1]
    figure.add_scatter(
        x=[100 * g.gain.mean for g in gains],
        y=[f"over {label(g.baseline)}" for g in gains],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [100 * (g.gain.high - g.gain.mean) for g in gains],
            "arrayminus": [100 * (g.gain.mean - g.gain.low) for g in gains],
            "thickness": 2,
            "width": 6,
        },
        customdata=[gain_text(g.gain) for g in gains],
        mode="markers",
        marker={"color": BLUE, "size": 11},
        showlegend=False,
        hovertemplate="%{y}: %{customdata}<extra></extra>",
    )
    figure.add_vline(x=0, line={"color": GREY, "width": 1.5, "dash": "dash"})
    figure.update_yaxes(type="category", range=[-0.6, len(gains) - 0.4])
    return figure


def caption(_found: Gains) -> str:
    """What the reader sees."""
    return (
        "Marks are means, bars 95 % intervals; a bar that crosses the dashed line proves no gain."
    )


def alt(found: Gains) -> str:
    """The figure in words."""
    told = "; ".join(f"over {g.baseline} {gain_text(g.gain)}, {g.verdict}" for g in found.gains)
    return f"Gain of the winner in test accuracy: {told}."
