"""From configurations to what their trainings come to: the mean of a forest and a Gaussian process.

The forest sees steps, as between a head that starts as a probe and one that starts at random; the
process sees slopes. Together they are off by less than either, on the kept curves and held out.
"""

import warnings
from typing import Any

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern, WhiteKernel

TREES, COMPONENTS = 96, 6
VARIES = 1e-9  # a standard deviation below is rounding


def scale_of(values: np.ndarray) -> np.ndarray:
    """The standard deviation of each column; 1 where nothing varies."""
    spread: np.ndarray = values.std(0)
    return np.where(spread > VARIES, spread, 1.0)


class Surrogate:
    """Fitted to features (N, F) and outcomes (N, W), whole curves at a time, so that what is
    predicted of one training belongs together. The process has one length for each feature, the
    same for the leading components of all outcomes.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self._centre, self._width = x.mean(0), scale_of(x)
        self._mean, self._scale = y.mean(0), scale_of(y)
        scaled = (y - self._mean) / self._scale
        forest = ExtraTreesRegressor(TREES, random_state=0).fit(x, scaled)
        self._trees: list[Any] = [tree.tree_ for tree in forest.estimators_]
        left, sizes, directions = np.linalg.svd(scaled, full_matrices=False)
        self._directions = directions[:COMPONENTS]
        scores = left[:, :COMPONENTS] * sizes[:COMPONENTS]
        self._unit = float(scores.std(0).mean())
        kernel = Matern(np.full(x.shape[1], 3.0), (0.3, 50.0), nu=1.5)
        self._process = GaussianProcessRegressor(
            kernel + WhiteKernel(0.1, (1e-3, 1.0)), random_state=0
        )
        with warnings.catch_warnings():
            # A length at its upper bound is that of a feature that does not matter.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._process.fit(self._standard(x), scores / self._unit)

    def _standard(self, x: np.ndarray) -> Any:
        return (x - self._centre) / self._width

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Outcomes (M, W) of features (M, F)."""
        rows = np.ascontiguousarray(x, dtype=np.float32)
        # By the trees themselves: the forest's own `predict` checks for longer than it computes.
        by_trees = np.mean([tree.predict(rows).reshape(len(x), -1) for tree in self._trees], axis=0)
        scores = self._process.predict(self._standard(rows)).reshape(len(x), -1) * self._unit
        mean = 0.5 * (by_trees + scores @ self._directions)
        found: np.ndarray = mean * self._scale + self._mean
        return found
