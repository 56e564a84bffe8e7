"""A comparison as its cells: the study of one arm in one scenario, and what contradicts there."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tlsearch.config.comparison import ComparisonConfig
from tlsearch.config.schema import (
    BACKBONE,
    BudgetConfig,
    ConfirmConfig,
    StudyConfig,
    fixed_baselines,
)
from tlsearch.config.search_options import Median, Tpe
from tlsearch.config.space import raw
from tlsearch.config.validation import Fault, Loc, clash
from tlsearch.errors import Problem, nearest, shown


class Override(NamedTuple):
    """A field that is set from outside its section; `origin` names the place in messages."""

    loc: tuple[str, ...]
    value: Any
    origin: str
    line: int | None


def apply(data: dict[str, Any], override: Override) -> None:
    """Set one value in the tree; a name on the way becomes the mapping that it abbreviates."""
    *way, last = override.loc
    here: dict[str, Any] = data
    for part, following in zip(way, override.loc[1:], strict=True):
        inner = here.get(part)
        if isinstance(inner, list) and all(isinstance(i, str) for i in inner):
            inner = {name: {} for name in inner}
        elif isinstance(inner, str) and inner == following:
            inner = {inner: {}}
        elif not isinstance(inner, dict):
            inner = {}
        here[part] = inner
        here = inner
    here[last] = copy.deepcopy(override.value)


def replaces(later: Override, earlier: Override) -> bool:
    """Whether nothing is left of `earlier` once `later` is applied; see `apply`."""
    size = len(earlier.loc)
    if later.loc[:size] != earlier.loc or len(later.loc) == size:
        return earlier.loc[: len(later.loc)] == later.loc
    value = earlier.value
    is_names = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return not (isinstance(value, dict) or is_names or value == later.loc[size])


class Cell(NamedTuple):
    """A place in a comparison; the arm is "" for what all arms of a scenario share."""

    scenario: str
    arm: str


def cell_config(config: StudyConfig, cell: Cell) -> StudyConfig:
    """The study of a cell: the scenario's settings, then the arm's, with the comparison's budget.

    The comparison must have been checked; it stays at hand as `comparison`. Without an arm, what
    all arms of the scenario share.
    """
    comparison = compared(config)
    data = config.model_dump(mode="json")
    for override in cell_overrides(comparison, cell, lines={}):
        apply(data, override)
    found = StudyConfig.model_validate(as_cell(data, comparison))
    return found.model_copy(update={"comparison": comparison})


def scenario_config(config: StudyConfig, scenario: str) -> StudyConfig:
    """What all arms of a scenario share, with every network that one of them takes; the scenario's
    own comes first, if it is among them.
    """
    found = cell_config(config, Cell(scenario, ""))
    arms = compared(config).arms_in(scenario)
    taken = [cell_config(config, Cell(scenario, arm)).backbone.names for arm in arms]
    used = dict.fromkeys(name for names in taken for name in names)
    names = sorted(used, key=lambda name: name not in found.backbone.names)
    return found.model_copy(update={"backbone": found.backbone.with_names(names)})


def compared(config: StudyConfig) -> ComparisonConfig:
    """The comparison of a study that has one."""
    assert config.comparison is not None, "a study that only searches has no cells"
    return config.comparison


def cells(comparison: ComparisonConfig) -> list[Cell]:
    """All cells, scenario by scenario, in the order of the file."""
    return [
        Cell(scenario, arm) for scenario in comparison.used for arm in comparison.arms_in(scenario)
    ]


def cell_overrides(
    comparison: ComparisonConfig, cell: Cell, *, lines: Mapping[Loc, int]
) -> list[Override]:
    """What a scenario and an arm change in the study, and where the file says so."""
    places: list[tuple[tuple[str, ...], Mapping[str, Any]]] = [
        (("comparison", "scenarios", cell.scenario, "set"), comparison.scenarios[cell.scenario].set)
    ]
    if cell.arm:
        places.append((("comparison", "arms", cell.arm), comparison.arms[cell.arm]))
    return [
        Override(
            tuple(dotted.split(".")),
            value,
            f"{'.'.join(place)}: {dotted}",
            lines.get((*place, dotted)),
        )
        for place, fields in places
        for dotted, value in fields.items()
    ]


def sweep_overrides(
    comparison: ComparisonConfig, cell: Cell, *, lines: Mapping[Loc, int]
) -> list[Override]:
    """Every setting that an arm's dimensions are swept over in a scenario, one at a time."""
    found = []
    for index, sweep in enumerate(comparison.sweeps.of):
        if sweep.arm != cell.arm or sweep not in comparison.sweeps_in(cell.scenario):
            continue
        place = ("comparison", "sweeps", "of", index)
        for dimension in sweep.dimension:
            loc = ("space", *dimension.split("."))
            line = lines.get((*place, "values"), lines.get(place))
            origin = f"comparison.sweeps.of[{index}]: space.{dimension}"
            found += [Override(loc, value, origin, line) for value in sweep.values]
    return found


def as_cell(data: Mapping[str, Any], comparison: ComparisonConfig) -> dict[str, Any]:
    """The fields of a study as its cells have them: budget and seeds are the comparison's, trials
    are drawn at random and none is pruned.
    """
    found = copy.deepcopy(dict(data))
    for section in ("comparison", "presets"):
        found.pop(section, None)
    search = found.get("search")
    found["search"] = {
        **(search if isinstance(search, dict) else {}),
        "sampler": "random",
        "pruner": "none",
    }
    found["budget"] = {
        "trials": comparison.tuning.trials,
        "epochs": comparison.tuning.epochs,
    }
    found["confirm"] = {"top": 1, "seeds": comparison.confirm.seeds}
    found["baselines"] = []
    return found


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
    arms, reference = list(comparison.arms), comparison.reference_arm
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
            remedy = "add it: all arms are compared with it"
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
            # What is no dimension of any arm is reported with the values that it would be set to.
            if name not in known and "." in name:
                field = f"comparison.sweeps.of.{index}.dimension"
                rule = f"is no dimension of {cell.arm!r}"
                inner = [n for n in known if "." in n]
                yield clash(field, name, rule, nearest(name, inner) or f"has: {', '.join(inner)}")


def identical_arms(config: StudyConfig) -> Iterator[Fault]:
    """Arms that come to the same strategy; the cells must be right by themselves."""
    comparison, reported = compared(config), set[str]()
    seen: dict[tuple[str, str], str] = {}
    for cell in cells(comparison):
        found = cell_config(config, cell).model_dump_json(exclude={"name", "comparison"})
        first = seen.setdefault((cell.scenario, found), cell.arm)
        if first != cell.arm and cell.arm not in reported:
            reported.add(cell.arm)
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
