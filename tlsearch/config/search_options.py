"""Samplers and pruners of Optuna 5 by name: their options, with the defaults of Optuna, and what
each cannot do in a space or within a budget.

Left out: options that Optuna has deprecated, that take Python objects, or that only silence it.
"""

from collections.abc import Iterator, Mapping
from math import ceil, log2
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from tlsearch.config.space import Choice, Dimension, count, raw
from tlsearch.config.validation import (
    AtLeast0,
    AtLeast1,
    AtLeast2,
    AutoOrCount,
    Fault,
    Section,
    clash,
)

if TYPE_CHECKING:
    from tlsearch.config.schema import StudyConfig


class Sampler(Section):
    """Base of the samplers; the fields are named as the arguments of Optuna's class."""

    optuna_name: ClassVar[str]

    def arguments(self, config: "StudyConfig") -> dict[str, Any]:  # noqa: ARG002
        """Keyword arguments of Optuna's class, apart from the seed."""
        return dict(self)


class Tpe(Sampler):
    """Tree-structured Parzen estimator (arXiv:2304.11127)."""

    optuna_name: ClassVar[str] = "TPESampler"
    n_startup_trials: AtLeast0 = 10
    n_ei_candidates: AtLeast1 = 24
    multivariate: bool = True
    group: Annotated[
        bool | None, Field(description="null: true if the space has conditional dimensions")
    ] = None
    constant_liar: bool = True

    def arguments(self, config: "StudyConfig") -> dict[str, Any]:
        """As Optuna names them; parts of a conditional space are modelled apart, or not at all."""
        group = self.group
        if group is None:
            group = self.multivariate and bool(config.space.conditional())
        return {**dict(self), "group": group}


class Random(Sampler):
    """Independent and uniform."""

    optuna_name: ClassVar[str] = "RandomSampler"


class Gp(Sampler):
    """Gaussian process, expected improvement (arXiv:2310.20708)."""

    optuna_name: ClassVar[str] = "GPSampler"
    n_startup_trials: AtLeast0 = 10
    deterministic_objective: bool = False


class CmaEs(Sampler):
    """Covariance matrix adaptation (arXiv:1604.00772), for numeric dimensions."""

    optuna_name: ClassVar[str] = "CmaEsSampler"
    n_startup_trials: AtLeast0 = 1
    popsize: AtLeast2 | None = None
    consider_pruned_trials: bool = False
    use_separable_cma: bool = False
    with_margin: bool = False
    lr_adapt: bool = False


class Qmc(Sampler):
    """Quasi-random points; most even where the number of trials is a power of two."""

    optuna_name: ClassVar[str] = "QMCSampler"
    qmc_type: Literal["sobol", "halton"] = "sobol"
    scramble: bool = False


class Grid(Sampler):
    """Every combination once, in shuffled order."""

    optuna_name: ClassVar[str] = "GridSampler"

    def arguments(self, config: "StudyConfig") -> dict[str, Any]:
        """As Optuna names them."""
        return {"search_space": config.grid()}


class Pruner(Section):
    """Base of the pruners; the fields are named as the arguments of Optuna's class."""

    optuna_name: ClassVar[str]

    def arguments(self, num_steps: int) -> dict[str, Any]:  # noqa: ARG002
        """Keyword arguments of Optuna's class for trials of so many epochs, or folds."""
        return dict(self)


class NoPruning(Pruner):
    """Every trial runs to its end."""

    optuna_name: ClassVar[str] = "NopPruner"


class Median(Pruner):
    """Stop what is worse than the median trial at the same epoch or fold."""

    optuna_name: ClassVar[str] = "MedianPruner"
    n_startup_trials: AtLeast0 = 5
    n_warmup_steps: Annotated[AtLeast0, Field(description="in epochs, or folds")] = 0
    interval_steps: Annotated[AtLeast1, Field(description="in epochs, or folds")] = 1
    n_min_trials: AtLeast1 = 1


