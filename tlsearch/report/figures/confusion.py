"""What the winner takes for what."""

from typing import NamedTuple

import plotly.graph_objects as go

from tlsearch.report.absent import Absent
from tlsearch.report.figures.canvas import canvas, label
from tlsearch.report.rows import ReportData
from tlsearch.report.wording import count

MAX_WRITTEN = 20
"""With more classes the numbers do not fit their cells."""
MAX_TICKS = 40
TOP = 5
_HITS = [[0, "rgba(59,130,196,0.05)"], [1, "rgba(59,130,196,0.75)"]]
_ERRORS = [[0, "rgba(217,115,13,0.10)"], [1, "rgba(217,115,13,0.85)"]]


class Confusion(NamedTuple):
    """Counts, row = true class, column = predicted class; the commonest mistakes first."""

    part: str
    model: str
    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    mistakes: tuple[tuple[str, str, int], ...]

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
    if isinstance(found, Absent):
        return found
    mistakes = [
        (found.classes[i], found.classes[j], number)
        for i, row in enumerate(found.confusion)
        for j, number in enumerate(row)
        if i != j and number
    ]
    mistakes.sort(key=lambda mistake: -mistake[2])
    top = tuple(mistakes[:TOP])
    return Confusion(found.part, found.model, found.classes, found.confusion, top)


def draw(found: Confusion) -> go.Figure:
    """Right answers in blue on the diagonal, mistakes in orange, each by the share of its row."""
    figure = canvas(x="predicted", y="true")
    size = len(found.classes)
    shares = [[n / max(1, sum(row)) for n in row] for row in found.counts]
    hits = [[s if i == j else None for j, s in enumerate(row)] for i, row in enumerate(shares)]
    wrong = [[s if i != j and s else None for j, s in enumerate(r)] for i, r in enumerate(shares)]
    worst = max((s for row in wrong for s in row if s is not None), default=1.0)
    names = [label(name) for name in found.classes]
    written = {"texttemplate": "%{text}"} if size <= MAX_WRITTEN else {}
    gap = 1 if size <= MAX_TICKS else 0
    for values, colours, top in ((hits, _HITS, 1.0), (wrong, _ERRORS, worst)):
        figure.add_heatmap(
            z=values,
            text=_texts(found.counts, values),
            zmin=0,
            zmax=top,
            colorscale=colours,
            showscale=False,
            hoverongaps=False,
            xgap=gap,
            ygap=gap,
            hovertemplate="true %{y}, predicted %{x}: %{text} (%{z:.1%})<extra></extra>",
            **written,
        )
    step = -(-size // MAX_TICKS)
    ticks = {"tickvals": list(range(0, size, step)), "ticktext": names[::step]}
    figure.update_xaxes(ticks, showgrid=False, constrain="domain")
    figure.update_yaxes(ticks, showgrid=False, autorange="reversed", scaleanchor="x")
    figure.update_yaxes(constrain="domain")
    return figure


def caption(found: Confusion) -> str:
    """Whose counts these are, of what, and the commonest mistakes."""
    told = "; ".join(f"{a} taken for {b}, {count(n, 'time')}" for a, b, n in found.mistakes)
    return (
        f"{found.num_right:,} of {found.num_images:,} {found.part} images right "
        f"({found.model}). Rows are true classes, columns what the model said; colours are shares "
        f"of a row. {f'Commonest mistakes: {told}.' if told else 'No mistakes.'}"
    )


def alt(found: Confusion) -> str:
    """The figure in words."""
    return f"Confusion matrix of {len(found.classes)} classes. {caption(found)}"


def _texts(
    counts: tuple[tuple[int, ...], ...], values: list[list[float | None]]
) -> list[list[str]]:
    """The counts of the cells that one of the two layers colours."""
    return [
        ["" if value is None else str(number) for number, value in zip(row, shown, strict=True)]
        for row, shown in zip(counts, values, strict=True)
    ]
