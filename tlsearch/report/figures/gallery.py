"""All figures of a page by section, in the order in which they are shown."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from tlsearch.comparison.answers import Tables
from tlsearch.report.comparison_text import arm_name
from tlsearch.report.context import ReportData
from tlsearch.report.figures.comparison import (
    Drift,
    Expectations,
    FirstSteps,
    Forest,
    Sensitivity,
)
from tlsearch.report.figures.cost import Costs, Spending
from tlsearch.report.figures.data import ClassShares
from tlsearch.report.figures.dimensions import Parallel, Slices
from tlsearch.report.figures.model import Calibration, Confusion, LearningCurves, Roc
from tlsearch.report.figures.search import (
    History,
    ImportancePlot,
    Intermediate,
    Timeline,
    ValueShares,
)
from tlsearch.report.figures.strategies import Depths, Gains, RateMap
from tlsearch.report.figures.style import Drawable, Picture, make_picture
from tlsearch.report.wording import Absent


class Entry(NamedTuple):
    """A figure's title, what computes it, and its height in pixels where it sets none itself."""

    title: str
    compute: Callable[[ReportData], Drawable | Absent]
    height: int


SEARCH: Mapping[str, Mapping[str, Entry]] = {
    "answer": {
        "gains": Entry("What the winner gains", Gains.compute, 230),
    },
    "search": {
        "history": Entry("The search over time", History.compute, 420),
        "curves": Entry("Learning curves of the best trials", LearningCurves.compute, 420),
        "intermediate": Entry("Intermediate values of all trials", Intermediate.compute, 420),
        "parallel": Entry("Parallel coordinates: the settings side by side", Parallel.compute, 500),
        "slices": Entry("Slices: the value by each dimension", Slices.compute, 400),
        "importances": Entry("Importance of each dimension", ImportancePlot.compute, 360),
        "values": Entry("Distribution of the values", ValueShares.compute, 360),
        "timeline": Entry("Timeline of all runs", Timeline.compute, 300),
        "spending": Entry("Where the time went", Spending.compute, 300),
    },
    "strategies": {
        "depth": Entry("By freeze depth", Depths.compute, 380),
        "rates": Entry("By freeze depth and rate ratio", RateMap.compute, 420),
        "cost": Entry("Value against cost", Costs.compute, 420),
    },
    "model": {
        "confusion": Entry("Confusion matrix", Confusion.compute, 560),
        "roc": Entry("ROC curves", Roc.compute, 420),
        "calibration": Entry("Calibration of the probabilities", Calibration.compute, 480),
    },
    "data": {
        "class_shares": Entry("Classes by part", ClassShares.compute, 460),
    },
}  # fmt: skip
"""The sections of a search's page; a figure's name is unique in the page."""

REASONS: Mapping[str, tuple[str, Callable[[Tables], Drawable | Absent]]] = {
    "sensitivity": ("Sensitivity to the learning rate", Sensitivity.compute),
    "drift": ("Drift of each layer group from the pretrained network", Drift.compute),
    "first_steps": ("Gradient norms in the first steps", FirstSteps.compute),
}
"""What lies behind a comparison's answer, as far as it is measured."""


def pictures(data: ReportData) -> dict[str, dict[str, Picture]]:
    """Every section's figures drawn, or the sentence that stands in their place."""
    return {
        section: {
            name: make_picture(name, e.title, partial(e.compute, data), height=e.height)
            for name, e in entries.items()
        }
        for section, entries in SEARCH.items()
    }


def answer_picture(tables: Tables) -> Picture:
    """A comparison's answer at a glance: gains, or of splits their estimates."""
    if tables.protocol.future is not None:
        title = "The splits' estimates and the accuracy on later images"
        return make_picture("expectations", title, partial(Expectations.compute, tables), height=0)
    title = f"Gains over {arm_name(tables.protocol.reference, tables)}"
    return make_picture("forest", title, partial(Forest.compute, tables), height=0)


def reasons(tables: Tables) -> tuple[Picture, ...]:
    """The figures of `REASONS`; without a plot those that were not measured."""
    return tuple(
        make_picture(name, title, partial(compute, tables), height=0)
        for name, (title, compute) in REASONS.items()
    )
