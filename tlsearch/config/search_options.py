"""Samplers and pruners of Optuna 5 by name: their options, with the defaults of Optuna, and what
each cannot do in a space or within a budget; what a search optimises, and when it stops.

Left out: options that Optuna has deprecated, that take Python objects, or that only silence it.
"""

from collections.abc import Iterator, Mapping
from math import ceil, log2
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BeforeValidator, Field

from tlsearch.config.portfolio import starts
from tlsearch.config.space import Choice, count, raw
from tlsearch.config.validation import (
    As,
    AtLeast0,
    AtLeast1,
    AtLeast2,
    AutoOrCount,
    Fault,
    Section,
    clash,
    name_in,
)

if TYPE_CHECKING:
    from tlsearch.config.schema import StudyConfig


_LARGEST_GRID = 100_000  # Optuna lists all points in memory
_SAMPLER, _PRUNER = "search.sampler", "search.pruner"


class Sampler(Section):
    """Base of the samplers; the fields are named as the arguments of Optuna's class."""

    optuna_name: ClassVar[str]
    learns: ClassVar[bool] = True
    """Whether what it draws depends on what earlier trials came to."""

    def arguments(self, config: "StudyConfig") -> dict[str, Any]:  # noqa: ARG002
        """Keyword arguments of Optuna's class, apart from the seed."""
        return dict(self)

    def contradictions(self, config: "StudyConfig") -> Iterator[Fault]:  # noqa: ARG002
        """What it cannot do in the space of this study."""
        yield from ()


class UnconditionalSampler(Sampler):
    """Base of those without an answer to dimensions that come and go with a choice."""

    def contradictions(self, config: "StudyConfig") -> Iterator[Fault]:
        """Dimensions that exist for some choices only."""
        rule = "is searched for some choices only, which the sampler "
        rule += f"{name_in(SAMPLERS, self)} cannot do"
        for conditional in config.space.conditional():
            remedy = "fix it, or use tpe or random"
            yield clash(config, f"space.{conditional}", rule, remedy, _SAMPLER)


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

    def contradictions(self, config: "StudyConfig") -> Iterator[Fault]:
        """Groups without the estimator that models them."""
        if self.group and not self.multivariate:
            rule = "groups are modelled by the multivariate estimator alone"
            remedy = "set multivariate: true"
            field, other = f"{_SAMPLER}.tpe.group", f"{_SAMPLER}.tpe.multivariate"
            yield clash(config, field, rule, remedy, other)


class Random(Sampler):
    """Independent and uniform."""

    optuna_name: ClassVar[str] = "RandomSampler"
    learns: ClassVar[bool] = False


class Gp(UnconditionalSampler):
    """Gaussian process, expected improvement (arXiv:2310.20708)."""

    optuna_name: ClassVar[str] = "GPSampler"
    n_startup_trials: AtLeast0 = 10
    deterministic_objective: bool = False


class CmaEs(UnconditionalSampler):
    """Covariance matrix adaptation (arXiv:1604.00772), for numeric dimensions."""

    optuna_name: ClassVar[str] = "CmaEsSampler"
    n_startup_trials: AtLeast0 = 1
    popsize: AtLeast2 | None = None
    consider_pruned_trials: bool = False
    use_separable_cma: bool = False
    with_margin: bool = False
    lr_adapt: bool = False

    def contradictions(self, config: "StudyConfig") -> Iterator[Fault]:
        """Too few ranges, and options of which Optuna takes one at a time."""
        yield from super().contradictions(config)
        numeric = [d for d in config.searched().values() if not isinstance(d, Choice)]
        if len(numeric) < (2 if self.use_separable_cma else 1):
            rule = "searches ranges of numbers, and space has too few of them"
            remedy = "use tpe, or give ranges instead of lists"
            yield clash(config, _SAMPLER, rule, remedy, "space", value="cmaes")
        names = ("lr_adapt", "with_margin", "use_separable_cma")
        on = [name for name in names if getattr(self, name)]
        if len(on) > 1:
            first, *others = (f"{_SAMPLER}.cmaes.{name}" for name in on)
            rule = f"excludes {' and '.join(on[1:])}"
            yield clash(config, first, rule, "keep one of them", *others)


class Qmc(UnconditionalSampler):
    """Quasi-random points; most even where the number of trials is a power of two."""

    optuna_name: ClassVar[str] = "QMCSampler"
    learns: ClassVar[bool] = False
    qmc_type: Literal["sobol", "halton"] = "sobol"
    scramble: bool = False


