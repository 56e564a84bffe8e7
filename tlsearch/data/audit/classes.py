"""Whether classes are large and even enough; from counts alone."""

from collections.abc import Sequence

from tlsearch.data.audit.findings import Audit, Finding, Kind, Listed
from tlsearch.study.data import AuditConfig

Counts = Sequence[tuple[str, int]]
"""Images of each class, in the order of the classes."""


def small_classes(counts: Counts, config: AuditConfig) -> Finding | None:
    """Classes below `min_class_images`; those without an image are among them."""
    least = config.min_class_images
    small = [(name, count) for name, count in counts if count < least]
    if not small:
        return None
    return Finding(
        kind="small_classes",
        policy=config.small_classes,
        count=len(small),
        dropped=sum(count for _, count in small) if config.small_classes == "drop" else 0,
        text=f"{_classes(len(small))} below {least} images",
        files=tuple(Listed((name,), _images(count)) for name, count in small),
    )


def imbalance(counts: Counts, config: AuditConfig) -> Finding | None:
    """How many classes the largest one exceeds by more than `max_imbalance`."""
    largest = max((count for _, count in counts), default=0)
    rare = [(n, c) for n, c in counts if c > 0 and c * config.max_imbalance < largest]
    if not rare:
        return None
    smallest = min(count for _, count in rare)
    return Finding(
        kind="imbalance",
        policy=config.imbalance,
        count=len(rare),
        dropped=0,
        text=f"the largest class has {largest / smallest:.3g} times the images of the smallest, "
        f"above {config.max_imbalance:g}",
        files=tuple(Listed((name,), _images(count)) for name, count in rare),
    )


def audit_of_counts(counts: Counts, config: AuditConfig) -> Audit:
    """The audit of a source that is not read from files."""
    looks: dict[Kind, Finding | None] = {
        "small_classes": small_classes(counts, config),
        "imbalance": imbalance(counts, config),
    }
    num = sum(count for _, count in counts)
    findings = tuple(found for found in looks.values() if found)
    return Audit(
        num_images=num,
        num_used=num - sum(found.dropped for found in findings),
        class_counts=tuple(counts),
        findings=findings,
        clean=tuple(kind for kind, found in looks.items() if found is None),
        unseen=(),
    )


def _classes(number: int) -> str:
    return "1 class" if number == 1 else f"{number:,} classes"


def _images(number: int) -> str:
    return "1 image" if number == 1 else f"{number:,} images"
