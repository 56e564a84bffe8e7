"""What the search saw at each freeze depth."""

from statistics import median
from typing import NamedTuple

import plotly.graph_objects as go

from tlsearch.config.catalog import CATALOGUE, groups
from tlsearch.report.context import ReportData
from tlsearch.report.figures.canvas import (
    BLUE,
    ORANGE,
    canvas,
    hover_format,
    percent_axis,
    with_room,
)
from tlsearch.report.wording import Absent, count, plain, value_text

_GOLDEN = 0.618


class Depth(NamedTuple):
    """The complete trials at one freeze depth, as (number, value) by number."""

    depth: int
    trials: tuple[tuple[int, float], ...]

    @property
    def median(self) -> float:
        """Their middle value."""
        return median(value for _, value in self.trials)


class Depths(NamedTuple):
    """All freeze depths that complete trials tried, and the names of the layer groups; `network` is
    empty where the study has only one.
    """

    metric: str
    groups: tuple[str, ...]
    depths: tuple[Depth, ...]
    network: str


def compute(data: ReportData) -> Depths | Absent:
    """Complete trials by freeze depth: a pruned trial's value is of an earlier epoch."""
    if "freeze_depth" not in data.space:
        return Absent("The study fixes the freeze depth: there is nothing to compare.")
    found: dict[int, list[tuple[int, float]]] = {}
    network = shown_network(data)
    for row in sorted(data.ranked, key=lambda row: row.number):
        if network and row.run.backbone != network:
            continue  # another network's groups are cut elsewhere
        assert row.value is not None
        found.setdefault(row.run.params["freeze_depth"], []).append((row.number, row.value))
    if not found:
        return Absent("No trial has been completed yet.")
    depths = tuple(Depth(depth, tuple(found[depth])) for depth in sorted(found))
    names = groups(CATALOGUE[network]) if network else data.groups
    return Depths(data.summary.metric, names, depths, network)


def shown_network(data: ReportData) -> str:
    """The best trial's network; empty where the study has only one, or no complete trial."""
    several = len(data.config.backbone.names) > 1
    return data.ranked[0].run.backbone if data.ranked and several else ""


def draw(found: Depths) -> go.Figure:
    """A mark for each trial, spread sideways so that none hides another; a line at the median."""
    head = len(found.groups) - 1
    figure = canvas(x="layer groups frozen from the input", y="")
    figure.update_yaxes(title={"text": plain(found.metric)})
    shown = hover_format(found.metric)
    placed = [
        (d.depth + ((i * _GOLDEN + 0.5) % 1 - 0.5) * 0.4, number, value, d.depth)
        for d in found.depths
        for i, (number, value) in enumerate(d.trials)
    ]
    figure.add_scatter(
        x=[x for x, *_ in placed],
        y=[value for _, _, value, _ in placed],
        customdata=[(number, depth) for _, number, _, depth in placed],
        mode="markers",
        name="trial",
        marker={"color": BLUE, "size": 8, "opacity": 0.75},
        hovertemplate=(
            f"trial %{{customdata[0]}}: %{{customdata[1]}} frozen, %{{y:{shown}}}<extra></extra>"
        ),
    )
    figure.add_scatter(
        x=[d.depth for d in found.depths],
        y=[d.median for d in found.depths],
        mode="markers",
        name="median",
        marker={"symbol": "line-ew-open", "color": ORANGE, "size": 34, "line": {"width": 3}},
        hovertemplate=f"median %{{y:{shown}}}<extra></extra>",
    )
    figure.update_xaxes(dtick=1, range=[-0.5, head + 0.5])
    values = [value for _, _, value, _ in placed]
    figure.update_yaxes(percent_axis(found.metric), range=with_room(min(values), max(values)))
    return figure


def caption(found: Depths) -> str:
    """What the reader sees, and how little it proves."""
    names = ", ".join(found.groups)
    whose = f" on {found.network}, the best trial's network," if found.network else ""
    return (
        f"Complete trials{whose} by the number of layer groups frozen, of {names}: 0 freezes none, "
        f"{len(found.groups) - 1} all but the head. A hint, no "
        "comparison: the sampler tries more where it went well, and the other dimensions differ "
        "from trial to trial."
    )


def alt(found: Depths) -> str:
    """The figure in words."""
    told = "; ".join(
        f"{d.depth} frozen: median {value_text(d.median, found.metric)} of "
        f"{count(len(d.trials), 'trial')}"
        for d in found.depths
    )
    return f"{plain(found.metric)} by freeze depth. {told}."