class Grid(UnconditionalSampler):
    """Every combination once, in shuffled order."""

    optuna_name: ClassVar[str] = "GridSampler"
    learns: ClassVar[bool] = False

    def arguments(self, config: "StudyConfig") -> dict[str, Any]:
        """As Optuna names them."""
        return {"search_space": config.grid()}

    def contradictions(self, config: "StudyConfig") -> Iterator[Fault]:
        """Ranges without a grid, grids of too many points or too few, and another beginning."""
        yield from super().contradictions(config)
        if config.search.start != "none":
            rule, remedy = "a grid's trials are its points", "write none, or use another sampler"
            yield clash(config, "search.start", rule, remedy, _SAMPLER)
        for name, found in config.searched().items():
            if count(found) is None:
                written = raw(found)
                remedy = f"list its values, such as [{written['low']:g}, …, {written['high']:g}]"
                remedy += "" if written.get("log") else ", or add a step"
                rule = "has no grid of values"
                yield clash(config, f"space.{name}", rule, remedy, _SAMPLER)
        size = config.grid_size()
        if size is not None and size > _LARGEST_GRID:
            rule = f"the grid has {size} points, more than {_LARGEST_GRID}"
            remedy = "widen the steps, or use random"
            yield clash(config, _SAMPLER, rule, remedy, "space", value="grid")
        elif size is not None and config.budget.trials > size:
            rule, remedy = f"the grid has only {size} points", f"write {size}"
            yield clash(config, "budget.trials", rule, remedy, _SAMPLER, "space")


class Pruner(Section):
    """Base of the pruners; the fields are named as the arguments of Optuna's class. A step is an
    epoch of a trial, or a fold where it has some.
    """

    optuna_name: ClassVar[str]

    def arguments(self, config: "StudyConfig") -> dict[str, Any]:  # noqa: ARG002
        """Keyword arguments of Optuna's class."""
        return dict(self)

    def contradictions(self, config: "StudyConfig") -> Iterator[Fault]:  # noqa: ARG002
        """What it cannot do within the steps of a trial."""
        yield from ()


def num_steps(config: "StudyConfig") -> int:
    """How many steps a pruner sees of a whole trial."""
    return config.data.split.folds or config.budget.epochs


def _unit(config: "StudyConfig") -> str:
    return "folds" if config.data.split.folds else "epochs"


def _steps_field(config: "StudyConfig") -> str:
    return "data.split.folds" if config.data.split.folds else "budget.epochs"


def _too_large(config: "StudyConfig", field: str, rule: str) -> Fault:
    remedy = f"lower it, or {'take more folds' if config.data.split.folds else 'train longer'}"
    return clash(config, f"{_PRUNER}.{field}", rule, remedy, _steps_field(config), _PRUNER)


def _never(config: "StudyConfig", field: str) -> Fault:
    """A pruner that begins after the end."""
    return _too_large(config, field, f"prunes nothing within {num_steps(config)} {_unit(config)}")


def _rung(config: "StudyConfig", field: str, rung: int) -> Fault:
    """A first rung after the end."""
    after = f"{rung if rung < 10**9 else 'countless'} {_unit(config)}"
    rule = f"the first rung, after {after}, is beyond the {num_steps(config)} of a trial"
    return _too_large(config, field, rule)


class NoPruning(Pruner):
    """Every trial runs to its end."""

    optuna_name: ClassVar[str] = "NopPruner"


class QuantilePruner(Pruner):
    """Base of those that compare trials at the same epoch or fold."""

    n_startup_trials: AtLeast0 = 5
    n_warmup_steps: Annotated[AtLeast0, Field(description="in epochs, or folds")] = 0
    interval_steps: Annotated[AtLeast1, Field(description="in epochs, or folds")] = 1
    n_min_trials: AtLeast1 = 1

    def contradictions(self, config: "StudyConfig") -> Iterator[Fault]:
        """A warm-up as long as a trial."""
        if self.n_warmup_steps >= num_steps(config):
            yield _never(config, f"{name_in(PRUNERS, self)}.n_warmup_steps")


class Median(QuantilePruner):
    """Stop what is worse than the median trial at the same epoch or fold."""

    optuna_name: ClassVar[str] = "MedianPruner"


class Percentile(QuantilePruner):
    """Stop what is not in the best `percentile` per cent at the same epoch or fold."""

    optuna_name: ClassVar[str] = "PercentilePruner"
    # Optuna has no default here; 25 is the example of its documentation.
    percentile: Annotated[float, Field(ge=0, le=100)] = 25.0


_FirstRung = Annotated[AtLeast1, Field(description="epochs, or folds, before the first rung")]


