"""A comparison's tables as plain numbers and texts, the form that every format is made from.

Nothing here is infinite or not a number: None stands where there is no figure.
"""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from io import StringIO
from typing import Any, Literal

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from tlsearch.comparison.claims import Side
from tlsearch.config.comparison import Table

Answered = Literal[
    "supported",
    "contradicted",
    "no material effect",
    "inconclusive",
    "described",
    "not measured",
]
Basis = Literal["test images", "seeds", "redraws", "scenarios"]
Bias = Literal["too optimistic", "too pessimistic", "none shown"]


@dataclass(frozen=True, kw_only=True)
class ClaimAnswer:
    """One claim answered: in one scenario, or pooled over all that it speaks of ("all").

    `effect` is arm less reference in `unit`, a "log ratio" as a natural logarithm; `low` and `high`
    are its interval for this claim alone at 1 - alpha; `guarded_low` and `guarded_high` at the
    level that the correction for many claims leaves it: the verdict is read off these.
    `arm_mean` and `reference_mean` are the values that the difference was taken of, of log ratios
    geometric means; `arm` and `reference` say whose they are. `smallest` is delta.
    `n` counts what `n_of` names: test images, or numbers where there is one a seed, redraw or
    scenario; `seeds` is the number of seeds or redraws a scenario, `scenarios` those it rests on.
    `needed` of `needed_of`, in each scenario or of scenarios, would settle an *inconclusive* claim;
    None if not even 1,000 would. `needs_images`: only more test images could. `sign_flip_p`,
    `bca_low` and `bca_high` are second opinions. `figure` and `text` are what was *described*,
    `reason` is why it was *not measured*. `notes` are sentences: what was left out, and that an
    *inconclusive* claim is so for the correction alone.
    """

    table: Table
    id: str
    key: str
    side: Side
    scenario: str
    says: str
    statistic: str
    measure: str
    unit: str
    verdict: Answered
    arm: str
    reference: str | None
    direction: Literal[1, -1] | None
    smallest: float
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    guarded_low: float | None = None
    guarded_high: float | None = None
    guarded_level: float | None = None
    arm_mean: float | None = None
    reference_mean: float | None = None
    n: int = 0
    n_of: Basis | None = None
    seeds: int = 0
    scenarios: tuple[str, ...] = ()
    p: float | None = None
    adjusted_p: float | None = None
    sign_flip_p: float | None = None
    bca_low: float | None = None
    bca_high: float | None = None
    needed: int | None = None
    needed_of: Literal["seeds", "redraws", "scenarios"] | None = None
    needs_images: bool = False
    figure: float | None = None
    text: str | None = None
    reason: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The claims about a strategy on one side: keys of answers in the table's scenario."""

    side: Side
    claims: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A strategy: of the documents by their id, of an own table by the arm's name."""

    id: str
    strategy: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class VerdictTable:
    """A table pooled over all scenarios ("all") or in one; a family of claims of its own."""

    table: Table
    title: str
    scenario: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class Gain:
    """An arm's test accuracy less the reference arm's with a 95 % interval, in one scenario or as
    the mean over `scenarios` of them; described, not tested.
    """

    arm: str
    mean: float
    low: float
    high: float
    scenarios: int


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """A split's forecast: the accuracy that it makes one expect, and that on later images.

    `estimate` and `later_accuracy` are means over `redraws`; `optimism` is the first less the
    second, with a 95 % interval that allows for other draws and seeds and for other images of the
    same kind. `bias` is read off that interval.
    """

    estimate: float
    later_accuracy: float
    optimism: float
    low: float
    high: float
    bias: Bias
    redraws: int


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over `repeats`, seeds or redraws, with a 95 % interval; None for both ends where one
    repeat shows no spread. `is_geometric`: of a positive figure whose ratios count.
    """

    mean: float
    low: float | None
    high: float | None
    repeats: int
    is_geometric: bool


@dataclass(frozen=True, kw_only=True)
class SweepPoint:
    """An arm's configuration with one setting changed: mean test accuracy over `seeds` with a 95 %
    interval over seeds and test images, None if not scored; `diverged` of the seeds broke down,
    and count as an accuracy of 0.
    """

    setting: float | int | str | bool | None
    accuracy: float | None
    low: float | None
    high: float | None
    seeds: int
    diverged: int


@dataclass(frozen=True, kw_only=True)
class SweepOverview:
    """What accuracy an arm reaches over the settings of one dimension, in their order."""

    arm: str
    dimension: str
    points: tuple[SweepPoint, ...]


@dataclass(frozen=True, kw_only=True)
class ArmOverview:
    """An arm in one scenario: test accuracy over seeds with a 95 % interval, None if not scored;
    `params` is what tuning chose out of `settings` dimensions. `gain` is None for the reference arm
    itself, `foretelling` wherever a table is not about splits. `measures` are the other figures
    that were taken of its models, by name; `NAME.GROUP` are of one layer group, from the input on.
    """

    arm: str
    accuracy: float | None
    low: float | None
    high: float | None
    gain: Gain | None
    foretelling: Forecast | None
    n: int
    seeds: int
    settings: int
    params: dict[str, float | int | str | bool | None]
    measures: dict[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ScenarioOverview:
    """What the study calls a scenario (`traits`), what was measured of it (`facts`), and its arms.

    `remarks` are sentences: where names and measurements contradict one another.
    `negative_transfer`: training from scratch is better than every other arm, beyond chance.
    """

    scenario: str
    traits: dict[str, str]
    facts: dict[str, float]
    arms: tuple[ArmOverview, ...]
    remarks: tuple[str, ...]
    negative_transfer: bool
    sweeps: tuple[SweepOverview, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What the answers rest on: each arm's budget, and how claims were judged.

    `seeds` counts trainings of each chosen configuration. `future` is the share of the images, the
    latest, that no split touched; None where the table is not about splits.
    """

    comparison: str
    table: Table
    reference: str
    trials: int
    epochs: int
    seeds: int
    future: float | None
    alpha: float
    power: float


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where the figures come from and what they cost.

    `command` and `versions` are those of the last run that had something to do, `date` is when its
    last training ended (local time); `trainings` are counted by their endings, `seconds` added over
    workers. `study` is the resolved study as YAML, without passwords, `about` what it says of its
    purpose; `fingerprints` are of each scenario's data and of the weights, `weights` says
    what of them was loaded and where they come from. What is not
    known of an older study is None or empty.
    """

    command: str | None
    date: str | None
    versions: dict[str, str]
    trainings: dict[str, int]
    seconds: float
    precisions: tuple[str, ...]
    devices: tuple[str, ...]
    cores: int | None
    revision: str | None = None
    study: str | None = None
    about: str | None = None
    images_trained: int = 0
    fingerprints: dict[str, str] = field(default_factory=dict)
    weights: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Tables:
    """A whole comparison: the pooled table first, then one for each scenario where more than one
    was compared. `gains` are of all arms over all scenarios. `provenance` is None of figures that
    no study has measured.
    """

    protocol: Protocol
    tables: tuple[VerdictTable, ...]
    claims: tuple[ClaimAnswer, ...]
    scenarios: tuple[ScenarioOverview, ...]
    gains: tuple[Gain, ...]
    provenance: Provenance | None

    def answer(self, key: str, scenario: str) -> ClaimAnswer:
        """The answer that a cell of a table refers to."""
        (found,) = (c for c in self.claims if c.key == key and c.scenario == scenario)
        return found


# A comparison's tables as JSON, with its schema, and as CSV.


COLUMNS = tuple(field.name for field in fields(ClaimAnswer))
"""Of `tables_csv`."""


def tables_json(tables: Tables) -> dict[str, Any]:
    """The tables as studies/results/tables.schema.json describes them."""
    found: dict[str, Any] = _adapter().dump_python(tables, mode="json")
    return found


def tables_of(found: Mapping[str, Any]) -> Tables:
    """The tables that `tables_json` wrote, alone or among the rest of a report; what an older one
    lacks is at its default.
    """
    ours = {field.name: found[field.name] for field in fields(Tables) if field.name in found}
    return _adapter().validate_python(ours)


def tables_schema_text() -> str:
    """The JSON Schema (draft 2020-12) of `tables_json`, as the file that is published."""
    schema = _adapter().json_schema(mode="serialization")
    whole = {"$schema": GenerateJsonSchema.schema_dialect, **schema, "title": "tlsearch tables"}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def tables_csv(tables: Tables) -> str:
    """A line for each claim in each scenario, with the names of `ClaimAnswer`; "" is no figure."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_cell(claim, name) for name in COLUMNS] for claim in tables.claims)
    return text.getvalue()


def _cell(claim: ClaimAnswer, name: str) -> Any:
    value = getattr(claim, name)
    return "; ".join(value) if isinstance(value, tuple) else value


@cache
def _adapter() -> TypeAdapter[Tables]:
    return TypeAdapter(Tables)
