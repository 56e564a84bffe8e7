"""The report of a search, or of a comparison, as one HTML file."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from tlsearch.comparison.answers import Tables
from tlsearch.execution.runs import RunRow
from tlsearch.report.answer import (
    NETWORK_HEAD,
    difficulty,
    find_answer,
    gain_rows,
    network_table,
    network_verdict,
    source_similarity,
    status,
)
from tlsearch.report.comparison_text import (
    MEANINGS,
    SIDES,
    arm_name,
    findings,
    protocol_text,
    provenance_facts,
    rows_of,
    scenarios_of,
    split_findings,
    summary,
    warnings,
)
from tlsearch.report.context import ReportData
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
from tlsearch.report.figures.model import Calibration, Confusion, LearningCurves, Roc
from tlsearch.report.figures.search import (
    History,
    ImportancePlot,
    Intermediate,
    Timeline,
    ValueShares,
)
from tlsearch.report.figures.strategies import Depths, Parallel, RateMap, Slices
from tlsearch.report.figures.style import Drawable, Picture, make_picture
from tlsearch.report.provenance import REPEAT, cost_text, machine_text
from tlsearch.report.wording import Absent, duration, plain, printable, setting_text, value_text

# The frame of every page: one HTML file that asks no host for anything.


def render_page(template: str, *, drawn: Iterable[Picture], **values: Any) -> str:
    """A page from a template that extends the frame, with the data of what is `drawn` in it; every
    text of a user is escaped.
    """
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


# All figures of a page by section, in the order in which they are shown.


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


# The page of a search.


OPEN_ROWS = 60
"""Longer tables are shown folded."""


class TableRow(NamedTuple):
    """A run in a table, all as text."""

    name: str
    state: str
    value: str
    epochs: str
    took: str
    settings: tuple[str, ...]
    reason: str
    is_best: bool


def render_html(report: ReportData | Tables) -> str:
    """The whole page of a search or of a comparison; every text of a user is escaped."""
    return _comparison_page(report) if isinstance(report, Tables) else _search_page(report)


def _search_page(data: ReportData) -> str:
    answer = find_answer(data)
    shown = pictures(data)
    return render_page(
        "report.html.j2",
        drawn=chain.from_iterable(section.values() for section in shown.values()),
        pictures=shown,
        data=data,
        answer=answer,
        gain_rows=gain_rows(answer),
        status=status(data),
        settings=tuple(data.space),
        network_head=NETWORK_HEAD,
        network_rows=network_table(data),
        network_verdict=network_verdict(data),
        trials=[_trial(row, data) for row in data.trials],
        fixed=[_fixed(row, data) for row in data.fixed],
        open_rows=OPEN_ROWS,
        metric=plain(data.summary.metric),
        difficulty=[*difficulty(data), source_similarity(data)],
        cost=cost_text(data.provenance),
        machine=machine_text(data.provenance),
        repeat=REPEAT,
    )


def _trial(row: RunRow, data: ReportData) -> TableRow:
    best = data.summary.best
    return TableRow(
        name=str(row.number),
        settings=tuple(
            setting_text(row.run.params[name]) if name in row.run.params else ""
            for name in data.space
        ),
        is_best=best is not None and row.number == best.number,
        **_common(row, data),
    )


def _fixed(row: RunRow, data: ReportData) -> TableRow:
    return TableRow(name=row.run.label, settings=(), is_best=False, **_common(row, data))


def _common(row: RunRow, data: ReportData) -> dict[str, Any]:
    return {
        "state": row.state,
        "value": value_text(row.value, data.summary.metric),
        "epochs": f"{len(row.epochs)} of {row.run.total_epochs}",
        "took": duration(row.seconds) if row.epochs else "–",
        "reason": row.reason,
    }


# A comparison's tables as one HTML file.


def _comparison_page(tables: Tables) -> str:
    pooled = tables.tables[0]
    answer, behind = answer_picture(tables), reasons(tables)
    return render_page(
        "comparison.html.j2",
        drawn=[answer, *behind],
        picture=answer,
        reasons=[picture for picture in behind if picture.plot],
        unmeasured=[picture.caption for picture in behind if not picture.plot],
        name=tables.protocol.comparison,
        about=tables.provenance.about if tables.provenance else None,
        reference=arm_name(tables.protocol.reference, tables),
        title=pooled.title,
        is_own=tables.protocol.table == "own",
        summary=summary(tables),
        findings=findings(tables),
        split_findings=split_findings(tables),
        warnings=warnings(tables),
        meanings=MEANINGS,
        sides=SIDES,
        rows=rows_of(tables, pooled),
        scenarios=scenarios_of(tables),
        protocol=protocol_text(tables),
        provenance=provenance_facts(tables),
        study=tables.provenance.study if tables.provenance else None,
    )
