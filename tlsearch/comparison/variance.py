"""Means over seeds crossed with test images: variance components and Student intervals.

Value (i, j) = mean + seed i + image j + rest. The mean's variance is then
seed / S + image / N + rest / (S N), each part estimated without bias from the mean squares of a
two-way layout; Satterthwaite's degrees of freedom make it a t interval. Percentile and BCa
bootstraps are too narrow where few seeds carry the noise (0.75 instead of 0.95 with 3, 0.87 with 8:
benchmarks/coverage.py).

Source: Satterthwaite 1946 (doi:10.2307/3002019); Searle, Casella, McCulloch, Variance Components.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.special import stdtr, stdtrit


class Noise(NamedTuple):
    """Variances of one value between seeds, between images, and of the rest; none is negative.

    In squared units of the value. `num_images` 0 stands for one value a seed.
    """

    seed: float
    image: float
    rest: float
    num_images: int


class Crossed(NamedTuple):
    """A mean over seeds and images with its variance and degrees of freedom.

    With one seed they are of the images alone, and with one value a seed of the seeds alone.
    """

    mean: float
    variance: float
    freedom: float
    noise: Noise


def crossed(values: np.ndarray) -> Crossed:
    """The mean of (seeds, images) or of (seeds,) values, seeds at least 1, and its components."""
    values = np.asarray(values, dtype=float)
    if values.ndim == 1:
        num_seeds = len(values)
        spread = float(values.var(ddof=1)) if num_seeds > 1 else np.inf
        # Equal values leave a variance of rounding errors behind.
        spread = 0.0 if num_seeds > 1 and np.ptp(values) == 0 else spread
        noise = Noise(spread, 0.0, 0.0, 0)
        return Crossed(float(values.mean()), spread / num_seeds, num_seeds - 1.0, noise)
    num_seeds, num_images = values.shape
    by_seed, by_image = values.mean(axis=1), values.mean(axis=0)
    mean = float(by_seed.mean())
    images = _variance(by_image) / num_images
    if num_seeds == 1:
        noise = Noise(np.nan, images * num_images, 0.0, num_images)
        return Crossed(mean, images, num_images - 1.0, noise)
    seeds = _variance(by_seed) / num_seeds
    left = np.mean(values**2) - np.mean(by_seed**2) - np.mean(by_image**2) + mean**2
    rest = max(float(left), 0.0) / ((num_seeds - 1) * (num_images - 1))
    # Both mean squares hold the rest once, so it is taken off once; never below either alone.
    variance = max(seeds + images - rest, seeds, images)
    freedom = satterthwaite([seeds, images], [num_seeds - 1.0, num_images - 1.0], variance)
    noise = Noise(
        seed=max(seeds - rest, 0.0) * num_seeds,
        image=max(images - rest, 0.0) * num_images,
        rest=rest * num_seeds * num_images,
        num_images=num_images,
    )
    return Crossed(mean, variance, freedom, noise)


def satterthwaite(
    parts: Sequence[float], freedoms: Sequence[float], variance: float | None = None
) -> float:
    """Degrees of freedom of a sum of variances, given those of its parts; infinite for a sum of 0.

    `variance` stands for the sum where something was taken off it.
    """
    total = sum(parts) if variance is None else variance
    below = sum(part**2 / freedom for part, freedom in zip(parts, freedoms, strict=True))
    return float(total**2 / below) if below > 0 else np.inf


def half_width(variance: float, freedom: float, *, level: float) -> float:
    """Half the t interval of a mean whose variance was estimated; `level` such as 0.95."""
    if variance == 0:
        return 0.0
    return float(stdtrit(min(freedom, 1e9), (1 + level) / 2) * np.sqrt(variance))


def interval(found: "Crossed | Pooled", *, level: float) -> tuple[float, float]:
    """The t interval of a mean; `level` such as 0.95."""
    half = half_width(found.variance, found.freedom, level=level)
    return found.mean - half, found.mean + half


def two_sided_p(mean: float, variance: float, freedom: float) -> float:
    """Student's p of a mean against 0; 1 for a mean of exactly 0."""
    if mean == 0 or not np.isfinite(variance):
        return 1.0
    if variance == 0:
        return 0.0
    return float(2 * stdtr(min(freedom, 1e9), -abs(mean) / np.sqrt(variance)))


def _variance(values: np.ndarray) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0


# Paired effects with intervals over both sources of noise: seeds and test images.


class Effect(NamedTuple):
    """A mean over seeds, or a mean difference, with its 95 % interval: of accuracies and what else
    is a share, or of losses.
    """

    mean: float
    low: float
    high: float
    num_seeds: int
    num_images: int


_ADDED_ANSWERS = np.array([0.0, 0.0, 1.0, 1.0])
_ADDED_DIFFERENCES = np.array([-1.0, 1.0])


