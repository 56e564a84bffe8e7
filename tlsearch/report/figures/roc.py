"""How well the winner tells each class from the rest, whatever the threshold."""

from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

from tlsearch.report.context import ReportData, Scores
from tlsearch.report.figures.canvas import GREY, PERCENT, SERIES, canvas, label
from tlsearch.report.wording import Absent, joined

WORST = 5
"""So many classes are drawn beside the mean; curves of more would hide one another."""
MAX_SCORES = 5_000_000
"""Of larger tables, images by lot: sorting them would take longer than the rest of the report."""
MAX_POINTS = 200
_GRID = np.concatenate([np.linspace(0, 0.1, 101), np.linspace(0.1, 1, 91)[1:]])
_ENDS = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
_NEARLY_ALL = 0.99
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")


class Curve(NamedTuple):
    """Shares found (`tpr`) and wrongly taken (`fpr`) at falling thresholds; `auc` is the area under
    the whole curve, `images` how many are of the class.
    """

    name: str
    fpr: tuple[float, ...]
    tpr: tuple[float, ...]
    auc: float
    images: int


class Roc(NamedTuple):
    """The mean over classes, and the classes with the smallest areas, the smallest first.

    `num_classes` have images of theirs and of others in the part, `without` have none of theirs.
    Of `num_all` images `num_images` were looked at. The axis ends at `end`.
    """

    model: str
    mean: Curve
    worst: tuple[Curve, ...]
    num_classes: int
    without: int
    num_images: int
    num_all: int
    end: float


def compute(data: ReportData) -> Roc | Absent:
    """One class against the rest, by scikit-learn; of two classes the second."""
    scores = data.scores
    return scores if isinstance(scores, Absent) else curves_of(scores, seed=data.config.search.seed)


def curves_of(scores: Scores, *, seed: int) -> Roc | Absent:
    """The curves of some scores; `seed` draws the images where they are too many."""
    from sklearn.metrics import (
        auc,
        roc_curve,  # half a second
    )

    num_all, num_columns = scores.probabilities.shape
    kept = np.arange(num_all)
    if num_all * num_columns > MAX_SCORES:
        number = max(1, MAX_SCORES // num_columns)
        kept = np.random.default_rng(seed).choice(num_all, size=number, replace=False)
    labels, probabilities = scores.labels[kept], scores.probabilities[kept]
    counts = np.bincount(labels, minlength=num_columns)
    told = np.flatnonzero((counts > 0) & (counts < len(labels)))
    if num_columns == 2:
        told = told[-1:]  # the other's curve is its mirror image
    if not len(told):
        return Absent("The scored images are of one class: there is nothing to tell apart.")
    curves, mean = [], np.zeros_like(_GRID)
    for k in told:
        fpr, tpr, _ = roc_curve(labels == k, probabilities[:, k])
        mean += np.interp(_GRID, fpr, tpr) / len(told)
        curves.append(_curve(scores.classes[k], fpr, tpr, float(auc(fpr, tpr)), int(counts[k])))
    worst = tuple(sorted(curves, key=lambda curve: curve.auc)[:WORST])
    area = float(np.mean([curve.auc for curve in curves]))
    over = _curve("mean of all classes", _GRID, mean, area, len(labels))
    shown = worst if len(told) == 1 else (over, *worst)
    return Roc(
        model=scores.model,
        mean=over,
        worst=worst,
        num_classes=len(told),
        without=int((counts == 0).sum()),
        num_images=len(labels),
        num_all=num_all,
        end=max(map(_end, shown)),
    )


def draw(found: Roc) -> go.Figure:
    """The mean is thick; lines differ in their dashes. Grey is chance."""
    figure = canvas(x="share of other images taken for the class", y="share of the class found")
    figure.add_scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        name="by chance",
        line={"color": GREY, "width": 1, "dash": "dot"},
        hoverinfo="skip",
    )
    if found.num_classes > 1:
        _line(figure, found.mean, {"color": GREY, "width": 4})
    for curve, colour, dash in zip(found.worst, SERIES, _DASHES, strict=False):
        _line(figure, curve, {"color": colour, "width": 2, "dash": dash})
    figure.update_xaxes(tickformat=PERCENT, range=[-0.01 * found.end, found.end])
    figure.update_yaxes(tickformat=PERCENT, range=[0, 1.02])
    return figure


def caption(found: Roc) -> str:
    """What the reader sees, and what of it was left out."""
    parts = [f"One class against the rest on the test part ({found.model}), at every threshold."]
    if found.num_classes > 1:
        worst = joined([f"{c.name} {c.auc:.4f}" for c in found.worst])
        parts.append(
            f"Area under the curve: {found.mean.auc:.4f} in the mean over "
            f"{found.num_classes:,} classes, each with the same weight (0.5 is chance, 1 is "
            f"perfect); smallest: {worst}."
        )
    else:
        (only,) = found.worst
        parts.append(f"Area under the curve of {only.name}: {only.auc:.4f} (0.5 is chance).")
    if found.without and found.num_classes > 1:
        parts.append(f"Without images in the part, so left out: {found.without}.")
    if found.end < 1:
        parts.append(
            f"The axis ends at {100 * found.end:g}\u00a0%: beyond, at least "
            f"{100 * _NEARLY_ALL:g}\u00a0% of every class drawn is found."
        )
    if found.num_images < found.num_all:
        parts.append(f"Of {found.num_all:,} images {found.num_images:,} by lot.")
    return " ".join(parts)


def alt(found: Roc) -> str:
    """The figure in words."""
    return f"ROC curves. {caption(found)}"


def _line(figure: go.Figure, curve: Curve, line: dict[str, object]) -> None:
    name = f"{label(curve.name)} ({curve.auc:.3f})"
    figure.add_scatter(
        x=curve.fpr,
        y=curve.tpr,
        mode="lines",
        name=name,
        line=line,
        hovertemplate=f"{name}: %{{y:.1%}} found, %{{x:.2%}} wrongly taken<extra></extra>",
    )


def _curve(name: str, fpr: np.ndarray, tpr: np.ndarray, area: float, images: int) -> Curve:
    """A long curve keeps every so manieth of its points; the area is of all."""
    if len(fpr) > MAX_POINTS:
        kept = np.unique(np.linspace(0, len(fpr) - 1, MAX_POINTS).round().astype(int))
        fpr, tpr = fpr[kept], tpr[kept]
    return Curve(name, tuple(fpr.round(5).tolist()), tuple(tpr.round(4).tolist()), area, images)


def _end(curve: Curve) -> float:
    """The first round share at which nearly all of the class is found."""
    reached = min(x for x, y in zip(curve.fpr, curve.tpr, strict=True) if y >= _NEARLY_ALL)
    return min(end for end in _ENDS if end >= reached)
