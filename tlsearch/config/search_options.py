"""Samplers and pruners of Optuna 5 by name; the options and their defaults are Optuna's own.

Left out: options that Optuna has deprecated, that take Python objects, or that only silence it.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from tlsearch.config.validation import AtLeast0, AtLeast1, AtLeast2, AutoOrCount, Section

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
