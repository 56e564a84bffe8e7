"""Figures of the data: how the images of each part are spread over the classes."""

from typing import NamedTuple

import plotly.graph_objects as go

from tlsearch.report.context import SearchReport
from tlsearch.report.figures.style import BLUE, GREEN, ORANGE, canvas, label
from tlsearch.report.wording import Absent, percent

MAX_CLASSES = 30
"""Of more, the largest and the smallest are drawn: their names would not be read."""
_MARKS = (("circle", BLUE), ("square-open", ORANGE), ("x-thin-open", GREEN))


class ClassShare(NamedTuple):
    """A class and its share of each part, in the order of the parts."""

    name: str
    shares: tuple[float, ...]


class ClassShares(NamedTuple):
    """Classes by their images in all parts, the largest first; `parts` hold images.

    `imbalance` is, for each part, its largest class over its smallest; None where one is empty.
    `fold` says which fold's parts they are, "" where there are none.
    """

    parts: tuple[str, ...]
    rows: tuple[ClassShare, ...]
    num_classes: int
    imbalance: tuple[float | None, ...]
    fold: str

    @classmethod
    def compute(cls, data: SearchReport) -> "ClassShares | Absent":
        """Shares of the parts that hold images."""
        classes = data.images.classes
        totals = [sum(row.counts[i] for row in classes) for i in range(len(data.images.parts))]
        held = [i for i, total in enumerate(totals) if total]
        if not classes or not held:
            return Absent("The data have not been read yet: their classes are not known.")
        kept = sorted(classes, key=lambda row: -sum(row.counts))
        if len(kept) > MAX_CLASSES:
            kept = [*kept[: MAX_CLASSES // 2], *kept[-MAX_CLASSES // 2 :]]
        columns = ([row.counts[i] for row in classes] for i in held)
        return cls(
            parts=tuple(data.images.parts[i] for i in held),
            rows=tuple(
                ClassShare(r.name, tuple(r.counts[i] / totals[i] for i in held)) for r in kept
            ),
            num_classes=len(classes),
            imbalance=tuple(max(c) / min(c) if min(c) else None for c in columns),
            fold=data.images.fold,
        )

    def draw(self) -> go.Figure:
        """A line of marks for each class, the largest on top; parts differ in shape."""
        figure = canvas(x="share of the part's images", y="")
        places = list(range(len(self.rows)))
        for i, (part, (symbol, colour)) in enumerate(zip(self.parts, _MARKS, strict=False)):
            figure.add_scatter(
                x=[round(100 * row.shares[i], 3) for row in self.rows],
                y=places,
                text=[label(row.name) for row in self.rows],
                mode="markers",
                name=part,
                marker={
                    "symbol": symbol,
                    "color": colour,
                    "size": 9,
                    "line": {"color": colour, "width": 2},
                },
                hovertemplate=f"%{{text}}, {part}: %{{x:.1f}} %<extra></extra>",
            )
        names = [label(row.name, length=18) for row in self.rows]
        figure.update_xaxes(rangemode="tozero", ticksuffix=" %")
        return figure.update_yaxes(
            tickvals=places, ticktext=names, range=[len(places) - 0.4, -0.6], zeroline=False
        )

    @property
    def caption(self) -> str:
        ratios = ", ".join(
            f"{part} {'a class without images' if ratio is None else f'{ratio:.3g}'}"
            for part, ratio in zip(self.parts, self.imbalance, strict=True)
        )
        drawn = (
            f" Of {self.num_classes} classes the {MAX_CLASSES // 2} largest and the "
            f"{MAX_CLASSES // 2} smallest are drawn."
            if self.num_classes > len(self.rows)
            else ""
        )
        fold = f", {self.fold}" if self.fold else ""
        worst = max((r for r in self.imbalance if r is not None), default=1.0)
        even = (
            "The classes are about even."
            if worst < 2 and None not in self.imbalance
            else "The classes are uneven: an accuracy is mostly that of the large ones, so look at "
            "the scores per class too, and consider class_balance in the space."
        )
        return (
            f"Share of each class in each part{fold}. Largest class over smallest (1 is even): "
            f"{ratios}. {even}{drawn}"
        )

    @property
    def alt(self) -> str:
        ends = " and ".join(
            f"{row.name} ({', '.join(percent(share) for share in row.shares)})"
            for row in (self.rows[0], self.rows[-1])
        )
        parts = ", ".join(self.parts)
        return f"Shares of {self.num_classes} classes in {parts}; largest and smallest: {ends}."
