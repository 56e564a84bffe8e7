"""What an audit says when a study cannot go on: all reasons at once."""

from collections.abc import Mapping

from tlsearch.data.audit.findings import Audit, Finding, Kind, Listed
from tlsearch.errors import Problem, RequestError

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
