"""What a comparison measured, as arrays: what the tables are made from, whoever ran it."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from tlsearch.comparison.claims import Scenario


class ArmResults(NamedTuple):
    """One strategy in one scenario.

    `tuning` (trials,): validation accuracy of each tuning trial, 0 for one that diverged; empty
    where nothing was tuned. `params`: the configuration that tuning chose. `settings`: dimensions
    that were searched. `answers` (seeds, images): which test images each confirmed model answers
    rightly; a row of a seed that diverged is all False, which guessing nothing deserves, and one of
    a seed that failed or has not been run is not a number. No images: nothing was scored.
    `values`: statistic or plain figure → one number a seed, or a redraw, (repeats,); not a number
    where there is none. Keys are those of `STATISTICS` and of `training.measuring`; for table B
    also `estimate_images`, about how many different images all estimates rest on.
    """

    tuning: np.ndarray
    params: Mapping[str, Any]
    settings: int
    answers: np.ndarray
    values: Mapping[str, np.ndarray]
    seeds: tuple[int, ...]


class SweepResults(NamedTuple):
    """An arm's chosen configuration with one dimension set to each of `settings`.

    `validation` (settings, seeds) accuracy, 0 for a diverged run and not a number where none was
    run; `answers` (settings, seeds,
    images) on the test part; `diverged` (settings, seeds).
    """

    arm: str
    dimension: str
    settings: tuple[Any, ...]
    validation: np.ndarray
    answers: np.ndarray
    diverged: np.ndarray


class ScenarioResults(NamedTuple):
    """All arms in one scenario, row i of every array of the same seed.

    `traits` are what the study file says of the scenario; `facts` what was measured: `similarity`
    (0 … 1, 1 like the source), `difficulty` (0 … 1, the error that the best arm leaves),
    `labels`, `classes`, `train_images`, `validation_images`, `test_images`, `imbalance`, for table
    B about how many `later_images`; absent where unknown. `block` names the test images: scenarios
    that share it share them.
    """

    name: str
    traits: Scenario
    facts: Mapping[str, float]
    block: str
    arms: Mapping[str, ArmResults]
    sweeps: tuple[SweepResults, ...]


class ComparisonResults(NamedTuple):
    """A whole comparison: the table of the documents that it answers, or "own"; `reference` is the
    arm that an own table is held against; `epochs` and `trials` are each arm's budget. `future` is
    the share of the images, the latest, that no split of table B touched; None in other tables.
    """

    name: str
    table: Literal["A", "B", "C", "own"]
    reference: str
    scenarios: tuple[ScenarioResults, ...]
    trials: int
    epochs: int
    future: float | None


# Statistics that are no mean over test images, as values that still vary with images.


# Leaving out a tenth moves a rank or the end of a range often enough to see their noise. Of equal
# arms with 8 seeds and 360 to 1,000 images, 16 % gave p < 0.05 for ranks judged by seeds alone, and
# 21 to 34 % for widths of usable rates; judged so 1 to 6 % and 5 to 8 %, with 5 groups alike.
GROUPS = 10


def by_images(statistic: Callable[[np.ndarray], np.ndarray], answers: np.ndarray) -> np.ndarray:
    """Values (…, seeds, groups), by seed with the statistic of all images as their mean.

    answers: (…, seeds, images); statistic: of such an array to (…, seeds). Groups are every tenth
    image. Their spread is that of the statistic over draws of the test set, as a group is to an
    image what the delete-a-group jackknife says: T + (G - 1) (mean of T without g - T without g).
    With fewer than two images a group it is the statistic itself.
    Source: Shao and Wu 1989 (doi:10.1214/aos/1176347263), on leaving out more than one at a time.
    """
    whole = statistic(answers)
    images = np.arange(answers.shape[-1])
    if len(images) < 2 * GROUPS:
        return whole
    without = np.stack(
        [statistic(answers[..., images % GROUPS != group]) for group in range(GROUPS)], axis=-1
    )
    pull = without.mean(axis=-1, keepdims=True) - without
    return np.asarray(whole[..., None] + (GROUPS - 1) * pull)
