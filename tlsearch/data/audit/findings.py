"""What an audit found: plain values that pickle, become JSON, and need no numpy."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

Policy = Literal["error", "drop", "keep", "note"]
"""What happens to what was found; `note` where there is nothing to choose."""

Kind = Literal[
    "unreadable",
    "missing_labels",
    "not_an_image",
    "missing_times",
    "extreme_sizes",
    "conflicting_labels",
    "exact_duplicates",
    "near_conflicts",
    "near_duplicates",
    "leakage",
    "small_classes",
    "imbalance",
    "label_errors",
]

TITLES: Mapping[Kind, str] = {
    "unreadable": "unreadable files",
    "missing_labels": "missing labels",
    "not_an_image": "files that are no images",
    "missing_times": "missing times",
    "extreme_sizes": "extreme sizes",
    "conflicting_labels": "conflicting labels",
    "exact_duplicates": "exact duplicates",
    "near_conflicts": "near duplicates with conflicting labels",
    "near_duplicates": "near duplicates",
    "leakage": "duplicates across given parts",
    "small_classes": "small classes",
    "imbalance": "imbalance",
    "label_errors": "suspected label errors",
}

SHOWN_ROWS, SHOWN_NAMES, SHOWN_CHARS = 8, 4, 160
"""Rows of a listing, names in a row and characters in a name that a summary keeps."""


class Listed(NamedTuple):
    """One row of a listing: files, or classes, that belong together, and what is the matter."""

    names: tuple[str, ...]
    detail: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """All of one kind. `count` is of images (or files without one, or classes), `dropped` of those
    that are not used, or for label errors not trained on; `text` is a sentence about them.
    """

    kind: Kind
    policy: Policy
    count: int
    dropped: int
    text: str
    files: tuple[Listed, ...]


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What was found among `num_images` images, `num_used` of which are used; `class_counts` are
    of the latter. `clean` names what was looked for and not found, `unseen` says in a sentence
    each what was not looked at.
    """

    num_images: int
    num_used: int
    class_counts: tuple[tuple[str, int], ...]
    findings: tuple[Finding, ...]
    clean: tuple[Kind, ...]
    unseen: tuple[str, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What the study does not want to go on with."""
        return tuple(f for f in self.findings if f.policy == "error")


def as_json(audit: Audit) -> dict[str, Any]:
    """The audit as JSON values, listings and all."""
    return {
        "num_images": audit.num_images,
        "num_used": audit.num_used,
        "class_counts": dict(audit.class_counts),
        "findings": [_finding_json(finding) for finding in audit.findings],
        "clean": list(audit.clean),
        "unseen": list(audit.unseen),
    }


def _finding_json(finding: Finding) -> dict[str, Any]:
    rows = [{"names": list(row.names), "detail": row.detail} for row in finding.files]
    return {**asdict(finding), "files": rows}


def summary(audit: Audit) -> dict[str, Any]:
    """`as_json` with no more than the first rows of each listing, `listed` telling how many there
    are: small enough for a database.
    """
    found = as_json(audit)
    for finding in found["findings"]:
        finding["listed"] = len(finding["files"])
        finding["files"] = [
            {**row, "names": _shortened(row["names"]), "detail": row["detail"][:SHOWN_CHARS]}
            for row in finding["files"][:SHOWN_ROWS]
        ]
    del found["class_counts"]  # the study keeps those of each part
    return found


def _shortened(names: Sequence[str]) -> list[str]:
    kept = [n if len(n) <= SHOWN_CHARS else f"…{n[-SHOWN_CHARS:]}" for n in names[:SHOWN_NAMES]]
    more = len(names) - SHOWN_NAMES
    return [*kept, f"… and {more} more"] if more > 0 else kept


def effect(finding: Finding) -> str:
    """What happens to it, in words."""
    match finding.policy:
        case "error":
            return "stops the study"
        case "drop" if finding.kind == "label_errors":
            return f"{finding.dropped:,} not trained on"
        case "drop":
            return f"{finding.dropped:,} left out"
        case "keep" if finding.kind in ("near_duplicates", "near_conflicts"):
            return "kept; a split by lot keeps them on one side"
        case "keep":
            return "kept"
    return "left out" if finding.kind == "not_an_image" else ""


def csv_rows(audit: Audit) -> list[tuple[str, ...]]:
    """The listing as a table with a head: a row per file, `group` telling which belong together."""
    head = ("kind", "policy", "group", "file", "detail")
    return [
        head,
        *(
            (finding.kind, finding.policy, str(number), name, row.detail)
            for finding in audit.findings
            for number, row in enumerate(finding.files, 1)
            for name in row.names
        ),
    ]


def csv_text(audit: Audit) -> str:
    """`csv_rows` as a file's text."""
    import csv
    import io

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(csv_rows(audit))
    return text.getvalue()
