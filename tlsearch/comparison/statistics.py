"""What claims are judged by: every statistic with its unit, the least difference worth having, and
how an arm's values of it come from what was measured.

To add one: a line in `STATISTICS`, with a function where the figure is not taken of each model by
`metrics.registry`; and a test.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple

import numpy as np
from scipy.stats import kendalltau, rankdata

from tlsearch.comparison.design import ArmResults, ScenarioResults, SweepResults
from tlsearch.metrics.curves import trials_to_come_within, usable_decades

Unit = Literal[
    "share", "log ratio", "CKA", "epochs", "decades", "ranks", "groups", "correlation", "count"
]
# What a repeat is: a seed with an answer for each test image, one number a seed, a redraw of the
# split, a scenario (tuning runs once in each, so its seeds do not repeat it) or nothing. The error
# of one number a seed speaks of new seeds, not of other images than those it was taken on.
Repeat = Literal["answers", "seed", "redraw", "scenario", "none"]
Values = Callable[[str, ScenarioResults], np.ndarray]


class Statistic(NamedTuple):
    """One measure. `smallest` is delta in `unit`; of a "log ratio", values are judged by their
    natural logarithm. `wording` completes "measured by …". `values` are an arm's in a scenario, by
    default those that were taken of its models.
    """

    unit: Unit
    smallest: float
    repeat: Repeat
    wording: str
    values: Values | None = None
    by_images: bool = False
    """No mean over images, but varying with them: see `by_images`."""


class NotMeasured(Exception):  # noqa: N818  - no error: a table says why a cell is empty
    """Why a scenario holds no values; the text is a phrase for the reader."""


def values_of(statistic: str, arm: str, place: ScenarioResults) -> np.ndarray:
    """Answers (seeds, images) or values (seeds, groups) that vary with images; else (repeats,).

    Raises:
        NotMeasured: the arm, its sweep or its figure is missing here.
    """
    known = STATISTICS.get(statistic)
    if known is not None and known.values is not None:
        return known.values(arm, place)
    found = np.asarray(_arm(arm, place).values.get(statistic, ()), dtype=float)
    return _some(found, known.wording if known else statistic, arm)


def _arm(name: str, place: ScenarioResults) -> ArmResults:
    if name not in place.arms:
        raise NotMeasured(f"{name} is no arm of the comparison")
    return place.arms[name]


def _some(values: np.ndarray, wording: str, arm: str) -> np.ndarray:
    if not values.size or not np.isfinite(values).any():
        raise NotMeasured(f"{arm} has no {wording}")
    return values


def _accuracy(arm: str, place: ScenarioResults) -> np.ndarray:
    return _some(_arm(arm, place).answers.astype(float), "test accuracy", arm)


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


def _of_seeds(answers: np.ndarray, number: Callable[[np.ndarray], float]) -> np.ndarray:
    """`number` of each seed's accuracies, from answers (arms or settings, seeds, images); not a
    number where a run is missing.
    """
    columns = answers.mean(axis=-1).T
    return np.array([number(c) if np.isfinite(c).all() else np.nan for c in columns])


_TABLE_ROW = re.compile(r"A[1-5]|B[1-3]")


def rows_among(arms: Iterable[str]) -> list[str]:
    """The arms that are rows of the documents' tables; variants and baselines are none."""
    return [arm for arm in arms if _TABLE_ROW.fullmatch(arm)]


def _rank(arm: str, place: ScenarioResults) -> np.ndarray:
    """By each seed's test accuracy among the table's rows, 1 the best."""
    names = list(dict.fromkeys([arm, *rows_among(place.arms)]))

    def rank(answers: np.ndarray) -> np.ndarray:
        scores = answers.mean(axis=-1)
        whole = np.isfinite(scores).all(axis=0)
        return np.asarray(np.where(whole, rankdata(-scores, axis=0)[0], np.nan))

    return by_images(rank, np.array([_accuracy(name, place) for name in names]))


def _best_depth(arm: str, place: ScenarioResults) -> np.ndarray:
    """Of the arms "`arm` 0", "`arm` 1", … the depth with the best test accuracy in each seed.

    The depth is that of the arm's configuration, whatever its name says. Depths that tie share
    their mean, so that equal depths favour no end.
    """
    names = [name for name in place.arms if re.fullmatch(rf"{re.escape(arm)} \d+", name)]
    depths = np.array([int(place.arms[name].params["freeze_depth"]) for name in names])
    if len(names) < 2:
        raise NotMeasured(f'no two arms are named "{arm} 0", "{arm} 1" and so on')
    if len(set(depths)) < 2:
        raise NotMeasured(f'all arms "{arm} N" freeze to the same depth')

    def best(answers: np.ndarray) -> np.ndarray:
        return _of_seeds(answers, lambda found: float(depths[found == found.max()].mean()))

    return by_images(best, np.array([_accuracy(name, place) for name in names]))