class SuccessiveHalving(Pruner):
    """Asynchronous successive halving (arXiv:1810.05934)."""

    optuna_name: ClassVar[str] = "SuccessiveHalvingPruner"
    # Optuna's "auto" comes to 1 for anything below 200 epochs, but only after a first trial.
    min_resource: _FirstRung = 1
    reduction_factor: AtLeast2 = 4
    min_early_stopping_rate: AtLeast0 = 0
    bootstrap_count: AtLeast0 = 0

    def contradictions(self, config: "StudyConfig") -> Iterator[Fault]:
        """A first rung beyond the end of a trial."""
        steps, field = num_steps(config), "min_resource"
        if self.min_early_stopping_rate and self.min_resource <= steps:
            field = "min_early_stopping_rate"
        # Beyond 64 doublings any power is beyond any training, and slow to write out.
        rung = self.min_resource * self.reduction_factor ** min(self.min_early_stopping_rate, 64)
        if rung > steps:
            yield _rung(config, f"successive_halving.{field}", rung)


class Racing(Pruner):
    """Trials pause at rungs, and the best go on; none is ended before the search is. Not Optuna's:
    see `search.racing`.
    """

    optuna_name: ClassVar[str] = "NopPruner"
    min_resource: _FirstRung = 1
    reduction_factor: Annotated[
        AtLeast2, Field(description="one in so many of those that came to a rung goes on")
    ] = 3
    generation: Annotated[
        AtLeast1,
        Field(description="trials that train before any is decided on; results depend on it"),
    ] = 8

    def arguments(self, config: "StudyConfig") -> dict[str, Any]:  # noqa: ARG002
        """None: Optuna prunes nothing."""
        return {}

    def rungs(self, steps: int) -> tuple[int, ...]:
        """After how many epochs, or folds, trials pause, of as many `steps` in all."""
        found, rung = [], self.min_resource
        while rung < steps:
            found.append(rung)
            rung *= self.reduction_factor
        return tuple(found)

    def contradictions(self, config: "StudyConfig") -> Iterator[Fault]:
        """A first rung beyond the end of a trial."""
        if self.min_resource > num_steps(config):
            yield _rung(config, "racing.min_resource", self.min_resource)


class Hyperband(Pruner):
    """Successive halving over several brackets (arXiv:1603.06560)."""

    optuna_name: ClassVar[str] = "HyperbandPruner"
    min_resource: _FirstRung = 1
    max_resource: Annotated[AutoOrCount, Field(description="auto: budget.epochs, or the folds")] = (
        "auto"
    )
    reduction_factor: AtLeast2 = 3
    bootstrap_count: AtLeast0 = 0

    def most_steps(self, steps: int) -> int:
        """The resource of a full trial; Optuna's own "auto" would prune nothing until one ends."""
        return steps if self.max_resource == "auto" else self.max_resource

    def arguments(self, config: "StudyConfig") -> dict[str, Any]:
        """As Optuna names them."""
        return {**dict(self), "max_resource": self.most_steps(num_steps(config))}

    def brackets(self, steps: int) -> int:
        """How many brackets share the trials."""
        size, found = self.min_resource, 0
        while size <= self.most_steps(steps):
            size, found = size * self.reduction_factor, found + 1
        return found

    def contradictions(self, config: "StudyConfig") -> Iterator[Fault]:
        """Rungs beyond the end of a trial, or of what is planned."""
        least, steps = self.min_resource, num_steps(config)
        most, field = self.most_steps(steps), f"{_PRUNER}.hyperband.max_resource"
        if least > steps:
            yield _rung(config, "hyperband.min_resource", least)
        elif least > most:
            other = f"{_PRUNER}.hyperband.min_resource"
            yield clash(config, field, f"min_resource = {least} is above it", "swap them", other)
        if most > steps:
            rule = f"plans rungs beyond the {steps} {_unit(config)} of a trial"
            yield clash(config, field, rule, "write auto", _steps_field(config))


class Wilcoxon(Pruner):
    """Stop what a signed-rank test over folds, or epochs, finds worse than the best trial."""

    optuna_name: ClassVar[str] = "WilcoxonPruner"
    p_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.1
    n_startup_steps: Annotated[AtLeast0, Field(description="in epochs, or folds")] = 2

    def contradictions(self, config: "StudyConfig") -> Iterator[Fault]:
        """Too few steps for a test of this threshold."""
        steps, unit = num_steps(config), _unit(config)
        needed = ceil(log2(1 / self.p_threshold))
        if self.n_startup_steps >= steps:
            yield _never(config, "wilcoxon.n_startup_steps")
        elif steps < needed:
            # n pairs cannot give a one-sided p below 2 ** -n.
            verb = "take" if unit == "folds" else "train for"
            remedy = f"{verb} {needed} {unit} or more, or use another pruner"
            rule, field = f"{steps} {unit} can never be that sure", "wilcoxon.p_threshold"
            others = (_steps_field(config), _PRUNER)
            yield clash(config, f"{_PRUNER}.{field}", rule, remedy, *others)


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
    "racing": Racing,
    "hyperband": Hyperband,
    "wilcoxon": Wilcoxon,
}


