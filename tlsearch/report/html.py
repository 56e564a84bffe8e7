"""The report of a search, or of a comparison, as one HTML file."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from tlsearch.report.comparison import ComparisonReport
from tlsearch.report.context import Report, SearchReport
from tlsearch.report.figures.comparison import (
    Drift,
    Expectations,
    FirstSteps,
    Forest,
    Gains,
    Sensitivity,
)
from tlsearch.report.figures.cost import Costs, Spending
from tlsearch.report.figures.data import ClassShares
from tlsearch.report.figures.learning_curves import LearningCurves
from tlsearch.report.figures.model import Calibration, Confusion, Roc
from tlsearch.report.figures.search import (
    History,
    ImportancePlot,
    Intermediate,
    Timeline,
    ValueShares,
)
from tlsearch.report.figures.strategies import Depths, Parallel, RateMap, Slices
from tlsearch.report.figures.style import Drawable, Picture, make_picture
from tlsearch.report.wording import Absent, duration, plain, printable, setting_text, value_text

OPEN_ROWS = 60
"""Longer tables are shown folded."""


class Entry(NamedTuple):
    """A figure's title, what computes it, and its height in pixels where it sets none itself."""

    title: str
    compute: Callable[[Any], Drawable | Absent]
    height: int = 0


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
"""The figures of a search's page by section, in the order in which they are shown; a figure's name
is unique in the page.
"""

BEHIND: Mapping[str, Entry] = {
    "sensitivity": Entry("Sensitivity to the learning rate", Sensitivity.compute),
    "drift": Entry("Drift of each layer group from the pretrained network", Drift.compute),
    "first_steps": Entry("Gradient norms in the first steps", FirstSteps.compute),
}
"""What lies behind a comparison's answer, as far as it is measured."""


def entries(report: Report) -> Mapping[str, Mapping[str, Entry]]:
    """All figures of a page by section; a comparison's answer are gains, or of splits estimates."""
    if isinstance(report, SearchReport):
        return SEARCH
    answer = {"forest": Entry(f"Gains over {report.reference}", Forest.compute)}
    if report.is_splits:
        title = "The splits' estimates and the accuracy on later images"
        answer = {"expectations": Entry(title, Expectations.compute)}
    return {"answer": answer, "behind": BEHIND}


def pictures(report: Report) -> dict[str, dict[str, Picture]]:
    """Every section's figures drawn, or the sentence that stands in their place."""
    return {
        section: {
            name: make_picture(name, e.title, partial(e.compute, report), height=e.height)
            for name, e in found.items()
        }
        for section, found in entries(report).items()
    }


def render_html(report: Report) -> str:
    """The whole page; every text of a user is escaped."""
    shown = pictures(report)
    return render_page(
        "comparison.html.j2" if isinstance(report, ComparisonReport) else "search.html.j2",
        drawn=chain.from_iterable(section.values() for section in shown.values()),
        pictures=shown,
        report=report,
        open_rows=OPEN_ROWS,
        duration=duration,
        plain=plain,
        setting_text=setting_text,
        value_text=value_text,
    )


def render_page(template: str, *, drawn: Iterable[Picture], **values: Any) -> str:
    """A page that asks no host for anything, with the data of what is `drawn` in it."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=PackageLoader("tlsearch.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    plots = {p.id: Markup(_in_script(p.plot)) for p in drawn if p.plot}  # noqa: S704
    return environment.get_template(template).render(
        plots=plots,
        plotly=Markup(get_plotlyjs()),  # noqa: S704
        **values,
    )


def _shown(value: Any) -> Any:
    """What is put into a page: a user's text without what no reader sees."""
    return printable(value) if type(value) is str else value


def _in_script(json: str) -> str:
    """JSON that cannot end the script element that holds it."""
    return json.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
