"""What is known of a split, as records that every process can hold; no numpy in sight."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


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
