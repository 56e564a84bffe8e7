"""What a comparison consists of, arms × scenarios, and what was measured of it, as arrays: what the
tables are made from, whoever ran it.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from tlsearch.config.comparison import Traits

Table = Literal["A", "B", "C", "own"]


class ArmResults(NamedTuple):
    """One strategy in one scenario.

    `tuning` (trials,): validation accuracy of each tuning trial, 0 for one that diverged; empty
    where nothing was tuned. `params`: the configuration that tuning chose. `settings`: dimensions
    that were searched. `answers` (seeds, images): which test images each confirmed model answers
    rightly; a row of a seed that diverged is all False, which guessing nothing deserves, and one of
    a seed that failed or has not been run is not a number. No images: nothing was scored.
    `values`: statistic or plain figure → one number a seed, or a redraw, (repeats,); not a number
    where there is none. Keys are those of `STATISTICS` and of `metrics.registry`; for table B also
    `estimate_images`, about how many different images all estimates rest on.
    """

    tuning: np.ndarray
    params: Mapping[str, Any]
    settings: int
    answers: np.ndarray
    values: Mapping[str, np.ndarray]
    seeds: tuple[int, ...]

    @property
    def scored(self) -> np.ndarray:
        """The rows of `answers` that are whole."""
        found: np.ndarray = self.answers[np.isfinite(self.answers).all(axis=1)]
        return found


class SweepResults(NamedTuple):
    """An arm's chosen configuration with one dimension set to each of `settings`.

    `validation` (settings, seeds) accuracy, 0 for a diverged run and not a number where none was
    run; `answers` (settings, seeds, images) on the test part; `diverged` (settings, seeds).
    """

    arm: str
    dimension: str
    settings: tuple[Any, ...]
    validation: np.ndarray
    answers: np.ndarray
    diverged: np.ndarray

    @property
    def whole_seeds(self) -> np.ndarray:
        """Which seeds have run at every setting, (seeds,)."""
        return np.asarray(np.isfinite(self.validation).all(axis=0))


class ScenarioResults(NamedTuple):
    """All arms in one scenario, row i of every array of the same seed.

    `traits` are what the study file says of the scenario; `facts` what was measured: `similarity`
    (0 … 1, 1 like the source), `difficulty` (0 … 1, the error that the best arm leaves),
    `labels`, `classes`, `train_images`, `validation_images`, `test_images`, `imbalance`, for table
    B about how many `later_images`; absent where unknown. `block` names the test images: scenarios
    that share it share them.
    """

    name: str
    traits: Traits
    facts: Mapping[str, float]
    block: str
    arms: Mapping[str, ArmResults]
    sweeps: tuple[SweepResults, ...]


class ComparisonResults(NamedTuple):
    """A whole comparison: the table of the documents that it answers, or "own"; `reference` is the
    arm that others of an own table are compared with; `epochs` and `trials` are each arm's budget.
    `future` is the share of the images, the latest, that no split of table B touched; None in other
    tables.
    """

    name: str
    table: Table
    reference: str
    scenarios: tuple[ScenarioResults, ...]
    trials: int
    epochs: int
    future: float | None
