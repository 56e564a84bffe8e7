"""A linear probe: logistic regression on frozen features, the only classifier that is fitted apart.

It judges labels, starts heads, stands in for the source model's own head and tells domains apart.
"""

import math
import warnings
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import softmax

FOLDS = 5
INVERSE_PENALTY, MAX_ITERATIONS = 0.1, 200
"""Of the logistic regression, on features of mean 0 and variance 1. A strong penalty: a probe that
can fit a wrong label believes it.
"""
LEAST_DEVIATION = 0.3
"""Of the root mean square over the features: what varies less is not brought to variance 1. With
its own deviation alone a feature that hardly ever speaks gets a weight of hundreds, and a head that
starts so explodes as soon as BatchNorm sees batches.
"""


class LinearProbe(NamedTuple):
    """Logits are `features @ weight.T + bias` for these `classes` (C,), on features as they are.

    weight: (C, F); bias: (C,). Logits of an image have mean 0 over the classes.
    """

    classes: np.ndarray
    weight: np.ndarray
    bias: np.ndarray

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Scores (N, C) of features (N, F)."""
        found: np.ndarray = np.asarray(features, dtype=float) @ self.weight.T + self.bias
        return found

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Probabilities (N, C) of features (N, F)."""
        found: np.ndarray = softmax(self.logits(features), axis=1)
        return found

    def accuracy(self, features: np.ndarray, labels: np.ndarray) -> float:
        """Share of right answers on features (N, F) with labels (N,)."""
        answers = self.classes[self.logits(features).argmax(axis=1)]
        return float((answers == labels).mean())


def fit_probe(
    features: np.ndarray, labels: np.ndarray, *, weights: np.ndarray | None = None
) -> LinearProbe:
    """The probe of features (N, F) and labels (N,), images weighted by `weights` (N,).

    Raises:
        ValueError: there are fewer than two classes.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(labels)) < 2:
        raise ValueError("the training part has a single class")
    features = np.asarray(features, dtype=float)
    mean = features.mean(axis=0)
    deviation = features.std(axis=0)
    least = LEAST_DEVIATION * math.sqrt((deviation**2).mean())
    scale = np.maximum(deviation, least or 1.0)
    regression = LogisticRegression(C=INVERSE_PENALTY, max_iter=MAX_ITERATIONS)
    with warnings.catch_warnings():
        # Near the optimum the order of probabilities does not change any more.
        warnings.simplefilter("ignore", ConvergenceWarning)
        regression.fit((features - mean) / scale, labels, sample_weight=weights)
    weight, bias = regression.coef_, regression.intercept_
    if len(weight) == 1:  # of two classes scikit-learn keeps the difference alone
        weight, bias = (np.concatenate([-v, v]) / 2 for v in (weight, bias))
    weight = weight / scale
    return LinearProbe(regression.classes_, weight, bias - weight @ mean)


def probe_accuracy(
    features: np.ndarray, labels: np.ndarray, *, blocks: np.ndarray, seed: int
) -> float:
    """Cross-validated accuracy of a linear probe; features (N, F), labels and blocks (N,).

    Images of one block stay together. Classes without a block for each fold are left out; not a
    number if fewer than two are left.
    """
    rows = in_large_classes(labels, blocks, np.arange(len(labels)))
    classes, indices = np.unique(labels[rows], return_inverse=True)
    if len(classes) < 2:
        return math.nan
    answers = out_of_fold(
        features[rows], indices, np.arange(len(rows)), blocks=blocks[rows], seed=seed
    )
    hits = sum(int((found.argmax(axis=1) == indices[part]).sum()) for part, found in answers)
    return hits / len(rows)


def out_of_fold(
    features: np.ndarray, labels: np.ndarray, rows: np.ndarray, *, blocks: np.ndarray, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Fold by fold some of `rows`, and their probabilities (B, K) from a probe of the others.

    features: (N, F); labels: (N,), 0 … K - 1, each of them in every fold (`in_large_classes`);
    blocks: (N,), images of one stay together.
    """
    from sklearn.model_selection import StratifiedKFold

    # By the first image of each block: StratifiedGroupKFold weighs all blocks one after another,
    # and blocks of several images are rare.
    _, first, members = np.unique(blocks[rows], return_index=True, return_inverse=True)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed % 2**32)
    for _, held_out in folds.split(first, labels[rows[first]]):
        inside = np.isin(members, held_out)
        probe = fit_probe(features[rows[~inside]], labels[rows[~inside]])
        assert len(probe.classes) == labels[rows].max() + 1, "every class is in every fold"
        yield rows[inside], probe.probabilities(features[rows[inside]])


def in_large_classes(labels: np.ndarray, blocks: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`rows`, ascending, of classes that have a block for each fold; a block is of the class of its
    first image.
    """
    _, first = np.unique(blocks[rows], return_index=True)
    counts = np.bincount(labels[rows[first]], minlength=int(labels[rows].max(initial=0)) + 1)
    large: np.ndarray = rows[counts[labels[rows]] >= FOLDS]
    return large


def select_features(
    features: np.ndarray, labels: np.ndarray, *, by: Literal["chi2", "anova"], k: int
) -> np.ndarray:
    """Which `k` of the features (N, F) score highest against labels (N,), one by one: bool (F,).

    `by` is χ² of each feature's sum per class, for features that are never negative, or the F
    statistic of an analysis of variance. Constant features rank last.

    Raises:
        ValueError: there are fewer than `k` features, or fewer than two classes, or χ² meets a
            negative feature.
    """
    from sklearn.feature_selection import SelectKBest, chi2, f_classif

    if k > features.shape[1]:
        raise ValueError(f"there are {features.shape[1]} features")
    if len(np.unique(labels)) < 2:
        raise ValueError("the training part has a single class")
    if by == "chi2" and (features < 0).any():
        raise ValueError("χ² needs features that are never negative, and some are")
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", UserWarning)  # of constant features
        found = SelectKBest(chi2 if by == "chi2" else f_classif, k=k)
        chosen: np.ndarray = found.fit(features.astype(np.float64), labels).get_support()
    return chosen
