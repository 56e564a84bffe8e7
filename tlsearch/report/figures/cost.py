"""What a better value costs, and where the workers' time went."""

from collections.abc import Sequence
from math import log10
from typing import NamedTuple

import plotly.graph_objects as go

from tlsearch.execution.runs import RunRow
from tlsearch.report.context import SearchReport
from tlsearch.report.figures.search import num_at_once
from tlsearch.report.figures.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    Window,
    canvas,
    evenly,
    hover_format,
    label,
    percent_axis,
    rounded,
    with_room,
)
from tlsearch.report.wording import Absent, count, duration, joined, percent, plain, value_text

MAX_MARKS = 600
PAUSE_SECONDS = 60.0
"""Nothing ran for longer: the study was stopped, or prepared. A guess."""
KINDS = (
    "complete trials",
    "pruned trials",
    "failed and diverged trials",
    "baselines",
    "confirmations",
)
_PARTS = {
    "steps": ("training steps", BLUE, ""),
    "validation": ("validation", GREEN, "/"),
    "epochs": ("training and validation", BLUE, "."),
    "around": ("around the epochs", PURPLE, "x"),
    "idle": ("waiting", GREY, "-"),
}


class Candidate(NamedTuple):
    """A training that was completed; `seconds` are of its epochs, over all folds."""

    name: str
    is_baseline: bool
    seconds: float
    value: float


class Costs(NamedTuple):
    """Trials and baselines by cost; `front` are those that nothing cheaper reaches."""

    metric: str
    candidates: tuple[Candidate, ...]
    front: tuple[Candidate, ...]
    window: Window

    @classmethod
    def compute(cls, data: SearchReport) -> "Costs | Absent":
        """The complete trials, and the baselines on their first split."""
        trials = [
            Candidate(f"trial {row.number}", False, row.seconds, row.value)
            for row in data.ranked
            if row.value is not None and row.seconds > 0
        ]
        if not trials:
            return Absent("No trial has been completed yet.")
        baselines = [
            Candidate(plain(name), True, row.seconds, row.value)
            for name, row in data.baselines.items()
            if row.value is not None and row.seconds > 0
        ]
        candidates = tuple(sorted([*trials, *baselines], key=lambda c: c.seconds))
        shown = Window.of(
            [c.value for c in trials], beside=[c.value for c in baselines], maximise=data.maximise
        )
        front = front_of(candidates, maximise=data.maximise)
        return cls(data.summary.metric, candidates, front, shown)

    @property
    def num_trials(self) -> int:
        """Candidates that are trials."""
        return sum(not c.is_baseline for c in self.candidates)

    def draw(self) -> go.Figure:
        """Seconds on their logarithm: a linear probe costs a fraction of the rest."""
        figure = canvas(x="seconds of training", y=plain(self.metric))
        baselines = [c for c in self.candidates if c.is_baseline]
        low, high = self.candidates[0].seconds, self.candidates[-1].seconds
        middle = (low * high) ** 0.5
        figure.add_scatter(
            x=[rounded(c.seconds) for c in self.front],
            y=[rounded(self.window.place(c.value)) for c in self.front],
            mode="lines",
            name="nothing cheaper is better",
            line={"color": ORANGE, "width": 2, "shape": "hv"},
            hoverinfo="skip",
        )
        trials = evenly([c for c in self.candidates if not c.is_baseline], MAX_MARKS)
        for name, candidates, look in (
            ("trials", trials, {"color": BLUE, "size": 7, "opacity": 0.7}),
            ("baselines", baselines, {"color": GREEN, "size": 12, "symbol": "diamond"}),
        ):
            is_named = name == "baselines"
            shown = hover_format(self.metric)
            figure.add_scatter(
                x=[rounded(c.seconds) for c in candidates],
                y=[rounded(self.window.place(c.value)) for c in candidates],
                customdata=[
                    (label(c.name), duration(c.seconds), rounded(c.value)) for c in candidates
                ],
                text=[label(c.name) for c in candidates] if is_named else None,
                # Within the plot; of neighbours one name stands above and one below.
                textposition=[
                    f"{('top', 'bottom')[i % 2]} {'right' if c.seconds <= middle else 'left'}"
                    for i, c in enumerate(candidates)
                ],
                mode="markers+text" if is_named else "markers",
                name=name,
                marker=look,
                hovertemplate=(
                    "%{customdata[0]}: %{customdata[1]}, "
                    f"%{{customdata[2]:{shown}}}<extra></extra>"
                ),
            )
        figure.update_xaxes(
            type="log", range=with_room(log10(low), log10(high)), dtick="D2", exponentformat="none"
        )
        return figure.update_yaxes(percent_axis(self.metric), range=self.window.axis)

    @property
    def caption(self) -> str:
        """What the front is, and what the seconds depend on."""
        thinned = (
            f" {count(MAX_MARKS, 'trial')} of {self.num_trials:,} are drawn, evenly by their cost."
            if self.num_trials > MAX_MARKS
            else ""
        )
        return (
            "Complete trials and baselines by what their training took, on a logarithmic axis; the "
            f"line joins those that nothing cheaper reaches: {self._text}. Seconds depend on what "
            "else the machine did; groups frozen from the start are cheap, since their activations "
            "are reused. Trials beyond the axis stand at its edge, and the best of many trials is "
            f"partly luck.{thinned}"
        )

    @property
    def alt(self) -> str:
        return (
            f"{plain(self.metric)} against seconds of training of "
            f"{count(self.num_trials, 'trial')}. Nothing cheaper is better than: {self._text}."
        )

    @property
    def _text(self) -> str:
        return joined(
            [
                f"{c.name} ({c.seconds:.3g} s, {value_text(c.value, self.metric)})"
                for c in evenly(self.front, 6)
            ]
        )


