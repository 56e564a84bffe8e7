"""What the winner takes for what."""

from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from tlsearch.report.context import Evaluation, ReportData
from tlsearch.report.figures.canvas import canvas, label
from tlsearch.report.wording import Absent, count

MAX_CLASSES = 20
"""More cells hold no numbers and their axes no names: of more classes the worst are shown."""
MAX_NAME = 16
TOP = 5
_HITS = [[0, "rgba(59,130,196,0.05)"], [1, "rgba(59,130,196,0.75)"]]
_ERRORS = [[0, "rgba(217,115,13,0.10)"], [1, "rgba(217,115,13,0.85)"]]


class Confusion(NamedTuple):
    """Counts, row = true class, column = predicted class; the commonest mistakes first.

    `shown` are the classes of the drawn part, in their order: all, or those with most mistakes.
    """

    part: str
    model: str
    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    mistakes: tuple[tuple[str, str, int], ...]
    shown: tuple[int, ...]

    @property
    def num_images(self) -> int:
        """Images that were scored."""
        return sum(map(sum, self.counts))

    @property
    def num_right(self) -> int:
        """Images whose class was found."""
        return sum(row[i] for i, row in enumerate(self.counts))


def compute(data: ReportData) -> Confusion | Absent:
    """The counts of the evaluation and its commonest mistakes."""
    found = data.evaluation
    return found if isinstance(found, Absent) else counted(found)


def counted(found: Evaluation) -> Confusion:
    """The counts of one evaluation."""
    mistakes = [
        (found.classes[i], found.classes[j], number)
        for i, row in enumerate(found.confusion)
        for j, number in enumerate(row)
        if i != j and number
    ]
    mistakes.sort(key=lambda mistake: -mistake[2])
    return Confusion(
        part=found.part,
        model=found.model,
        classes=found.classes,
        counts=found.confusion,
        mistakes=tuple(mistakes[:TOP]),
        shown=_worst(found.confusion),
    )


def draw(found: Confusion) -> go.Figure:
    """Right answers in blue on the diagonal, mistakes in orange, each by the share of its row."""
    figure = canvas(x="predicted", y="true")
    counts = [[found.counts[i][j] for j in found.shown] for i in found.shown]
    totals = [max(1, sum(found.counts[i])) for i in found.shown]
    shares = [[n / total for n in row] for row, total in zip(counts, totals, strict=True)]
    hits = [[s if i == j else None for j, s in enumerate(row)] for i, row in enumerate(shares)]
    wrong = [[s if i != j and s else None for j, s in enumerate(r)] for i, r in enumerate(shares)]
    worst = max((s for row in wrong for s in row if s is not None), default=1.0)
    for values, colours, top in ((hits, _HITS, 1.0), (wrong, _ERRORS, worst)):
        figure.add_heatmap(
            z=values,
            text=_texts(counts, values),
            zmin=0,
            zmax=top,
            colorscale=colours,
            showscale=False,
            hoverongaps=False,
            texttemplate="%{text}",
            xgap=1,
            ygap=1,
            hovertemplate="true %{y}, predicted %{x}: %{text} (%{z:.1%})<extra></extra>",
        )
    names = [label(found.classes[i], length=MAX_NAME) for i in found.shown]
    ticks = {"tickvals": list(range(len(names))), "ticktext": names}
    figure.update_xaxes(ticks, showgrid=False, constrain="domain")
    figure.update_yaxes(ticks, showgrid=False, autorange="reversed", scaleanchor="x")
    figure.update_yaxes(constrain="domain")
    return figure


def caption(found: Confusion) -> str:
    """Whose counts these are, of what, and the commonest mistakes."""
    told = "; ".join(f"{a} taken for {b}, {count(n, 'time')}" for a, b, n in found.mistakes)
    part = (
        f" Of {len(found.classes)} classes the {len(found.shown)} with most mistakes are drawn."
        if len(found.shown) < len(found.classes)
        else ""
    )
    return (
        f"{found.num_right:,} of {found.num_images:,} {found.part} images right "
        f"({found.model}). Rows are true classes, columns what the model said; colours are shares "
        f"of a row. {f'Commonest mistakes: {told}.' if told else 'No mistakes.'}{part}"
    )


def alt(found: Confusion) -> str:
    """The figure in words."""
    return f"Confusion matrix of {len(found.classes)} classes. {caption(found)}"


def _texts(
    counts: Sequence[Sequence[int]], values: Sequence[Sequence[float | None]]
) -> list[list[str]]:
    """The counts of the cells that one of the two layers colours."""
    return [
        ["" if value is None else str(number) for number, value in zip(row, shown, strict=True)]
        for row, shown in zip(counts, values, strict=True)
    ]


def _worst(counts: Sequence[Sequence[int]]) -> tuple[int, ...]:
    mistakes = [
        sum(row) + sum(other[i] for other in counts) - 2 * row[i] for i, row in enumerate(counts)
    ]
    order = sorted(range(len(counts)), key=lambda i: (-mistakes[i], i))
    return tuple(sorted(order[:MAX_CLASSES]))
