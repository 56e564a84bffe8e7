"""Rows, arms and scenarios of a comparison as texts, the same in every format."""

from typing import NamedTuple

from tlsearch.evidence.answers import ArmOverview, ScenarioOverview, Tables, VerdictTable
from tlsearch.evidence.effects import Effect
from tlsearch.report.comparison.wording import (
    Spoken,
    about,
    arm_name,
    params_text,
    spoken,
    varying,
)
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


def scenarios_of(tables: Tables) -> list[SpokenScenario]:
    """All scenarios in words, each with its own table of verdicts where there is one."""
    alone = {table.scenario: table for table in tables.tables[1:]}
    return [_scenario(tables, place, alone.get(place.scenario)) for place in tables.scenarios]


def _scenario(
    tables: Tables, place: ScenarioOverview, table: VerdictTable | None
) -> SpokenScenario:
    lost = ("Negative transfer: training from scratch does better than every other arm here.",)
    return SpokenScenario(
        name=place.scenario,
        about=about(place),
        warnings=(*(lost if place.negative_transfer else ()), *place.remarks),
        arms=[_arm(arm, tables) for arm in place.arms],
        rows=rows_of(tables, table) if table else [],
    )


def _arm(arm: ArmOverview, tables: Tables) -> SpokenArm:
    accuracy = gain = "–"
    if arm.accuracy is not None and arm.low is not None and arm.high is not None:
        accuracy = accuracy_text(Effect(arm.accuracy, arm.low, arm.high, arm.seeds, arm.n))
    if arm.gain is not None:
        found = arm.gain
        gain = gain_text(Effect(found.mean, found.low, found.high, arm.seeds, arm.n))
    elif arm.arm == tables.protocol.reference:
        gain = "the reference"
    params = params_text(arm.params, varying(tables))
    return SpokenArm(arm_name(arm.arm, tables), accuracy, gain, params)
