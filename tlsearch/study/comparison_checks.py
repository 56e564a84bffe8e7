"""Contradictions within the section `comparison`; its cells are checked as studies of their own."""

from collections.abc import Iterator
from typing import Any

from tlsearch.errors import nearest
from tlsearch.study.cells import Cell, cell_config
from tlsearch.study.comparison import ComparisonConfig
from tlsearch.study.config import (
    BudgetConfig,
    ConfirmConfig,
    StudyConfig,
)
from tlsearch.study.contradiction import Contradiction, clash
from tlsearch.study.search_options import Median, Tpe
from tlsearch.study.values import BASELINES

_ROWS = {"A": ("A1", "A2", "A3", "A4", "A5"), "B": ("B1", "B2", "B3", "B3 with gap")}
_POOLED = "all"
"""What answers pooled over all scenarios are filed under, in every format."""
_OURS = ("space.", "backbone.weights")
_OURS_IN_B = (*_OURS, "data.split.")


def comparison_contradictions(
    config: StudyConfig, comparison: ComparisonConfig
) -> Iterator[Contradiction]:
    """What cannot go together in a comparison, apart from its cells."""
    yield from _unused(config)
    yield from _names(comparison)
    yield from _arms(comparison)
    yield from _sweeps(comparison)
    yield from _future(config, comparison)


def _unused(config: StudyConfig) -> Iterator[Contradiction]:
    """Settings of a search, which a comparison would ignore without a word."""
    instead = {
        "budget": (config.budget, BudgetConfig(), "comparison.tuning"),
        "confirm": (config.confirm, ConfirmConfig(), "comparison.confirm"),
        "baselines": (config.baselines, BASELINES, "an arm of comparison.arms"),
        "search.sampler": (config.search.sampler, Tpe(), ""),
        "search.pruner": (config.search.pruner, Median(), ""),
        "data.split.folds": (config.data.split.folds, None, ""),
    }
    for field, (value, default, other) in instead.items():
        if value != default:
            written = value.model_dump(mode="json") if hasattr(value, "model_dump") else value
            rule = "is not used by a comparison"
            remedy = f"drop it, and set {other}" if other else "drop it"
            yield clash(field, written, rule, remedy, "comparison")


def _names(comparison: ComparisonConfig) -> Iterator[Contradiction]:
    arms, scenarios = list(comparison.arms), list(comparison.scenarios)
    if comparison.reference is not None and comparison.reference not in arms:
        yield _unknown("comparison.reference", comparison.reference, "an arm", arms)
    for field, wanted in (
        ("comparison.only", comparison.only),
        ("comparison.sweeps.scenarios", comparison.sweeps.scenarios),
    ):
        for name in wanted or ():
            if name not in scenarios:
                yield _unknown(field, name, "a scenario", scenarios)
    for scenario, place in comparison.scenarios.items():
        for name in place.arms or ():
            if name not in arms:
                yield _unknown(f"comparison.scenarios.{scenario}.arms", name, "an arm", arms)
        if place.arms is not None and len(set(place.arms)) < 2:
            field = f"comparison.scenarios.{scenario}.arms"
            yield clash(field, place.arms, "compares nothing", "name two arms at least")
    if _POOLED in scenarios:
        rule = "is what the answers of all scenarios together are called"
        yield clash("comparison.scenarios.all", "all", rule, "give the scenario another name")
    for arm in arms:
        if arm.strip().isdigit():
            rule = "reads like a number"
            yield clash(f"comparison.arms.{arm}", arm, rule, "name it after what it does")
    if not comparison.used:
        field = "comparison.only" if scenarios else "comparison.scenarios"
        yield clash(field, [], "leaves no scenario to run", "name at least one")


def _unknown(field: str, value: str, what: str, known: list[str]) -> Contradiction:
    remedy = nearest(value, known) or f"known: {', '.join(known)}"
    return clash(field, value, f"must be {what} of this comparison", remedy)


def _arms(comparison: ComparisonConfig) -> Iterator[Contradiction]:
    allowed = _OURS_IN_B if comparison.table == "B" else _OURS
    rows = _ROWS.get(comparison.table)
    for arm, fields in comparison.arms.items():
        place = f"comparison.arms.{arm}"
        if rows and arm not in rows:
            rule = f"is no row of table {comparison.table}"
            remedy = nearest(arm, rows) or f"rows: {', '.join(rows)}; or write table: own"
            yield clash(place, fields, rule, remedy, "comparison.table")
        for dotted, value in fields.items():
            if not str(dotted).startswith(allowed):
                rule = f"{dotted} does not define a strategy"
                known = "data.split and " if comparison.table == "B" else ""
                remedy = f"arms set fields of {known}space, such as space.schedule, or write "
                yield clash(place, value, rule, f"{remedy}backbone.weights: none for no transfer")
            elif dotted == "backbone.weights" and value != "none":
                rule = "arms share the scenario's weights"
                remedy = "write none for no transfer, or set weights in a scenario"
                yield clash(place, value, rule, remedy)


def _sweeps(comparison: ComparisonConfig) -> Iterator[Contradiction]:
    for index, sweep in enumerate(comparison.sweeps.of):
        field = f"comparison.sweeps.of.{index}"
        if sweep.arm not in comparison.arms:
            yield _unknown(f"{field}.arm", sweep.arm, "an arm", list(comparison.arms))
        if len(set(map(repr, sweep.values))) < len(sweep.values):
            values = list(sweep.values)
            yield clash(f"{field}.values", values, "a value is listed twice", "drop one of them")


def _future(config: StudyConfig, comparison: ComparisonConfig) -> Iterator[Contradiction]:
    field = "comparison.future"
    if comparison.table != "B":
        if comparison.future is not None:
            rule, remedy = "belongs to table B alone", "drop it, or write table: B"
            yield clash(field, comparison.future, rule, remedy, "comparison.table")
        return
    if comparison.future is None:
        rule, remedy = "table B needs images that no split touches", "write a share such as 0.25"
        yield clash(field, None, rule, remedy, "comparison.table")
    searched = config.space.searched()
    if searched:
        rule = "table B holds the strategy fixed, and compares splits alone"
        yield clash(f"space.{next(iter(searched))}", "a range", rule, "write one value for it")
    if comparison.sweeps.of:
        yield clash("comparison.sweeps", "sweeps", "table B sweeps nothing", "drop it")


def identical_arms(config: StudyConfig, comparison: ComparisonConfig) -> Iterator[Contradiction]:
    """Arms that come to the same strategy; the cells must be right by themselves."""
    seen: dict[Any, str] = {}
    scenario = comparison.used[0]
    for arm in comparison.arms:
        found = cell_config(config, Cell(scenario, arm)).model_dump_json(
            exclude={"name", "comparison"}
        )
        if found in seen:
            rule = f"is the same strategy as {seen[found]!r}"
            yield clash(
                f"comparison.arms.{arm}", comparison.arms[arm], rule, "change or drop one of them"
            )
        seen.setdefault(found, arm)
