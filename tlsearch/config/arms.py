"""The study's section `comparison`: which strategies are held against one another, and where."""

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from tlsearch.config.dimensions import LARGEST_COUNT
from tlsearch.config.validation import (
    Complaint,
    Parsed,
    Section,
    list_schema,
    refusal,
    refuse,
    shown,
)

Table = Literal["A", "B", "C", "own"]
Overrides = dict[str, Any]

_NAME = r"[A-Za-z0-9][A-Za-z0-9 _-]{0,39}"
_OVERRIDES = {"type": "object"}


def _read_arms(value: object) -> dict[str, Overrides]:
    example = "write {fixed: {space.schedule: constant}, cosine: {space.schedule: cosine}}"
    if not isinstance(value, dict):
        rule = "must be a mapping from arms to the fields that define them"
        raise refuse(value, rule, example)
    found = _bad_names(value)
    found += [
        Complaint((name,), shown(fields), "must be a mapping from dotted fields to values", example)
        for name, fields in value.items()
        if not isinstance(fields, dict)
    ]
    if len(value) < 2:
        found.append(Complaint((), shown(value), "needs two arms at least", example))
    if found:
        raise refusal(found)
    return value


def _read_settings(value: object) -> Overrides:
    if isinstance(value, dict):
        return value
    rule = "must be a mapping from dotted fields to values"
    raise refuse(value, rule, "write {data.labels_per_class: 5}")


def _check_scenarios(value: object) -> object:
    found = _bad_names(value) if isinstance(value, dict) else []
    if found:
        raise refusal(found)
    return value


def _bad_names(value: dict[Any, Any]) -> list[Complaint]:
    """Names of arms or scenarios that files and runs cannot bear, or not beside one another."""
    found: list[Complaint] = []
    known: dict[str, str] = {}
    rule = "must be 1 to 40 letters, digits, spaces, '_' or '-', the first a letter or digit"
    for name in value:
        if not (isinstance(name, str) and re.fullmatch(_NAME, name)):
            found.append(Complaint((name,), shown(name), rule, "it names files and runs"))
            continue
        other = known.setdefault(name.replace(" ", "_").casefold(), name)
        if other != name:
            alike = f"names the same files as {other!r}"
            found.append(Complaint((name,), shown(name), alike, "rename one of them"))
    return found


def _read_dimension(value: object) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if isinstance(names, list | tuple) and names and all(isinstance(n, str) for n in names):
        return tuple(names)
    raise refuse(value, "must be a dimension of `space`, or a list of them", "write lr")


def _read_values(value: object) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple) or len(value) < 2:
        raise refuse(value, "must be a list of two values at least", "write [0.01, 0.1]")
    found = [
        Complaint((i,), shown(v), "must be one value", "a sweep takes no ranges and no lists")
        for i, v in enumerate(value)
        if isinstance(v, dict | list)
    ]
    found += [
        Complaint((i,), shown(v), "a value is listed twice", "drop one of them")
        for i, v in enumerate(value)
        if v in value[:i]
    ]
    if found:
        raise refusal(found)
    return tuple(value)


Settings = Annotated[Overrides, Parsed(_read_settings, _OVERRIDES, dict)]


class Traits(Section):
    """What is said of a scenario before the run; the measured figures are printed beside it."""

    similarity: Literal["similar", "dissimilar"] | None = None
    difficulty: Literal["easy", "hard"] | None = None
    labels: Literal["few", "many"] | None = None
    balance: Literal["balanced", "imbalanced"] | None = None
    order: Literal["time"] | None = None
    cleaning: Literal["cleaned", "as found"] | None = None


class ScenarioConfig(Section):
    """One place where all arms are compared: what is changed in the study, and what it stands for.

    Source weights, target data and the number of labels may differ between scenarios.
    """

    set: Annotated[Settings, Field(description="dotted fields of the study and their values")] = (
        Field(default_factory=dict)
    )
    traits: Traits = Traits()
    arms: Annotated[
        list[str] | None, Field(description="the arms that make sense here; null for all")
    ] = None


