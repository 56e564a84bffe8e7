"""How well a pretrained network may transfer, by its frozen features or its source outputs.

All scores rise with the accuracy that is expected, in units of their own: compare networks by one
score on the same images, never two scores with one another.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar

_DECADES = 12.0
"""The ratio of the two precisions of LogME is sought so many decades around the singular values:
beyond them the evidence is flat, or, where features fit labels exactly, without a bound."""
_GRID = 97


def log_me(features: np.ndarray, labels: np.ndarray) -> float:
    """Log evidence per image of a Bayesian linear model of each class's indicator, class mean.

    features: (N, F); labels: (N,) of any integers. For an indicator y the evidence of
    y = F w + noise, w ~ N(0, 1/α), noise ~ N(0, 1/β), is taken at its largest over α and β, as
    the source does; here by a search in one dimension, which cannot miss the higher of two
    maxima: with t = α/β, E(t) = min over w of |F w - y|² + t |w|² and σ the squared singular
    values of F, the best β is N/E(t) and twice the evidence is

        N log(N / (2π E(t))) - N - Σ log(1 + σ/t).

    Classes without an image count for nothing. No intercept, as in the source.
    Source: LogME, arXiv:2102.11005, equations 2 and 3.
    """
    features, places, counts = _checked(features, labels)
    squares, inside = _projected(features, np.eye(len(counts))[places])
    num = len(places)
    evidence = [_log_evidence(squares, inside[:, k], counts[k], num) for k in range(len(counts))]
    return float(np.mean(evidence)) / num


def _projected(features: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared singular values (R,) of the features (N, F), and the squares (R, K) of the targets
    (N, K) along their left singular vectors.

    By way of the smaller Gram matrix, in a quarter of the time of an SVD; directions with less than
    about 1e-13 of the largest square are lost in float64, and are noise in float32 features.
    """
    num, width = features.shape
    wide = width > num
    squares, vectors = np.linalg.eigh(features @ features.T if wide else features.T @ features)
    keep = squares > squares.max(initial=0.0) * np.finfo(float).eps * max(num, width)
    squares, vectors = squares[keep], vectors[:, keep]
    along = vectors.T @ (targets if wide else features.T @ targets)
    return squares, along**2 if wide else along**2 / squares[:, None]


def _log_evidence(squares: np.ndarray, inside: np.ndarray, length2: float, num: int) -> float:
    """The largest log evidence of a target of squared length `length2`, `inside` (R,) of which lies
    along each singular vector of `num` images' features.
    """
    outside = max(float(length2 - inside.sum()), 0.0)

    def negative(log_t: float) -> float:
        share = 1 / (1 + squares / math.exp(log_t))
        residual = outside + float(inside @ share)
        fit = num * math.log(num / (2 * math.pi * residual)) - num
        return -(fit + float(np.log(share).sum())) / 2

    if not squares.size:
        return -negative(0.0)
    span = _DECADES * math.log(10)
    ends = math.log(squares.min()) - span, math.log(squares.max()) + span
    grid = np.linspace(*ends, _GRID)
    values = [negative(x) for x in grid]
    best = int(np.argmin(values))
    around = grid[max(best - 1, 0)], grid[min(best + 1, _GRID - 1)]
    found = minimize_scalar(negative, bounds=around, method="bounded", options={"xatol": 1e-6})
    return -min(values[best], float(found.fun))


def h_score(features: np.ndarray, labels: np.ndarray) -> float:
    """Variance between classes as seen in the features' own covariance, shrunk by Ledoit and Wolf's
    rule, so that it stands where images are few.

    features: (N, F); labels: (N,). With λ the shrinkage that their rule chooses and S the shrunk
    covariance, (1 - λ) tr(S⁻¹ cov(E[f|y])): at most the number of classes - 1, and 0 for features
    that are all constant.
    Source: arXiv:2110.06893, equation 5, after Bao et al. 2019 (doi:10.1109/ICIP.2019.8803726).
    """
    from sklearn.covariance import ledoit_wolf

    features, places, counts = _checked(features, labels)
    centred = features - features.mean(axis=0)
    if not centred.any():
        return 0.0
    covariance, shrinkage = ledoit_wolf(centred, assume_centered=True)
    means = np.zeros((len(counts), features.shape[1]))
    np.add.at(means, places, centred)
    means *= np.sqrt(1 / (len(places) * counts))[:, None]  # so that meansᵀ means is cov(E[f|y])
    if shrinkage > 0:
        solved = np.linalg.solve(covariance, means.T)
    else:  # perhaps singular
        solved = np.linalg.lstsq(covariance, means.T)[0]
    return float((1 - shrinkage) * (means.T * solved).sum())


