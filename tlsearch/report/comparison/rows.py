"""Rows, arms and scenarios of a comparison as texts, the same in every format."""

from typing import NamedTuple

from tlsearch.evidence.answers import ArmOverview, ScenarioOverview, Tables, VerdictTable
from tlsearch.evidence.effects import Effect
from tlsearch.report.comparison.findings import foretold_text
from tlsearch.report.comparison.method import measured_text, said_text
from tlsearch.report.comparison.wording import Spoken, arm_name, params_text, spoken, varying
from tlsearch.report.wording import accuracy_text, gain_text, percent


class SpokenRow(NamedTuple):
    """A strategy and what is said of it, by side."""

    id: str
    strategy: str
    cells: dict[str, list[Spoken]]


class Column(NamedTuple):
    """Head of a column in a scenario's table of arms."""

    title: str
    is_number: bool


class SpokenScenario(NamedTuple):
    """A scenario as texts: what it is said to be, what was measured of it, and its arms.

    `finding` is "" where the table is not about splits; `arms` are lines of a text for each of
    `columns`; `rows` are of its own table of verdicts, if it has one.
    """

    name: str
    said: str
    measured: str
    warnings: tuple[str, ...]
    finding: str
    columns: tuple[Column, ...]
    arms: list[tuple[str, ...]]
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
    is_splits = tables.protocol.future is not None
    return SpokenScenario(
        name=place.scenario,
        said=said_text(place),
        measured=measured_text(place),
        warnings=(*(lost if place.negative_transfer else ()), *place.remarks),
        finding=foretold_text(place, tables),
        columns=_SPLITS if is_splits else _columns(tables),
        arms=[_split(arm, tables) if is_splits else _arm(arm, tables) for arm in place.arms],
        rows=rows_of(tables, table) if table else [],
    )


_SPLITS = (
    Column("arm", is_number=False),
    Column("the split's estimate", is_number=True),
    Column("accuracy on later images", is_number=True),
    Column("estimate less later accuracy, 95 % interval", is_number=True),
)


def _columns(tables: Tables) -> tuple[Column, ...]:
    return (
        Column("arm", is_number=False),
        Column("test accuracy, 95 % interval", is_number=True),
        Column(f"over {arm_name(tables.protocol.reference, tables)}", is_number=True),
        Column("configuration, where arms differ", is_number=False),
    )


def _split(arm: ArmOverview, tables: Tables) -> tuple[str, ...]:
    name, found = arm_name(arm.arm, tables), arm.foretelling
    if found is None:
        return (name, "–", "–", "–")
    optimism = Effect(found.optimism, found.low, found.high, found.redraws, 0)
    return (name, percent(found.estimate), percent(found.later_accuracy), gain_text(optimism))


def _arm(arm: ArmOverview, tables: Tables) -> tuple[str, ...]:
    accuracy = gain = "–"
    if arm.accuracy is not None and arm.low is not None and arm.high is not None:
        accuracy = accuracy_text(Effect(arm.accuracy, arm.low, arm.high, arm.seeds, arm.n))
    if arm.gain is not None:
        found = arm.gain
        gain = gain_text(Effect(found.mean, found.low, found.high, arm.seeds, arm.n))
    elif arm.arm == tables.protocol.reference:
        gain = "the reference"
    return (arm_name(arm.arm, tables), accuracy, gain, params_text(arm.params, varying(tables)))
