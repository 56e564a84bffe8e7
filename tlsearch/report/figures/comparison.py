"""Figures that compare: the winner with baselines; arms by gains and estimates in bands, by rates
and drifts in panels.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from tlsearch.comparison.answers import Estimate, Forecast, SweepPoint
from tlsearch.report.answer import Gain
from tlsearch.report.comparison import ComparisonReport
from tlsearch.report.context import SearchReport
from tlsearch.report.figures.style import (
    BLUE,
    DASHES,
    GREY,
    SERIES,
    SYMBOLS,
    canvas,
    dress,
    intervals,
    label,
    rounded,
)
from tlsearch.report.wording import (
    Absent,
    count,
    difference_text,
    percent,
    points,
    setting_text,
)

POOLED = "all scenarios"
NORM = "early_gradient_norm"
RATE = "lr"
DRIFTS = {
    "cka_drift": (
        "1 − linear CKA",
        "How far the features of held-out source images have moved from those of the pretrained "
        "network: 0 where nothing has changed, 1 where nothing is left (1 − linear CKA).",
    ),
    "weight_drift": (
        "relative distance of weights",
        "How far weights have moved from the pretrained ones, relative to their size. No images of "
        "the source were at hand to measure how far features have.",
    ),
}
"""Measures of drift: what the axis calls them, and what they mean; the first one known is drawn."""
_COLUMNS, _PANEL_PIXELS, _HEAD_PIXELS = 2, 230, 100


class Mark(NamedTuple):
    """A mean with its interval of one arm in one scenario, and both in words."""

    place: str
    arm: str
    mean: float
    low: float | None
    high: float | None
    text: str


@dataclass(frozen=True)
class _Marks:
    """What most figures show: arms by their names for people, in the order of the study.

    `study` holds all of its arms, so that each keeps its colour and its symbol in every figure.
    """

    marks: tuple[Mark, ...]
    study: tuple[str, ...]

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms that are drawn."""
        return _different(mark.arm for mark in self.marks)

    @property
    def places(self) -> tuple[str, ...]:
        """The scenarios that are drawn."""
        return _different(mark.place for mark in self.marks)

    @property
    def text(self) -> str:
        """All marks in words, by arm and scenario."""
        texts: dict[tuple[str, str], list[str]] = {}
        for mark in self.marks:
            texts.setdefault((mark.arm, mark.place), []).append(mark.text)
        return "; ".join(
            f"{arm}, {place}: {', '.join(found)}" for (arm, place), found in texts.items()
        )