class Percentile(Pruner):
    """Stop what is not in the best `percentile` per cent at the same epoch or fold."""

    optuna_name: ClassVar[str] = "PercentilePruner"
    # Optuna has no default here; 25 is the example of its documentation.
    percentile: Annotated[float, Field(ge=0, le=100)] = 25.0
    n_startup_trials: AtLeast0 = 5
    n_warmup_steps: Annotated[AtLeast0, Field(description="in epochs, or folds")] = 0
    interval_steps: Annotated[AtLeast1, Field(description="in epochs, or folds")] = 1
    n_min_trials: AtLeast1 = 1


class SuccessiveHalving(Pruner):
    """Asynchronous successive halving (arXiv:1810.05934)."""

    optuna_name: ClassVar[str] = "SuccessiveHalvingPruner"
    # Optuna's "auto" comes to 1 for anything below 200 epochs, but only after a first trial.
    min_resource: Annotated[
        AtLeast1, Field(description="epochs, or folds, before the first rung")
    ] = 1
    reduction_factor: AtLeast2 = 4
    min_early_stopping_rate: AtLeast0 = 0
    bootstrap_count: AtLeast0 = 0


class Hyperband(Pruner):
    """Successive halving over several brackets (arXiv:1603.06560)."""

    optuna_name: ClassVar[str] = "HyperbandPruner"
    min_resource: Annotated[
        AtLeast1, Field(description="epochs, or folds, before the first rung")
    ] = 1
    max_resource: Annotated[AutoOrCount, Field(description="auto: budget.epochs, or the folds")] = (
        "auto"
    )
    reduction_factor: AtLeast2 = 3
    bootstrap_count: AtLeast0 = 0

    def most_steps(self, steps: int) -> int:
        """The resource of a full trial; Optuna's own "auto" would prune nothing until one ends."""
        return steps if self.max_resource == "auto" else self.max_resource

    def arguments(self, num_steps: int) -> dict[str, Any]:
        """As Optuna names them."""
        return {**dict(self), "max_resource": self.most_steps(num_steps)}

    def brackets(self, steps: int) -> int:
        """How many brackets share the trials."""
        size, found = self.min_resource, 0
        while size <= self.most_steps(steps):
            size, found = size * self.reduction_factor, found + 1
        return found


class Wilcoxon(Pruner):
    """Stop what a signed-rank test over folds, or epochs, finds worse than the best trial."""

    optuna_name: ClassVar[str] = "WilcoxonPruner"
    p_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.1
    n_startup_steps: Annotated[AtLeast0, Field(description="in epochs, or folds")] = 2


SAMPLERS: Mapping[str, type[Sampler]] = {
    "tpe": Tpe,
    "random": Random,
    "gp": Gp,
    "cmaes": CmaEs,
    "qmc": Qmc,
    "grid": Grid,
}
PRUNERS: Mapping[str, type[Pruner]] = {
    "none": NoPruning,
    "median": Median,
    "percentile": Percentile,
    "successive_halving": SuccessiveHalving,
    "hyperband": Hyperband,
    "wilcoxon": Wilcoxon,
}


_LARGEST_GRID = 100_000  # Optuna lists all points in memory
_SAMPLER, _PRUNER = "search.sampler", "search.pruner"
_LENGTH = {"epochs": "budget.epochs", "folds": "data.split.folds"}
_MORE = {"epochs": "lower it, or train longer", "folds": "lower it, or take more folds"}


def sampler_contradictions(config: "StudyConfig") -> Iterator[Fault]:
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


def _unconditional(config: "StudyConfig", name: str) -> Iterator[Fault]:
    """Only TPE and random sampling have an answer to dimensions that come and go."""
    for conditional in config.space.conditional():
        field = f"space.{conditional}"
        value = raw(config.space.searched()[conditional])
        rule = f"is searched for some choices only, which the sampler {name} cannot do"
        yield clash(field, value, rule, "fix it, or use tpe or random", _SAMPLER)


def _cmaes(config: "StudyConfig", sampler: CmaEs) -> Iterator[Fault]:
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


def _grid(config: "StudyConfig") -> Iterator[Fault]:
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


def pruning_steps(config: "StudyConfig") -> tuple[int, str]:
    """How many steps a pruner sees of a whole trial, and what they are: epochs or folds."""
    folds = config.data.split.folds
    return (folds, "folds") if folds else (config.budget.epochs, "epochs")


def pruner_contradictions(config: "StudyConfig") -> Iterator[Fault]:
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
