"""What the report says of the images: findings of the audit, and classes by part."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tlsearch.data.records import TITLES, Finding, Listed, effect

_PARTS = (
    ("training", "train_counts"),
    ("validation", "validation_counts"),
    ("test", "test_counts"),
)


class FindingRow(NamedTuple):
    """A finding as texts: `files` are its first ones, `more` how many rows of the list are left."""

    title: str
    policy: str
    text: str
    effect: str
    files: tuple[str, ...]
    more: int


class ClassRow(NamedTuple):
    """A class and its images in each part."""

    name: str
    counts: tuple[int, ...]


class Images(NamedTuple):
    """All that is known of the images. `result` is a sentence; `clean` names what was looked for
    and not found, `unseen` says what was not looked at. `fold` says of which fold the classes are
    counted, as `first of 5 folds`; "" where there are none.
    """

    result: str
    findings: tuple[FindingRow, ...]
    clean: tuple[str, ...]
    unseen: tuple[str, ...]
    parts: tuple[str, ...]
    classes: tuple[ClassRow, ...]
    fold: str


def find_images(facts: Mapping[str, Any], audit: Mapping[str, Any] | None) -> Images:
    """From what the store keeps: `facts` of the data, and the summary of the audit."""
    found = facts.get("facts", {})
    columns = [found[field] for _, field in _PARTS] if found else []
    names = map(str, found.get("class_names", ()))
    return Images(
        result=_result(audit),
        findings=tuple(_row(finding) for finding in audit["findings"]) if audit else (),
        clean=tuple(TITLES.get(kind, kind) for kind in audit["clean"]) if audit else (),
        unseen=tuple(audit["unseen"]) if audit else (),
        parts=tuple(name for name, _ in _PARTS),
        classes=tuple(
            ClassRow(name, tuple(counts)) for name, *counts in zip(names, *columns, strict=True)
        )
        if columns
        else (),
        fold=first_fold(found.get("split", {}).get("folds")),
    )


def first_fold(folds: int | None) -> str:
    """Which of several folds images are counted of; "" where the split has none."""
    return f"first of {folds} folds" if folds else ""


def _result(audit: Mapping[str, Any] | None) -> str:
    if audit is None:
        return "The images have not been audited."
    num, used = audit["num_images"], audit["num_used"]
    out = num - used
    left = "is" if out == 1 else "are"
    used_text = f"{out:,} of them {left} left out" if out else "all of them are used"
    nothing = "" if audit["findings"] else "; no problem was found"
    return f"{num:,} images were read, and {used_text}{nothing}."


def _row(record: Mapping[str, Any]) -> FindingRow:
    kept = {k: v for k, v in record.items() if k not in ("files", "listed")}
    listed = tuple(Listed(tuple(row["names"]), row["detail"]) for row in record["files"])
    finding = Finding(files=listed, **kept)
    return FindingRow(
        title=TITLES.get(finding.kind, finding.kind),
        policy=finding.policy,
        text=finding.text,
        effect=effect(finding),
        files=tuple(_file(row) for row in listed),
        more=record["listed"] - len(listed),
    )


def _file(row: Listed) -> str:
    names = ", ".join(row.names)
    return f"{names} ({row.detail})" if row.detail else names
