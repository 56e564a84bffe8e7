"""Samplers and pruners of Optuna 5 by name; the options and their defaults are Optuna's own.

Left out: options that Optuna has deprecated, that take Python objects, or that only silence it.
"""

from typing import Annotated, Literal

from pydantic import Field

from tlsearch.config.choices import Kinds
from tlsearch.config.dimensions import LARGEST_COUNT
from tlsearch.config.space import Space
from tlsearch.config.validation import Section
from tlsearch.config.values import AutoOrCount

AtLeast0 = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
AtLeast1 = Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
AtLeast2 = Annotated[int, Field(ge=2, le=LARGEST_COUNT)]


class Tpe(Section):
    """Tree-structured Parzen estimator (arXiv:2304.11127)."""

    n_startup_trials: AtLeast0 = 10
    n_ei_candidates: AtLeast1 = 24
    multivariate: bool = True
    group: Annotated[
        bool | None, Field(description="null: true if the space has conditional dimensions")
    ] = None
    constant_liar: bool = True

    def grouped(self, space: Space) -> bool:
        """Whether to model the parts of a conditional space apart; outside, they go unmodelled."""
        if self.group is None:
            return self.multivariate and bool(space.conditional())
        return self.group


class Random(Section):
    """Independent and uniform."""


class Gp(Section):
    """Gaussian process, expected improvement (arXiv:2310.20708)."""

    n_startup_trials: AtLeast0 = 10
    deterministic_objective: bool = False


class CmaEs(Section):
    """Covariance matrix adaptation (arXiv:1604.00772), for numeric dimensions."""

    n_startup_trials: AtLeast0 = 1
    popsize: AtLeast2 | None = None
    consider_pruned_trials: bool = False
    use_separable_cma: bool = False
    with_margin: bool = False
    lr_adapt: bool = False


class Qmc(Section):
    """Quasi-random points; most even where the number of trials is a power of two."""

    qmc_type: Literal["sobol", "halton"] = "sobol"
    scramble: bool = False


class Grid(Section):
    """Every combination once, in shuffled order."""


class NoPruning(Section):
    """Every trial runs to its end."""


class Median(Section):
    """Stop what is worse than the median trial at the same epoch or fold."""

    n_startup_trials: AtLeast0 = 5
    n_warmup_steps: Annotated[AtLeast0, Field(description="in epochs, or folds")] = 0
    interval_steps: Annotated[AtLeast1, Field(description="in epochs, or folds")] = 1
    n_min_trials: AtLeast1 = 1


class Percentile(Section):
    """Stop what is not in the best `percentile` per cent at the same epoch or fold."""

    # Optuna has no default here; 25 is the example of its documentation.
    percentile: Annotated[float, Field(ge=0, le=100)] = 25.0
    n_startup_trials: AtLeast0 = 5
    n_warmup_steps: Annotated[AtLeast0, Field(description="in epochs, or folds")] = 0
    interval_steps: Annotated[AtLeast1, Field(description="in epochs, or folds")] = 1
    n_min_trials: AtLeast1 = 1


class SuccessiveHalving(Section):
    """Asynchronous successive halving (arXiv:1810.05934)."""

    # Optuna's "auto" comes to 1 for anything below 200 epochs, but only after a first trial.
    min_resource: Annotated[
        AtLeast1, Field(description="epochs, or folds, before the first rung")
    ] = 1
    reduction_factor: AtLeast2 = 4
    min_early_stopping_rate: AtLeast0 = 0
    bootstrap_count: AtLeast0 = 0


class Hyperband(Section):
    """Successive halving over several brackets (arXiv:1603.06560)."""

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

    def brackets(self, steps: int) -> int:
        """How many brackets share the trials."""
        size, found = self.min_resource, 0
        while size <= self.most_steps(steps):
            size, found = size * self.reduction_factor, found + 1
        return found


class Wilcoxon(Section):
    """Stop what a signed-rank test over folds, or epochs, finds worse than the best trial."""

    p_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.1
    n_startup_steps: Annotated[AtLeast0, Field(description="in epochs, or folds")] = 2


Sampler = Tpe | Random | Gp | CmaEs | Qmc | Grid
Pruner = NoPruning | Median | Percentile | SuccessiveHalving | Hyperband | Wilcoxon

SAMPLERS: Kinds = {
    "tpe": Tpe,
    "random": Random,
    "gp": Gp,
    "cmaes": CmaEs,
    "qmc": Qmc,
    "grid": Grid,
}
PRUNERS: Kinds = {
    "none": NoPruning,
    "median": Median,
    "percentile": Percentile,
    "successive_halving": SuccessiveHalving,
    "hyperband": Hyperband,
    "wilcoxon": Wilcoxon,
}
