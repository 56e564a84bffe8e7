"""From a comparison to its cells: the study of one arm in one scenario, its fields overridden."""

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

from tlsearch.config.comparison import ComparisonConfig
from tlsearch.config.schema import StudyConfig
from tlsearch.config.validation import Loc


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
