"""What an audit found: plain values that pickle, become JSON, and need no numpy."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from tlsearch.data.dataset import ImageSet
from tlsearch.errors import Problem, RequestError

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


# What the looks at an image set share: names of images, and what one look found.


@dataclass(frozen=True)
class Found:
    """All of one kind: how many, the rows that `drop` would leave out, a sentence, the listing."""

    kind: Kind
    count: int
    droppable: np.ndarray
    text: str
    files: tuple[Listed, ...]


NO_ROWS = np.empty(0, np.int64)


def names_of(data: ImageSet) -> Callable[[int], str]:
    """The name of the image in a row: its file's, where there is one."""
    if data.files is None:
        return lambda row: f"image {row}"
    names = data.files.names
    return lambda row: shown(names[row])


def shown(name: str) -> str:
    """A file's name, bytes that are no text and line breaks written out."""
    text = str(name).encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def class_of(data: ImageSet) -> Callable[[int], str]:
    """The name of the class of the image in a row."""
    return lambda row: data.class_names[data.labels[row]]


def groups_of(keys: np.ndarray, rows: np.ndarray) -> list[np.ndarray]:
    """`rows` by equal `keys` (len(rows),), those that stand alone left out; in order of keys."""
    order = np.argsort(keys, kind="stable")
    _, starts, counts = np.unique(keys[order], return_index=True, return_counts=True)
    spans = zip(starts[counts > 1], counts[counts > 1], strict=True)
    return [np.sort(rows[order[start : start + count]]) for start, count in spans]


def number(count: int, thing: str) -> str:
    """`1 picture`, `2 pictures`."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def concatenated(parts: Sequence[np.ndarray]) -> np.ndarray:
    """All rows of `parts`, int64, ascending, each once."""
    return np.unique(np.concatenate(parts)) if parts else NO_ROWS


# What an audit says when a study cannot go on: all reasons at once.


SHOWN = 3
"""Rows of a listing that a message names."""

_MEND: Mapping[Kind, tuple[str, str]] = {
    "unreadable": ("mend or remove them", "drop"),
    "missing_labels": ("fill them in", "drop"),
    "missing_times": ("fill them in, or split otherwise", "drop"),
    "extreme_sizes": ("look at them", "drop or keep"),
    "conflicting_labels": ("put each picture under one label", "drop or keep"),
    "exact_duplicates": ("remove what is too many", "drop or keep"),
    "near_conflicts": ("look at them", "drop or keep"),
    "near_duplicates": ("remove what is too many", "drop or keep"),
    "leakage": ("put each picture into one part", "drop"),
    "small_classes": ("add images, lower data.audit.min_class_images", "drop or keep"),
    "imbalance": ("even the classes out, raise data.audit.max_imbalance", "keep"),
    "label_errors": ("look at them", "drop or keep"),
}


class AuditError(RequestError):
    """The images are not as the study wants them; `audit` tells all."""

    def __init__(self, problems: list[Problem], audit: Audit) -> None:
        self.audit = audit
        found = len(problems)
        head = "the images: 1 problem" if found == 1 else f"the images: {found} problems"
        tail = [] if not audit.errors else ["The whole list: tlsearch check STUDY --files FILE.csv"]
        super().__init__("\n".join([head, *(f"  {p}" for p in problems), *tail]))


def refuse_errors(audit: Audit) -> None:
    """Raise what the policy `error` asks for.

    Raises:
        AuditError: a finding has it; all of them are named.
    """
    problems = [problem_of(finding) for finding in audit.errors]
    if problems:
        raise AuditError(problems, audit)


def refuse_what_is_left(audit: Audit) -> None:
    """Look whether there is still something to tell apart.

    Raises:
        AuditError: no image is left, or fewer than two classes with images.
    """
    classes = [name for name, count in audit.class_counts if count]
    if len(classes) > 1:
        return
    if audit.num_images == 0:
        rule = "none of the files gave an image"
    elif not classes:
        rule = f"none of the {audit.num_images:,} images is left"
    else:
        rule = f"only the class {classes[0]!r} is left, and there is nothing to tell it from"
    reasons = "; ".join(f"{f.text}: {_first(f)}" for f in audit.findings if f.dropped)
    found = f"{rule} ({reasons})" if reasons else rule
    remedy = "a study needs images of two classes: add some, or change data.audit"
    raise AuditError([Problem("data.source", "", found, remedy)], audit)


def problem_of(finding: Finding) -> Problem:
    """A finding as a user must see it: the field, what was found, what to do."""
    mend, instead = _MEND[finding.kind]
    remedy = f"{mend}, or write {finding.kind}: {instead}"
    rule = f"{finding.text}: {_first(finding)}"
    return Problem(f"data.audit.{finding.kind}", finding.policy, rule, remedy)


def _first(finding: Finding) -> str:
    told = "; ".join(_row(row) for row in finding.files[:SHOWN])
    more = len(finding.files) - SHOWN
    return f"{told}; … and {more:,} more" if more > 0 else told


def _row(row: Listed) -> str:
    names = ", ".join(row.names[:SHOWN]) + (", …" if len(row.names) > SHOWN else "")
    return f"{names} ({row.detail})" if row.detail else names
