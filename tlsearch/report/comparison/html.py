"""A comparison's tables as one HTML file."""

from typing import NamedTuple

from tlsearch.evidence.answers import ArmOverview, ScenarioOverview, Tables, VerdictTable
from tlsearch.evidence.effects import Effect
from tlsearch.report.absent import Absent
from tlsearch.report.comparison.wording import (
    MEANINGS,
    SIDES,
    Spoken,
    about,
    params_text,
    protocol_text,
    spoken,
    summary,
    varying,
    warnings,
)
from tlsearch.report.figures import forest
from tlsearch.report.figures.canvas import Picture
from tlsearch.report.page import render_page
from tlsearch.report.wording import accuracy_text, gain_text


class SpokenRow(NamedTuple):
    """A strategy and what is said of it, by side."""

    id: str
    strategy: str
    cells: dict[str, list[Spoken]]


class SpokenArm(NamedTuple):
    """An arm of a scenario as texts."""

    arm: str
    accuracy: str
    gain: str
    params: str


class SpokenScenario(NamedTuple):
    """A scenario as texts; `rows` are of its own table of verdicts, if it has one."""

    name: str
    about: str
    warnings: tuple[str, ...]
    arms: list[SpokenArm]
    rows: list[SpokenRow]


def render_comparison_html(tables: Tables) -> str:
    """The whole page; every text of a user is escaped."""
    pooled, *alone = tables.tables
    by_scenario = {table.scenario: table for table in alone}
    return render_page(
        "comparison.html.j2",
        pictures={"forest": _forest(tables)},
        name=tables.protocol.comparison,
        reference=tables.protocol.reference,
        title=pooled.title,
        is_own=tables.protocol.table == "own",
        summary=summary(tables),
        warnings=warnings(tables),
        meanings=MEANINGS,
        sides=SIDES,
        rows=rows_of(tables, pooled),
        scenarios=[
            _scenario(tables, place, by_scenario.get(place.scenario)) for place in tables.scenarios
        ],
        protocol=protocol_text(tables),
    )


def rows_of(tables: Tables, table: VerdictTable) -> list[SpokenRow]:
    """A table's rows with their answers in words, all sides of the documents present."""
    return [
        SpokenRow(
            row.id,
            row.strategy,
            {
                cell.side: [spoken(tables.answer(key, table.scenario)) for key in cell.claims]
                for cell in row.cells
            },
        )
        for row in table.rows
    ]


def _scenario(
    tables: Tables, place: ScenarioOverview, table: VerdictTable | None
) -> SpokenScenario:
    lost = ("Negative transfer: training from scratch does better than every other arm here.",)
    return SpokenScenario(
        name=place.scenario,
        about=about(place),
        warnings=(*(lost if place.negative_transfer else ()), *place.remarks),
        arms=[_arm(arm, varying(tables), tables.protocol.reference) for arm in place.arms],
        rows=rows_of(tables, table) if table else [],
    )


def _arm(arm: ArmOverview, names: tuple[str, ...], reference: str) -> SpokenArm:
    accuracy = gain = "–"
    if arm.accuracy is not None and arm.low is not None and arm.high is not None:
        accuracy = accuracy_text(Effect(arm.accuracy, arm.low, arm.high, arm.seeds, arm.n))
    if arm.gain is not None:
        found = arm.gain
        gain = gain_text(Effect(found.mean, found.low, found.high, arm.seeds, arm.n))
    elif arm.arm == reference:
        gain = "the reference"
    return SpokenArm(arm.arm, accuracy, gain, params_text(arm.params, names))


def _forest(tables: Tables) -> Picture:
    title = f"Gains over {tables.protocol.reference}"
    found = forest.compute(tables)
    if isinstance(found, Absent):
        return Picture("forest", title, found.reason, "", None, 0)
    plot = forest.draw(found).to_json()
    return Picture("forest", title, forest.caption(found), forest.alt(found), plot, found.height)
