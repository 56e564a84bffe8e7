"""Selection of features by how much they tell of the class, one by one."""

import warnings
from typing import Literal

import numpy as np


def select_features(
    features: np.ndarray, labels: np.ndarray, *, by: Literal["chi2", "anova"], k: int
) -> np.ndarray:
    """Which `k` of the features (N, F) score highest against labels (N,): bool (F,).

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
        raise ValueError("χ² wants features that are never negative, and here some are")
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", UserWarning)  # of constant features
        found = SelectKBest(chi2 if by == "chi2" else f_classif, k=k)
        chosen: np.ndarray = found.fit(features.astype(np.float64), labels).get_support()
    return chosen