def paired_effect(
    right: np.ndarray, reference: np.ndarray | None, *, weight: float = 1.0
) -> Effect:
    """Mean of `right`, or of its difference to `reference`, with a 95 % interval.

    Both are 0/1 of shape (seeds, images): row i of both had the same seed, column j is the same
    test image. With one seed the interval covers the images alone. It has a width even where all
    are right or nothing differs, and no end outside of 0 to 1, or of -1 to 1 for a difference.
    They may be terms of another share (`metrics.objectives`) in which an answer weighs `weight`.

    Noise is estimated with a few images added, for their spread is 0 where all answers agree: a
    mean has Wilson's interval with as many images as tell as much as these seeds and images do,
    a difference has the t interval with one image more for each side.
    Source: see `crossed`; Wilson 1927; Agresti and Coull 1998 (doi:10.1080/00031305.1998.10480550)
    and Bonett and Price 2012 (doi:10.3102/1076998611411915) for the added images; Korn and
    Graubard 1998 (Survey Methodology 24) for the effective number.
    """
    values = right.astype(float) - (0.0 if reference is None else reference.astype(float))
    mean, (seeds, images) = float(values.mean()), values.shape
    added = weight * _ADDED_DIFFERENCES
    if reference is None:
        mean, added = min(max(mean, 0.0), 1.0), 0.5 + weight * (_ADDED_ANSWERS - 0.5)
    found = crossed(np.hstack([values, np.tile(added, (seeds, 1))]))
    if reference is None:
        of_independent = found.mean * (1 - found.mean) / (images + len(added) - 1)
        effective = images * of_independent / found.variance
        low, high = wilson(mean, effective, half_width(1.0, found.freedom, level=0.95))
    else:
        low, high = interval(found, level=0.95)
        # With few images the added ones may pull an end past the mean.
        low, high = max(min(low, mean), -1.0), min(max(high, mean), 1.0)
    return Effect(mean, low, high, seeds, images)


def loss_effect(losses: np.ndarray, reference: np.ndarray | None) -> Effect:
    """Mean of `losses` (seeds, images), none below 0, or of their difference to `reference`, with a
    95 % interval (see `crossed`).
    """
    values = losses if reference is None else losses - reference
    low, high = interval(found := crossed(values), level=0.95)
    return Effect(found.mean, max(low, 0.0) if reference is None else low, high, *values.shape)


def wilson(share: float, count: float, z: float) -> tuple[float, float]:
    """The interval of a share of `count` independent answers; `z` such as 1.96.

    Source: Wilson 1927 (doi:10.1080/01621459.1927.10502953).
    """
    pull = z**2 / count
    centre = (share + pull / 2) / (1 + pull)
    half = np.sqrt(pull * (share * (1 - share) + pull / 4)) / (1 + pull)
    # Rounding errors would leave 1 - 1e-16 where all are right.
    return float(max(centre - half, 0.0)), float(min(max(centre + half, share), 1.0))


# Paired values of an arm and its reference, scenario by scenario, and their pooled mean.


class Paired(NamedTuple):
    """One scenario's values: row i of both had the same seed.

    `arm` and `reference` are 0/1 (or their means over arms) of shape (seeds, images), column j the
    same test image, or one number a seed, (seeds,). Without a reference the arm's own values are
    judged, already differences or correlations. `block` names what scenarios may share: those with
    the same test images and seeds carry the same name and count as one block of evidence.
    """

    arm: np.ndarray
    reference: np.ndarray | None
    block: str


class Pooled(NamedTuple):
    """The mean over scenarios of mean differences, and what it is made of.

    Each scenario weighs the same and is taken as given: the error speaks of new seeds and new test
    images in these scenarios, not of other scenarios. `variance` is infinite if too little is left.
    """

    mean: float
    variance: float
    freedom: float
    blocks: tuple[Crossed, ...]
    weights: tuple[float, ...]
    differences: tuple[np.ndarray, ...]
    num_scenarios: int
    notes: tuple[str, ...]

    @property
    def num_pairs(self) -> int:
        """Independent pairs of models, scenarios that share a test set counted once."""
        return sum(map(len, self.differences))

    @property
    def num_images(self) -> int:
        """Test images of all blocks; 0 for values of one a seed."""
        return sum(block.noise.num_images for block in self.blocks)


