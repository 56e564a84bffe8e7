"""Which runs ran when, side by side."""

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

import plotly.graph_objects as go

from tlsearch.report.context import ReportData
from tlsearch.report.figures.canvas import BLUE, GREEN, GREY, ORANGE, RED, canvas, label
from tlsearch.report.figures.clock import GROUPS, Clock, find_clock, group_of, unit
from tlsearch.report.wording import Absent, count, duration

MAX_BARS = 600
_STYLES = {
    "complete trials": (BLUE, ""),
    "pruned trials": (GREY, "/"),
    "failed and diverged trials": (RED, "x"),
    "baselines": (ORANGE, "-"),
    "confirmations": (GREEN, "."),
}
_MAX_NAMED = 6
"""More pauses are lines without words."""


class Bar(NamedTuple):
    """A run in its lane, in seconds."""

    name: str
    group: str
    lane: int
    start: float
    end: float


class Timeline(NamedTuple):
    """The latest runs, `earlier` of them not shown; `share` of the lanes' time was used."""

    bars: tuple[Bar, ...]
    pauses: tuple[tuple[float, float], ...]
    num_lanes: int
    earlier: int
    seconds: float
    share: float


def compute(data: ReportData) -> Timeline | Absent:
    """Every run that ended, trials, baselines and confirmations alike."""
    clock = find_clock(data)
    if not clock.stretches or clock.seconds <= 0:
        return Absent("No run has ended yet.")
    shown = clock.stretches[-MAX_BARS:]
    begin = min(stretch.start for stretch in shown)
    return Timeline(
        bars=tuple(Bar(s.row.run.label, group_of(s.row), s.lane, s.start, s.end) for s in shown),
        pauses=tuple(pause for pause in clock.pauses if pause[0] > begin),
        num_lanes=clock.num_lanes,
        earlier=len(clock.stretches) - len(shown),
        seconds=clock.seconds,
        share=_used(clock),
    )


def _used(clock: Clock) -> float:
    busy = sum(stretch.end - stretch.start for stretch in clock.stretches)
    return busy / (clock.num_lanes * clock.seconds)


def draw(found: Timeline) -> go.Figure:
    """Bars in lanes; kinds differ in colour and hatching."""
    name, scale = unit(found.seconds)
    figure = canvas(x=f"{name} since the first run", y="")
    for group in GROUPS:
        bars = [bar for bar in found.bars if bar.group == group]
        if bars:
            figure.add_bar(
                orientation="h",
                base=[round(bar.start / scale, 4) for bar in bars],
                x=[round((bar.end - bar.start) / scale, 4) for bar in bars],
                y=[bar.lane + 1 for bar in bars],
                customdata=[(label(bar.name), duration(bar.end - bar.start)) for bar in bars],
                name=group,
                width=0.8,
                marker=_look(group),
                hovertemplate="%{customdata[0]}: %{customdata[1]}<extra></extra>",
            )
    for at, seconds in found.pauses:
        figure.add_vline(x=at / scale, line={"color": GREY, "width": 1.5, "dash": "dash"})
        if len(found.pauses) <= _MAX_NAMED:
            figure.add_annotation(
                x=at / scale, y=0, yref="paper", yanchor="bottom", showarrow=False,
                text=f"pause, {duration(seconds)}", font={"size": 11}, textangle=-90, xshift=-8,
            )  # fmt: skip
    figure.update_layout(barmode="overlay", height=150 + _lane(found) * found.num_lanes)
    lanes = range(1, found.num_lanes + 1, ceil(found.num_lanes / 8))
    figure.update_yaxes(
        range=[found.num_lanes + 0.5, 0.5],
        tickvals=list(lanes),
        ticktext=[f"lane {lane}" for lane in lanes],
        showgrid=False,
    )  # fmt: skip
    return figure


def _look(group: str) -> dict[str, object]:
    colour, hatching = _STYLES[group]
    return {
        "color": colour,
        "line": {"width": 0.5, "color": "rgba(128,128,128,0.6)"},
        "pattern": {"shape": hatching, "size": 6, "solidity": 0.25},
    }


def _lane(found: Timeline) -> int:
    return max(14, min(44, 600 // found.num_lanes))


def caption(found: Timeline) -> str:
    """How much of the time was used, and what a lane is."""
    earlier = f" {count(found.earlier, 'earlier run')} are not shown." if found.earlier else ""
    pauses = (
        f" {count(len(found.pauses), 'pause')} in which nothing ran for more than a minute "
        f"({duration(sum(s for _, s in found.pauses))} together) "
        f"{'is' if len(found.pauses) == 1 else 'are'} cut out at the dashed lines."
        if found.pauses
        else ""
    )
    return (
        f"Every bar is a run; {_lanes(found)} in {duration(found.seconds)}, and "
        f"{100 * found.share:.0f} % of that room was used. A lane is a place for one run at a "
        "time, as a worker is; which worker it was is not recorded. Of a run that was interrupted, "
        f"the last part is shown.{pauses}{earlier}"
    )


def alt(found: Timeline) -> str:
    """The figure in words."""
    told = ", ".join(_told(group, found.bars) for group in GROUPS if _of(group, found.bars))
    return f"Timeline of {count(len(found.bars), 'run')}, {_lanes(found)}: {told}."


def _lanes(found: Timeline) -> str:
    return f"up to {found.num_lanes} side by side" if found.num_lanes > 1 else "one at a time"


def _of(group: str, bars: Sequence[Bar]) -> list[Bar]:
    return [bar for bar in bars if bar.group == group]


def _told(group: str, bars: Sequence[Bar]) -> str:
    found = _of(group, bars)
    return f"{len(found)} {group}, {duration(sum(bar.end - bar.start for bar in found))}"
