"""A comparison as its cells: the study of one arm in one scenario, and what contradicts there."""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
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


def overrides_at(
    place: Loc, fields: Mapping[str, Any], origin: str, *, lines: Mapping[Loc, int]
) -> list[Override]:
    """The dotted fields that a mapping in a study file sets; `origin` goes before their names."""
    return [
        Override(tuple(name.split(".")), value, f"{origin}{name}", lines.get((*place, name)))
        for name, value in fields.items()
    ]


def cell_overrides(
    comparison: ComparisonConfig, cell: Cell, *, lines: Mapping[Loc, int]
) -> list[Override]:
    """What a scenario and an arm change in the study, and where the file says so."""
    place = ("comparison", "scenarios", cell.scenario, "set")
    found = comparison.scenarios[cell.scenario].set
    overrides = overrides_at(place, found, f"{'.'.join(place)}: ", lines=lines)
    if cell.arm:
        own = ("comparison", "arms", cell.arm)
        found = comparison.arms[cell.arm]
        overrides += overrides_at(own, found, f"{'.'.join(own)}: ", lines=lines)
    return overrides


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
    found = copy.deepcopy({k: v for k, v in data.items() if k not in ("comparison", "presets")})
    search, tuning = found.get("search"), comparison.tuning
    _keep_own_weights(found.get("backbone"))
    return {
        **found,
        "search": {
            **(search if isinstance(search, dict) else {}),
            "sampler": "random",
            "pruner": "none",
            "start": "none",
        },
        "budget": {"trials": tuning.trials, "epochs": tuning.epochs},
        "confirm": {"top": 1, "seeds": comparison.confirm.seeds},
        "baselines": [],
    }


def _keep_own_weights(backbone: Any) -> None:
    """Of a mapping that names every network's weights, those of the networks that a cell takes."""
    if not isinstance(backbone, dict) or not isinstance(backbone.get("weights"), dict):
        return
    name, weights = backbone.get("name"), backbone["weights"]
    names = name if isinstance(name, list | tuple) else [name]
    if all(each in weights for each in names):
        backbone["weights"] = {each: weights[each] for each in names}


_ROWS = {"A": ("A1", "A2", "A3", "A4", "A5"), "B": ("B1", "B2", "B3", "B3 with gap")}
_POOLED = "all"
"""What answers pooled over all scenarios are filed under, in every format."""
_OURS = ("space.", "backbone.weights", "backbone.name")
_OURS_IN_B = (*_OURS, "data.split.")
_SCENARIOS = ("data.", "backbone.", "space.")
_CHOICES = ("schedule", "optimizer", "adaptation")


def comparison_contradictions(config: StudyConfig) -> Iterator[Fault]:
    """What cannot go together in a comparison, apart from its cells."""
    for check in (_unused, _names, _scenarios, _arms, _sweeps, _future):
        yield from check(config, compared(config))


def _unused(config: StudyConfig, _comparison: ComparisonConfig) -> Iterator[Fault]:
    """Settings of a search, which a comparison would ignore without a word."""
    used = {
        "budget": (config.budget == BudgetConfig(), "set comparison.tuning instead"),
        "confirm": (config.confirm == ConfirmConfig(), "set comparison.confirm instead"),
        "baselines": (config.baselines == fixed_baselines(), "write an arm for it"),
        "search.sampler": (config.search.sampler == Tpe(), "drop it: trials are drawn at random"),
        "search.pruner": (config.search.pruner == Median(), "drop it: every trial is trained"),
        "search.stop": (config.search.stop is None, "drop it: every arm gets as many trials"),
        "search.start": (config.search.start == "none", "drop it: trials are drawn at random"),
    }
    for field, (is_default, remedy) in used.items():
        if not is_default:
            yield clash(config, field, "is not used by a comparison", remedy, "comparison")


def _unknown(
    config: StudyConfig, field: str, names: Iterable[str], known: Iterable[str]
) -> Iterator[Fault]:
    """Those of the names that are no arm, or scenario, of this comparison."""
    what = "an arm" if known == compared(config).arms.keys() else "a scenario"
    for name in names:
        if name not in known:
            remedy = nearest(name, list(known)) or f"known: {', '.join(known)}"
            yield clash(config, field, f"must be {what} of this comparison", remedy, value=name)


def _names(config: StudyConfig, comparison: ComparisonConfig) -> Iterator[Fault]:
    arms, scenarios = comparison.arms.keys(), comparison.scenarios.keys()
    if comparison.reference is not None:
        yield from _unknown(config, "comparison.reference", [comparison.reference], arms)
    yield from _unknown(config, "comparison.only", comparison.only or (), scenarios)
    swept = comparison.sweeps.scenarios or ()
    yield from _unknown(config, "comparison.sweeps.scenarios", swept, scenarios)
    if _POOLED in scenarios:
        rule = "is what the answers of all scenarios together are called"
        remedy = "give the scenario another name"
        yield clash(config, f"comparison.scenarios.{_POOLED}", rule, remedy, value=_POOLED)
    for arm in arms:
        if arm.strip().isdigit():
            rule, remedy = "reads like a number", "name it after what it does"
            yield clash(config, f"comparison.arms.{arm}", rule, remedy, value=arm)
    if not comparison.used and not set(comparison.only or ()) - scenarios:
        field = "comparison.only" if scenarios else "comparison.scenarios"
        yield clash(config, field, "leaves no scenario to run", "name at least one", value=[])


