"""What claims are judged by: every statistic, its unit, and the least difference worth having."""

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

Unit = Literal[
    "share", "log ratio", "CKA", "epochs", "decades", "ranks", "groups", "correlation", "count"
]
# What a repeat is: a seed with an answer for each test image, one number a seed, a redraw of the
# split, a scenario (tuning runs once in each, so its seeds do not repeat it) or nothing. The error
# of one number a seed speaks of new seeds, not of other images than those it was taken on.
Repeat = Literal["answers", "seed", "redraw", "scenario", "none"]


class Statistic(NamedTuple):
    """One measure. `smallest` is delta in `unit`; of a "log ratio", values are judged by their
    natural logarithm. `wording` completes "measured by …".
    """

    unit: Unit
    smallest: float
    repeat: Repeat
    wording: str


_QUARTER = math.log(1.25)  # a quarter more or less
_HALF = math.log(1.5)

STATISTICS: Mapping[str, Statistic] = {
    # 15 of 1,000 test images: about the least that one scenario can tell from none with 8 seeds,
    # and below what another draw of the test set moves (± 1.8 points at 0.97 with 360 images). A
    # bound set by resources: Lakens et al. 2018 (doi:10.1177/2515245918770963).
    "accuracy": Statistic("share", 0.015, "answers", "test accuracy"),
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
        "log ratio", _HALF, "scenario", "trials expected until one is within 1 point of the best"
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
    "divergence_share": Statistic("share", 0.1, "seed", "share of the sweep's runs that diverged"),
    # Half a decade is the usual step of a coarse grid of rates (1, 3, 10).
    "usable_decades": Statistic(
        "decades", 0.5, "answers", "width of the rates within 2 points of the best"
    ),
    # Half a place between neighbours in the ranking.
    "mean_rank": Statistic("ranks", 0.5, "answers", "rank in test accuracy among the table's rows"),
    # 2 points of a class's share: one image of 50.
    "class_share_distance": Statistic(
        "share", 0.02, "redraw", "largest distance of class shares between the parts"
    ),
    # Typical distance of an estimate from the middle estimate; a point is read as a difference.
    "estimate_spread": Statistic(
        "share", 0.01, "redraw", "distance of an estimate from the median of all redraws"
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
    "best_freeze_depth": Statistic("groups", 1.0, "answers", "freeze depth with the best accuracy"),
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
