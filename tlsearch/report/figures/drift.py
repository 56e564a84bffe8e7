"""How far each layer group has moved from what it was pretrained to."""

from collections.abc import Mapping
from typing import NamedTuple

import plotly.graph_objects as go

from tlsearch.comparison.answers import ArmOverview, Estimate, Tables
from tlsearch.report.figures.canvas import label
from tlsearch.report.figures.panels import bars, height_of, look, panels, place_of
from tlsearch.report.verdict_text import arm_name
from tlsearch.report.wording import Absent

KINDS: Mapping[str, str] = {
    "cka_drift": "1 − linear CKA",
    "weight_drift": "relative distance of weights",
}
"""Measures of drift by what an axis calls them; the first that was taken is drawn."""
_TOLD: Mapping[str, str] = {
    "cka_drift": (
        "How far the features of held-out source images have moved from those of the pretrained "
        "network: 0 where nothing has changed, 1 where nothing is left (1 − linear CKA)."
    ),
    "weight_drift": (
        "How far weights have moved from the pretrained ones, relative to their size. No images of "
        "the source were at hand to tell how far features have."
    ),
}


class Curve(NamedTuple):
    """An arm's drift in one scenario: a layer group and its estimate, from the input on."""

    place: str
    arm: str
    groups: tuple[tuple[str, Estimate], ...]


class Drift(NamedTuple):
    """All drifts of one of the `KINDS`; `names` are those of arms for people."""

    kind: str
    arms: tuple[str, ...]
    places: tuple[str, ...]
    curves: tuple[Curve, ...]
    names: Mapping[str, str]

    @property
    def height(self) -> int:
        """Pixels."""
        return height_of(len(self.places))


def compute(tables: Tables) -> Drift | Absent:
    """Every arm whose models were measured by layer group."""
    for kind in KINDS:
        curves = tuple(
            Curve(place.scenario, arm.arm, groups)
            for place in tables.scenarios
            for arm in place.arms
            if (groups := _groups(arm, kind))
        )
        if curves:
            arms = tuple(dict.fromkeys(curve.arm for curve in curves))
            places = tuple(dict.fromkeys(curve.place for curve in curves))
            names = {arm: arm_name(arm, tables) for arm in arms}
            return Drift(kind, arms, places, curves, names)
    return Absent("The comparison measures no drift from the pretrained network, or not yet.")


def draw(found: Drift) -> go.Figure:
    """A panel for each scenario, a line for each arm, layer groups from the input to the head."""
    figure = panels(found.places, x="layer group", y=KINDS[found.kind])
    for curve in found.curves:
        row, column = place_of(found.places.index(curve.place))
        named = label(found.names[curve.arm])
        means = [one.mean for _, one in curve.groups]
        figure.add_scatter(
            x=[label(group) for group, _ in curve.groups],
            y=[round(mean, 5) for mean in means],
            error_y=bars(
                means, [one.low for _, one in curve.groups], [one.high for _, one in curve.groups]
            ),
            mode="lines+markers",
            name=named,
            legendgroup=curve.arm,
            showlegend=curve is next(c for c in found.curves if c.arm == curve.arm),
            hovertemplate=f"{named}, %{{x}}: %{{y:.3g}}<extra></extra>",
            row=row,
            col=column,
            **look(found.arms.index(curve.arm)),
        )
    figure.update_xaxes(type="category")
    figure.update_yaxes(rangemode="tozero")
    return figure


def caption(found: Drift) -> str:
    """What the reader sees."""
    marks = "Marks are means over seeds, bars their 95 % intervals; groups stand from the input on."
    return f"{_TOLD[found.kind]} {marks}"


def alt(found: Drift) -> str:
    """The figure in words."""
    told = "; ".join(
        f"{found.names[curve.arm]}, {curve.place}: "
        + ", ".join(f"{group} {one.mean:.3g}" for group, one in curve.groups)
        for curve in found.curves
    )
    return f"Drift from the pretrained network by layer group ({KINDS[found.kind]}). {told}."


def _groups(arm: ArmOverview, kind: str) -> tuple[tuple[str, Estimate], ...]:
    start = f"{kind}."
    return tuple(
        (name.removeprefix(start), one)
        for name, one in arm.measures.items()
        if name.startswith(start)
    )
