"""Samplers and pruners that cannot do their work in this space or within this budget."""

from collections.abc import Iterator
from math import ceil, log2

from tlsearch.config.dimensions import Choice, Dimension, count, raw
from tlsearch.config.schema import StudyConfig
from tlsearch.config.search_options import (
    CmaEs,
    Gp,
    Grid,
    Hyperband,
    Median,
    Percentile,
    Qmc,
    SuccessiveHalving,
    Tpe,
    Wilcoxon,
)
from tlsearch.config.validation import Fault, clash

_LARGEST_GRID = 100_000  # Optuna lists all points in memory
_SAMPLER, _PRUNER = "search.sampler", "search.pruner"
_LENGTH = {"epochs": "budget.epochs", "folds": "data.split.folds"}
_MORE = {"epochs": "lower it, or train longer", "folds": "lower it, or take more folds"}


def sampler_contradictions(config: StudyConfig) -> Iterator[Fault]:
    """What the sampler cannot do in this space."""
    sampler = config.search.sampler
    match sampler:
        case Tpe(group=True, multivariate=False):
            field = f"{_SAMPLER}.tpe.group"
            rule = "groups are modelled by the multivariate estimator alone"
            yield clash(field, True, rule, "set multivariate: true", f"{_SAMPLER}.tpe.multivariate")
        case CmaEs():
            yield from _unconditional(config, "cmaes")
            yield from _cmaes(config, sampler)
        case Gp():
            yield from _unconditional(config, "gp")
        case Qmc():
            yield from _unconditional(config, "qmc")
        case Grid():
            yield from _unconditional(config, "grid")
            yield from _grid(config)


def _unconditional(config: StudyConfig, name: str) -> Iterator[Fault]:
    """Only TPE and random sampling have an answer to dimensions that come and go."""
    for conditional in config.space.conditional():
        field = f"space.{conditional}"
        value = raw(config.space.searched()[conditional])
        rule = f"is searched for some choices only, which the sampler {name} cannot do"
        yield clash(field, value, rule, "fix it, or use tpe or random", _SAMPLER)


def _cmaes(config: StudyConfig, sampler: CmaEs) -> Iterator[Fault]:
    numeric = [d for d in config.searched().values() if not isinstance(d, Choice)]
    least = 2 if sampler.use_separable_cma else 1
    if len(numeric) < least:
        rule = "searches ranges of numbers, and space has too few of them"
        yield clash(_SAMPLER, "cmaes", rule, "use tpe, or give ranges instead of lists", "space")
    names = ("lr_adapt", "with_margin", "use_separable_cma")
    on = [name for name in names if getattr(sampler, name)]
    if len(on) > 1:
        first, *others = (f"{_SAMPLER}.cmaes.{name}" for name in on)
        rule = f"excludes {' and '.join(on[1:])}"
        yield clash(first, True, rule, "keep one of them", *others)


def _grid(config: StudyConfig) -> Iterator[Fault]:
    endless = {n: d for n, d in config.searched().items() if count(d) is None}
    for name, found in endless.items():
        yield clash(f"space.{name}", raw(found), "has no grid of values", _listed(found), _SAMPLER)
    size = config.grid_size()
    if size is not None and size > _LARGEST_GRID:
        rule = f"the grid has {size} points, more than {_LARGEST_GRID}"
        yield clash(_SAMPLER, "grid", rule, "widen the steps, or use random", "space")
    elif size is not None and config.budget.trials > size:
        rule = f"the grid has only {size} points"
        remedy = f"write {size}"
        yield clash("budget.trials", config.budget.trials, rule, remedy, _SAMPLER, "space")


def _listed(found: Dimension) -> str:
    written = raw(found)
    return f"list its values, such as [{written['low']:g}, …, {written['high']:g}]" + (
        "" if written.get("log") else ", or add a step"
    )


def pruning_steps(config: StudyConfig) -> tuple[int, str]:
    """How many steps a pruner sees of a whole trial, and what they are: epochs or folds."""
    folds = config.data.split.folds
    return (folds, "folds") if folds else (config.budget.epochs, "epochs")


def pruner_contradictions(config: StudyConfig) -> Iterator[Fault]:
    """What the pruner cannot do within the epochs, or folds, of a trial."""
    steps, pruner = pruning_steps(config), config.search.pruner
    most, unit = steps
    match pruner:
        case Median() | Percentile():
            name = "median" if isinstance(pruner, Median) else "percentile"
            if pruner.n_warmup_steps >= most:
                field = f"{_PRUNER}.{name}.n_warmup_steps"
                yield _never(field, pruner.n_warmup_steps, steps)
        case SuccessiveHalving():
            rate, factor = pruner.min_early_stopping_rate, pruner.reduction_factor
            field = f"{_PRUNER}.successive_halving.min_resource"
            if rate and pruner.min_resource <= most:
                field = f"{_PRUNER}.successive_halving.min_early_stopping_rate"
            # Beyond 64 doublings any power is beyond any training, and slow to write out.
            rung = int(pruner.min_resource * factor ** min(rate, 64))
            if rung > most:
                value = rate if field.endswith("rate") else pruner.min_resource
                yield _rung(field, value, rung, steps)
        case Hyperband():
            yield from _hyperband(pruner, steps)
        case Wilcoxon():
            field = f"{_PRUNER}.wilcoxon"
            needed = ceil(log2(1 / pruner.p_threshold))
            if pruner.n_startup_steps >= most:
                yield _never(f"{field}.n_startup_steps", pruner.n_startup_steps, steps)
            elif most < needed:
                # n pairs cannot give a one-sided p below 2 ** -n.
                rule = f"{most} {unit} can never be that sure"
                what = "take" if unit == "folds" else "train for"
                remedy = f"{what} {needed} {unit} or more, or use another pruner"
                sure = pruner.p_threshold
                yield clash(f"{field}.p_threshold", sure, rule, remedy, _LENGTH[unit], _PRUNER)


def _hyperband(pruner: Hyperband, steps: tuple[int, str]) -> Iterator[Fault]:
    (number, unit), field = steps, f"{_PRUNER}.hyperband"
    most = pruner.most_steps(number)
    if pruner.min_resource > number:
        yield _rung(f"{field}.min_resource", pruner.min_resource, pruner.min_resource, steps)
    elif pruner.min_resource > most:
        rule = f"min_resource = {pruner.min_resource} is above it"
        yield clash(f"{field}.max_resource", most, rule, "swap them", f"{field}.min_resource")
    if most > number:
        rule = f"plans rungs beyond the {number} {unit} of a trial"
        yield clash(f"{field}.max_resource", most, rule, "write auto", _LENGTH[unit])


def _rung(field: str, value: int, rung: int, steps: tuple[int, str]) -> Fault:
    (most, unit), after = steps, f"{rung}" if rung < 10**9 else "countless"
    rule = f"the first rung, after {after} {unit}, is beyond the {most} of a trial"
    return clash(field, value, rule, _MORE[unit], _LENGTH[unit], _PRUNER)


def _never(field: str, value: int, steps: tuple[int, str]) -> Fault:
    most, unit = steps
    rule = f"prunes nothing within {most} {unit}"
    return clash(field, value, rule, _MORE[unit], _LENGTH[unit], _PRUNER)
