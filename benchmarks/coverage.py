"""How often intervals cover the truth: the crossed t interval beside percentile and BCa bootstraps.

Run by hand: python -m benchmarks.coverage (about a minute). Prints shares of repeats; nominal 0.95.
"""

import numpy as np
from scipy import stats

from tests.comparison.simulated import World, answers
from tlsearch.comparison.variance import crossed, half_width

REPEATS = 600
RESAMPLES = 999


def percentile(values: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Seeds and images resampled together, as (seeds, images) or (seeds, 1)."""
    rows, columns = (
        rng.multinomial(size, np.full(size, 1 / size), size=RESAMPLES) for size in values.shape
    )
    means = ((rows @ values) * columns).sum(axis=1) / values.size
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def student(values: np.ndarray) -> tuple[float, float]:
    found = crossed(values)
    half = half_width(found.variance, found.freedom, level=0.95)
    return found.mean - half, found.mean + half


def covers(interval: tuple[float, float], truth: float) -> bool:
    return interval[0] <= truth <= interval[1]


def of_accuracy(seeds: int, rng: np.random.Generator) -> None:
    hits = {"t": 0, "percentile": 0}
    for _ in range(REPEATS // 50):
        right = answers(rng, World(), repeats=50, seeds=seeds, gains=[0.0, 0.0]).astype(float)
        for values in right[:, 1] - right[:, 0]:
            hits["t"] += covers(student(values), 0.0)
            hits["percentile"] += covers(percentile(values, rng), 0.0)
    print("accuracy", seeds, {k: round(v / REPEATS, 3) for k, v in hits.items()}, flush=True)


def of_numbers(seeds: int, rng: np.random.Generator) -> None:
    hits = {"t": 0, "percentile": 0, "BCa": 0}
    for values in rng.standard_normal((REPEATS, seeds)):
        hits["t"] += covers(student(values), 0.0)
        hits["percentile"] += covers(percentile(values[:, None], rng), 0.0)
        bca = stats.bootstrap(
            (values,), np.mean, n_resamples=RESAMPLES, method="BCa", rng=rng
        ).confidence_interval
        hits["BCa"] += covers((bca.low, bca.high), 0.0)
    print("numbers", seeds, {k: round(v / REPEATS, 3) for k, v in hits.items()}, flush=True)


if __name__ == "__main__":
    generator = np.random.default_rng(0)
    for count in (3, 5, 8, 12):
        of_accuracy(count, generator)
    for count in (3, 5, 8, 12, 20, 48):
        of_numbers(count, generator)
