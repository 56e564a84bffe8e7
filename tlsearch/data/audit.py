"""The audit of an image set: every check in turn, each by its policy."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from tlsearch.config.images import DataConfig
from tlsearch.config.runtime import OnProgress
from tlsearch.config.sources import EmbeddedSource
from tlsearch.data.dataset import TEST, TRAIN, ImageSet, connected, with_columns
from tlsearch.data.duplicates import MAX_PAIRS, find_duplicates
from tlsearch.data.folder import copies_by_name
from tlsearch.data.layout import PARTS
from tlsearch.data.records import (
    CLASS_KINDS,
    Audit,
    Finding,
    Kind,
    Listed,
    Policy,
    class_findings,
    number,
    one_line,
    refuse_errors,
)

MIN_SIDE_SHARE, MAX_ASPECT = 0.5, 3.0
"""A short side below this share of `data.size` is blown up more than twice; beyond this ratio of
long to short side, less than a third of the picture is in the square. Both are guesses.
"""

LOW_CONTRAST = 32
"""Levels of 256 that a picture spans at least, unless it is called one of low contrast."""
CLASS_LOSS = 0.1
"""Share of a class that the audit may leave out without a word."""

_FAILED: tuple[tuple[Kind, str], ...] = (
    ("unreadable", "that cannot be decoded"),
    ("missing_files", "that are not there"),
    ("missing_labels", "without a label"),
    ("not_an_image", "beside the images that are none"),
)


def audited(
    data: ImageSet, config: DataConfig, *, on_progress: OnProgress
) -> tuple[ImageSet, Audit]:
    """The set with the rows that may be used and clusters of duplicates, and what was found. Of an
    embedded source only the sizes of its classes are checked, unless defects are planted.

    A class that is dropped leaves `class_names`; its images have the label -1 and are not used.

    Raises:
        AuditError: something was found whose policy is `error`, or fewer than two classes are left;
            it holds the audit.
    """
    checks, clusters = _Checks(data, config), np.arange(len(data.labels))
    if config.planted is not None or not isinstance(config.source, EmbeddedSource):
        on_progress(0.0, "audit: looking for duplicates")
        checks.files()
        clusters = checks.duplicates()
    data, audit = checks.classes()
    refuse_errors(audit)
    known: dict[str, np.ndarray] = {}
    if not checks.usable.all():
        known["rows"] = np.flatnonzero(checks.usable)
    if len(np.unique(clusters[checks.usable])) < checks.usable.sum():
        known["clusters"] = clusters
    return (with_columns(data, **known) if known else data), audit


class _Checks:
    """What was found so far, and which images are still used."""

    def __init__(self, data: ImageSet, config: DataConfig) -> None:
        self._data, self._config = data, config
        self._findings: list[Finding] = []
        self._looked_for: list[Kind] = []
        self._unseen: list[str] = []
        self.usable = np.ones(len(data.labels), bool)
        self._held_out = np.zeros(len(data.labels), np.int64)
        """The given part, for which of several duplicates stays; training where none is given."""
        self._is_given = config.split.strategy == "given" and data.parts is not None
        if data.parts is not None and self._is_given:
            self._held_out = np.maximum(data.parts, TRAIN)

    def files(self) -> None:
        """Single files: no image, no label, no time, an unusual size."""
        data, size = self._data, self._config.size
        for kind, what in _FAILED:
            failed = [f for f in data.failures if f.kind == kind]
            files = [Listed((one_line(f.name),), one_line(f.reason)) for f in failed]
            self._record(kind, f"{number(len(failed), 'file')} {what}", files, count=len(failed))
        if self._config.split.strategy == "time":
            times = np.zeros(len(data.labels)) if data.times is None else data.times
            missing = self._rows[np.isnan(times[self._rows])]
            text = f"{number(len(missing), 'image')} without a time, in a split by time"
            self._record("missing_times", text, self._each(missing), drop=missing)
        if data.files is not None:
            sizes = data.files.sizes
            short, long = np.sort(sizes[self._rows], axis=1).T
            odd = self._rows[(short < MIN_SIDE_SHARE * size) | (long > MAX_ASPECT * short)]
            text = (
                f"{number(len(odd), 'image')} below {MIN_SIDE_SHARE * size:g} px or with sides of "
                f"more than {MAX_ASPECT:g} : 1"
            )
            details = [f"{width} × {height} px" for width, height in sizes[odd]]
            self._record("extreme_sizes", text, self._each(odd, details), drop=odd)
            self._looks(data.files.grounds)

    def _looks(self, grounds: np.ndarray | None) -> None:
        """Files that show next to nothing, and those that let their ground be seen."""
        spans = np.array([int(i.max()) - int(i.min()) for i in self._data.images], np.int64)
        flat = self._rows[spans[self._rows] < LOW_CONTRAST]
        text = f"{number(len(flat), 'image')} of less than {LOW_CONTRAST} of 256 levels"
        details = [f"{spans[row] + 1} levels" for row in flat]
        self._record("low_contrast", text, self._each(flat, details), count=len(flat))
        if grounds is None:
            return
        clear = self._rows[grounds[self._rows] != ""]
        names, counts = np.unique(grounds[clear], return_counts=True)
        how = {g: "without alpha, 0 everywhere" if g == "nothing" else f"over {g}" for g in names}
        over = ", ".join(f"{n:,} {how[name]}" for name, n in zip(names, counts, strict=True))
        text = f"{number(len(clear), 'image')}, seen {over} (data.background)"
        listed = self._each(clear, [how[ground] for ground in grounds[clear]])
        self._record("transparency", text, listed, count=len(clear))

    def duplicates(self) -> np.ndarray:
        """Pictures that are there more than once; clusters int64 (N,) of them."""
        data, near = self._data, self._config.audit.near_duplicates != "off"
        found = find_duplicates(data, self._rows, near=near)
        every = np.arange(len(data.labels))
        edges = [np.stack([every, found.exact], axis=1), found.near, found.turned]
        clusters = connected(np.concatenate(edges), len(every))
        self._conflicting_labels(found.exact)
        if self._is_given:
            self._leakage(clusters)
        self._exact_duplicates(found.exact)
        if not near:
            self._unseen.append("Near duplicates were not looked for: near_duplicates is off.")
        else:
            if not found.complete:
                self._unseen.append(
                    f"More than {MAX_PAIRS:,} pairs of pictures have similar hashes; near "
                    "duplicates were looked for among so many, and the rest left alone."
                )
            self._near_conflicts(found.near)
            self._near_duplicates(clusters, found.exact)
        if data.files is None or self._config.audit.augmented_copies == "off":
            return clusters
        copies = copies_by_name(data.files.names.tolist()).first
        self._augmented_copies(copies)
        return connected(
            np.stack([np.r_[every, every], np.r_[clusters, copies]], axis=1), len(every)
        )

    def _augmented_copies(self, copies: np.ndarray) -> None:
        """Copies by their names: a turn by 15° or a crop is beyond what hashes find."""
        groups = self._groups(copies)
        rows = _joined(groups)
        text = (
            f"{len(rows):,} images in {number(len(groups), 'group')} whose names differ only by an "
            "augmentation's suffix"
        )
        if self._is_given:
            across = sum(len(set(self._held_out[g])) > 1 for g in groups)
            text += f", {across:,} of them in more than one part of the given split"
        files, drop = self._together(groups), self._all_but_one(groups)
        self._record("augmented_copies", text, files, drop=drop, count=len(rows))

    def _conflicting_labels(self, exact: np.ndarray) -> None:
        """One picture under different labels: nothing here shows which is wrong, so all of them
        go, or none.
        """
        groups = [g for g in self._groups(exact) if len(set(self._data.labels[g])) > 1]
        rows = _joined(groups)
        text = f"{number(len(groups), 'picture')} under different labels, in {len(rows):,} images"
        self._record("conflicting_labels", text, self._together(groups), drop=rows)

    def _leakage(self, clusters: np.ndarray) -> None:
        """Duplicates, exact or near, in different parts of a given split: what was trained on is
        then tested. Those of the test part stay, else those of validation.
        """
        parts = self._held_out
        groups = [g for g in self._groups(clusters) if len(set(parts[g])) > 1]
        tested = sum(parts[g].max() == TEST for g in groups)
        text = (
            f"{number(len(groups), 'picture')} in more than one part of the given split, "
            f"{tested:,} of them in the test part"
        )
        files = [
            Listed(tuple(map(self._data.name, g)), ", ".join(PARTS[parts[r]] for r in g))
            for g in groups
        ]
        drop = _joined([g[parts[g] < parts[g].max()] for g in groups])
        self._record("leakage", text, files, drop=drop, count=len(_joined(groups)))

    def _exact_duplicates(self, exact: np.ndarray) -> None:
        """The same picture under the same label, once is enough."""
        groups = self._groups(exact * self._data.num_classes + self._data.labels)
        extra = self._all_but_one(groups)
        repeat = "repeats" if len(extra) == 1 else "repeat"
        text = f"{number(len(extra), 'image')} that {repeat} another under the same label"
        self._record("exact_duplicates", text, self._together(groups), drop=extra)

    def _near_conflicts(self, near: np.ndarray) -> None:
        """Nearly the same picture under different labels. Not among the conflicting labels, because
        two plain pictures that mean different things may look alike: a minus and an underscore.
        """
        labels = self._data.labels
        pairs = near[self.usable[near].all(axis=1)]
        pairs = pairs[labels[pairs[:, 0]] != labels[pairs[:, 1]]]
        rows = _joined(pairs)
        text = (
            f"{len(rows):,} images that look alike under different labels, in "
            f"{number(len(pairs), 'pair')}"
        )
        self._record("near_conflicts", text, self._together(pairs), drop=rows)

    def _near_duplicates(self, clusters: np.ndarray, exact: np.ndarray) -> None:
        """Clusters of nearly the same picture, or a chain of such; not of one picture alone."""
        pictures = np.unique(np.stack([clusters, exact], axis=1), axis=0)[:, 0]
        several = np.bincount(pictures, minlength=len(clusters)) > 1
        groups = self._groups(np.where(several[clusters], clusters, np.arange(len(clusters))))
        rows = _joined(groups)
        text = (
            f"{len(rows):,} images that look alike, in {number(len(groups), 'group')} of up to "
            f"{max(map(len, groups), default=0):,}"
        )
        files, drop = self._together(groups), self._all_but_one(groups)
        self._record("near_duplicates", text, files, drop=drop, count=len(rows))

    def classes(self) -> tuple[ImageSet, Audit]:
        """Classes by what is left of them; the set without those that are dropped, and all that was
        found.
        """
        data = self._data
        counts = np.bincount(data.labels[self.usable], minlength=data.num_classes)
        counted = list(zip(data.class_names, counts.tolist(), strict=True))
        findings, kept = class_findings(counted, self._config.audit)
        self._looked_for += CLASS_KINDS
        self._findings += self._with_reasons(findings)
        if data.files is not None:
            self._class_losses(dict(kept))
        if len(kept) < len(counted):
            data = _without_classes(data, tuple(name for name, _ in kept))
            self.usable &= data.labels >= 0
        known = {finding.kind for finding in self._findings}
        return data, Audit(
            num_images=len(data.labels),
            num_used=int(self.usable.sum()),
            class_counts=tuple(kept),
            findings=tuple(self._findings),
            clean=tuple(kind for kind in self._looked_for if kind not in known),
            unseen=tuple(self._unseen),
        )

    def _with_reasons(self, findings: Sequence[Finding]) -> list[Finding]:
        """Small classes with what could not be read of them."""
        failed: dict[str, list[str]] = {}
        for failure in self._data.failures:
            failed.setdefault(failure.class_name, []).append(failure.reason)

        def reason(row: Listed) -> Listed:
            why = failed.get(row.names[0])
            if not why:
                return row
            detail = f"{row.detail}; {len(why):,} cannot be read: {one_line(why[0])}"
            return replace(row, detail=detail)

        return [replace(f, files=tuple(map(reason, f.files))) for f in findings]

    def _class_losses(self, kept: Mapping[str, int]) -> None:
        """Classes of which a noticeable share is left out; those that are left out for being small
        only if there was nothing to read.
        """
        there = Counter(f.class_name for f in self._data.failures)
        counts = np.bincount(self._data.labels, minlength=self._data.num_classes)
        lost = {}
        for name, count in zip(self._data.class_names, counts.tolist(), strict=True):
            there[name] += count
            gone = there[name] - kept.get(name, 0)
            if gone >= max(2, CLASS_LOSS * there[name]) and (name in kept or not count):
                lost[name] = gone
        files = [Listed((n,), f"{k:,} of {there[n]:,} images left out") for n, k in lost.items()]
        worst = sorted(lost, key=lambda name: -lost[name] / there[name])[:3]
        shown = ", ".join(f"{one_line(n)} {lost[n]:,} of {there[n]:,}" for n in worst)
        more = ", …" if len(lost) > len(worst) else ""
        self._record("class_losses", f"{shown}{more}", files, count=sum(lost.values()))

    @property
    def _rows(self) -> np.ndarray:
        return np.flatnonzero(self.usable)

    def _groups(self, keys: np.ndarray) -> list[np.ndarray]:
        """Rows in use by equal `keys` (N,), those that stand alone left out; in order of keys."""
        rows = self._rows[np.argsort(keys[self._rows], kind="stable")]
        _, starts = np.unique(keys[rows], return_index=True)
        return [group for group in np.split(rows, starts[1:]) if len(group) > 1]

    def _all_but_one(self, groups: Sequence[np.ndarray]) -> np.ndarray:
        """Rows but for the first of each group; of a given split, the first that is held out."""
        return _joined([np.delete(g, self._held_out[g].argmax()) for g in groups])

    def _each(self, rows: np.ndarray, details: Sequence[str] = ()) -> list[Listed]:
        return [
            Listed((self._data.name(row),), detail)
            for row, detail in zip(rows, details or [""] * len(rows), strict=True)
        ]

    def _together(self, groups: Iterable[np.ndarray]) -> list[Listed]:
        """A row for each group, with its class, or with that of each image where they differ."""
        listed = []
        for group in groups:
            each = [self._data.class_names[label] for label in self._data.labels[group]]
            detail = ", ".join(each if len(set(each)) > 1 else each[:1])
            listed.append(Listed(tuple(map(self._data.name, group)), detail))
        return listed

    def _record(
        self,
        kind: Kind,
        text: str,
        files: Sequence[Listed],
        *,
        drop: np.ndarray | None = None,
        count: int | None = None,
    ) -> None:
        """Take note of a finding, and leave out the rows `drop` where its policy says so; what gave
        no image has none. `count` is that of `drop` where nothing else is said.
        """
        self._looked_for.append(kind)
        if not files:
            return
        rows = np.empty(0, np.int64) if drop is None else drop
        count = len(rows) if count is None else count
        policy: Policy = getattr(self._config.audit, kind, "note")
        dropped = (len(rows) or count) if policy == "drop" else 0
        if policy == "drop":
            self.usable[rows] = False
        found = Finding(
            kind=kind, policy=policy, count=count, dropped=dropped, text=text, files=tuple(files)
        )
        self._findings.append(found)


def _joined(groups: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """All rows of the groups, int64, ascending, each once."""
    return np.unique(np.concatenate([np.empty(0, np.int64), *groups]))


def _without_classes(data: ImageSet, kept: tuple[str, ...]) -> ImageSet:
    """The set with the classes `kept` alone, in this order; other images get the label -1."""
    places = np.array([kept.index(n) if n in kept else -1 for n in data.class_names], np.int64)
    labels = places[data.labels]
    labels.flags.writeable = False
    return with_columns(data, labels=labels, class_names=kept)
