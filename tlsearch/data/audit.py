"""The audit of an image set: every look in turn, each by its policy."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from tlsearch.config.progress import OnProgress
from tlsearch.config.schema import AuditConfig, DataConfig
from tlsearch.config.sources import EmbeddedSource
from tlsearch.data.audit_findings import (
    NO_ROWS,
    Audit,
    Finding,
    Found,
    Kind,
    Listed,
    Policy,
    names_of,
    number,
    refuse_errors,
    refuse_what_is_left,
    shown,
)
from tlsearch.data.dataset import ImageSet, with_columns
from tlsearch.data.duplicates import (
    MAX_PAIRS,
    conflicting_labels,
    exact_duplicates,
    find_duplicates,
    joined,
    leakage,
    near_conflicts,
    near_duplicates,
)

# Whether classes are large and even enough; from counts alone.


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


# What is wrong with single files: no image, no label, no time, an odd size.


MIN_SIDE_SHARE, MAX_ASPECT = 0.5, 3.0
"""A short side below this share of `data.size` is blown up more than twice; beyond this ratio of
long to short side, less than a third of the picture is in the square. Both are guesses.
"""

_FAILED: tuple[tuple[Kind, str], ...] = (
    ("unreadable", "that cannot be decoded"),
    ("missing_labels", "without a label"),
    ("not_an_image", "beside the images that are none"),
)


def failures(data: ImageSet) -> Iterator[tuple[Kind, Found | None]]:
    """Files and rows that gave no image; they are not in the set."""
    for kind, what in _FAILED:
        failed = [f for f in data.failures if f.kind == kind]
        files = tuple(Listed((shown(f.name),), shown(f.reason)) for f in failed)
        text = f"{number(len(failed), 'file')} {what}"
        yield kind, Found(kind, len(failed), NO_ROWS, text, files) if failed else None


def missing_times(data: ImageSet, rows: np.ndarray) -> Found | None:
    """Images without a time, in a set that tells times."""
    if data.times is None:
        return None
    missing = rows[np.isnan(data.times[rows])]
    if not len(missing):
        return None
    name = names_of(data)
    files = tuple(Listed((name(row),), "") for row in missing)
    text = f"{number(len(missing), 'image')} without a time, in a split by time"
    return Found("missing_times", len(missing), missing, text, files)


def extreme_sizes(data: ImageSet, rows: np.ndarray, *, size: int) -> Found | None:
    """Images whose short side is below half of `size`, or that are more than 3 times as long."""
    if data.files is None:
        return None
    short, long = np.sort(data.files.sizes[rows], axis=1).T
    odd = (short < MIN_SIDE_SHARE * size) | (long > MAX_ASPECT * short)
    extreme = rows[odd]
    if not len(extreme):
        return None
    name, sizes = names_of(data), data.files.sizes
    files = tuple(Listed((name(r),), f"{sizes[r, 0]} × {sizes[r, 1]} px") for r in extreme)
    text = (
        f"{number(len(extreme), 'image')} below {MIN_SIDE_SHARE * size:g} px or with sides of more "
        f"than {MAX_ASPECT:g} : 1"
    )
    return Found("extreme_sizes", len(extreme), extreme, text, files)


def audited(
    data: ImageSet, config: DataConfig, *, on_progress: OnProgress
) -> tuple[ImageSet, Audit]:
    """The set with the rows that may be used and clusters of duplicates, and what was found. Of an
    embedded source the sizes of its classes alone are looked at, unless defects are planted:
    nothing else of it can be amiss.

    A class that is dropped leaves `class_names`; its images have the label -1 and are not used.

    Raises:
        AuditError: something was found whose policy is `error`, or nothing to learn from is left;
            it holds the audit.
    """
    looks, clusters = _Looks(data, config), np.arange(len(data.labels))
    if config.planted is not None or not isinstance(config.source, EmbeddedSource):
        on_progress(0.0, "audit: looking for duplicates")
        looks.at_files()
        clusters = looks.at_duplicates()
    data = looks.at_classes()
    audit = looks.audit(data)
    refuse_errors(audit)
    refuse_what_is_left(audit)
    known: dict[str, np.ndarray] = {}
    if not looks.usable.all():
        known["rows"] = np.flatnonzero(looks.usable)
    if len(np.unique(clusters[looks.usable])) < looks.usable.sum():
        known["clusters"] = clusters
    return (with_columns(data, **known) if known else data), audit


def with_finding(audit: Audit, found: Finding) -> Audit:
    """The audit with one finding more."""
    return replace(audit, findings=(*audit.findings, found))


class _Looks:
    """What was found so far, and which images are still used."""

    def __init__(self, data: ImageSet, config: DataConfig) -> None:
        self._data, self._config = data, config
        self._findings: list[Finding] = []
        self._clean: list[Kind] = []
        self._unseen: list[str] = []
        self.usable = np.ones(len(data.labels), bool)

    def at_files(self) -> None:
        """Files one by one."""
        for kind, found in failures(self._data):
            self._settle(kind, found)
        if self._config.split.strategy == "time":
            self._settle("missing_times", missing_times(self._data, self._rows))
        if self._data.files is not None:
            found = extreme_sizes(self._data, self._rows, size=self._config.size)
            self._settle("extreme_sizes", found)

    def at_duplicates(self) -> np.ndarray:
        """Pictures that are there more than once; clusters int64 (N,) of them."""
        data, near = self._data, self._config.audit.near_duplicates != "off"
        found = find_duplicates(data, self._rows, near=near)
        every = np.arange(len(data.labels))
        exact_edges = np.stack([every, found.exact], axis=1)
        clusters = joined(np.concatenate([exact_edges, found.near]), len(every))
        given = self._config.split.strategy == "given" and data.parts is not None
        self._settle("conflicting_labels", conflicting_labels(data, self._rows, found.exact))
        if given:
            self._settle("leakage", leakage(data, self._rows, clusters))
        exact = exact_duplicates(data, self._rows, found.exact, given=given)
        self._settle("exact_duplicates", exact)
        if not near:
            self._unseen.append("Near duplicates were not looked for: near_duplicates is off.")
            return clusters
        if not found.complete:
            self._unseen.append(
                f"More than {MAX_PAIRS:,} pairs of pictures are alike at first sight; near "
                "duplicates were looked for among so many, and the rest left alone."
            )
        self._settle("near_conflicts", near_conflicts(data, self._rows, found.near))
        alike = near_duplicates(
            data, self._rows, self._near_only(clusters, found.exact), given=given
        )
        self._settle("near_duplicates", alike)
        return clusters

    def _near_only(self, clusters: np.ndarray, exact: np.ndarray) -> np.ndarray:
        """`clusters`, with those that hold one picture alone taken apart."""
        pictures = np.unique(np.stack([clusters, exact], axis=1), axis=0)[:, 0]
        held, counts = np.unique(pictures, return_counts=True)
        several = np.zeros(len(clusters), bool)
        several[held[counts > 1]] = True
        return np.where(several[clusters], clusters, np.arange(len(clusters)))

    def at_classes(self) -> ImageSet:
        """Classes by what is left of them; the set without those that are dropped."""
        data, audit = self._data, self._config.audit
        counts = self._counts(data)
        small = small_classes(counts, audit)
        self._add("small_classes", small)
        if small is not None and small.policy == "drop":
            kept = np.array([count >= audit.min_class_images for _, count in counts])
            data = _without_classes(data, kept)
            self.usable &= data.labels >= 0
        self._add("imbalance", imbalance(self._counts(data), audit))
        return data

    def audit(self, data: ImageSet) -> Audit:
        """All that was found."""
        return Audit(
            num_images=len(data.labels),
            num_used=int(self.usable.sum()),
            class_counts=tuple(self._counts(data)),
            findings=tuple(self._findings),
            clean=tuple(self._clean),
            unseen=tuple(self._unseen),
        )

    @property
    def _rows(self) -> np.ndarray:
        return np.flatnonzero(self.usable)

    def _counts(self, data: ImageSet) -> list[tuple[str, int]]:
        counts = np.bincount(data.labels[self.usable], minlength=data.num_classes)
        return list(zip(data.class_names, counts.tolist(), strict=True))

    def _settle(self, kind: Kind, found: Found | None) -> None:
        """Take note of a find, and leave out what is to be dropped."""
        if found is None:
            self._add(kind, None)
            return
        policy: Policy = getattr(self._config.audit, kind, "note")
        dropped = 0
        if policy == "drop":
            self.usable[found.droppable] = False
            dropped = len(found.droppable) or found.count  # what gave no image has no row
        finding = Finding(
            kind=kind,
            policy=policy,
            count=found.count,
            dropped=dropped,
            text=found.text,
            files=found.files,
        )
        self._add(kind, finding)

    def _add(self, kind: Kind, found: Finding | None) -> None:
        if found is None:
            self._clean.append(kind)
        else:
            self._findings.append(found)


def _without_classes(data: ImageSet, kept: np.ndarray) -> ImageSet:
    """The set with the classes of `kept` (classes,) alone; other images get the label -1."""
    places = np.where(kept, np.cumsum(kept) - 1, -1)
    labels = places[data.labels]
    labels.flags.writeable = False
    names = tuple(n for n, stays in zip(data.class_names, kept, strict=True) if stays)
    return with_columns(data, labels=labels, class_names=names)
