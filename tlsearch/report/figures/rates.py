"""Freeze depth and rate ratio together: what trials reached in each cell of the two."""

from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

import plotly.graph_objects as go

from tlsearch.config.dimensions import Choice, Dimension, Range
from tlsearch.report.context import ReportData
from tlsearch.report.figures.canvas import canvas, hover_format, label
from tlsearch.report.figures.depth import shown_network
from tlsearch.report.figures.scales import place
from tlsearch.report.figures.thinning import rounded
from tlsearch.report.wording import Absent, count, plain, setting_text, value_text

NUM_BINS = 5
DEPTH, RATIO = "freeze_depth", "lr_ratio"
_COLOURS = [[0, "rgba(59,130,196,0.06)"], [1, "rgba(59,130,196,0.80)"]]


class Cell(NamedTuple):
    """The complete trials of one depth within one bin of ratios."""

    depth: int
    bin: int
    num_trials: int
    median: float
    best: float


class Rates(NamedTuple):
    """Cells with at least one trial; `bins` in words, from low to high; `network` is empty where
    the study has only one.
    """

    metric: str
    maximise: bool
    depths: tuple[int, ...]
    bins: tuple[str, ...]
    cells: tuple[Cell, ...]
    network: str


def compute(data: ReportData) -> Rates | Absent:
    """The complete trials by both dimensions; of several networks those on the best trial's."""
    searched = data.config.searched()
    fixed = [plain(name) for name in (DEPTH, RATIO) if name not in searched]
    if fixed:
        return Absent(f"The study fixes the {' and the '.join(fixed)}: there is no map to draw.")
    if not data.ranked:
        return Absent("No trial has been completed yet.")
    network = shown_network(data)
    found: dict[tuple[int, int], list[float]] = {}
    for row in data.ranked:
        if row.value is not None and network in ("", row.run.backbone):
            ratio_bin = _bin(searched[RATIO], row.sampled[RATIO])
            found.setdefault((row.sampled[DEPTH], ratio_bin), []).append(row.value)
    best = max if data.maximise else min
    return Rates(
        metric=data.summary.metric,
        maximise=data.maximise,
        depths=tuple(sorted({depth for depth, _ in found})),
        bins=_bins(searched[RATIO]),
        cells=tuple(
            Cell(depth, part, len(values), median(values), best(values))
            for (depth, part), values in sorted(found.items())
        ),
        network=network,
    )


def _bins(dimension: Dimension) -> tuple[str, ...]:
    """Equal parts of a range, on its logarithm where it is searched on it; or every choice."""
    if isinstance(dimension, Choice):
        return tuple(map(setting_text, dimension.values))
    assert isinstance(dimension, Range), "it is searched"
    edges = [_edge(dimension, i / NUM_BINS) for i in range(NUM_BINS + 1)]
    return tuple(f"{low:.2g}–{high:.2g}" for low, high in pairwise(edges))


def _edge(dimension: Range, share: float) -> float:
    low, high = dimension.low, dimension.high
    return low * (high / low) ** share if dimension.log else low + (high - low) * share


def _bin(dimension: Dimension, value: Any) -> int:
    if isinstance(dimension, Choice):
        return dimension.values.index(value)
    return min(int(place(dimension, value) * NUM_BINS), NUM_BINS - 1)


def draw(found: Rates) -> go.Figure:
    """A cell's colour is its median; in it the median and the number of trials."""
    figure = canvas(x="layer groups frozen from the input", y="rate ratio")
    cells = {(cell.depth, cell.bin): cell for cell in found.cells}
    rows = [[cells.get((depth, i)) for depth in found.depths] for i in range(len(found.bins))]
    medians = sorted(cell.median for cell in found.cells)
    # From the lower quarter up: one diverged corner would leave all others in one colour.
    quarter = medians[len(medians) // 4] if found.maximise else medians[0]
    top = medians[-1] if found.maximise else medians[-1 - len(medians) // 4]
    figure.add_heatmap(
        z=[[None if c is None else rounded(c.median) for c in row] for row in rows],
        x=[str(depth) for depth in found.depths],
        y=[label(name) for name in found.bins],
        text=[["" if c is None else _text(c, found.metric) for c in row] for row in rows],
        customdata=[[None if c is None else rounded(c.best) for c in row] for row in rows],
        texttemplate="%{text}",
        zmin=quarter,
        zmax=top if top > quarter else quarter + 1e-9,
        colorscale=_COLOURS if found.maximise else [[0, _COLOURS[1][1]], [1, _COLOURS[0][1]]],
        showscale=False,
        hoverongaps=False,
        xgap=2,
        ygap=2,
        hovertemplate=(
            f"%{{x}} frozen, ratio %{{y}}: median %{{z:{hover_format(found.metric)}}}, best "
            f"%{{customdata:{hover_format(found.metric)}}}<extra></extra>"
        ),
    )
    figure.update_xaxes(type="category", showgrid=False)
    figure.update_yaxes(type="category", showgrid=False)
    return figure


def _text(cell: Cell, metric: str) -> str:
    value = f"{100 * cell.median:.1f}" if metric.endswith("accuracy") else f"{cell.median:.3g}"
    return f"{value}<br>×{cell.num_trials}"


def caption(found: Rates) -> str:
    """What a cell holds, and why it is no comparison."""
    whose = f" on {found.network}, the best trial's network" if found.network else ""
    unit = " in per cent" if found.metric.endswith("accuracy") else ""
    return (
        f"Each cell: the median {plain(found.metric)}{unit} of its complete trials{whose}, and how "
        "many they are; an empty cell has none. The rate ratio is the factor on the learning rate "
        "from each layer group to the next towards the input. The sampler chose where to try, and "
        "the other settings differ from trial to trial, so the map shows where the search has "
        "been; to tell one cell from another takes a comparison."
    )


def alt(found: Rates) -> str:
    """The best and the worst cell in words."""
    ordered = sorted(found.cells, key=lambda c: c.median, reverse=found.maximise)
    told = [
        f"{which} median {value_text(c.median, found.metric)} of {count(c.num_trials, 'trial')} "
        f"with {c.depth} frozen and a rate ratio of {found.bins[c.bin]}"
        for which, c in (("best", ordered[0]), ("worst", ordered[-1]))
    ]
    return f"Map of {len(found.cells)} cells of freeze depth and rate ratio: {'; '.join(told)}."
