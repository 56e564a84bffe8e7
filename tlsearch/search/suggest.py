"""From a declared dimension to Optuna's suggestion for it."""

from collections.abc import Callable
from typing import Any

import optuna

from tlsearch.study.dimensions import Choice, Dimension, Range


def suggest_with(trial: optuna.Trial) -> Callable[[str, Dimension], Any]:
    """The function that `Space.assign` asks for each searched dimension."""

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
