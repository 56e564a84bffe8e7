"""What an audit found and what a split came to: plain values that pickle, become JSON, and need no
numpy.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tlsearch.config.images import AuditConfig
from tlsearch.errors import Problem, RequestError

Policy = Literal["error", "drop", "keep", "note"]
"""What happens to what was found; `note` where there is nothing to choose."""

Kind = Literal[
    "unreadable",
    "missing_files",
    "missing_labels",
    "not_an_image",
    "missing_times",
    "extreme_sizes",
    "low_contrast",
    "transparency",
    "conflicting_labels",
    "exact_duplicates",
    "near_conflicts",
    "near_duplicates",
    "augmented_copies",
    "leakage",
    "small_classes",
    "imbalance",
    "label_errors",
    "class_losses",
]

_KINDS: Mapping[Kind, tuple[str, str, str]] = {
    "unreadable": ("unreadable files", "repair or remove them", "drop"),
    "missing_files": ("missing files", "correct the table's paths, or set its root", "drop"),
    "missing_labels": ("missing labels", "fill them in", "drop"),
    "not_an_image": ("files that are no images", "", ""),  # never an error
    "missing_times": ("missing times", "fill them in, or split otherwise", "drop"),
    "extreme_sizes": ("extreme sizes", "look at them", "drop or keep"),
    "low_contrast": ("pictures of one brightness", "", ""),
    "transparency": ("transparent pictures", "", ""),
    "conflicting_labels": (
        "conflicting labels",
        "put each picture under one label",
        "drop or keep",
    ),
    "exact_duplicates": ("exact duplicates", "remove what is too many", "drop or keep"),
    "near_conflicts": ("near duplicates with conflicting labels", "look at them", "drop or keep"),
    "near_duplicates": ("near duplicates", "remove what is too many", "drop or keep"),
    "augmented_copies": (
        "augmented copies",
        "keep the originals alone; training augments by itself",
        "drop or keep",
    ),
    "leakage": ("duplicates across given parts", "put each picture into one part", "drop"),
    "small_classes": (
        "small classes",
        "add images, lower data.audit.min_class_images",
        "drop or keep",
    ),
    "imbalance": ("imbalance", "even the classes out, raise data.audit.max_imbalance", "keep"),
    "label_errors": ("suspected label errors", "look at them", "drop or keep"),
    "class_losses": ("CLASSES THAT LOSE IMAGES", "", ""),
}
"""Title, what puts it right, and which other policies there are."""
TITLES: Mapping[Kind, str] = {kind: title for kind, (title, _, _) in _KINDS.items()}

SHOWN_ROWS, SHOWN_NAMES, SHOWN_CHARS = 8, 4, 160
"""Rows of a listing, names in a row and characters in a name that a summary keeps."""


@dataclass(frozen=True)
class Listed:
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
    return {**asdict(audit), "class_counts": dict(audit.class_counts)}


def summary(audit: Audit) -> dict[str, Any]:
    """`as_json` with no more than the first rows of each listing, `listed` is how many there
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


_TOGETHER: tuple[Kind, ...] = ("near_duplicates", "near_conflicts", "augmented_copies")
"""What a random split keeps on one side."""


def effect(finding: Finding) -> str:
    """What happens to it, in words."""
    match finding.policy:
        case "error":
            return "stops the study"
        case "drop" if finding.kind == "label_errors":
            return f"{finding.dropped:,} not trained on"
        case "drop":
            return f"{finding.dropped:,} left out"
        case "keep" if finding.kind in _TOGETHER:
            return "kept; a random split keeps them on one side"
        case "keep":
            return "kept"
    return "left out" if finding.kind == "not_an_image" else ""


def csv_text(audits: Mapping[str, Audit]) -> str:
    """The listings of a study's audits by scenario, "" where it has none, as the text of a CSV
    file: a row per file, `group` says which belong together.
    """
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    head = ("kind", "policy", "group", "file", "detail")
    lines.writerow(head if "" in audits else ("scenario", *head))
    lines.writerows(
        (*filter(None, [scenario]), finding.kind, finding.policy, str(number), name, row.detail)
        for scenario, audit in audits.items()
        for finding in audit.findings
        for number, row in enumerate(finding.files, 1)
        for name in row.names
    )
    return text.getvalue()


Counts = Sequence[tuple[str, int]]
"""Images of each class, in the order of the classes."""


CLASS_KINDS: tuple[Kind, ...] = ("small_classes", "imbalance")
"""What `class_findings` looks for."""


