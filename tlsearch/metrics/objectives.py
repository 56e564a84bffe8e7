"""What a search may optimise, each metric's function: its label and direction stand in
`config.search_options.METRICS`.

All are scikit-learn's: of the classes that have images, as `balanced_accuracy_score` has them. To
add one: a function here, a line in `TERMS` and one in `METRICS`, a field of `EpochResult`, a test.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tlsearch.config.search_options import METRICS
from tlsearch.metrics.curves import ClassBalance, class_scores, confusion_matrix


@dataclass(frozen=True, eq=False)
class Answers:
    """Labels (N,) of images and a model's probabilities (N, K)."""

    labels: np.ndarray
    probabilities: np.ndarray

    @cached_property
    def predicted(self) -> np.ndarray:
        """The most probable class of each image, (N,)."""
        return np.asarray(self.probabilities.argmax(1))

    @cached_property
    def confusion(self) -> np.ndarray:
        """Counts (K, K): row = true class, column = predicted class."""
        num_classes = self.probabilities.shape[1]
        return confusion_matrix(self.labels, self.predicted, num_classes=num_classes)

    @cached_property
    def support(self) -> np.ndarray:
        """Images of each class, (K,)."""
        return np.bincount(self.labels, minlength=self.probabilities.shape[1])

    @cached_property
    def classes(self) -> np.ndarray:
        """The classes that have images."""
        return np.flatnonzero(self.support)


def balanced_accuracy(confusion: np.ndarray) -> float:
    """Mean recall of the classes that have images; confusion: (K, K).

    Source: scikit-learn's `balanced_accuracy_score`.
    """
    scores = class_scores(confusion)
    return float(scores.recall[scores.support > 0].mean())


def macro_f1(confusion: np.ndarray) -> float:
    """Mean F1 of the classes that have images or are predicted; confusion: (K, K).

    Source: scikit-learn's `f1_score(average="macro")`.
    """
    named = confusion.sum(axis=1) + confusion.sum(axis=0) > 0
    return float(class_scores(confusion).f1[named].mean())


def macro_auroc(answers: Answers) -> float | None:
    """Mean over the classes that have images of the area under the ROC curve of each against the
    rest; None where all images are of one class.

    Source: scikit-learn's `roc_auc_score(multi_class="ovr", average="macro")`.
    """
    if len(answers.classes) < 2:
        return None
    ranks, own = _ranks(answers)
    sizes = answers.support[answers.classes]
    below = ranks.sum(axis=0, where=own) - sizes * (sizes + 1) / 2
    return float((below / (sizes * (len(answers.labels) - sizes))).mean())


def _ranks(answers: Answers) -> tuple[np.ndarray, np.ndarray]:
    """Ranks of the images by the probability of each class that has some, ties in the middle, and
    which images are its own, (N, C) each.
    """
    from scipy.stats import rankdata  # it takes half a second that no `--help` should wait for

    own = answers.labels[:, None] == answers.classes
    return rankdata(answers.probabilities[:, answers.classes], axis=0), own


# Of every image: what it adds to a metric, so that the mean over images is the metric, and their
# spread that of the metric over other images (the delta method; of the area DeLong's components,
# doi:10.2307/2531595).


def right(answers: Answers) -> np.ndarray:
    """1 for a right answer, else 0, (N,)."""
    return np.asarray(answers.predicted == answers.labels, dtype=float)


def _recall_terms(answers: Answers) -> np.ndarray:
    recall = class_scores(answers.confusion).recall
    weights = len(answers.labels) / (len(answers.classes) * answers.support[answers.labels])
    above = right(answers) - recall[answers.labels]
    return np.asarray(balanced_accuracy(answers.confusion) + weights * above)