def _different(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def look(arm: str, arms: Sequence[str]) -> dict[str, str]:
    """The colour and the symbol of an arm's marks, the same in every figure."""
    i = arms.index(arm)
    return {"color": SERIES[i % len(SERIES)], "symbol": SYMBOLS[i % len(SYMBOLS)]}


# The winner of a search and its baselines.


class Gains(NamedTuple):
    """Gains on the test part with their intervals, in the order of the baselines."""

    gains: tuple[Gain, ...]

    @classmethod
    def compute(cls, data: SearchReport) -> "Gains | Absent":
        """The gains, once the test part was scored."""
        gains = data.answer.gains
        return cls(gains) if gains else Absent("The test part has not been scored yet.")

    def draw(self) -> go.Figure:
        """A mark and its interval for each baseline, with a line at no gain."""
        gains, metric = self.gains[::-1], self.gains[0].metric
        unit, named = (100, "points of ") if metric.is_share else (1, "")
        figure = canvas(x=f"gain in {named}test {metric.label}", y="")
        means, lows, highs = (
            [unit * getattr(g.gain, end) for g in gains] for end in ("mean", "low", "high")
        )
        figure.add_scatter(
            x=means,
            y=[f"over {label(g.baseline, length=40)}" for g in gains],
            error_x=intervals(means, lows, highs),
            customdata=[difference_text(g.gain, metric) for g in gains],
            mode="markers",
            marker={"color": BLUE, "size": 11},
            showlegend=False,
            hovertemplate="%{y}: %{customdata}<extra></extra>",
        )
        figure.add_vline(x=0, line={"color": GREY, "width": 1.5, "dash": "dash"})
        return figure.update_yaxes(type="category", range=[-0.6, len(gains) - 0.4])

    @property
    def caption(self) -> str:
        return (
            "Marks are means, bars 95 % intervals; a bar that crosses the dashed line proves no "
            "gain."
        )

    @property
    def alt(self) -> str:
        metric = self.gains[0].metric
        text = "; ".join(
            f"over {g.baseline} {difference_text(g.gain, metric)}, {g.verdict}" for g in self.gains
        )
        return f"Gain of the winner in test {metric.label}: {text}."


# A band for each scenario, in it a line for each arm.


def _height_of_bands(num_bands: int, num_lines: int) -> int:
    """Pixels that leave each mark a line of its own."""
    return 110 + 18 * max(num_lines + 1, 2) * num_bands


def _line(place: str, arm: str, places: Sequence[str], arms: Sequence[str]) -> float:
    """Where a line lies on the axis; the first band is the topmost."""
    return 0.4 - places.index(place) - 0.8 / len(arms) * (arms.index(arm) + 0.5)


def _draw_bands(figure: go.Figure, places: Sequence[str], arms: Sequence[str]) -> go.Figure:
    """Name the bands at the axis, and draw what parts them."""
    for band in range(1, len(places)):
        figure.add_hline(y=0.5 - band, line={"color": GREY, "width": 0.5})
    figure.update_yaxes(
        tickvals=[-band for band in range(len(places))],
        ticktext=[label(name, length=28) for name in places],
        range=[0.5 - len(places), 0.5],
        showgrid=False,
    )
    return figure.update_layout(height=_height_of_bands(len(places), len(arms)))


@dataclass(frozen=True)
class _Bands(_Marks):
    """Marks with intervals, in a band for each scenario."""

    def _drawn(self, x: str) -> go.Figure:
        figure = canvas(x=x, y="")
        for arm in self.arms:
            marks = [mark for mark in self.marks if mark.arm == arm]
            means = [rounded(mark.mean) for mark in marks]
            figure.add_scatter(
                x=means,
                y=[_line(mark.place, arm, self.places, self.arms) for mark in marks],
                error_x=intervals(means, [m.low for m in marks], [m.high for m in marks]),
                customdata=[(label(mark.place), mark.text) for mark in marks],
                mode="markers",
                name=label(arm),
                marker={
                    **look(arm, self.study),
                    "size": [14 if mark.place == POOLED else 9 for mark in marks],
                    # Marks of several sizes would be taken for bubbles, see-through and ringed.
                    "opacity": 1,
                    "line": {"width": 0},
                },
                hovertemplate=(
                    f"{label(arm)}, %{{customdata[0]}}: %{{customdata[1]}}<extra></extra>"
                ),
            )
        return _draw_bands(figure, self.places, self.arms)


@dataclass(frozen=True)
class Forest(_Bands):
    """Gains in test accuracy over `reference` in points; the pooled ones come first."""

    reference: str

    @classmethod
    def compute(cls, report: ComparisonReport) -> "Forest | Absent":
        """All gains that were measured."""
        places = report.tables.scenarios
        gains = [(POOLED, gain) for gain in report.tables.gains if len(places) > 1]
        gains += [(s.scenario, arm.gain) for s in places for arm in s.arms if arm.gain]
        if not gains:
            return Absent("No two arms have been scored on the same test images.")
        marks = tuple(
            Mark(
                place,
                report.arm_name(gain.arm),
                *(100 * gain.mean, 100 * gain.low, 100 * gain.high),
                f"{points(gain.mean)} points ({points(gain.low)} to {points(gain.high)})",
            )
            for place, gain in gains
        )
        return cls(marks, report.arms, report.reference)

    def draw(self) -> go.Figure:
        """A dashed line at no gain."""
        figure = self._drawn(f"points over {label(self.reference)}")
        return figure.add_vline(x=0, line={"color": GREY, "width": 1.5, "dash": "dash"})

    @property
    def caption(self) -> str:
        pooled = " Large marks are means over all scenarios." if POOLED in self.places else ""
        return (
            "How much more of the test images each arm classifies correctly than "
            f"{self.reference}: marks are means, bars 95 % intervals, each for "
            f"itself.{pooled} A bar that crosses the dashed line proves no difference; verdicts "
            "are in the tables."
        )

    @property
    def alt(self) -> str:
        return f"Gains in test accuracy over {self.reference}. {self.text}."


@dataclass(frozen=True)
class FirstSteps(_Bands):
    """Largest gradient norms in the first tenth of the steps, where training breaks down if it
    does.
    """

    @classmethod
    def compute(cls, report: ComparisonReport) -> "FirstSteps | Absent":
        """Every arm whose gradients were measured."""
        marks = tuple(
            Mark(place.scenario, report.arm_name(arm.arm), *_ends(norm), _estimate_text(norm))
            for place in report.tables.scenarios
            for arm in place.arms
            if (norm := arm.measures.get(NORM))
        )
        if not marks:
            return Absent(
                "The comparison does not measure gradients in the first steps, or not yet."
            )
        return cls(marks, report.arms)

    def draw(self) -> go.Figure:
        """Norms on a logarithmic axis."""
        return self._drawn("largest gradient norm").update_xaxes(type="log")

    @property
    def caption(self) -> str:
        return (
            "The largest norm of a gradient in the first tenth of the steps, where gradients may "
            "explode: marks are geometric means over seeds, bars their 95 % intervals."
        )

    @property
    def alt(self) -> str:
        return f"Largest gradient norm in the first tenth of the steps. {self.text}."


def _ends(found: Estimate) -> tuple[float, float | None, float | None]:
    return found.mean, found.low, found.high


def _estimate_text(found: Estimate) -> str:
    if found.low is None or found.high is None:
        return f"{found.mean:.3g}"
    return f"{found.mean:.3g} ({found.low:.3g} to {found.high:.3g})"


class Expectation(NamedTuple):
    """An arm in one scenario."""

    place: str
    arm: str
    found: Forecast


class Expectations(NamedTuple):
    """What each split makes one expect, beside the accuracy on later images."""

    lines: tuple[Expectation, ...]

    @classmethod
    def compute(cls, report: ComparisonReport) -> "Expectations | Absent":
        """All arms that have both figures."""
        lines = tuple(
            Expectation(place.scenario, report.arm_name(arm.arm), arm.foretelling)
            for place in report.tables.scenarios
            for arm in place.arms
            if arm.foretelling
        )
        if not lines:
            return Absent("No split's estimate has been compared with later images yet.")
        return cls(lines)

    def draw(self) -> go.Figure:
        """An open mark at the estimate and a full one at the later accuracy, joined by a line."""
        figure = canvas(x="accuracy in per cent", y="")
        arms = _different(line.arm for line in self.lines)
        places = _different(line.place for line in self.lines)
        for arm in arms:
            lines = [line for line in self.lines if line.arm == arm]
            colour, shape = look(arm, arms).values()
            ends = [(line.found.later_accuracy, line.found.estimate, None) for line in lines]
            figure.add_scatter(
                x=[None if share is None else 100 * share for pair in ends for share in pair],
                y=[_line(line.place, arm, places, arms) for line in lines for _ in range(3)],
                text=[label(line.place) for line in lines for _ in range(3)],
                mode="lines+markers",
                name=label(arm),
                line={"color": colour, "width": 2},
                marker={"size": 10, "symbol": [shape, f"{shape}-open", shape] * len(lines)},
                hovertemplate=f"{label(arm)}, %{{text}}: %{{x:.1f}} %<extra></extra>",
            )
        return _draw_bands(figure, places, arms)

    @property
    def caption(self) -> str:
        return (
            "Open marks are the estimates on the splits' own test parts, full marks the accuracies "
            "on later images; both are means over redraws. An open mark to the right of its full "
            "one is too optimistic; intervals stand in the tables."
        )

    @property
    def alt(self) -> str:
        text = "; ".join(
            f"{line.arm}, {line.place}: estimate {percent(line.found.estimate)}, "
            f"later {percent(line.found.later_accuracy)}"
            for line in self.lines
        )
        return f"Estimated and later accuracy. {text}."


# A panel for each scenario, in it a curve for each arm.


@dataclass(frozen=True)
class _Panels(_Marks):
    """Curves as marks over `settings`: a rate, or a layer group, for each mark."""

    settings: tuple[Any, ...]

    def _drawn(self, *, x: str, y: str) -> go.Figure:
        figure, shown = _panels(self.places, x=x, y=y), set()
        for place in self.places:
            for arm in self.arms:
                kept = [
                    (mark, setting)
                    for mark, setting in zip(self.marks, self.settings, strict=True)
                    if (mark.place, mark.arm) == (place, arm)
                ]
                if not kept:
                    continue
                means = [rounded(mark.mean) for mark, _ in kept]
                shown_as, dashes = look(arm, self.study), ("solid", *DASHES)
                dash = dashes[self.study.index(arm) % len(dashes)]
                figure.add_scatter(
                    x=[setting for _, setting in kept],
                    y=means,
                    error_y=intervals(means, [m.low for m, _ in kept], [m.high for m, _ in kept]),
                    customdata=[mark.text for mark, _ in kept],
                    mode="lines+markers",
                    name=label(arm),
                    legendgroup=arm,
                    showlegend=arm not in shown,
                    line={"color": shown_as["color"], "width": 2, "dash": dash},
                    marker={**shown_as, "size": 7},
                    hovertemplate=f"{label(arm)}: %{{customdata}}<extra></extra>",
                    row=self.places.index(place) // _COLUMNS + 1,
                    col=self.places.index(place) % _COLUMNS + 1,
                )
                shown.add(arm)
        return figure


def _panels(names: Sequence[str], *, x: str, y: str) -> go.Figure:
    """Empty panels with the names of scenarios above them, two in a row, all of one range."""
    columns = min(_COLUMNS, max(len(names), 1))
    rows = -(-len(names) // columns)
    height = _HEAD_PIXELS + _PANEL_PIXELS * rows
    figure = make_subplots(
        rows=rows,
        cols=columns,
        shared_xaxes="all",
        shared_yaxes="all",
        subplot_titles=[label(name, length=28) for name in names],
        horizontal_spacing=0.04,
        vertical_spacing=46 / height,
    )
    dress(figure, x="", y="")
    figure.update_annotations(font={"size": 13})
    for i in range(len(names)):
        row, column = i // columns + 1, i % columns + 1
        if i + columns >= len(names):
            figure.update_xaxes(title={"text": x}, showticklabels=True, row=row, col=column)
        if column == 1:
            figure.update_yaxes(title={"text": y}, row=row, col=column)
    # Legends above panels would lie upon the first one's title.
    return figure.update_layout(legend={"y": 1 + 34 / height}, margin={"t": 64}, height=height)


@dataclass(frozen=True)
class Sensitivity(_Panels):
    """Test accuracy in per cent of each arm's configuration at many learning rates."""

    @classmethod
    def compute(cls, report: ComparisonReport) -> "Sensitivity | Absent":
        """All sweeps over the rate that have been scored at two rates or more."""
        marks, rates = [], []
        for place in report.tables.scenarios:
            for sweep in place.sweeps:
                scored = [p for p in sweep.points if p.accuracy is not None]
                if sweep.dimension != RATE or len(scored) < 2:
                    continue
                name = report.arm_name(sweep.arm)
                marks += [Mark(place.scenario, name, *_shares(p), _point_text(p)) for p in scored]
                rates += [p.setting for p in scored]
        if not marks:
            return Absent("The comparison sweeps no arm over the learning rate, or not yet.")
        return cls(tuple(marks), report.arms, tuple(rates))

    def draw(self) -> go.Figure:
        """Rates on a logarithmic axis."""
        figure = self._drawn(x="learning rate", y="test accuracy in per cent")
        return figure.update_xaxes(type="log", exponentformat="power", dtick=1)

    @property
    def caption(self) -> str:
        return (
            "The configuration that tuning chose for each arm, trained again at each of these "
            "learning rates: marks are mean test accuracies, bars 95 % intervals. A run that "
            "diverged counts as 0 %. The wider the top of a curve, the less the rate has to be "
            "right."
        )

    @property
    def alt(self) -> str:
        return f"Test accuracy by learning rate. {self.text}."


def _shares(point: SweepPoint) -> tuple[float, float | None, float | None]:
    """Accuracy and its interval in per cent."""
    assert point.accuracy is not None
    low, high = (None if end is None else 100 * end for end in (point.low, point.high))
    return 100 * point.accuracy, low, high


def _point_text(point: SweepPoint) -> str:
    """A point in words: `75.3 % at 0.01`, with what diverged."""
    assert point.accuracy is not None
    lost = ""
    if point.diverged:
        lost = f" ({point.diverged} of {count(point.seeds, 'run')} diverged)"
    return f"{percent(point.accuracy)} at {setting_text(point.setting)}{lost}"


@dataclass(frozen=True)
class Drift(_Panels):
    """How far each layer group has moved from its pretrained state, by one of `DRIFTS`."""

    kind: str

    @classmethod
    def compute(cls, report: ComparisonReport) -> "Drift | Absent":
        """Every arm whose models were measured by layer group, from the input on."""
        for kind in DRIFTS:
            found = [
                (place.scenario, arm.arm, name.removeprefix(f"{kind}."), one)
                for place in report.tables.scenarios
                for arm in place.arms
                for name, one in arm.measures.items()
                if name.startswith(f"{kind}.")
            ]
            if found:
                marks = tuple(
                    Mark(place, report.arm_name(arm), *_ends(one), f"{group} {one.mean:.3g}")
                    for place, arm, group, one in found
                )
                groups = tuple(label(group) for _, _, group, _ in found)
                return cls(marks, report.arms, groups, kind)
        return Absent("The comparison measures no drift from the pretrained network, or not yet.")

    def draw(self) -> go.Figure:
        """Layer groups from the input to the head."""
        figure = self._drawn(x="layer group", y=DRIFTS[self.kind][0])
        figure.update_xaxes(type="category")
        return figure.update_yaxes(rangemode="tozero")

    @property
    def caption(self) -> str:
        return (
            f"{DRIFTS[self.kind][1]} Marks are means over seeds, bars their 95 % intervals; groups "
            "stand from the input on."
        )

    @property
    def alt(self) -> str:
        name = DRIFTS[self.kind][0]
        return f"Drift from the pretrained network by layer group ({name}). {self.text}."