def front_of(candidates: Sequence[Candidate], *, maximise: bool) -> tuple[Candidate, ...]:
    """Each that is better than all that cost as little or less."""
    sign = 1 if maximise else -1
    front: list[Candidate] = []
    for one in sorted(candidates, key=lambda c: (c.seconds, -sign * c.value)):
        if not front or sign * one.value > sign * front[-1].value:
            front.append(one)
    return tuple(front)


class Spent(NamedTuple):
    """Seconds of one kind of runs, added over them. `epochs` are those of runs whose records do
    not hold steps and validation apart; `idle` is of workers without a run while others had one.
    """

    kind: str
    steps: float = 0.0
    validation: float = 0.0
    epochs: float = 0.0
    around: float = 0.0
    idle: float = 0.0

    @property
    def seconds(self) -> float:
        """All of it."""
        return sum(self[1:])


class Spending(NamedTuple):
    """What each kind of runs took; the last is the time without a run."""

    kinds: tuple[Spent, ...]

    @classmethod
    def compute(cls, data: SearchReport) -> "Spending | Absent":
        """Every run that ended, and what is left of the time in which any ran."""
        rows = [row for row in data.summary.rows if row.started and row.ended]
        busy = sum(_wall(row) for row in rows)
        if busy <= 0:
            return Absent("No run has ended yet.")
        kinds = [_spent(kind, [row for row in rows if kind_of(row) == kind]) for kind in KINDS]
        workers = num_at_once([(row.started, row.ended) for row in rows])
        idle = workers * seconds_without_pauses(rows) - busy
        found = (*kinds, Spent("no run", idle=max(0.0, idle)))
        return cls(tuple(kind for kind in found if kind.seconds > 0))

    @property
    def seconds(self) -> float:
        """The workers' whole time, pauses cut out."""
        return sum(kind.seconds for kind in self.kinds)

    def part(self, name: str) -> float:
        """One part over all kinds."""
        return float(sum(getattr(kind, name) for kind in self.kinds))

    def draw(self) -> go.Figure:
        """A bar for each kind, its parts in colour and hatching."""
        longest = max(kind.seconds for kind in self.kinds)
        units = (("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))
        name, scale = next(u for u in units if longest >= 2 * u[1] or u[1] == 1)
        figure = canvas(x=f"{name}, added over workers", y="")
        kinds = self.kinds[::-1]
        for part, (text, colour, hatching) in _PARTS.items():
            if self.part(part):
                seconds = [getattr(kind, part) for kind in kinds]
                figure.add_bar(
                    orientation="h",
                    x=[round(s / scale, 4) for s in seconds],
                    y=[kind.kind.removesuffix(" trials") for kind in kinds],
                    customdata=[duration(s) for s in seconds],
                    name=text,
                    marker={
                        "color": colour,
                        "pattern": {"shape": hatching, "size": 6, "solidity": 0.25},
                    },
                    hovertemplate=f"%{{y}}, {text}: %{{customdata}}<extra></extra>",
                )
        figure.update_layout(
            barmode="stack", legend_traceorder="normal", height=120 + 44 * len(kinds)
        )
        return figure.update_yaxes(type="category", showgrid=False)

    @property
    def caption(self) -> str:
        """What the parts hold, and what is not counted."""
        return (
            f"Of {duration(self.seconds)} of workers' time: {self._shares}. Around the epochs: "
            "building the network, reading activations and checkpoints, measuring and scoring. "
            "Waiting: a worker had no run while another did; pauses of over a minute in which "
            "nothing ran are left out. Not counted, since it is not recorded: reading and checking "
            "the data, making a source model, scoring the test part at the end."
        )

    @property
    def alt(self) -> str:
        kinds = "; ".join(f"{kind.kind} {duration(kind.seconds)}" for kind in self.kinds)
        return f"Where the workers' time went: {kinds}. {self._shares}."

    @property
    def _shares(self) -> str:
        return ", ".join(
            f"{text} {percent(self.part(part) / self.seconds)}"
            for part, (text, *_) in _PARTS.items()
            if self.part(part)
        )


def kind_of(row: RunRow) -> str:
    """Which of `KINDS` a run belongs to."""
    if row.run.role != "trial":
        return "baselines" if row.run.role == "baseline" else "confirmations"
    state = row.state if row.state in ("complete", "pruned") else "failed and diverged"
    return f"{state} trials"


def seconds_without_pauses(rows: Sequence[RunRow]) -> float:
    """From the first beginning to the last end, less the pauses in which nothing ran."""
    ordered = sorted(rows, key=lambda row: row.started)
    seconds, until = 0.0, ordered[0].started
    for row in ordered:
        gap = (row.started - until).total_seconds()
        if 0 < gap <= PAUSE_SECONDS:
            seconds += gap
        until, begin = max(until, row.ended), max(until, row.started)
        seconds += (until - min(begin, until)).total_seconds()
    return seconds


def _wall(row: RunRow) -> float:
    return float((row.ended - row.started).total_seconds())


def _spent(kind: str, rows: Sequence[RunRow]) -> Spent:
    steps = validation = epochs = around = 0.0
    for row in rows:
        # A run that went on after an interruption trained longer than its last part took.
        around += max(0.0, _wall(row) - row.seconds)
        if row.step_seconds is None:
            epochs += row.seconds
        else:
            stepped = min(row.step_seconds, row.seconds)
            steps, validation = steps + stepped, validation + row.seconds - stepped
    return Spent(kind, steps, validation, epochs, around)