def _scenarios(config: StudyConfig, comparison: ComparisonConfig) -> Iterator[Fault]:
    reference = comparison.reference_arm
    for scenario, place in comparison.scenarios.items():
        field = f"comparison.scenarios.{scenario}"
        for dotted, value in place.set.items():
            if not str(dotted).startswith(_SCENARIOS):
                rule = f"{dotted} does not describe a scenario"
                remedy = "set fields of data and backbone, or of space for all arms alike"
                yield clash(config, f"{field}.set", rule, remedy, value={dotted: value})
        field += ".arms"
        yield from _unknown(config, field, place.arms or (), comparison.arms.keys())
        if place.arms is not None and len(set(place.arms)) < 2:
            yield clash(config, field, "compares nothing", "name two arms at least")
        elif comparison.table == "own" and reference not in (place.arms or (reference,)):
            rule = f"leaves out the reference, {reference!r}"
            remedy = "add it: all arms are compared with it"
            yield clash(config, field, rule, remedy, "comparison.reference")


def _arms(config: StudyConfig, comparison: ComparisonConfig) -> Iterator[Fault]:
    allowed, known = (_OURS_IN_B, "data.split and ") if comparison.table == "B" else (_OURS, "")
    rows = _ROWS.get(comparison.table)
    for arm, fields in comparison.arms.items():
        place = f"comparison.arms.{arm}"
        if rows and arm not in rows:
            rule = f"is no row of table {comparison.table}"
            remedy = nearest(arm, rows) or f"rows: {', '.join(rows)}; or write table: own"
            yield clash(config, place, rule, remedy, "comparison.table")
        for dotted, value in fields.items():
            if not str(dotted).startswith(allowed):
                rule = f"{dotted} does not define a strategy"
                remedy = (
                    f"arms set fields of {known}space, such as space.schedule, or write "
                    "backbone.name, or backbone.weights: none for no transfer"
                )
            elif dotted == "backbone.weights" and value != "none":
                rule = "arms share the scenario's weights"
                remedy = "write none for no transfer, or set weights in a scenario"
            else:
                continue
            yield clash(config, place, rule, remedy, value={dotted: value})


def _sweeps(config: StudyConfig, comparison: ComparisonConfig) -> Iterator[Fault]:
    for index, sweep in enumerate(comparison.sweeps.of):
        field = f"comparison.sweeps.of.{index}"
        if sweep.arm not in comparison.arms:
            yield from _unknown(config, f"{field}.arm", [sweep.arm], comparison.arms.keys())
            continue
        places = comparison.sweeps.scenarios or ()
        if set(places) <= set(comparison.scenarios) and not any(
            sweep in comparison.sweeps_in(scenario) for scenario in comparison.scenarios
        ):
            rule = "is swept in no scenario"
            remedy = "name one of its scenarios in comparison.sweeps.scenarios"
            yield clash(config, f"{field}.arm", rule, remedy)
        earlier = [other for other in comparison.sweeps.of[:index] if other.arm == sweep.arm]
        for name in sweep.dimension:
            if name in _CHOICES:
                rule = "has settings of its own, which a sweep would not tune"
                remedy = "compare its choices as arms"
                yield clash(config, f"{field}.dimension", rule, remedy, value=name)
            if any(name in other.dimension for other in earlier):
                rule, remedy = f"is swept twice for {sweep.arm!r}", "make one sweep of it"
                yield clash(config, f"{field}.dimension", rule, remedy, value=name)


def _future(config: StudyConfig, comparison: ComparisonConfig) -> Iterator[Fault]:
    field, other = "comparison.future", "comparison.table"
    if comparison.table == "B" and comparison.future is None:
        rule, remedy = "table B needs images that no split touches", "write a share such as 0.25"
        yield clash(config, field, rule, remedy, other)
    if comparison.table == "B" and comparison.sweeps.of:
        yield clash(config, "comparison.sweeps", "table B sweeps nothing", "drop it")
    if comparison.table != "B" and comparison.future is not None:
        yield clash(config, field, "belongs to table B alone", "drop it, or write table: B", other)


def cell_contradictions(config: StudyConfig, comparison: ComparisonConfig) -> Iterator[Fault]:
    """What cannot be in a study that is a cell of this comparison, whoever set it."""
    if config.data.split.folds:
        remedy = "write null: seeds redraw the parts"
        yield clash(config, "data.split.folds", "is not used by a comparison", remedy)
    for name in config.searched() if comparison.table == "B" else ():
        rule = "table B holds the strategy fixed, and compares splits alone"
        field = "backbone.name" if name == BACKBONE else f"space.{name}"
        yield clash(config, field, rule, "write one value for it")


def sweep_contradictions(config: StudyConfig, cell: Cell) -> Iterator[Fault]:
    """Swept dimensions that this arm has not; the cell must be right by itself."""
    known = cell_config(config, cell).space.dimensions()
    inner = [name for name in known if "." in name]
    for index, sweep in enumerate(compared(config).sweeps.of):
        # What is no dimension of any arm is reported with the values that it would be set to.
        for name in sweep.dimension if sweep.arm == cell.arm else ():
            if name not in known and "." in name:
                field = f"comparison.sweeps.of.{index}.dimension"
                remedy = nearest(name, inner) or f"has: {', '.join(inner)}"
                rule = f"is no dimension of {cell.arm!r}"
                yield clash(config, field, rule, remedy, value=name)


def identical_arms(config: StudyConfig) -> Iterator[Fault]:
    """Arms that come to the same strategy; the cells must be right by themselves."""
    seen: dict[tuple[str, str], str] = {}
    twins: dict[str, str] = {}
    for cell in cells(compared(config)):
        found = cell_config(config, cell).model_dump_json(exclude={"name", "comparison"})
        first = seen.setdefault((cell.scenario, found), cell.arm)
        if first != cell.arm:
            twins.setdefault(cell.arm, first)
    for arm, first in twins.items():
        rule, remedy = f"is the same strategy as {first!r}", "change or drop one of them"
        yield clash(config, f"comparison.arms.{arm}", rule, remedy)


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
