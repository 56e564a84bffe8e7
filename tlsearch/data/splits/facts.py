"""What a split came to, measured: sizes, class shares, and what leaks from one part to another."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from tlsearch.data.images import ImageSet
from tlsearch.data.splits.parts import Split
from tlsearch.study.complaints import shown
from tlsearch.study.data import SplitConfig


@dataclass(frozen=True, kw_only=True)
class PartFacts:
    """Images of each class in one part; `fold` counts from 1, and all folds share one test part."""

    part: str
    fold: int
    class_counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class PairFacts:
    """What two parts of a fold have to do with each other.

    `distance` is the total variation between their class shares, 0 the same to 1 nothing in
    common. The others are None where the source does not tell: `duplicates` counts files with the
    same bytes in both parts, `near_duplicates` clusters and `groups` groups with images in both,
    `later` the images of the first part that are later than the earliest of the second.
    """

    first: str
    second: str
    fold: int
    distance: float
    duplicates: int | None
    near_duplicates: int | None
    groups: int | None
    later: int | None


@dataclass(frozen=True, kw_only=True)
class SplitFacts:
    """A split as it was drawn; `fingerprint` is of the indices of all parts of all folds.

    `left_out` counts images that may be used and are in no part of any fold: gaps, suspects, labels
    that are not used. `notes` are sentences for the user.
    """

    strategy: str
    folds: int | None
    fingerprint: str
    left_out: int
    parts: tuple[PartFacts, ...]
    pairs: tuple[PairFacts, ...]
    notes: tuple[str, ...]

    def counts(self, part: str) -> tuple[int, ...]:
        """Images of each class in a part, of the first fold."""
        return next(p.class_counts for p in self.parts if p.part == part)


class SplitRow(NamedTuple):
    """Two parts of a fold in words, for a table; empty where the source does not tell."""

    parts: str
    images: str
    distance: str
    duplicates: str
    near_duplicates: str
    groups: str
    later: str


def describe(data: ImageSet, splits: Sequence[Split], *, split: SplitConfig) -> SplitFacts:
    """Measure a split."""
    used = np.unique(np.concatenate([rows for parts in splits for rows in parts]))
    return SplitFacts(
        strategy=split.strategy,
        folds=split.folds,
        fingerprint=fingerprint(splits),
        left_out=len(data.usable) - len(used),
        parts=tuple(_parts(data, splits)),
        pairs=tuple(_pairs(data, splits)),
        notes=tuple(_notes(data, splits, split)),
    )


def fingerprint(splits: Sequence[Split]) -> str:
    """16 hex digits that change with any index of any part."""
    digest = hashlib.sha256()
    for parts in splits:
        for rows in parts:
            digest.update(len(rows).to_bytes(8, "little"))
            digest.update(np.ascontiguousarray(rows, dtype="<i8").tobytes())
    return digest.hexdigest()[:16]


def listing(data: ImageSet, splits: Sequence[Split]) -> dict[str, Any]:
    """Every part by its images, as JSON: names where they came from files, else indices."""

    def named(rows: np.ndarray) -> list[Any]:
        found: list[Any] = (rows if data.files is None else data.files.names[rows]).tolist()
        return found

    return {
        "fingerprint": fingerprint(splits),
        "images": "index" if data.files is None else "name",
        "test": named(splits[0].test),
        "folds": [
            {"train": named(parts.train), "validation": named(parts.validation)} for parts in splits
        ],
    }


def split_rows(facts: Mapping[str, Any]) -> list[SplitRow]:
    """The pairs of parts as a table shows them, from a SplitFacts as JSON."""
    sizes = {(p["part"], p["fold"]): sum(p["class_counts"]) for p in facts["parts"]}

    def size(part: str, fold: int) -> str:
        return f"{sizes[part, 1 if part == 'test' else fold]:,}"

    def told(count: int | None) -> str:
        return "" if count is None else f"{count:,}"

    rows = []
    for pair in facts["pairs"]:
        first, second, fold = pair["first"], pair["second"], pair["fold"]
        rows.append(
            SplitRow(
                parts=f"{first} – {second}" + (f", fold {fold}" if facts["folds"] else ""),
                images=f"{size(first, fold)} – {size(second, fold)}",
                distance=f"{pair['distance']:.3f}",
                duplicates=told(pair["duplicates"]),
                near_duplicates=told(pair["near_duplicates"]),
                groups=told(pair["groups"]),
                later=told(pair["later"]),
            )
        )
    return rows


def _parts(data: ImageSet, splits: Sequence[Split]) -> Iterator[PartFacts]:
    for fold, parts in enumerate(splits, start=1):
        for name in Split._fields if fold == 1 else Split._fields[:2]:
            labels = data.labels[getattr(parts, name)]
            counts = tuple(np.bincount(labels, minlength=data.num_classes).tolist())
            yield PartFacts(part=name, fold=fold, class_counts=counts)


def _pairs(data: ImageSet, splits: Sequence[Split]) -> Iterator[PairFacts]:
    digests = None if data.files is None else data.files.digests
    for fold, parts in enumerate(splits, start=1):
        for first, second in combinations(Split._fields, 2):
            a, b = getattr(parts, first), getattr(parts, second)
            yield PairFacts(
                first=first,
                second=second,
                fold=fold,
                distance=_distance(data, a, b),
                duplicates=_shared(digests, a, b),
                near_duplicates=_shared(data.clusters, a, b),
                groups=_shared(data.groups, a, b),
                later=_later(data.times, a, b),
            )


def _distance(data: ImageSet, first: np.ndarray, second: np.ndarray) -> float:
    shares = [
        np.bincount(data.labels[rows], minlength=data.num_classes) / len(rows)
        for rows in (first, second)
    ]
    return round(float(np.abs(shares[0] - shares[1]).sum() / 2), 6)


def _shared(column: np.ndarray | None, first: np.ndarray, second: np.ndarray) -> int | None:
    if column is None:
        return None
    common = np.intersect1d(column[first], column[second])
    return len(common) if common.dtype.kind in "US" else int((common >= 0).sum())


def _later(times: np.ndarray | None, first: np.ndarray, second: np.ndarray) -> int | None:
    if times is None or np.isnan(times[first]).any() or np.isnan(times[second]).any():
        return None
    return int((times[first] > times[second].min()).sum())


def _notes(data: ImageSet, splits: Sequence[Split], split: SplitConfig) -> Iterator[str]:
    present = np.unique(data.labels[data.usable])
    for fold, parts in enumerate(splits, start=1):
        absent = np.setdiff1d(present, data.labels[parts.train])
        if len(absent):
            names = ", ".join(shown(data.class_names[label]) for label in absent[:5])
            more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
            where = f" in fold {fold}" if split.folds else ""
            yield (
                f"no image of {names}{more} is in the training part{where}: what is never seen is "
                "never recognised"
            )
    for what, column, count in (
        ("sets of near duplicates lie", data.clusters, "near_duplicates"),
        ("groups lie", data.groups, "groups"),
    ):
        if column is None:
            continue
        worst = max(getattr(p, count) or 0 for p in _pairs(data, splits) if p.second == "test")
        if worst:
            yield (f"{worst} {what} on both sides of the test part: its figure may be too good")
    if split.strategy == "given" and data.parts is not None:
        unnamed = int((data.parts[data.usable] < 0).sum())
        if unnamed:
            yield f"{unnamed} images without a given part are taken as training images"