def _f1_terms(answers: Answers) -> np.ndarray:
    f1, confusion = class_scores(answers.confusion).f1, answers.confusion
    named = confusion.sum(axis=1) + confusion.sum(axis=0)
    # F1 is 2 hits / named; both shares move with each image that has or gets the class.
    pull = 1 / (np.maximum(named, 1) / len(answers.labels) * np.count_nonzero(named))
    labels, predicted = answers.labels, answers.predicted
    hits = 2 * right(answers) * pull[labels]
    return np.asarray(macro_f1(confusion) + hits - (f1 * pull)[labels] - (f1 * pull)[predicted])


def log_losses(answers: Answers) -> np.ndarray:
    """The cross-entropy of each image in nats, (N,); probabilities are clipped as in scikit-learn's
    `log_loss`, at the resolution of their type.
    """
    resolution = np.finfo(answers.probabilities.dtype).eps
    of_label = answers.probabilities[np.arange(len(answers.labels)), answers.labels]
    return np.asarray(-np.log(np.clip(of_label, resolution, 1 - resolution), dtype=float))


def _area_terms(answers: Answers) -> np.ndarray:
    """Of the area under each class's curve against the rest: the share of the others that an image
    of the class is ranked above, or that another is ranked below; ties count half.
    """
    from scipy.stats import rankdata

    ranks, own = _ranks(answers)  # (N, C) each
    sizes, num_images = answers.support[answers.classes], len(answers.labels)
    others = num_images - sizes
    within = np.empty_like(ranks)
    for place, members in enumerate(own.T):
        within[members, place] = rankdata(ranks[members, place])
        within[~members, place] = rankdata(ranks[~members, place])
    above = np.where(own, (ranks - within) / others, 1 - (ranks - within) / sizes)
    areas, shares = above.mean(axis=0, where=own), np.where(own, sizes, others) / num_images
    return np.asarray((areas + (above - areas) / shares).mean(axis=1))


TERMS: Mapping[str, Callable[[Answers], np.ndarray]] = {
    "val_accuracy": right,
    "val_balanced_accuracy": _recall_terms,
    "val_macro_f1": _f1_terms,
    "val_macro_auroc": _area_terms,
    "val_loss": log_losses,
}
"""By the name in `config.search_options.METRICS`: a number an image, (N,), whose mean it is."""


def class_weight(answers: Answers) -> float:
    """What an answer weighs in a metric to which each class adds alike, as the root mean square
    over classes: 1 where they are of one size.
    """
    sizes = answers.support[answers.classes]
    weights = len(answers.labels) / (len(sizes) * sizes)
    return float(np.sqrt(np.mean(weights**2)))


_LOSS_VARIANCE = 2.0
"""Of an image's log loss, by the mean loss. A guess: logistic regressions on digits have 0.4 to 4,
those that are too sure of themselves the most.
"""


def validation_noise(metric: str, value: float, counts: Sequence[int]) -> float:
    """About how far a value lies from the true one by the draw of the images that validate alone:
    one standard error. What seeds do is left out, and so is that trials share their images.

    metric: a name in `config.search_options.METRICS`; counts: (K,), images of each class.
    A share is taken for one of right answers, with two right and two wrong ones added, so that no
    value is held for certain (Agresti and Coull 1998, doi:10.1080/00031305.1998.10480550).
    """
    sizes = np.array([count for count in counts if count], dtype=float)
    kind = METRICS[metric]
    images = len(sizes) ** 2 / (1 / sizes).sum() if kind.counts_classes else sizes.sum()
    if not kind.is_share:
        return float(np.sqrt(_LOSS_VARIANCE * value / images))
    share = (value * images + 2) / (images + 4)
    return float(np.sqrt(share * (1 - share) / images))


def of_largest(balance: ClassBalance) -> dict[str, float]:
    """By name what always answering the largest class comes to; without the log loss, which is
    infinite.
    """
    share, num_classes = balance.largest_share, balance.num_classes
    return {
        "accuracy": share,
        "balanced_accuracy": 1 / num_classes,
        "macro_f1": 2 * share / (1 + share) / num_classes,
        "macro_auroc": 0.5,
    }
