"""Contradictions within the section `comparison`; its cells are checked as studies of their own."""

from collections.abc import Iterator, Sequence

from tlsearch.config.cells import (
    Cell,
    Override,
    cell_config,
    cell_overrides,
    cells,
    compared,
    replaces,
)
from tlsearch.config.comparison import ComparisonConfig
from tlsearch.config.dimensions import raw
from tlsearch.config.schema import (
    BACKBONE,
    BudgetConfig,
    ConfirmConfig,
    StudyConfig,
    fixed_baselines,
)
from tlsearch.config.search_options import Median, Tpe
from tlsearch.config.validation import Fault, clash
from tlsearch.errors import Problem, nearest, shown

_ROWS = {"A": ("A1", "A2", "A3", "A4", "A5"), "B": ("B1", "B2", "B3", "B3 with gap")}
_POOLED = "all"
"""What answers pooled over all scenarios are filed under, in every format."""
_OURS = ("space.", "backbone.weights", "backbone.name")
_OURS_IN_B = (*_OURS, "data.split.")
_SCENARIOS = ("data.", "backbone.", "space.")
_CHOICES = ("schedule", "optimizer", "adaptation")


def comparison_contradictions(config: StudyConfig, comparison: ComparisonConfig) -> Iterator[Fault]:
    """What cannot go together in a comparison, apart from its cells."""
    yield from _unused(config)
    yield from _names(comparison)
    yield from _scenarios(comparison)
    yield from _arms(comparison)
    yield from _sweeps(comparison)
    yield from _future(comparison)


def _unused(config: StudyConfig) -> Iterator[Fault]:
    """Settings of a search, which a comparison would ignore without a word."""
    written = config.model_dump(mode="json")
    used = {
        "budget": (config.budget == BudgetConfig(), "set comparison.tuning instead"),
        "confirm": (config.confirm == ConfirmConfig(), "set comparison.confirm instead"),
        "baselines": (config.baselines == fixed_baselines(), "write an arm for it"),
        "search.sampler": (config.search.sampler == Tpe(), "drop it: trials are drawn at random"),
        "search.pruner": (config.search.pruner == Median(), "drop it: every trial is trained"),
    }
    for field, (is_default, remedy) in used.items():
        if not is_default:
            value = written
            for part in field.split("."):
                value = value[part]
            yield clash(field, value, "is not used by a comparison", remedy, "comparison")


def _names(comparison: ComparisonConfig) -> Iterator[Fault]:
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
    if _POOLED in scenarios:
        rule = "is what the answers of all scenarios together are called"
        yield clash("comparison.scenarios.all", "all", rule, "give the scenario another name")
    for arm in arms:
        if arm.strip().isdigit():
            rule = "reads like a number"
            yield clash(f"comparison.arms.{arm}", arm, rule, "name it after what it does")
    if not comparison.used and not set(comparison.only or ()) - set(scenarios):
        field = "comparison.only" if scenarios else "comparison.scenarios"
        yield clash(field, [], "leaves no scenario to run", "name at least one")


def _scenarios(comparison: ComparisonConfig) -> Iterator[Fault]:
    arms, reference = list(comparison.arms), comparison.held_against
    for scenario, place in comparison.scenarios.items():
        field = f"comparison.scenarios.{scenario}"
        for dotted, value in place.set.items():
            if not str(dotted).startswith(_SCENARIOS):
                rule, remedy = f"{dotted} does not describe a scenario", "set fields of "
                remedy += "data and backbone, or of space for all arms alike"
                yield clash(f"{field}.set", {dotted: value}, rule, remedy)
        for name in place.arms or ():
            if name not in arms:
                yield _unknown(f"{field}.arms", name, "an arm", arms)
        if place.arms is not None and len(set(place.arms)) < 2:
            yield clash(f"{field}.arms", place.arms, "compares nothing", "name two arms at least")
        elif comparison.table == "own" and reference not in (place.arms or (reference,)):
            rule = f"leaves out the reference, {reference!r}"
            remedy = "add it: all arms are held against it"
            yield clash(f"{field}.arms", place.arms, rule, remedy, "comparison.reference")


def _unknown(field: str, value: str, what: str, known: list[str]) -> Fault:
    remedy = nearest(value, known) or f"known: {', '.join(known)}"
    return clash(field, value, f"must be {what} of this comparison", remedy)


def _arms(comparison: ComparisonConfig) -> Iterator[Fault]:
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
                remedy += "backbone.name, or backbone.weights: none for no transfer"
                yield clash(place, {dotted: value}, rule, remedy)
            elif dotted == "backbone.weights" and value != "none":
                rule = "arms share the scenario's weights"
                remedy = "write none for no transfer, or set weights in a scenario"
                yield clash(place, {dotted: value}, rule, remedy)