# From sweeps, tuning and estimates.

_CLOSE = 0.01  # of accuracy, to "come within" the best (claims.md, A1)
_USABLE = 0.02  # of accuracy, within which a rate will do (claims.md, A5)
_FEWEST_RANKED = 3  # two are in the right order every other time


def _sweep(place: ScenarioResults, arm: str, swept: tuple[str, ...]) -> SweepResults:
    """All sweeps of an arm over these dimensions as one; none named: all but those of the rate."""
    _arm(arm, place)
    found = [
        sweep
        for sweep in place.sweeps
        if sweep.arm == arm and (sweep.dimension in swept if swept else sweep.dimension != "lr")
    ]
    if not found:
        over = " or ".join(swept) or "its own settings"
        raise NotMeasured(f"{arm} was not swept over {over}")
    return SweepResults(
        arm,
        found[0].dimension,
        tuple(setting for sweep in found for setting in sweep.settings),
        np.concatenate([sweep.validation for sweep in found]),
        np.concatenate([sweep.answers for sweep in found]),
        np.concatenate([sweep.diverged for sweep in found]),
    )


def _usable_decades(arm: str, place: ScenarioResults) -> np.ndarray:
    sweep = _sweep(place, arm, ("lr",))
    rates = np.asarray(sweep.settings, dtype=float)
    order = rates.argsort()

    def width(answers: np.ndarray) -> np.ndarray:
        return _of_seeds(answers, lambda found: usable_decades(rates[order], found, margin=_USABLE))

    return by_images(width, sweep.answers[order].astype(float))


def _divergence_share(arm: str, place: ScenarioResults) -> np.ndarray:
    sweep = _sweep(place, arm, ("lr",))
    return np.where(sweep.whole_seeds, sweep.diverged.mean(axis=0), np.nan)


def _trials_to_come_within(arm: str, place: ScenarioResults) -> np.ndarray:
    tuning = _some(_arm(arm, place).tuning, "tuning trial", arm)
    return np.array([float(trials_to_come_within(tuning, margin=_CLOSE))])


def _estimate_spread(arm: str, place: ScenarioResults) -> np.ndarray:
    """One value a redraw, so that two splits' spreads can be compared as means.

    Source: Brown and Forsythe 1974 (doi:10.1080/01621459.1974.10482955).
    """
    estimates = values_of("estimate", arm, place)
    return np.asarray(np.abs(estimates - np.median(estimates)))


