"""Optuna's samplers and pruners from the study's options, and its suggestions."""

import random
import warnings
from collections.abc import Collection, Hashable, Mapping
from math import prod
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from tlsearch.config.runtime import derive_seed
from tlsearch.config.schema import StudyConfig
from tlsearch.config.search_options import Grid, Qmc
from tlsearch.config.space import (
    Choice,
    Dimension,
    Range,
    Suggest,
    configuration_key,
    values,
)

REDRAWS = 20
"""How often a sampler may draw again what was trained; then chance decides."""


def make_sampler(config: StudyConfig, *, seed: int) -> BaseSampler:
    """The sampler for one trial; `seed` is the trial's own, below 2**32.

    Quasi-random points are a sequence of their own, so they take the study's seed. The points of a
    grid are enqueued (see `grid_point`), and nothing is left to sample.
    """
    with warnings.catch_warnings():
        # A user who names a sampler in the study has no use for the news that it is experimental.
        warnings.simplefilter("ignore", category=optuna.exceptions.ExperimentalWarning)
        options = config.search.sampler
        if isinstance(options, Grid):
            return optuna.samplers.RandomSampler(seed=seed)
        arguments = {**options.arguments(config), "seed": seed}
        if isinstance(options, Qmc):
            arguments["seed"] = config.search.seed
            arguments["independent_sampler"] = optuna.samplers.RandomSampler(seed=seed)
            arguments["warn_asynchronous_seeding"] = False
        made: BaseSampler = getattr(optuna.samplers, options.optuna_name)(**arguments)
        return made


def grid_point(config: StudyConfig, number: int) -> dict[str, Any]:
    """The values of a grid's trial: every point once, in an order shuffled by the study's seed."""
    grid = config.grid()
    order = list(range(prod(map(len, grid.values()))))
    random.Random(config.search.seed).shuffle(order)  # noqa: S311
    place = order[number % len(order)]
    point = {}
    for name, choices in grid.items():
        place, index = divmod(place, len(choices))
        point[name] = choices[index]
    return point


def point_for(
    config: StudyConfig,
    study: optuna.Study,
    storage: optuna.storages.BaseStorage,
    *,
    seed: int,
    known: Collection[Hashable],
) -> dict[str, Any] | None:
    """The values to give the next trial where the sampler, asked with `seed`, would draw a `known`
    configuration again: what it draws instead, or at last any that is new. None where its draw is
    new, or nothing is.
    """
    size = config.num_configurations()
    if size is None or len(known) >= size:
        return None
    # Optuna cannot take back a trial, so that a copy of the study is asked first.
    memory = optuna.storages.InMemoryStorage()
    name = study.study_name
    optuna.copy_study(from_study_name=name, from_storage=storage, to_storage=memory)
    copy = optuna.load_study(study_name=name, storage=memory, pruner=make_pruner(config))
    copy.sampler = make_sampler(config, seed=seed)
    trial = copy.ask()
    if configuration_key(config.assign(suggest_with(trial))) not in known:
        return None
    copy.tell(trial, state=TrialState.FAIL)
    return new_point(config, copy, seed=derive_seed(seed, 1) % 2**32, known=known)


def new_point(
    config: StudyConfig, study: optuna.Study, *, seed: int, known: Collection[Hashable]
) -> dict[str, Any]:
    """The values of the next trial of a `study` that nobody keeps, which it is asked for; where the
    sampler draws a `known` configuration again and again, any that is new, if there is one.
    """
    for attempt in range(REDRAWS):
        its_seed = derive_seed(seed, attempt) % 2**32 if attempt else seed
        study.sampler = make_sampler(config, seed=its_seed)
        trial = study.ask()
        if configuration_key(config.assign(suggest_with(trial))) not in known:
            return trial.params
        study.tell(trial, state=TrialState.FAIL)
    size = config.num_configurations()
    draw = random.Random(seed)  # noqa: S311
    while True:
        drawn: dict[str, Any] = {}
        params = config.assign(_drawn(draw, drawn))
        if configuration_key(params) not in known or (size is not None and len(known) >= size):
            return drawn


def _drawn(draw: random.Random, drawn: dict[str, Any]) -> Suggest:
    def suggest(name: str, dimension: Dimension) -> Any:
        match dimension:
            case Range(low, high, True, _):  # whole numbers
                drawn[name] = draw.randint(int(low), int(high))
            case _:
                drawn[name] = draw.choice(values(dimension))
        return drawn[name]

    return suggest


def make_pruner(config: StudyConfig) -> BasePruner:
    """The pruner of the study; its steps are epochs, or folds where there are several, from 1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=optuna.exceptions.ExperimentalWarning)
        options = config.search.pruner
        made: BasePruner = getattr(optuna.pruners, options.optuna_name)(**options.arguments(config))
        return made


def suggest_with(trial: optuna.Trial) -> Suggest:
    """The function that `Space.assign` calls for each searched dimension. A trial that goes on
    keeps the values that it has.
    """

    def suggest(name: str, dimension: Dimension) -> Any:
        match dimension:
            case Choice():
                return trial.suggest_categorical(name, list(dimension.values))
            case Range(low, high, log, step) if dimension.whole:
                return trial.suggest_int(name, int(low), int(high), step=int(step or 1), log=log)
            case Range(low, high, log, step):
                return trial.suggest_float(name, low, high, step=step, log=log)
        raise AssertionError(f"{name}: a fixed dimension is not searched")

    return suggest


def stored_values(params: Mapping[str, Any]) -> Suggest:
    """The same for a trial that is read: answers with its values; a KeyError where it has none."""
    return lambda name, _dimension: params[name]
