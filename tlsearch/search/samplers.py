"""Optuna's samplers from the study's options."""

import warnings

import optuna
from optuna.samplers import BaseSampler

from tlsearch.study.config import StudyConfig
from tlsearch.study.search_options import CmaEs, Gp, Grid, Qmc, Random, Tpe


def make_sampler(config: StudyConfig, *, seed: int) -> BaseSampler:
    """The sampler for one trial; `seed` is the trial's own, below 2**32.

    Grid and quasi-random points are sequences of their own, so they take the study's seed.
    """
    with warnings.catch_warnings():
        # A user who names a sampler in the study has no use for the news that it is experimental.
        warnings.simplefilter("ignore", category=optuna.exceptions.ExperimentalWarning)
        return _make(config, seed)


def _make(config: StudyConfig, seed: int) -> BaseSampler:
    options = config.search.sampler
    match options:
        case Tpe():
            return optuna.samplers.TPESampler(
                n_startup_trials=options.n_startup_trials,
                n_ei_candidates=options.n_ei_candidates,
                multivariate=options.multivariate,
                group=options.grouped(config.space),
                constant_liar=options.constant_liar,
                seed=seed,
            )
        case Random():
            return optuna.samplers.RandomSampler(seed=seed)
        case Gp():
            return optuna.samplers.GPSampler(
                n_startup_trials=options.n_startup_trials,
                deterministic_objective=options.deterministic_objective,
                seed=seed,
            )
        case CmaEs():
            return optuna.samplers.CmaEsSampler(
                n_startup_trials=options.n_startup_trials,
                popsize=options.popsize,
                consider_pruned_trials=options.consider_pruned_trials,
                use_separable_cma=options.use_separable_cma,
                with_margin=options.with_margin,
                lr_adapt=options.lr_adapt,
                seed=seed,
            )
        case Qmc():
            return optuna.samplers.QMCSampler(
                qmc_type=options.qmc_type,
                scramble=options.scramble,
                seed=config.search.seed,
                independent_sampler=optuna.samplers.RandomSampler(seed=seed),
                warn_asynchronous_seeding=False,
            )
        case Grid():
            return optuna.samplers.GridSampler(config.grid(), seed=config.search.seed)
    raise AssertionError(f"no sampler for {options!r}")
