"""What a split came to, measured: sizes, class shares, and what leaks from one part to another."""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from tlsearch.config.schema import SplitConfig
from tlsearch.data.dataset import Dataset
from tlsearch.data.records import PairFacts, PartFacts, SplitFacts
from tlsearch.data.splits import Split
from tlsearch.errors import shown

_FIELDS = {"training": "train"}
_CONSEQUENCES = {
    "training": "what is never seen is never recognised",
    "validation": "nothing is chosen by it",
    "test": "its figure says nothing about it",
}


def describe(data: Dataset, splits: Sequence[Split], *, split: SplitConfig) -> SplitFacts:
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


def listing(data: Dataset, splits: Sequence[Split]) -> dict[str, Any]:
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


def _parts(data: Dataset, splits: Sequence[Split]) -> Iterator[PartFacts]:
    for fold, parts in enumerate(splits, start=1):
        for name in Split._fields if fold == 1 else Split._fields[:2]:
            labels = data.labels[getattr(parts, name)]
            counts = tuple(np.bincount(labels, minlength=data.num_classes).tolist())
            yield PartFacts(part=name, fold=fold, class_counts=counts)


def _pairs(data: Dataset, splits: Sequence[Split]) -> Iterator[PairFacts]:
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


def _distance(data: Dataset, first: np.ndarray, second: np.ndarray) -> float:
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


def _notes(data: Dataset, splits: Sequence[Split], split: SplitConfig) -> Iterator[str]:
    present = np.unique(data.labels[data.usable])
    for fold, parts in enumerate(splits, start=1):
        where = f" in fold {fold}" if split.folds else ""
        for name, consequence in _CONSEQUENCES.items():
            absent = np.setdiff1d(present, data.labels[getattr(parts, _FIELDS.get(name, name))])
            if len(absent) and (fold == 1 or name != "test"):
                names = ", ".join(shown(data.class_names[label]) for label in absent[:5])
                more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
                yield f"no image of {names}{more} is in the {name} part{where}: {consequence}"
    for what, column, count in (
        ("near duplicates", data.clusters, "near_duplicates"),
        ("groups", data.groups, "groups"),
    ):
        if column is None:
            continue
        worst = max(getattr(p, count) or 0 for p in _pairs(data, splits) if p.second == "test")
        if worst:
            yield f"{what} on both sides of the test part ({worst}): its figure may be too good"
    if split.strategy != "given" and data.parts is not None and (data.parts >= 0).any():
        yield (
            f"the source names parts of its own; a split that is {split.strategy} draws others, "
            "strategy: given takes them"
        )
    if split.strategy == "given" and data.parts is not None:
        unnamed = int((data.parts[data.usable] < 0).sum())
        if unnamed:
            yield f"{unnamed} images without a given part are taken as training images"