def class_findings(counts: Counts, config: AuditConfig) -> tuple[list[Finding], Counts]:
    """What is wrong with classes of so many images, and the counts of the classes that stay: first
    those below `min_class_images`, also without any image; then, of those that stay, the ones that
    the largest exceeds by more than `max_imbalance`.
    """
    found: list[Finding] = []

    def add(kind: Kind, classes: Counts, text: str, *, dropped: int) -> None:
        files = tuple(Listed((name,), number(count, "image")) for name, count in classes)
        policy = getattr(config, kind)
        found.append(
            Finding(
                kind=kind,
                policy=policy,
                count=len(classes),
                dropped=dropped,
                text=text,
                files=files,
            )
        )

    least = config.min_class_images
    if small := [(name, count) for name, count in counts if count < least]:
        classes, dropped = "1 class" if len(small) == 1 else f"{len(small):,} classes", 0
        if config.small_classes == "drop":
            dropped = sum(count for _, count in small)
            counts = [(name, count) for name, count in counts if count >= least]
        add("small_classes", small, f"{classes} below {least} images", dropped=dropped)
    largest = max((count for _, count in counts), default=0)
    if rare := [(n, c) for n, c in counts if c > 0 and c * config.max_imbalance < largest]:
        times = f"{largest / min(count for _, count in rare):.3g} times the images of the smallest"
        text = f"the largest class has {times}, above {config.max_imbalance:g}"
        add("imbalance", rare, text, dropped=0)
    return found, counts


def audit_of_counts(counts: Counts, config: AuditConfig) -> Audit:
    """The audit of a source that is not read from files."""
    findings, kept = class_findings(counts, config)
    known = {finding.kind for finding in findings}
    return Audit(
        num_images=sum(count for _, count in counts),
        num_used=sum(count for _, count in kept),
        class_counts=tuple(kept),
        findings=tuple(findings),
        clean=tuple(kind for kind in CLASS_KINDS if kind not in known),
        unseen=(),
    )


def one_line(name: str) -> str:
    """A name on one line: bytes that are no text, line breaks and the like are written out."""
    text = name.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def number(count: int, thing: str) -> str:
    """`1 picture`, `2 pictures`."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


SHOWN = 3
"""Rows of a listing that a message names."""


class AuditError(RequestError):
    """The images are not as the study wants them; `audit` has all findings."""

    def __init__(self, problems: list[Problem], audit: Audit) -> None:
        self.audit = audit
        found = len(problems)
        head = "the images: 1 problem" if found == 1 else f"the images: {found} problems"
        tail = [] if not audit.errors else ["The whole list: tlsearch check STUDY --files FILE.csv"]
        super().__init__("\n".join([head, *(f"  {p}" for p in problems), *tail]))


def refuse_errors(audit: Audit) -> None:
    """Raise what the policy `error` asks for, else check that two classes are left to learn.

    Raises:
        AuditError: findings have this policy, and all are named; or no image is left, or fewer
            than two classes with images.
    """
    problems = []
    for finding in audit.errors:
        _, repair, others = _KINDS[finding.kind]
        remedy = f"{repair}, or write {finding.kind}: {others}"
        rule = f"{finding.text}: {_first(finding)}"
        problems.append(Problem(f"data.audit.{finding.kind}", finding.policy, rule, remedy))
    classes = [name for name, count in audit.class_counts if count]
    if not problems and len(classes) < 2:
        if audit.num_images == 0:
            rule = "none of the files gave an image"
        elif not classes:
            rule = f"none of the {audit.num_images:,} images is left"
        else:
            rule = f"only the class {classes[0]!r} is left, and a classifier needs two"
        reasons = "; ".join(f"{f.text}: {_first(f)}" for f in audit.findings if f.dropped)
        rule += f" ({reasons})" if reasons else ""
        remedy = "a study needs images of two classes: add some, or change data.audit"
        problems.append(Problem("data.source", "", rule, remedy))
    if problems:
        raise AuditError(problems, audit)


def _first(finding: Finding) -> str:
    rows = "; ".join(_row(row) for row in finding.files[:SHOWN])
    more = len(finding.files) - SHOWN
    return f"{rows}; … and {more:,} more" if more > 0 else rows


def _row(row: Listed) -> str:
    names = ", ".join(row.names[:SHOWN]) + (", …" if len(row.names) > SHOWN else "")
    return f"{names} ({row.detail})" if row.detail else names


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
    common. The others are None where the source does not know: `duplicates` counts files with the
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