def pool(scenarios: Mapping[str, Paired], *, as_log: bool) -> Pooled:
    """The mean difference over scenarios with its standard error.

    as_log: take natural logarithms first, for ratios. Pairs with a value that is missing, infinite
    or, for logarithms, not positive are left out, with a note; so are scenarios that keep fewer
    than two pairs. Scenarios of one block are averaged seed by seed, so whatever they share,
    images or luck of a seed, is counted once.

    Raises:
        ValueError: shapes differ, within a pair or within a block.
    """
    notes: list[str] = []
    grouped: dict[str, list[np.ndarray]] = {}
    for name, pair in scenarios.items():
        grouped.setdefault(pair.block, []).append(_differences(name, pair, as_log=as_log))
    blocks, counts, rows = [], [], []
    for block, members in grouped.items():
        if len({member.shape for member in members}) > 1:
            shapes = ", ".join(str(member.shape) for member in members)
            raise ValueError(f"block {block!r}: scenarios must share seeds and images: {shapes}")
        mean = np.mean(members, axis=0)
        whole = np.isfinite(mean).reshape(len(mean), -1).all(axis=1)
        if not whole.all():
            notes.append(f"{block}: {(~whole).sum()} of {len(mean)} pairs have no value")
        if whole.sum() < 2:
            notes.append(f"{block}: left out, fewer than two pairs")
            continue
        kept = mean[whole]
        blocks.append(crossed(kept))
        counts.append(len(members))
        rows.append(kept.mean(axis=1) if kept.ndim == 2 else kept)
    total = sum(counts)
    if not total:
        return Pooled(np.nan, np.inf, 0.0, (), (), (), 0, (*notes, "too few pairs to say anything"))
    weights = tuple(count / total for count in counts)
    mean = sum(w * block.mean for w, block in zip(weights, blocks, strict=True))
    parts = [w**2 * block.variance for w, block in zip(weights, blocks, strict=True)]
    freedom = satterthwaite(parts, [block.freedom for block in blocks])
    found = tuple(blocks), weights, tuple(rows), total, tuple(notes)
    return Pooled(mean, sum(parts), freedom, *found)


def _differences(name: str, pair: Paired, *, as_log: bool) -> np.ndarray:
    arm = np.asarray(pair.arm, dtype=float)
    other = None if pair.reference is None else np.asarray(pair.reference, dtype=float)
    if other is not None and arm.shape != other.shape:
        raise ValueError(f"{name}: arm {arm.shape} and reference {other.shape} are not paired")
    if arm.ndim not in (1, 2) or not arm.size:
        raise ValueError(f"{name}: shape {arm.shape} is neither (seeds,) nor (seeds, images)")
    with np.errstate(divide="ignore", invalid="ignore"):  # `pool` leaves out what is not finite
        if as_log:
            arm, other = np.log(arm), None if other is None else np.log(other)
        return arm if other is None else arm - other


# Second opinions from scipy that assume no distribution: sign flips and BCa bootstraps.
#
# They accompany a verdict and do not make it: flips of a few seeds cannot reach a small p, and a
# BCa interval is too narrow below `BCA_FROM` pairs (benchmarks/coverage.py).


# Measured coverage of a nominal 95 %: 0.72 with 3 pairs, 0.87 with 8, 0.92 with 12, 0.91 to 0.93
# with 20, 0.94 with 30 and with 48.
BCA_FROM = 30


def sign_flips(
    blocks: Sequence[np.ndarray], weights: Sequence[float], *, resamples: int, seed: int
) -> float:
    """Two-sided p of the weighted mean of blocks of paired differences being 0, by flipping signs.

    blocks: each (pairs,). Exact where there are at most `resamples` sign patterns. For accuracy it
    speaks of these test images alone: those of another day are another source of noise.
    Source: Pitman's test as in scipy.stats.permutation_test(permutation_type="samples").
    """
    shares = [weight / len(block) for block, weight in zip(blocks, weights, strict=True)]
    # A flip changes the sign of weight times difference, so blocks flip as one sample.
    terms = np.concatenate(
        [np.asarray(b, dtype=float) * share for b, share in zip(blocks, shares, strict=True)]
    )
    if len(terms) < 2 or not terms.any():
        return 1.0
    test = stats.permutation_test(
        (terms,),
        lambda x, axis: x.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=1000,
        rng=np.random.default_rng(seed),
    )
    return float(test.pvalue)


def bca(
    blocks: Sequence[np.ndarray],
    weights: Sequence[float],
    *,
    level: float,
    resamples: int,
    seed: int,
) -> tuple[float, float] | None:
    """The BCa interval of a weighted mean of blocks, each resampled within itself.

    None where it would mislead: fewer than `BCA_FROM` pairs, a block of one, or no spread.
    Source: Efron 1987 (doi:10.1080/01621459.1987.10478410), scipy.stats.bootstrap.
    """
    if sum(map(len, blocks)) < BCA_FROM or min(map(len, blocks)) < 2:
        return None
    if not any(np.ptp(block) for block in blocks):
        return None

    def mean(*samples: np.ndarray, axis: int) -> np.ndarray:
        means = [w * s.mean(axis=axis) for w, s in zip(weights, samples, strict=True)]
        return np.asarray(sum(means))

    # Almost no spread leaves scipy without an answer: None below.
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            [np.asarray(block, dtype=float) for block in blocks],
            mean,
            confidence_level=level,
            n_resamples=resamples,
            method="BCa",
            vectorized=True,
            rng=np.random.default_rng(seed),
            batch=500,
        ).confidence_interval
    low, high = float(found.low), float(found.high)
    return (low, high) if np.isfinite([low, high]).all() else None