# What a search optimises.


class Metric(NamedTuple):
    """A figure of a part's images. `name` is how the test part's record calls it, `label` how
    readers do. `is_share`: from 0 to 1, shown in per cent. `counts_classes`: each class counts
    alike in it, however small.
    """

    name: str
    label: str
    maximise: bool
    is_share: bool
    counts_classes: bool


METRICS: Mapping[str, Metric] = {
    "val_accuracy": Metric("accuracy", "accuracy", True, True, False),
    "val_balanced_accuracy": Metric("balanced_accuracy", "balanced accuracy", True, True, True),
    "val_macro_f1": Metric("macro_f1", "macro F1", True, True, True),
    "val_macro_auroc": Metric("macro_auroc", "macro AUROC", True, True, True),
    "val_loss": Metric("log_loss", "log loss", False, False, False),
}
"""By the name of the validation part's figure in `EpochResult`; `metrics.objectives.TERMS` holds
the functions. The cross-entropy of a validation part is its log loss.
"""
_SPELLINGS: Mapping[str, str] = {
    spelling: name
    for name, metric in METRICS.items()
    for spelling in (name, metric.name, f"val_{metric.name}")
}
_ACCEPTED: Any = Literal[tuple(_SPELLINGS)]
_CANONICAL: Any = Literal[tuple(METRICS)]
MetricName = Annotated[
    str,
    As(_CANONICAL),
    BeforeValidator(
        lambda value: _SPELLINGS.get(value, value) if isinstance(value, str) else value,
        json_schema_input_type=_ACCEPTED,
    ),
]


# When a search ends before its budget is spent.


class Stop(Section):
    """Ends a search once the rest of its trials would probably gain little; see `search.stop`."""

    gain: Annotated[
        float,
        Field(
            gt=0,
            examples=[0.002],
            description="the rest of budget.trials is left out once it would probably gain less "
            "than this; in the unit of search.metric: 0.002 is 0.2 points of a share, or 0.002 "
            "nats of val_loss",
        ),
    ]

    def first(self, config: "StudyConfig") -> int:
        """After how many trials it is decided first: some that the sampler chose come after its
        random ones and those that the search starts with.
        """
        startup = getattr(config.search.sampler, "n_startup_trials", 0)
        before = max(startup, len(starts(config))) + _STOP_EVERY
        return max(_EARLIEST_STOP, _STOP_EVERY * ceil(before / _STOP_EVERY))

    def following(self, number: int) -> int:
        """When it is decided again: a tenth later, so that long searches do not dwell on it."""
        return number + max(_STOP_EVERY, number // 10)

    def contradictions(self, config: "StudyConfig") -> Iterator[Fault]:
        """A gain that no share can come to."""
        metric = METRICS[config.search.metric]
        if metric.is_share and self.gain >= 1:
            rule = f"{metric.label} is a share, from 0 to 1, and can gain no more"
            remedy = f"write {self.gain / 100:g} for {self.gain:g} points"
            yield clash(config, "search.stop.gain", rule, remedy, "search.metric")

    def note(self, config: "StudyConfig") -> str:
        """What is said of it beforehand."""
        first, trials = self.first(config), config.num_trials()
        if first >= trials:
            return (
                f"search.stop: the search cannot stop early: it may after {first} trials, and has "
                f"{trials}"
            )
        return (
            f"search.stop: after {first} trials or more the search ends once the rest of its "
            f"{trials} trials would probably gain less than "
            f"{gain_in_words(self.gain, config.search.metric)}"
        )


_EARLIEST_STOP, _STOP_EVERY = 15, 5
"""Trials before a search may stop, and at least so many more before it is decided again."""


def gain_in_words(gain: float, metric: str) -> str:
    """A gain in words: `0.2 points of accuracy`, `0.002 nats of log loss`."""
    kind = METRICS[metric]
    amount = f"{100 * gain:.2g} points" if kind.is_share else f"{gain:.2g} nats"
    return f"{amount} of {kind.label}"
