"""All figures of a report, by section, in the order in which they are shown."""

from collections.abc import Mapping
from functools import partial
from types import ModuleType
from typing import NamedTuple

from tlsearch.report.context import ReportData
from tlsearch.report.figures import (
    calibration,
    choices,
    class_shares,
    confusion,
    cost,
    curves,
    depth,
    gains,
    history,
    importances,
    intermediate,
    parallel,
    rates,
    roc,
    slices,
    spending,
    timeline,
)
from tlsearch.report.figures.canvas import Picture, drawn_or_told
from tlsearch.report.wording import Absent


class Entry(NamedTuple):
    """A module with `compute`, `draw`, `caption` and `alt`; `height`, in pixels, is of figures that
    set none themselves.
    """

    title: str
    module: ModuleType
    height: int


GALLERY: Mapping[str, Mapping[str, Entry]] = {
    "answer": {
        "gains": Entry("What the winner gains", gains, 230),
    },
    "search": {
        "history": Entry("The search over time", history, 420),
        "curves": Entry("Learning curves of the best trials", curves, 420),
        "intermediate": Entry("All trials from epoch to epoch", intermediate, 420),
        "parallel": Entry("The settings side by side", parallel, 500),
        "slices": Entry("The value by each range", slices, 400),
        "importances": Entry("What the values depended on", importances, 360),
        "timeline": Entry("When what ran", timeline, 300),
        "spending": Entry("Where the time went", spending, 300),
    },
    "strategies": {
        "depth": Entry("By freeze depth", depth, 380),
        "rates": Entry("By freeze depth and rate ratio", rates, 420),
        "choices": Entry("By each choice", choices, 300),
        "cost": Entry("Value against cost", cost, 420),
    },
    "model": {
        "confusion": Entry("What is taken for what", confusion, 560),
        "roc": Entry("How well classes are told apart", roc, 420),
        "calibration": Entry("Is it right as often as it says?", calibration, 480),
    },
    "data": {
        "class_shares": Entry("Classes by part", class_shares, 460),
    },
}
"""The sections of the page, each with its figures; a figure's name is unique in the page."""


def pictures(data: ReportData) -> dict[str, dict[str, Picture]]:
    """Every section's figures computed and drawn, or the sentence that stands in their place."""
    return {
        section: {
            name: drawn_or_told(name, entry.title, partial(_picture, name, entry, data))
            for name, entry in entries.items()
        }
        for section, entries in GALLERY.items()
    }


def _picture(name: str, entry: Entry, data: ReportData) -> Picture:
    module = entry.module
    found = module.compute(data)
    if isinstance(found, Absent):
        return Picture(name, entry.title, found.reason, "", None, 0)
    figure = module.draw(found)
    return Picture(
        id=name,
        title=entry.title,
        caption=module.caption(found),
        alt=module.alt(found),
        plot=figure.to_json(),
        height=figure.layout.height or entry.height,
    )
