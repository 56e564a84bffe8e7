"""Figures of the model: what it confuses, how sure it may be of its answers."""

from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

from tlsearch.report.context import SearchReport
from tlsearch.report.evaluation import Evaluation, Scores
from tlsearch.report.figures.style import (
    BLUE,
    DASHES,
    GREY,
    PERCENT,
    SERIES,
    canvas,
    label,
)
from tlsearch.report.wording import (
    Absent,
    count,
    joined,
    percent,
    points,
)

MAX_CLASSES = 20
"""More cells hold no numbers and their axes no names: of more classes the worst are shown."""
MAX_NAME = 16
TOP_MISTAKES = 5
WORST_CLASSES = 5
"""So many curves are drawn beside the mean; more would hide one another."""
MAX_SCORES = 5_000_000
"""Of larger tables images are drawn at random: sorting all would take longer than the report."""
MAX_POINTS = 200
NUM_BINS = 15
"""As in arXiv:1706.04599, so that figures can be compared."""
NUM_DRAWS = 500
_HITS = [[0, "rgba(59,130,196,0.05)"], [1, "rgba(59,130,196,0.75)"]]
_ERRORS = [[0, "rgba(217,115,13,0.10)"], [1, "rgba(217,115,13,0.85)"]]
_FPR = np.concatenate([np.linspace(0, 0.1, 101), np.linspace(0.1, 1, 91)[1:]])
_ENDS = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
_NEARLY_ALL = 0.99
_MAX_DRAWN = 20_000_000


