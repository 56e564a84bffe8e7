"""Where the workers' time went."""

from collections.abc import Iterable
from typing import NamedTuple

import plotly.graph_objects as go

from tlsearch.execution.runs import RunRow
from tlsearch.report.context import ReportData
from tlsearch.report.figures.canvas import BLUE, GREEN, GREY, PURPLE, canvas
from tlsearch.report.figures.clock import GROUPS, find_clock, group_of, unit
from tlsearch.report.wording import Absent, duration, percent

NOTHING = "no run"
_PARTS = {
    "steps": ("training steps", BLUE, ""),
    "validation": ("validation", GREEN, "/"),
    "epochs": ("training and validation", BLUE, "."),
    "around": ("around the epochs", PURPLE, "x"),
    "idle": ("waiting", GREY, "-"),
}


class Spent(NamedTuple):
    """Seconds of one group of runs, added over them. `epochs` are those of runs from before steps
    and validation were told apart; `idle` is of lanes that held no run while others did.
    """

    group: str
    steps: float
    validation: float
    epochs: float
    around: float
    idle: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return sum(self[1:])


class Spending(NamedTuple):
    """What each group took; the last is the time of lanes without a run."""

    groups: tuple[Spent, ...]

    @property
    def seconds(self) -> float:
        """The lanes' whole time, pauses cut out."""
        return sum(group.seconds for group in self.groups)

    def part(self, name: str) -> float:
        """One part over all groups."""
        return float(sum(getattr(group, name) for group in self.groups))


def compute(data: ReportData) -> Spending | Absent:
    """Every run that ended, and what is left of the time in which any ran."""
    clock = find_clock(data)
    if not clock.stretches or clock.seconds <= 0:
        return Absent("No run has ended yet.")
    spans = [(s.row, s.end - s.start) for s in clock.stretches]
    groups = [
        _spent(group, [(row, wall) for row, wall in spans if group_of(row) == group])
        for group in GROUPS
    ]
    idle = clock.num_lanes * clock.seconds - sum(wall for _, wall in spans)
    found = (*groups, Spent(NOTHING, 0.0, 0.0, 0.0, 0.0, max(0.0, idle)))
    return Spending(tuple(group for group in found if group.seconds > 0))


def _spent(group: str, spans: Iterable[tuple[RunRow, float]]) -> Spent:
    steps = validation = epochs = around = 0.0
    for row, wall in spans:
        # A run that went on after an interruption trained longer than its last part took.
        around += max(0.0, wall - row.seconds)
        if row.step_seconds is None:
            epochs += row.seconds
        else:
            stepped = min(row.step_seconds, row.seconds)
            steps, validation = steps + stepped, validation + row.seconds - stepped
    return Spent(group, steps, validation, epochs, around, 0.0)


def draw(found: Spending) -> go.Figure:
    """A bar for each group, its parts in colour and hatching."""
    name, scale = unit(max(group.seconds for group in found.groups))
    figure = canvas(x=f"{name}, added over workers", y="")
    groups = found.groups[::-1]
    ends = [0.0] * len(groups)
    for part, (told, colour, hatching) in _PARTS.items():
        if found.part(part):
            seconds = [getattr(group, part) for group in groups]
            figure.add_bar(
                orientation="h",
                base=[round(end / scale, 4) for end in ends],
                x=[round(s / scale, 4) for s in seconds],
                y=[group.group.removesuffix(" trials") for group in groups],
                customdata=[duration(s) for s in seconds],
                name=told,
                marker={
                    "color": colour,
                    "pattern": {"shape": hatching, "size": 6, "solidity": 0.25},
                },
                hovertemplate=f"%{{y}}, {told}: %{{customdata}}<extra></extra>",
            )
            ends = [end + s for end, s in zip(ends, seconds, strict=True)]
    figure.update_layout(
        barmode="overlay", legend_traceorder="normal", height=120 + 44 * len(groups)
    )
    figure.update_yaxes(type="category", showgrid=False)
    return figure


def caption(found: Spending) -> str:
    """What the parts hold, and what is not counted."""
    return (
        f"Of {duration(found.seconds)} of workers' time: {_shares(found)}. Around the epochs: "
        "building the network, reading activations and checkpoints, measuring and scoring. "
        "Waiting: a worker had no run while another did. Not counted, since it is not recorded: "
        "reading and checking the data, making a source model, scoring the test part at the end."
    )


def alt(found: Spending) -> str:
    """The figure in words."""
    told = "; ".join(f"{group.group} {duration(group.seconds)}" for group in found.groups)
    return f"Where the workers' time went: {told}. {_shares(found)}."


def _shares(found: Spending) -> str:
    return ", ".join(
        f"{told} {percent(found.part(part) / found.seconds)}"
        for part, (told, *_) in _PARTS.items()
        if found.part(part)
    )
