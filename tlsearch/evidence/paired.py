"""Paired values of an arm and its reference, scenario by scenario, and their pooled mean."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tlsearch.evidence.crossed import Crossed, crossed, satterthwaite


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
        return sum(block.num_images for block in self.blocks)


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
    mean, variance, freedom = combine(blocks, weights)
    return Pooled(mean, variance, freedom, tuple(blocks), weights, tuple(rows), total, tuple(notes))


def combine(blocks: Sequence[Crossed], weights: Sequence[float]) -> tuple[float, float, float]:
    """Mean, variance and degrees of freedom of a weighted sum of independent means."""
    mean = sum(w * block.mean for w, block in zip(weights, blocks, strict=True))
    parts = [w**2 * block.variance for w, block in zip(weights, blocks, strict=True)]
    return mean, sum(parts), satterthwaite(parts, [block.freedom for block in blocks])


def _differences(name: str, pair: Paired, *, as_log: bool) -> np.ndarray:
    arm = np.asarray(pair.arm, dtype=float)
    other = None if pair.reference is None else np.asarray(pair.reference, dtype=float)
    if other is not None and arm.shape != other.shape:
        raise ValueError(f"{name}: arm {arm.shape} and reference {other.shape} are not paired")
    if arm.ndim not in (1, 2) or not arm.size:
        raise ValueError(f"{name}: shape {arm.shape} is neither (seeds,) nor (seeds, images)")
    if as_log:
        arm = _log(arm)
        other = None if other is None else _log(other)
    with np.errstate(invalid="ignore"):  # infinity less infinity: the pair is left out below
        return arm if other is None else arm - other


def _log(values: np.ndarray) -> np.ndarray:
    logs = np.full(values.shape, np.nan)
    np.log(values, out=logs, where=values > 0)
    return logs