def _sweeps(comparison: ComparisonConfig) -> Iterator[Fault]:
    for index, sweep in enumerate(comparison.sweeps.of):
        field = f"comparison.sweeps.of.{index}"
        if sweep.arm not in comparison.arms:
            yield _unknown(f"{field}.arm", sweep.arm, "an arm", list(comparison.arms))
            continue
        places = comparison.sweeps.scenarios or ()
        if set(places) <= set(comparison.scenarios) and not any(
            sweep in comparison.sweeps_in(scenario) for scenario in comparison.scenarios
        ):
            rule = "is swept in no scenario"
            remedy = "name one of its scenarios in comparison.sweeps.scenarios"
            yield clash(f"{field}.arm", sweep.arm, rule, remedy)
        for name in sweep.dimension:
            if name in _CHOICES:
                rule = "has settings of its own, which a sweep would not tune"
                yield clash(f"{field}.dimension", name, rule, "compare its choices as arms")
            earlier = comparison.sweeps.of[:index]
            if any(other.arm == sweep.arm and name in other.dimension for other in earlier):
                rule = f"is swept twice for {sweep.arm!r}"
                yield clash(f"{field}.dimension", name, rule, "make one sweep of it")


def _future(comparison: ComparisonConfig) -> Iterator[Fault]:
    field = "comparison.future"
    if comparison.table != "B":
        if comparison.future is not None:
            rule, remedy = "belongs to table B alone", "drop it, or write table: B"
            yield clash(field, comparison.future, rule, remedy, "comparison.table")
        return
    if comparison.future is None:
        rule, remedy = "table B needs images that no split touches", "write a share such as 0.25"
        yield clash(field, None, rule, remedy, "comparison.table")
    if comparison.sweeps.of:
        yield clash("comparison.sweeps", "sweeps", "table B sweeps nothing", "drop it")


def cell_contradictions(config: StudyConfig, comparison: ComparisonConfig) -> Iterator[Fault]:
    """What cannot be in a study that is a cell of this comparison, whoever set it."""
    folds = config.data.split.folds
    if folds:
        rule, remedy = "is not used by a comparison", "write null: seeds redraw the parts"
        yield clash("data.split.folds", folds, rule, remedy)
    if comparison.table == "B":
        for name, dimension in config.searched().items():
            rule = "table B holds the strategy fixed, and compares splits alone"
            field = "backbone.name" if name == BACKBONE else f"space.{name}"
            yield clash(field, raw(dimension), rule, "write one value for it")


def sweep_contradictions(config: StudyConfig, cell: Cell) -> Iterator[Fault]:
    """Swept dimensions that this arm has not; the cell must be right by itself."""
    comparison = compared(config)
    known = cell_config(config, cell).space.dimensions()
    for index, sweep in enumerate(comparison.sweeps.of):
        if sweep.arm != cell.arm:
            continue
        for name in sweep.dimension:
            # What is no dimension of any arm is told with the values that it would be set to.
            if name not in known and "." in name:
                field = f"comparison.sweeps.of.{index}.dimension"
                rule = f"is no dimension of {cell.arm!r}"
                inner = [n for n in known if "." in n]
                yield clash(field, name, rule, nearest(name, inner) or f"has: {', '.join(inner)}")


def identical_arms(config: StudyConfig) -> Iterator[Fault]:
    """Arms that come to the same strategy; the cells must be right by themselves."""
    comparison, told = compared(config), set[str]()
    seen: dict[tuple[str, str], str] = {}
    for cell in cells(comparison):
        found = cell_config(config, cell).model_dump_json(exclude={"name", "comparison"})
        first = seen.setdefault((cell.scenario, found), cell.arm)
        if first != cell.arm and cell.arm not in told:
            told.add(cell.arm)
            rule, remedy = f"is the same strategy as {first!r}", "change or drop one of them"
            field = f"comparison.arms.{cell.arm}"
            yield clash(field, comparison.arms[cell.arm], rule, remedy)


def replaced_options(comparison: ComparisonConfig, options: Sequence[Override]) -> list[Problem]:
    """Options of the command line that no cell would have anything of."""
    return [
        Problem(option.origin, shown(option.value), *found)
        for option in options
        if (found := _replaced(comparison, option)) is not None
    ]


def _replaced(comparison: ComparisonConfig, option: Override) -> tuple[str, str] | None:
    """The rule and the remedy; None if a cell takes it."""

    def has_gone(cell: Cell) -> bool:
        later = cell_overrides(comparison, cell, lines={})
        return any(replaces(override, option) for override in later)

    field = ".".join(option.loc)
    if all(has_gone(Cell(scenario, "")) for scenario in comparison.used):
        reset = ["'comparison.scenarios={here: {}}'"]
        reset += ["comparison.only=null"] * (comparison.only is not None)
        reset += ["comparison.sweeps.scenarios=null"] * (comparison.sweeps.scenarios is not None)
        remedy = f"add {' '.join(f'--set {word}' for word in reset)} for the study without them"
        return f"every scenario sets {field} itself", remedy
    if all(map(has_gone, cells(comparison))):
        return f"every arm sets {field} itself", "change it in comparison.arms"
    return None
