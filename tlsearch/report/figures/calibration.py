"""Whether the winner is right as often as it says."""

from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

from tlsearch.report.context import ReportData, Scores
from tlsearch.report.figures.canvas import BLUE, GREY, canvas
from tlsearch.report.wording import Absent, count, percent, points

NUM_BINS = 15
"""As in arXiv:1706.04599, so that figures can be compared."""
NUM_DRAWS = 500
_MAX_DRAWN = 20_000_000


class Bin(NamedTuple):
    """Images whose answer has a probability from `low`, not included, to `high`: their mean
    probability, the share that is right, and where 95 % of such shares would lie if the
    probabilities were true.
    """

    low: float
    high: float
    images: int
    confidence: float
    accuracy: float
    expected_low: float
    expected_high: float


class Calibration(NamedTuple):
    """The bins that hold images, by probability. `ece` is the expected calibration error, shares;
    `true_mean` and `true_high` are the mean and the 95 % quantile of what it would be if the
    probabilities were true, over `num_draws` draws: it is never 0, as bins are finite.
    """

    model: str
    bins: tuple[Bin, ...]
    images: int
    confidence: float
    accuracy: float
    ece: float
    true_mean: float
    true_high: float
    num_draws: int

    @property
    def is_off(self) -> bool:
        """Whether the error is larger than chance explains."""
        return self.ece > self.true_high


def compute(data: ReportData) -> Calibration | Absent:
    """Of the class that the winner names, on the test part."""
    scores = data.scores
    if isinstance(scores, Absent):
        return scores
    return calibration_of(scores, seed=data.config.search.seed)


def calibration_of(scores: Scores, *, seed: int) -> Calibration:
    """Bins of equal width, their error, and the error of a model whose probabilities are true.

    Source: bins and error arXiv:1706.04599; draws from the model's own probabilities
    arXiv:1902.06977.
    """
    sure = np.clip(scores.probabilities.max(axis=1).astype(np.float64), 0, 1)
    right = scores.probabilities.argmax(axis=1) == scores.labels
    edges = np.linspace(0, 1, NUM_BINS + 1)
    place = np.searchsorted(edges[1:-1], sure)  # as scikit-learn does
    counts = np.bincount(place, minlength=NUM_BINS)
    filled = np.flatnonzero(counts)
    sums = np.bincount(place, weights=sure, minlength=NUM_BINS)
    hits = np.bincount(place, weights=right, minlength=NUM_BINS)
    num_draws = max(50, min(NUM_DRAWS, _MAX_DRAWN // len(sure)))
    rng = np.random.default_rng(seed)
    drawn = np.stack(
        [
            np.bincount(place, weights=rng.random(len(sure)) < sure, minlength=NUM_BINS)
            for _ in range(num_draws)
        ]
    )
    errors = np.abs(drawn - sums).sum(axis=1) / len(sure)
    low, high = np.quantile(drawn[:, filled] / counts[filled], (0.025, 0.975), axis=0)
    return Calibration(
        model=scores.model,
        bins=tuple(
            Bin(
                low=float(edges[b]),
                high=float(edges[b + 1]),
                images=int(counts[b]),
                confidence=float(sums[b] / counts[b]),
                accuracy=float(hits[b] / counts[b]),
                expected_low=float(low[i]),
                expected_high=float(high[i]),
            )
            for i, b in enumerate(filled)
        ),
        images=len(sure),
        confidence=float(sure.mean()),
        accuracy=float(right.mean()),
        ece=float(np.abs(hits - sums).sum() / len(sure)),
        true_mean=float(errors.mean()),
        true_high=float(np.quantile(errors, 0.95)),
        num_draws=num_draws,
    )


def draw(found: Calibration) -> go.Figure:
    """Shares right over shares promised, above the number of images in each bin."""
    figure = canvas(x="probability of the answer", y="share right")
    middles = [100 * b.confidence for b in found.bins]
    told = [f"{count(b.images, 'image')}, promised {percent(b.confidence)}" for b in found.bins]
    figure.add_scatter(
        x=[0, 100],
        y=[0, 100],
        mode="lines",
        name="as promised",
        line={"color": GREY, "width": 1.5, "dash": "dash"},
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=[x for middle in middles for x in (middle, middle, None)],
        y=[y for b in found.bins for y in (100 * b.expected_low, 100 * b.expected_high, None)],
        mode="lines",
        line={"color": GREY, "width": 6},
        opacity=0.5,
        name="where 95 % lie if the probabilities are true",
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=middles,
        y=[100 * b.accuracy for b in found.bins],
        customdata=told,
        mode="lines+markers",
        name="the winner",
        line={"color": BLUE, "width": 2},
        marker={"size": 9},
        hovertemplate="%{customdata}, right %{y:.1f} %<extra></extra>",
    )
    figure.add_bar(
        x=[50 * (b.low + b.high) for b in found.bins],
        y=[b.images for b in found.bins],
        width=[92 * (b.high - b.low) for b in found.bins],
        marker={"color": BLUE},
        yaxis="y2",
        showlegend=False,
        hovertemplate="%{y:,} images<extra></extra>",
    )
    lowest = min(min(b.accuracy, b.expected_low, b.low) for b in found.bins)
    start = 100 * max(0.0, np.floor(10 * lowest) / 10 - 0.02)
    figure.update_xaxes(range=[start, 101], ticksuffix=" %", anchor="y2")
    figure.update_layout(
        yaxis={"domain": [0.32, 1], "range": [start, 103], "ticksuffix": " %"},
        yaxis2={"domain": [0, 0.22], "title": {"text": "images"}, "automargin": True},
    )
    return figure


def caption(found: Calibration) -> str:
    """How far off it is, and how far chance alone would be."""
    off = found.confidence - found.accuracy
    way = "promises more than it keeps" if off > 0 else "keeps more than it promises"
    verdict = (
        f"More than chance explains: on the whole the model {way}, by "
        f"{points(abs(off)).lstrip('+')} points."
        if found.is_off
        else "No more than chance explains."
    )
    return (
        f"Answers of {found.model} to {found.images:,} test images in {NUM_BINS} bins of equal "
        f"width by their probability; below, the images in each bin. Expected calibration error "
        f"{_fine(found.ece)}; if the probabilities were true it would be "
        f"{_fine(found.true_mean)} in the mean and under {_fine(found.true_high)} in 95 % of "
        f"cases ({found.num_draws} draws), for bins are finite and the error is never 0. {verdict} "
        "Thick grey bars: where a mark would lie if the probabilities were true."
    )


def alt(found: Calibration) -> str:
    """The figure in words."""
    told = "; ".join(
        f"promised {percent(b.confidence)}, right {percent(b.accuracy)}, {count(b.images, 'image')}"
        for b in found.bins
    )
    return f"Reliability diagram. {told}. Expected calibration error {_fine(found.ece)}."


def _fine(share: float) -> str:
    """An error in per cent: small ones differ in the second digit."""
    return f"{100 * share:.2f}\u00a0%"
