"""How well a classifier tells two domains apart."""

import numpy as np

from tlsearch.evidence.measures.probes import ridge_probe
from tlsearch.evidence.measures.protocol import DOMAIN_FOLDS, PROBE_PENALTY


def domain_error(left: np.ndarray, right: np.ndarray, *, seed: int) -> float:
    """Cross-validated error of a linear classifier of domains, mean of the two domains' own errors:
    0 where it tells every image's domain, 0.5 where it guesses.

    left: (m, d), right: (n, d), features of the same network, `DOMAIN_FOLDS` images of each at
    least; folds are drawn from `seed`. Both domains count alike, whatever their number of images.

    Raises:
        ValueError: too few images, or features of different widths.
    """
    left, right = (np.asarray(x, dtype=float) for x in (left, right))
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1]:
        raise ValueError(f"{left.shape} and {right.shape}: columns must be the same features")
    count = min(len(left), len(right))
    if count < DOMAIN_FOLDS:
        raise ValueError(f"{len(left)} and {len(right)} images: {DOMAIN_FOLDS} of each are needed")
    draw = np.random.default_rng(seed)
    # As many of each: a classifier of least squares leans to the larger side.
    sides = [side[draw.permutation(len(side))[:count]] for side in (left, right)]
    features, labels = np.concatenate(sides), np.repeat([0, 1], count)
    fold = np.tile(np.arange(count) % DOMAIN_FOLDS, 2)
    wrong = np.zeros(len(labels))
    for held in range(DOMAIN_FOLDS):
        there, out = fold != held, fold == held
        probe = ridge_probe(features[there], labels[there], num_classes=2, penalty=PROBE_PENALTY)
        answers = (features[out] @ probe.weight + probe.bias).argmax(axis=1)
        wrong[out] = answers != labels[out]
    return float(wrong.mean())


def proxy_a_distance(error: float) -> float:
    """2 (1 - 2 error): 0 where domains cannot be told apart, 2 where they always can.

    Source: Ben-David et al. 2010 (doi:10.1007/s10994-009-5152-4), by the error of one classifier as
    in arXiv:1505.07818.
    """
    return 2 * (1 - 2 * min(error, 0.5))
