"""Whether a split's own estimate of accuracy comes true on images that come later."""

import numpy as np

from tlsearch.data.splits.parts import Split
from tlsearch.evidence.measures.splits import future_error
from tlsearch.training.forward import Forward


def split_figures(forward: Forward, split: Split, future: np.ndarray) -> dict[str, float]:
    """Figures of a finished training, on images that had no say in it, as shares of right answers.

    `estimate`: on the split's own test part; `later_accuracy`: on the rows `future`;
    `future_error`: the absolute difference of the two.
    Source: claims.md, B3.
    """
    estimate, later = (_accuracy(forward, rows) for rows in (split.test, future))
    error = future_error(np.array([estimate]), np.array([later]))
    return {"estimate": estimate, "later_accuracy": later, "future_error": float(error[0])}


def _accuracy(forward: Forward, rows: np.ndarray) -> float:
    scores, labels = forward.evaluate(rows)
    return (scores.argmax(1) == labels).float().mean().item()