class TuningConfig(Section):
    """What each arm may spend on its own best configuration; the same for all.

    Trials are drawn at random: independent draws make the expected best of n trials computable
    (arXiv:1909.03004), and the table the same whatever ends first. None is pruned.
    """

    trials: Annotated[int, Field(ge=1, le=LARGEST_COUNT)] = 8
    epochs: Annotated[
        int, Field(ge=1, le=LARGEST_COUNT, description="of each training, confirmations included")
    ] = 12


class SeedsConfig(Section):
    """How often each arm's configuration is trained again; every seed redraws all that is chance.

    Eight seeds find an effect of 3 points in one scenario in 99 % of tables of 22 claims, where
    seeds differ by 0.8 points (`evidence/planning.py`). With one there is no measure of chance.
    """

    seeds: Annotated[int, Field(ge=2, le=1000)] = 8


class SweepConfig(Section):
    """One dimension of an arm's chosen configuration set to each of several values, over seeds.

    Of several dimensions that one counts which the chosen configuration has.
    """

    arm: Annotated[str, Field(examples=["A1"])]
    dimension: Annotated[
        tuple[str, ...],
        Parsed(
            _read_dimension,
            {"anyOf": [{"type": "string"}, list_schema({"type": "string"})]},
            list,
        ),
        Field(examples=["lr"]),
    ]
    values: Annotated[
        tuple[Any, ...],
        Parsed(_read_values, {"type": "array", "minItems": 2}, list),
        Field(examples=[[0.01, 0.1]]),
    ]


class SweepsConfig(Section):
    """Trainings beyond the confirmation, for claims about rates that do and about sensitivity."""

    seeds: Annotated[int, Field(ge=2, le=1000)] = 4
    scenarios: Annotated[
        list[str] | None, Field(description="where to sweep; null for every scenario")
    ] = None
    of: list[SweepConfig] = Field(default_factory=list)


class ComparisonConfig(Section):
    """Strategies (arms) in several situations (scenarios), with equal budgets and a verdict.

    An arm fixes some dimensions and leaves the rest of `space` to its tuning. `table` names the
    documents' table that the arms stand for; "own" holds each arm against `reference`.
    """

    table: Table = "own"
    arms: Annotated[
        dict[str, Overrides],
        Parsed(_read_arms, {"type": "object", "additionalProperties": _OVERRIDES}, dict),
        Field(examples=[{"fixed": {"space.schedule": "constant"}}]),
    ]
    scenarios: Annotated[
        dict[str, ScenarioConfig],
        BeforeValidator(_check_scenarios),
        Field(description="none: the study as it is, by the name `here`"),
    ] = Field(default_factory=lambda: {"here": ScenarioConfig()})
    only: Annotated[
        list[str] | None, Field(description="run these scenarios alone; null for all")
    ] = None
    tuning: TuningConfig = TuningConfig()
    confirm: SeedsConfig = SeedsConfig()
    reference: Annotated[str | None, Field(description="an arm; null for the first")] = None
    sweeps: SweepsConfig = SweepsConfig()
    future: Annotated[
        float | None,
        Field(
            gt=0,
            lt=1,
            description="table B: share of the images, the latest, that no split may touch",
        ),
    ] = None

    @property
    def held_against(self) -> str:
        """The arm that the others of an own table are held against."""
        return self.reference or next(iter(self.arms))

    @property
    def used(self) -> tuple[str, ...]:
        """The scenarios that are run, in the order of the file."""
        return tuple(n for n in self.scenarios if self.only is None or n in self.only)

    def arms_in(self, scenario: str) -> tuple[str, ...]:
        """The arms of one scenario, in the order of the file."""
        wanted = self.scenarios[scenario].arms
        return tuple(arm for arm in self.arms if wanted is None or arm in wanted)

    def sweeps_in(self, scenario: str) -> list[SweepConfig]:
        """What is swept in one scenario."""
        wanted, arms = self.sweeps.scenarios, self.arms_in(scenario)
        if wanted is not None and scenario not in wanted:
            return []
        return [sweep for sweep in self.sweeps.of if sweep.arm in arms]
