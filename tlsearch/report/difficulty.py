"""How hard the images are, and how much the pretrained network brings along, as far as measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from tlsearch.report.rows import ReportData
from tlsearch.report.wording import joined, percent
from tlsearch.search.runs import RunRow


def difficulty(data: ReportData) -> list[str]:
    """Sentences; the baselines on the study's own split stand in for measures of their own."""
    rows = {row.spec.key: row for row in data.fixed}
    told = []
    for name, words in (
        ("linear_probe", "a linear probe of the frozen features reads"),
        ("from_scratch", "a network from scratch"),
    ):
        row = rows.get(f"{name}-seed-0")
        reached = _accuracy(row) if row else None
        if reached is not None:
            told.append(f"{words} {percent(reached)}")
    if not told:
        return []
    counts = _validated(data.provenance.facts.get("facts", {}))
    if sum(counts):
        told.append(f"naming the commonest class alone {percent(max(counts) / sum(counts))}")
    folds = data.config.data.split.folds
    mean = f", mean over {folds} folds" if folds else ""
    return [f"How hard these images are, by the validation part{mean}: {joined(told)}."]


def _accuracy(row: RunRow) -> float | None:
    """The validation accuracy of the weights that a finished run kept; over folds their mean."""
    if row.value is None:
        return None
    if row.folds:
        return row.folds[-1].mean_val_accuracy
    return row.kept.val_accuracy if row.kept else None


def _validated(facts: Mapping[str, Any]) -> Sequence[int]:
    """Validation images of each class, over all folds."""
    parts = facts.get("split", {}).get("parts", ())
    counts = [p["class_counts"] for p in parts if p["part"] == "validation"]
    return [sum(column) for column in zip(*counts, strict=True)] or facts.get(
        "validation_counts", ()
    )
