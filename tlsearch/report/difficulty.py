"""How hard the images are, and how much the pretrained network brings along, as far as measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from tlsearch.config.data_checks import knows_source
from tlsearch.execution.runs import RunRow
from tlsearch.report.context import ReportData
from tlsearch.report.wording import joined, percent


def difficulty(data: ReportData) -> list[str]:
    """Sentences; the baselines on the study's own split stand in for measures of their own."""
    rows = {row.run.key: row for row in data.fixed}
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


# How much the images look like those that the network was trained on, in words.


def likeness(data: ReportData) -> str:
    """What was measured of it, or why nothing was; "" for a network that has learnt nothing."""
    found, backbone = data.likeness, data.config.backbone
    ours = data.config.with_backbone(backbone.names[0])
    if ours.backbone.weights == "none":
        return ""
    if not knows_source(ours):
        return (
            "How much they look like the images that the network was trained on is not known: "
            "backbone.source names none."
        )
    similarity, apart = found.get("similarity"), found.get("frechet_distance")
    if similarity is None:
        return "How much they look like the source's images was not measured."
    told = (
        f"Similarity to the source's images: {similarity:.2f}, as {ours.backbone.name} sees both "
        "before it is fine-tuned (1: like the source itself; 0: no more than the source's images "
        "with their pixels in disorder)."
    )
    error = found.get("domain_error")
    if apart is None or error is None:
        return told
    return (
        f"{told} Fréchet distance of the features: {apart:.2f} per feature; a linear classifier "
        f"that is to tell the two apart errs in {percent(error)} of the images."
    )
