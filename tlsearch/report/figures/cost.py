"""What a better value costs: trials and baselines by their training time, and the best at each."""

from math import log10
from typing import NamedTuple

import plotly.graph_objects as go

from tlsearch.report.context import ReportData
from tlsearch.report.figures.canvas import (
    BLUE,
    GREEN,
    ORANGE,
    canvas,
    hover_format,
    label,
    percent_axis,
    with_room,
)
from tlsearch.report.figures.scales import log_ticks
from tlsearch.report.figures.thinning import evenly, rounded
from tlsearch.report.figures.window import Window, window
from tlsearch.report.wording import Absent, count, duration, joined, plain, value_text

MAX_MARKS = 600


class Candidate(NamedTuple):
    """A training that was completed; `seconds` are of its epochs, over all folds."""

    name: str
    is_baseline: bool
    seconds: float
    value: float
    images: int


class Costs(NamedTuple):
    """Trials and baselines by cost; `front` are those that nothing cheaper reaches."""

    metric: str
    candidates: tuple[Candidate, ...]
    front: tuple[Candidate, ...]
    window: Window

    @property
    def num_trials(self) -> int:
        """Those that are trials."""
        return sum(not c.is_baseline for c in self.candidates)


def compute(data: ReportData) -> Costs | Absent:
    """The complete trials, and the baselines on the same split."""
    found = [
        Candidate(f"trial {r.number}", False, r.seconds, r.value, r.images_trained)
        for r in data.ranked
        if r.value is not None and r.seconds > 0
    ]
    if not found:
        return Absent("No trial has been completed yet.")
    names = {f"{name}-seed-0": plain(name) for name in data.config.baselines}
    baselines = [
        Candidate(names[r.run.key], True, r.seconds, r.value, r.images_trained)
        for r in data.fixed
        if r.run.key in names and r.value is not None and r.seconds > 0
    ]
    candidates = tuple(sorted([*found, *baselines], key=lambda c: c.seconds))
    shown = window(
        [c.value for c in found], beside=[c.value for c in baselines], maximise=data.maximise
    )
    return Costs(data.summary.metric, candidates, _front(candidates, maximise=data.maximise), shown)


def _front(candidates: tuple[Candidate, ...], *, maximise: bool) -> tuple[Candidate, ...]:
    """Each that is better than all that cost as little or less."""
    sign = 1 if maximise else -1
    front: list[Candidate] = []
    for one in sorted(candidates, key=lambda c: (c.seconds, -sign * c.value)):
        if not front or sign * one.value > sign * front[-1].value:
            front.append(one)
    return tuple(front)


def draw(found: Costs) -> go.Figure:
    """Seconds on their logarithm: a linear probe costs a fraction of the rest."""
    figure = canvas(x="seconds of training", y=plain(found.metric))
    shown = hover_format(found.metric)
    trials = [c for c in found.candidates if not c.is_baseline]
    baselines = [c for c in found.candidates if c.is_baseline]
    low, high = found.candidates[0].seconds, found.candidates[-1].seconds
    middle = (low * high) ** 0.5
    figure.add_scatter(
        x=[rounded(c.seconds) for c in found.front],
        y=[rounded(found.window.place(c.value)) for c in found.front],
        mode="lines",
        name="nothing cheaper is better",
        line={"color": ORANGE, "width": 2, "shape": "hv"},
        hoverinfo="skip",
    )
    for name, candidates, look in (
        ("trials", evenly(trials, MAX_MARKS), {"color": BLUE, "size": 7, "opacity": 0.7}),
        ("baselines", baselines, {"color": GREEN, "size": 12, "symbol": "diamond"}),
    ):
        figure.add_scatter(
            x=[rounded(c.seconds) for c in candidates],
            y=[rounded(found.window.place(c.value)) for c in candidates],
            customdata=[(label(c.name), duration(c.seconds), rounded(c.value)) for c in candidates],
            text=[label(c.name) for c in candidates] if candidates is baselines else None,
            textposition=[_beside(c, i, middle) for i, c in enumerate(candidates)],
            mode="markers+text" if candidates is baselines else "markers",
            name=name,
            marker=look,
            hovertemplate=(
                f"%{{customdata[0]}}: %{{customdata[1]}}, %{{customdata[2]:{shown}}}<extra></extra>"
            ),
        )
    named = log_ticks(low / 2, high * 2)
    figure.update_xaxes(
        type="log",
        range=with_room(log10(low), log10(high)),
        tickvals=named,
        ticktext=[f"{seconds:g}" for seconds in named],
    )
    figure.update_yaxes(percent_axis(found.metric), range=found.window.axis)
    return figure


def _beside(baseline: Candidate, i: int, middle: float) -> str:
    """Where a baseline's name stands: within the plot, of neighbours one above and one below."""
    side = "right" if baseline.seconds <= middle else "left"
    return f"{('top', 'bottom')[i % 2]} {side}"


def caption(found: Costs) -> str:
    """What the front is, and what the seconds depend on."""
    thinned = (
        f" {count(MAX_MARKS, 'trial')} of {found.num_trials:,} are drawn, evenly by their cost."
        if found.num_trials > MAX_MARKS
        else ""
    )
    return (
        "Complete trials and baselines by what their training took, on a logarithmic axis; the "
        f"line joins those that nothing cheaper reaches: {_told(found)}. Seconds depend on what "
        "else the machine did; groups frozen from the start are cheap, since their activations "
        "are reused. Trials beyond the axis stand at its edge, and the best of many trials is "
        f"partly luck.{thinned}"
    )


def alt(found: Costs) -> str:
    """The front in words."""
    return (
        f"{plain(found.metric)} against seconds of training of {count(found.num_trials, 'trial')}. "
        f"Nothing cheaper is better than: {_told(found)}."
    )


def _told(found: Costs) -> str:
    front = evenly(found.front, 6)
    return joined(
        [f"{c.name} ({c.seconds:.3g} s, {value_text(c.value, found.metric)})" for c in front]
    )
