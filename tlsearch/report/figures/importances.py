"""Which dimensions the values depended on."""

import plotly.graph_objects as go

from tlsearch.report.absent import Absent
from tlsearch.report.figures.canvas import BLUE, PERCENT, canvas, label
from tlsearch.report.importances import Importances
from tlsearch.report.rows import ReportData
from tlsearch.report.wording import percent


def compute(data: ReportData) -> Importances | Absent:
    """Computed with the rows, since it needs the search's own trials."""
    return data.importances


def draw(found: Importances) -> go.Figure:
    """Bars, the largest on top, each with its share."""
    figure = canvas(x="share of the variance explained", y="")
    names = [label(name, length=32) for name, _ in reversed(found.shares)]
    shares = [share for _, share in reversed(found.shares)]
    figure.add_bar(
        x=shares,
        y=names,
        orientation="h",
        marker={"color": BLUE},
        text=[percent(share) for share in shares],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{y}: %{x:.1%}<extra></extra>",
    )
    figure.update_xaxes(tickformat=PERCENT, range=[0, 1.18 * max(*shares, 0.05)])
    figure.update_yaxes(type="category")
    return figure


def caption(found: Importances) -> str:
    """What it is, and what it is not."""
    of = f" of {found.num_complete}" if found.num_complete > found.num_trials else ""
    left_out = (
        f" Left out, since only some choices have them: {', '.join(found.left_out)}."
        if found.left_out
        else ""
    )
    return (
        f"fANOVA over {found.num_trials}{of} complete trials: how much of the variance of the "
        "values each dimension explains by itself, over its whole range. It is no effect and no "
        "advice: it does not say which value is better, leaves out interactions, and sees only "
        "what the sampler chose to try and the pruner let end."
        f"{left_out}"
    )


def alt(found: Importances) -> str:
    """The figure in words."""
    told = ", ".join(f"{name} {percent(share)}" for name, share in found.shares)
    return f"Share of the variance explained by each dimension: {told}."