def leep(source_probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean log likelihood of the labels, given what the source's classifier sees in an image.

    source_probabilities: (N, Z) of the source's classes, rows summing to 1; labels: (N,). With the
    joint distribution P(y, z) of labels and source classes over these very images, an image's
    label has the likelihood Σ over z of P(y|z) p(z|image). At most 0.
    Source: LEEP, arXiv:2002.12462, section 3.
    """
    given, places, counts = _checked(source_probabilities, labels)
    assert np.allclose(given.sum(axis=1), 1, atol=1e-4), "probabilities of each image"
    joint = np.zeros((len(counts), given.shape[1]))
    np.add.at(joint, places, given / len(given))
    mass = joint.sum(axis=0)
    conditional = np.divide(joint, mass, out=np.zeros_like(joint), where=mass > 0)
    likelihood = (given * conditional[places]).sum(axis=1)
    return float(np.log(likelihood).mean())


def nce(source_labels: np.ndarray, labels: np.ndarray) -> float:
    """Minus the conditional entropy of the labels, given the source class of each image, in nats.

    source_labels, labels: (N,) of any integers. 0 where the source class determines the label.
    Source: negative conditional entropy, arXiv:1908.08142, equation 5.
    """
    _, places, counts = _checked(np.asarray(source_labels)[:, None], labels)
    known, sources = np.unique(source_labels, return_inverse=True)
    joint = np.zeros((len(counts), len(known)))
    np.add.at(joint, (places, sources), 1 / len(places))
    seen = joint > 0
    return float((joint[seen] * np.log((joint / joint.sum(axis=0))[seen])).sum())


def _checked(values: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values as float64 (N, …), labels as places 0 … K - 1 of the classes there are, and counts."""
    values = np.asarray(values, dtype=float)
    assert values.ndim == 2
    assert len(labels) == len(values)
    assert np.isfinite(values).all()
    _, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
    assert len(counts) > 1, "labels must hold two classes at least"
    return values, places, counts


class RankAgreement(NamedTuple):
    """Rank correlations of `num` pairs: 1 the same order, -1 the reverse, about 0 no relation; not
    a number where all values of one side are equal. `chance` is how often shuffled values would
    have been in exactly the same order: with few pairs that is not rare.
    """

    kendall: float
    spearman: float
    num: int

    @property
    def chance(self) -> float:
        """1 / num!, the share of all orders that is the right one."""
        return 1 / math.factorial(self.num)


def rank_agreement(scores: np.ndarray, values: np.ndarray) -> RankAgreement | None:
    """Kendall's τ-b and Spearman's ρ of scores (N,) and values (N,), over pairs where both are
    finite; None where fewer than two are.

    Source: Kendall 1938 (doi:10.2307/2332226), Spearman 1904 (doi:10.2307/1412159); You et al. 2021
    (arXiv:2102.11005) judge transferability scores by a τ.
    """
    from scipy.stats import kendalltau, spearmanr  # half a second

    whole = np.isfinite(scores) & np.isfinite(values)
    num = int(whole.sum())
    if num < 2:
        return None
    scores, values = scores[whole], values[whole]
    if np.ptp(scores) == 0 or np.ptp(values) == 0:
        return RankAgreement(math.nan, math.nan, num)
    tau, rho = kendalltau(scores, values).statistic, spearmanr(scores, values).statistic
    return RankAgreement(float(tau), float(rho), num)
