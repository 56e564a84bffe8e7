"""Which dimensions the values depended on."""

import plotly.graph_objects as go

from tlsearch.report.context import ReportData
from tlsearch.report.figures.canvas import BLUE, GREY, PERCENT, canvas, label
from tlsearch.report.importances import NUM_RESAMPLES, Importances, Share
from tlsearch.report.wording import Absent, joined


def compute(data: ReportData) -> Importances | Absent:
    """Computed with the rows, since it needs the search's own trials."""
    return data.importances


def draw(found: Importances) -> go.Figure:
    """Bars, the largest on top, each with its share."""
    figure = canvas(x="share of the variance explained", y="")
    names = [label(one.name, length=32) for one in reversed(found.shares)]
    shares = [one.share for one in reversed(found.shares)]
    spreads = [one.spread for one in reversed(found.shares)]
    figure.add_bar(
        x=shares,
        y=names,
        orientation="h",
        marker={"color": BLUE},
        error_x={"array": spreads, "color": GREY, "thickness": 1.5, "width": 5},
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=[share + spread for share, spread in zip(shares, spreads, strict=True)],
        y=names,
        text=[f" {_text(one)}" for one in reversed(found.shares)],
        textposition="middle right",
        cliponaxis=False,
        mode="text",
        hoverinfo="skip",
    )
    longest = max(share + spread for share, spread in zip(shares, spreads, strict=True))
    figure.update_xaxes(tickformat=PERCENT, range=[0, 1.4 * max(longest, 0.05)])
    figure.update_layout(showlegend=False)
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
    unvaried = (
        f" Nothing is known of {joined(found.unvaried)}: all these trials had the same value."
        if found.unvaried
        else ""
    )
    return (
        f"fANOVA over {found.num_trials}{of} complete trials: how much of the variance of the "
        "values each dimension explains by itself, over its whole range. Lines reach one standard "
        f"deviation to either side, over {NUM_RESAMPLES} resamples of the trials: so much might "
        "another search of this length have said otherwise. It is no effect and no advice: it does "
        "not say which value is better, leaves out interactions, and sees only what the sampler "
        "chose to try and the pruner let end."
        f"{left_out}{unvaried}"
    )


def alt(found: Importances) -> str:
    """The figure in words."""
    told = ", ".join(f"{one.name} {_text(one)}" for one in found.shares)
    return f"Share of the variance explained by each dimension: {told}."


def _text(one: Share) -> str:
    return f"{100 * one.share:.0f} ± {100 * one.spread:.0f}\u00a0%"