# What the winner takes for what.


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

    @classmethod
    def compute(cls, data: SearchReport) -> "Confusion | Absent":
        """The counts of the evaluation and its commonest mistakes."""
        found = data.evaluation
        return found if isinstance(found, Absent) else cls.of(found)

    @classmethod
    def of(cls, found: Evaluation) -> "Confusion":
        """The counts of one evaluation."""
        counts = np.array(found.confusion, dtype=np.int64)
        wrong = counts - np.diag(np.diag(counts))
        order = np.argsort(-(wrong.sum(0) + wrong.sum(1)), kind="stable")
        mistakes = [
            (found.classes[i], found.classes[j], int(wrong[i, j]))
            for i, j in np.argwhere(wrong).tolist()
        ]
        return cls(
            part=found.part,
            model=found.model,
            classes=found.classes,
            counts=found.confusion,
            mistakes=tuple(sorted(mistakes, key=lambda mistake: -mistake[2])[:TOP_MISTAKES]),
            shown=tuple(sorted(order[:MAX_CLASSES].tolist())),
        )

    @property
    def num_images(self) -> int:
        """Images that were scored."""
        return sum(map(sum, self.counts))

    @property
    def num_right(self) -> int:
        """Images whose class was found."""
        return sum(row[i] for i, row in enumerate(self.counts))

    @property
    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Counts of the drawn classes int64 (K, K), and each one's share of its whole row."""
        counts = np.array(self.counts, dtype=np.int64)
        part = counts[np.ix_(self.shown, self.shown)]
        totals = np.maximum(1, counts.sum(axis=1))[list(self.shown)]
        return part, part / totals[:, None]

    @property
    def names(self) -> list[str]:
        """Names of the drawn classes, as long as an axis has room for."""
        return [label(self.classes[i], length=MAX_NAME) for i in self.shown]

    def draw(self) -> go.Figure:
        """Right answers in blue on the diagonal, mistakes in orange, each by the share of its
        row.
        """
        figure = canvas(x="predicted", y="true")
        counts, shares = self.cells
        hit = np.eye(len(counts), dtype=bool)
        wrong = ~hit & (counts > 0)
        worst = float(shares[wrong].max()) if wrong.any() else 1.0
        for mask, colours, top in ((hit, _HITS, 1.0), (wrong, _ERRORS, worst)):
            figure.add_heatmap(
                z=_where(mask, shares),
                text=[["" if n is None else str(n) for n in row] for row in _where(mask, counts)],
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
        ticks = {"tickvals": list(range(len(counts))), "ticktext": self.names}
        figure.update_xaxes(ticks, showgrid=False, constrain="domain")
        return figure.update_yaxes(
            ticks, showgrid=False, autorange="reversed", scaleanchor="x", constrain="domain"
        )

    @property
    def caption(self) -> str:
        """Whose counts these are, of what, and the commonest mistakes."""
        mistakes = "; ".join(f"{a} taken for {b}, {count(n, 'time')}" for a, b, n in self.mistakes)
        part = (
            f" Of {len(self.classes)} classes the {len(self.shown)} with most mistakes are drawn."
            if len(self.shown) < len(self.classes)
            else ""
        )
        return (
            f"{self.num_right:,} of {self.num_images:,} {self.part} images are classified "
            f"correctly by {self.model}. Rows are true classes, columns predicted ones; colours "
            "are shares of a row. "
            f"{f'Commonest mistakes: {mistakes}.' if mistakes else 'No mistakes.'}{part}"
        )

    @property
    def alt(self) -> str:
        return f"Confusion matrix of {len(self.classes)} classes. {self.caption}"


def _where(mask: np.ndarray, table: np.ndarray) -> list[list[float | int | None]]:
    """The cells that a mask holds, None for the others."""
    return [
        [value if kept else None for value, kept in zip(row, keep, strict=True)]
        for row, keep in zip(table.tolist(), mask.tolist(), strict=True)
    ]


# How well the winner tells each class from the rest, whatever the threshold.


class RocCurve(NamedTuple):
    """Shares found (`tpr`) and wrongly taken (`fpr`) at falling thresholds; `auc` is the area under
    the whole curve, `images` how many are of the class.
    """

    name: str
    fpr: tuple[float, ...]
    tpr: tuple[float, ...]
    auc: float
    images: int

    @classmethod
    def of(
        cls, name: str, fpr: np.ndarray, tpr: np.ndarray, area: float, images: int
    ) -> "RocCurve":
        """A long curve keeps some of its points, at even distances; the area is of all."""
        if len(fpr) > MAX_POINTS:
            kept = np.unique(np.linspace(0, len(fpr) - 1, MAX_POINTS).round().astype(int))
            fpr, tpr = fpr[kept], tpr[kept]
        return cls(name, tuple(fpr.round(5).tolist()), tuple(tpr.round(4).tolist()), area, images)

    @property
    def end(self) -> float:
        """The first round share at which nearly all of the class is found."""
        reached = min(x for x, y in zip(self.fpr, self.tpr, strict=True) if y >= _NEARLY_ALL)
        return min(end for end in _ENDS if end >= reached)


class Roc(NamedTuple):
    """The mean over classes, and the classes with the smallest areas, the smallest first.

    `num_classes` have images of theirs and of others in the part, `without` have none of theirs.
    Of `num_all` images `num_images` were looked at.
    """

    model: str
    mean: RocCurve
    worst: tuple[RocCurve, ...]
    num_classes: int
    without: int
    num_images: int
    num_all: int

    @classmethod
    def compute(cls, data: SearchReport) -> "Roc | Absent":
        """One class against the rest, by scikit-learn; of two classes the second."""
        scores = data.scores
        return (
            scores if isinstance(scores, Absent) else cls.of(scores, seed=data.config.search.seed)
        )

    @classmethod
    def of(cls, scores: Scores, *, seed: int) -> "Roc | Absent":
        """The curves of some scores; `seed` draws the images where they are too many."""
        from sklearn.metrics import auc, roc_curve  # half a second

        num_all, num_columns = scores.probabilities.shape
        kept = np.arange(num_all)
        if num_all * num_columns > MAX_SCORES:
            number = max(1, MAX_SCORES // num_columns)
            kept = np.random.default_rng(seed).choice(num_all, size=number, replace=False)
        labels, probabilities = scores.labels[kept], scores.probabilities[kept]
        counts = np.bincount(labels, minlength=num_columns)
        told_apart = np.flatnonzero((counts > 0) & (counts < len(labels)))
        if num_columns == 2:
            told_apart = told_apart[-1:]  # the other's curve is its mirror image
        if not len(told_apart):
            return Absent("The scored images are of one class: there is nothing to tell apart.")
        curves, mean = [], np.zeros_like(_FPR)
        for k in told_apart:
            fpr, tpr, _ = roc_curve(labels == k, probabilities[:, k])
            mean += np.interp(_FPR, fpr, tpr) / len(told_apart)
            area, images = float(auc(fpr, tpr)), int(counts[k])
            curves.append(RocCurve.of(scores.classes[k], fpr, tpr, area, images))
        area = float(np.mean([curve.auc for curve in curves]))
        return cls(
            model=scores.model,
            mean=RocCurve.of("mean of all classes", _FPR, mean, area, len(labels)),
            worst=tuple(sorted(curves, key=lambda curve: curve.auc)[:WORST_CLASSES]),
            num_classes=len(told_apart),
            without=int((counts == 0).sum()),
            num_images=len(labels),
            num_all=num_all,
        )

    @property
    def end(self) -> float:
        """Where the axis ends."""
        shown = self.worst if self.num_classes == 1 else (self.mean, *self.worst)
        return max(curve.end for curve in shown)

    def draw(self) -> go.Figure:
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
        lines = [] if self.num_classes == 1 else [(self.mean, {"color": GREY, "width": 4})]
        lines += [
            (curve, {"color": colour, "width": 2, "dash": dash})
            for curve, colour, dash in zip(self.worst, SERIES, ("solid", *DASHES), strict=False)
        ]
        for curve, line in lines:
            name = f"{label(curve.name)} ({curve.auc:.3f})"
            figure.add_scatter(
                x=curve.fpr,
                y=curve.tpr,
                mode="lines",
                name=name,
                line=line,
                hovertemplate=f"{name}: %{{y:.1%}} found, %{{x:.2%}} wrongly taken<extra></extra>",
            )
        figure.update_xaxes(tickformat=PERCENT, range=[-0.01 * self.end, self.end])
        return figure.update_yaxes(tickformat=PERCENT, range=[0, 1.02])

    @property
    def caption(self) -> str:
        """What the reader sees, and what of it was left out."""
        parts = [
            f"One class against the rest on the test part by {self.model}, at every threshold."
        ]
        if self.num_classes > 1:
            worst = joined([f"{c.name} {c.auc:.4f}" for c in self.worst])
            parts.append(
                f"Area under the curve: {self.mean.auc:.4f} in the mean over "
                f"{self.num_classes:,} classes, each with the same weight (0.5 is chance, 1 is "
                f"perfect); smallest: {worst}."
            )
        else:
            (only,) = self.worst
            parts.append(f"Area under the curve of {only.name}: {only.auc:.4f} (0.5 is chance).")
        if self.without and self.num_classes > 1:
            parts.append(f"Without images in the part, so left out: {self.without}.")
        if self.end < 1:
            parts.append(
                f"The axis ends at {100 * self.end:g}\u00a0%: beyond, at least "
                f"{100 * _NEARLY_ALL:g}\u00a0% of every class drawn is found."
            )
        if self.num_images < self.num_all:
            parts.append(f"Of {self.num_all:,} images {self.num_images:,} were drawn at random.")
        return " ".join(parts)

    @property
    def alt(self) -> str:
        return f"ROC curves. {self.caption}"


# Whether the winner is right as often as its probabilities say.


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

    @classmethod
    def compute(cls, data: SearchReport) -> "Calibration | Absent":
        """Of the class that the winner names, on the test part."""
        scores = data.scores
        return (
            scores if isinstance(scores, Absent) else cls.of(scores, seed=data.config.search.seed)
        )

    @classmethod
    def of(cls, scores: Scores, *, seed: int) -> "Calibration":
        """Bins of equal width, their error, and that of a model whose probabilities are true.

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
        ends = np.quantile(drawn[:, filled] / counts[filled], (0.025, 0.975), axis=0)
        table = (edges[:-1], edges[1:], counts, sums / np.maximum(1, counts))
        columns = [column[filled].tolist() for column in (*table, hits / np.maximum(1, counts))]
        return cls(
            model=scores.model,
            bins=tuple(Bin(*row) for row in zip(*columns, *ends.tolist(), strict=True)),
            images=len(sure),
            confidence=float(sure.mean()),
            accuracy=float(right.mean()),
            ece=float(np.abs(hits - sums).sum() / len(sure)),
            true_mean=float(errors.mean()),
            true_high=float(np.quantile(errors, 0.95)),
            num_draws=num_draws,
        )

    def draw(self) -> go.Figure:
        """Shares right over mean probabilities, above the number of images in each bin."""
        figure = canvas(x="probability of the answer", y="share right")
        middles = [100 * b.confidence for b in self.bins]
        figure.add_scatter(
            x=[0, 100],
            y=[0, 100],
            mode="lines",
            name="perfectly calibrated",
            line={"color": GREY, "width": 1.5, "dash": "dash"},
            hoverinfo="skip",
        )
        figure.add_scatter(
            x=[x for middle in middles for x in (middle, middle, None)],
            y=[y for b in self.bins for y in (100 * b.expected_low, 100 * b.expected_high, None)],
            mode="lines",
            line={"color": GREY, "width": 6},
            opacity=0.5,
            name="where 95 % lie if the probabilities are true",
            hoverinfo="skip",
        )
        figure.add_scatter(
            x=middles,
            y=[100 * b.accuracy for b in self.bins],
            customdata=[
                f"{count(b.images, 'image')}, probability {percent(b.confidence)}"
                for b in self.bins
            ],
            mode="lines+markers",
            name="the exported model",
            line={"color": BLUE, "width": 2},
            marker={"size": 9},
            hovertemplate="%{customdata}, right %{y:.1f} %<extra></extra>",
        )
        figure.add_bar(
            x=[50 * (b.low + b.high) for b in self.bins],
            y=[b.images for b in self.bins],
            width=[92 * (b.high - b.low) for b in self.bins],
            marker={"color": BLUE},
            yaxis="y2",
            showlegend=False,
            hovertemplate="%{y:,} images<extra></extra>",
        )
        lowest = min(min(b.accuracy, b.expected_low, b.low) for b in self.bins)
        start = 100 * max(0.0, np.floor(10 * lowest) / 10 - 0.02)
        figure.update_xaxes(range=[start, 101], ticksuffix=" %", anchor="y2")
        return figure.update_layout(
            yaxis={"domain": [0.32, 1], "range": [start, 103], "ticksuffix": " %"},
            yaxis2={"domain": [0, 0.22], "title": {"text": "images"}, "automargin": True},
        )

    @property
    def caption(self) -> str:
        """How far off it is, and how far chance alone would be."""
        off = self.confidence - self.accuracy
        way = "overconfident" if off > 0 else "underconfident"
        verdict = (
            f"More than chance explains: on the whole the model is {way}, by "
            f"{points(abs(off)).lstrip('+')} points."
            if self.is_off
            else "No more than chance explains."
        )
        return (
            f"Answers of {self.model} to {self.images:,} test images in {NUM_BINS} bins of equal "
            f"width by their probability; below, the images in each bin. Expected calibration "
            f"error {_fine(self.ece)}; if the probabilities were true it would be "
            f"{_fine(self.true_mean)} in the mean and under {_fine(self.true_high)} in 95 % of "
            f"cases ({self.num_draws} draws), for bins are finite and the error is never 0. "
            f"{verdict} Thick grey bars: where a mark would lie if the probabilities were true."
        )

    @property
    def alt(self) -> str:
        bins = "; ".join(
            f"probability {percent(b.confidence)}, right {percent(b.accuracy)}, "
            f"{count(b.images, 'image')}"
            for b in self.bins
        )
        return f"Reliability diagram. {bins}. Expected calibration error {_fine(self.ece)}."


def _fine(share: float) -> str:
    """An error in per cent: small ones differ in the second digit."""
    return f"{100 * share:.2f}\u00a0%"
