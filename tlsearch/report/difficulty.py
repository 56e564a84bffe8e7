"""How hard the images are, and how much the pretrained network brings along, as far as measured."""

from tlsearch.report.rows import ReportData
from tlsearch.report.wording import joined, percent


def difficulty(data: ReportData) -> list[str]:
    """Sentences; the baselines on the study's own split stand in for measures of their own."""
    rows = {row.spec.key: row for row in data.fixed}
    told = []
    for name, words in (
        ("linear_probe", "a linear probe of the frozen features reads"),
        ("from_scratch", "a network from scratch"),
    ):
        row = rows.get(f"{name}-seed-0")
        reached = max((e.val_accuracy for e in row.epochs), default=None) if row else None
        if reached is not None:
            told.append(f"{words} {percent(reached)}")
    if not told:
        return []
    counts = data.provenance.facts.get("facts", {}).get("validation_counts")
    if counts and sum(counts):
        told.append(f"naming the commonest class alone {percent(max(counts) / sum(counts))}")
    return [
        f"How hard these images are: of the validation part, {joined(told)}, at the best epoch."
    ]
