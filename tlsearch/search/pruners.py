"""Optuna's pruners from the study's options; steps are epochs, or folds where there are several.

Both count from 1.
"""

import warnings

import optuna
from optuna.pruners import BasePruner

from tlsearch.study.config import StudyConfig
from tlsearch.study.search_checks import pruning_steps
from tlsearch.study.search_options import (
    Hyperband,
    Median,
    NoPruning,
    Percentile,
    SuccessiveHalving,
    Wilcoxon,
)


def make_pruner(config: StudyConfig) -> BasePruner:
    """The pruner of the study."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=optuna.exceptions.ExperimentalWarning)
        return _make(config)


def _make(config: StudyConfig) -> BasePruner:
    options = config.search.pruner
    match options:
        case NoPruning():
            return optuna.pruners.NopPruner()
        case Median():
            return optuna.pruners.MedianPruner(
                n_startup_trials=options.n_startup_trials,
                n_warmup_steps=options.n_warmup_steps,
                interval_steps=options.interval_steps,
                n_min_trials=options.n_min_trials,
            )
        case Percentile():
            return optuna.pruners.PercentilePruner(
                options.percentile,
                n_startup_trials=options.n_startup_trials,
                n_warmup_steps=options.n_warmup_steps,
                interval_steps=options.interval_steps,
                n_min_trials=options.n_min_trials,
            )
        case SuccessiveHalving():
            return optuna.pruners.SuccessiveHalvingPruner(
                min_resource=options.min_resource,
                reduction_factor=options.reduction_factor,
                min_early_stopping_rate=options.min_early_stopping_rate,
                bootstrap_count=options.bootstrap_count,
            )
        case Hyperband():
            return optuna.pruners.HyperbandPruner(
                min_resource=options.min_resource,
                max_resource=options.most_steps(pruning_steps(config)[0]),
                reduction_factor=options.reduction_factor,
                bootstrap_count=options.bootstrap_count,
            )
        case Wilcoxon():
            return optuna.pruners.WilcoxonPruner(
                p_threshold=options.p_threshold, n_startup_steps=options.n_startup_steps
            )
    raise AssertionError(f"no pruner for {options!r}")