def sensitivity(
    place: ScenarioResults, arm: str, swept: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Answers (seeds, images) at the best and at the worst setting of a sweep.

    Row s is of the settings that all other seeds' mean validation accuracy names: a seed that
    chose for itself would bring its luck to the test and make any sweep look as if it mattered.

    Raises:
        NotMeasured: there is no such sweep, or it has a single setting or seed.
    """
    found = _sweep(place, arm, swept)
    whole = found.whole_seeds
    settings, seeds = found.validation.shape
    if settings < 2 or whole.sum() < 2:
        raise NotMeasured(f"the sweep of {arm} needs two settings and two seeds")
    of_whole = np.where(whole, found.validation, 0.0)
    others = of_whole.sum(axis=1, keepdims=True) - of_whole
    rows = np.arange(seeds)
    answers = np.where(whole[:, None], found.answers, np.nan)
    return answers[others.argmax(axis=0), rows], answers[others.argmin(axis=0), rows]


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else math.nan


def score_correlation(place: ScenarioResults, score: str) -> np.ndarray:
    """Kendall's τ-b of a score of the networks and the mean test accuracy of their arms, (1,).

    Every arm counts that has the score, whatever its name.

    Raises:
        NotMeasured: fewer than three networks have both, or all score or read alike.
    """
    pairs = ((arm.values.get(score, np.nan), arm.scored) for arm in place.arms.values())
    means = np.array([(np.mean(values), _mean(scored)) for values, scored in pairs]).reshape(-1, 2)
    found = means[np.isfinite(means).all(axis=1)]
    if len(found) < _FEWEST_RANKED:
        raise NotMeasured("fewer than three networks have the score and a test accuracy")
    if (np.ptp(found, axis=0) == 0).any():
        raise NotMeasured("all networks score alike, or read alike")
    return np.array([kendalltau(found[:, 0], found[:, 1]).statistic])


_QUARTER = math.log(1.25)  # a quarter more or less
_HALF = math.log(1.5)

STATISTICS: Mapping[str, Statistic] = {
    # 15 of 1,000 test images: about the least that one scenario can tell from none with 8 seeds,
    # and below what another draw of the test set moves (± 1.8 points at 0.97 with 360 images). A
    # bound set by resources: Lakens et al. 2018 (doi:10.1177/2515245918770963).
    "accuracy": Statistic("share", 0.015, "answers", "test accuracy", _accuracy),
    "source_accuracy": Statistic("share", 0.015, "seed", "accuracy kept on held-out source images"),
    # For each seed both settings are picked by the validation accuracy of the other seeds, so that
    # without an effect the mean is 0.
    "sensitivity": Statistic(
        "share", 0.015, "answers", "test accuracy at the best setting less that at the worst"
    ),
    # An attack moves accuracy by tens of points; 3 are twice what counts on clean images.
    "robust_accuracy": Statistic("share", 0.03, "seed", "accuracy under attack (PGD)"),
    "robust_accuracy.fgsm": Statistic("share", 0.03, "seed", "accuracy under one step (FGSM)"),
    # Losses have no natural scale: a quarter is what one sees in a curve.
    "oscillation": Statistic(
        "log ratio", _QUARTER, "seed", "spread of validation loss in the last third"
    ),
    # Epochs are whole; less than one is no saving.
    "epochs_to_share": Statistic(
        "epochs", 1.0, "seed", "epochs until 95 % of the final accuracy first stands"
    ),
    # Trials are whole and few; a third saved, or half as many more, is worth a recommendation.
    "trials_to_come_within": Statistic(
        "log ratio",
        _HALF,
        "scenario",
        "trials expected until one is within 1 point of the best",
        _trials_to_come_within,
    ),
    # On CKA's scale of 0 to 1; retraining from another seed alone moves late layers by more.
    "cka_drift": Statistic("CKA", 0.05, "seed", "1 − linear CKA with the pretrained features"),
    "weight_drift": Statistic(
        "log ratio", _QUARTER, "seed", "distance of the weights from the pretrained ones"
    ),
    # An explosion is a matter of powers of ten, so half as much again is cautious.
    "early_gradient_norm": Statistic(
        "log ratio", _HALF, "seed", "largest gradient norm in the first tenth of the steps"
    ),
    "largest_step_norm": Statistic("log ratio", _HALF, "seed", "largest norm of a step"),
    # One rate in ten of a sweep.
    "divergence_share": Statistic(
        "share", 0.1, "seed", "share of the sweep's runs that diverged", _divergence_share
    ),
    # Half a decade is the usual step of a coarse grid of rates (1, 3, 10).
    "usable_decades": Statistic(
        "decades",
        0.5,
        "answers",
        "width of the rates within 2 points of the best",
        _usable_decades,
        True,
    ),
    # Half a place between neighbours in the ranking.
    "mean_rank": Statistic(
        "ranks", 0.5, "answers", "rank in test accuracy among the table's rows", _rank, True
    ),
    # 2 points of a class's share: one image of 50.
    "class_share_distance": Statistic(
        "share", 0.02, "redraw", "largest distance of class shares between the parts"
    ),
    # Typical distance of an estimate from the middle estimate; a point is read as a difference.
    "estimate_spread": Statistic(
        "share",
        0.01,
        "redraw",
        "distance of an estimate from the median of all redraws",
        _estimate_spread,
    ),
    # Documented gaps are 8 to 12 points (digits in file order), so 2 leave no doubt.
    "future_error": Statistic(
        "share", 0.02, "redraw", "distance of the estimate from the accuracy on later data"
    ),
    "estimate": Statistic("share", 0.02, "redraw", "the split's estimate of accuracy"),
    # A tenth of the rate decides on nothing; a quarter saves a coffee.
    "images_per_second": Statistic("log ratio", _QUARTER, "seed", "training images a second"),
    "seconds": Statistic("log ratio", _QUARTER, "seed", "seconds of training"),
    "epochs_spent": Statistic("log ratio", _QUARTER, "seed", "epochs trained"),
    # A pruned network pays from tens of per cent; 5 points show that the cause works.
    "sparsity": Statistic("share", 0.05, "seed", "share of weights close to 0"),
    "weight_norm": Statistic("log ratio", math.log(1.1), "seed", "norm of the trained weights"),
    # As for accuracy, of which it is a difference.
    "generalisation_gap": Statistic("share", 0.015, "seed", "training less validation accuracy"),
    # Groups are whole.
    "best_freeze_depth": Statistic(
        "groups", 1.0, "answers", "freeze depth with the best accuracy", _best_depth, True
    ),
    "domain_distance": Statistic(
        "log ratio", _QUARTER, "seed", "distance of the target's features from the source's"
    ),
    # In the network as it was before training: 1 where adaptation does nothing.
    "adapted_distance": Statistic(
        "log ratio", _QUARTER, "seed", "distance from the source after adaptation over that before"
    ),
    # Cohen's "small" correlation is 0.1, his "medium" 0.3.
    "score_correlation": Statistic(
        "correlation", 0.2, "scenario", "rank correlation of score and accuracy reached"
    ),
    # Facts without chance: printed, not tested.
    "settings": Statistic("count", 1.0, "none", "parameters to set"),
    "knowledge": Statistic("count", 1.0, "none", "what tlsearch takes over"),
    "noise_scale": Statistic("count", 1.0, "none", "gradient noise scale, in images"),
}
