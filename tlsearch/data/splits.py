"""Which images train, which choose, which are kept for the end; and the facts of such a split.

The test part depends on the split's seed and its share alone: neither the labels that training may
use, nor folds, nor a redraw for a confirmation moves an image into or out of it. Fractions are of
all images that may be used.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, NamedTuple, TypeVar

import numpy as np

from tlsearch.config.images import SplitConfig
from tlsearch.config.runtime import derive_seed
from tlsearch.data.dataset import TEST, VALIDATION, Dataset
from tlsearch.data.records import PairFacts, PartFacts, SplitFacts
from tlsearch.errors import RequestError, refused, shown
from tlsearch.metrics.domain import class_share_distance

AnySet = TypeVar("AnySet", bound=Dataset)


class Split(NamedTuple):
    """Sorted indices of the images in each part; disjoint."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def draw_splits(
    data: Dataset, *, split: SplitConfig, labels_per_class: int | None, redraw: int
) -> tuple[Split, ...]:
    """One Split, or one for each fold; all of them share the test part.

    `redraw` 0 is the study's own; any other draws train and validation anew among the images that
    are not test. What is given, or ordered in time, cannot be redrawn and stays. Images that share
    a cluster stay together, but where parts are given or in time. Then `data.suspects` leave the
    training part, and `labels_per_class` thins it to so many of each class, at random and anew for
    each redraw.

    Raises:
        RequestError: a part would be empty or hold one class only, there are fewer groups than
            parts, a class is too small for a stratified split or has fewer images left to train
            on than `labels_per_class`, or the source has not what the strategy needs.
    """
    thinned = []
    for fold, parts in enumerate(draw_parts(data, split=split, redraw=redraw), start=1):
        train = parts.train
        if data.suspects is not None:
            train = train[~data.suspects[train]]
        if labels_per_class is not None:
            place = ("labels", redraw, fold) if split.folds else ("labels", redraw)
            train = _thin(data, train, labels_per_class, _rng(split, *place))
        thinned.append(parts._replace(train=train))
    _check(data, thinned, split)
    return tuple(thinned)


def draw_parts(data: Dataset, *, split: SplitConfig, redraw: int) -> tuple[Split, ...]:
    """The parts as `draw_splits` draws them, whole and unchecked: suspects stay, no label is left
    out, and a part may hold one class only.

    Raises:
        RequestError: a part would be empty, there are fewer groups than parts, a class is too small
            for a stratified split, or the source has not what the strategy needs.
    """
    return _in_time(data, split) if split.strategy == "time" else _at_random(data, split, redraw)


def _thin(data: Dataset, train: np.ndarray, per_class: int, rng: np.random.Generator) -> np.ndarray:
    """`per_class` random images of each class among `train`."""
    classes = np.unique(data.labels[data.usable])
    counts = np.bincount(data.labels[train], minlength=data.num_classes)
    least = classes[counts[classes].argmin()]
    if (found := int(counts[least])) < per_class:
        name = shown(data.class_names[least])
        rule = f"the training part has {found} images of its smallest class, {name}"
        remedy = f"take {found} or less, or null for all" if found else "write null for all"
        raise refused("data.labels_per_class", str(per_class), rule, remedy)
    kept = [rng.permutation(train[data.labels[train] == label])[:per_class] for label in classes]
    return np.sort(np.concatenate(kept))


def _check(data: Dataset, splits: Sequence[Split], split: SplitConfig) -> None:
    """Refuse parts that are empty or teach or measure nothing."""
    for fold, parts in enumerate(splits, start=1):
        where = f" in fold {fold}" if split.folds else ""
        for name, rows in zip(Split._fields, parts, strict=True):
            if not len(rows):
                raise _empty(f"{name} part{where}", len(data.usable), split)
            classes = np.unique(data.labels[rows])
            if len(classes) == 1:
                only = shown(data.class_names[classes[0]])
                rule = f"the {name} part{where} holds images of one class only, {only}"
                remedy = "stratify, change the fractions or the seed, or add images"
                raise refused("data.split", _written(split), rule, remedy)
        if data.weights is not None and not data.weights[parts.train].sum() > 0:
            rule = f"all images of the training part{where} have weight 0"
            raise refused("data.source", "", rule, "nothing would be learnt; correct the weights")


def _written(split: SplitConfig) -> str:
    """The fields of a split that decide its sizes, as a study writes them."""
    if split.folds:
        return f"{{folds: {split.folds}, test: {split.test}}}"
    return f"{{validation: {split.validation}, test: {split.test}}}"


def _empty(part: str, num_images: int, split: SplitConfig) -> RequestError:
    remedy = "every part needs at least one image: change the fractions or add images"
    if split.strategy == "time":
        remedy += "; images of one time stay in one part"
    rule = f"leaves no image of {num_images} for the {part}"
    return refused("data.split", _written(split), rule, remedy)


def _missing(what: str, split: SplitConfig, images: int | None = None) -> RequestError:
    """The error of a source that lacks what the strategy needs, of all or of some images."""
    rule = f"the source has no {what}"
    if images is not None:
        rule = f"{images} {'image has' if images == 1 else 'images have'} none of the {what}"
    remedy = "write strategy: stratified, or give a manifest that has them"
    if what == "groups":
        remedy += ", or group: {pattern: …} for the names of files"
    return refused("data.split.strategy", split.strategy, rule, remedy)


def _rng(split: SplitConfig, *place: int | str) -> np.random.Generator:
    return np.random.default_rng(derive_seed(split.seed, *place))


def _at_random(data: Dataset, split: SplitConfig, redraw: int) -> tuple[Split, ...]:
    """Parts drawn from the seed, apart from those that the source names."""
    pool, draw = data.usable, _Draw(data, split)
    named = np.full(len(pool), -1)
    if split.strategy == "given":
        if data.parts is None:
            raise _missing("parts", split)
        named = data.parts[pool]
    test, validation = pool[named == TEST], pool[named == VALIDATION]
    num_test = len(test) or round(len(pool) * split.test)
    num_validation = len(validation) or round(len(pool) * split.validation)
    if split.folds:
        num_validation = 0
    sizes = {"train": len(pool) - num_test - num_validation, "validation": num_validation}
    for name, num in (sizes | {"test": num_test}).items():
        if num < 1 and not (split.folds and name == "validation"):
            raise _empty(f"{name} part", len(pool), split)

    if not len(test):
        # What else is drawn from the others needs a block of its own, and so does training.
        leave = 1 if len(validation) and not split.folds else 2
        left = np.setdiff1d(pool, validation)
        needs = f"; each of the {leave + 1} parts needs one"
        test = draw.some(left, num_test, leave=leave, needs=needs, rng=_rng(split, "test"))
    rest = np.setdiff1d(pool, test)
    held: tuple[np.ndarray, ...] = (validation,)
    if split.folds:
        needs = f" outside the test part; each of the {split.folds} folds needs one"
        held = draw.folds(rest, split.folds, needs=needs, rng=_rng(split, "folds", redraw))
    elif not len(validation):
        needs = " outside the test part; each of the other 2 parts needs one"
        rng = _rng(split, "validation", redraw)
        held = (draw.some(rest, num_validation, leave=1, needs=needs, rng=rng),)
    return tuple(Split(np.setdiff1d(rest, rows), rows, test) for rows in held)


class _Draw:
    """Random parts that are balanced by class where the split is stratified, in which images of
    one block stay together.

    scikit-learn's group splitters don't serve: GroupShuffleSplit counts groups, not images,
    StratifiedGroupKFold takes seconds where nearly every image is a group of its own, which is what
    near duplicates come to, and StratifiedShuffleSplit leaves small classes out of a part.
    """

    def __init__(self, data: Dataset, split: SplitConfig) -> None:
        grouped = split.strategy in ("group", "stratified_group")
        if grouped and data.groups is None:
            raise _missing("groups", split)
        balanced = split.strategy in ("stratified", "stratified_group", "given")
        self._data, self._split = data, split
        self._blocks = data.blocks(by_group=grouped)
        self._strata = data.labels if balanced else np.zeros_like(data.labels)
        self._every_class = balanced and not grouped  # in every part

    def some(
        self, pool: np.ndarray, num: int, *, leave: int, needs: str, rng: np.random.Generator
    ) -> np.ndarray:
        """About `num` sorted rows of `pool`, exactly so many where every image is a block; at least
        `leave` blocks stay, of each class where every part needs one.
        """
        self._check(pool, leave + 1, needs)
        counts = np.bincount(self._strata[pool]).astype(float)
        wished = counts * (num / len(pool))
        if self._every_class:
            wished = _whole_numbers(wished, num, counts - leave, rng)
        order = rng.permutation(len(np.unique(self._blocks[pool])))
        if len(order) == len(pool) and (self._every_class or np.count_nonzero(counts) == 1):
            strata = self._strata[pool]
            order = order[np.argsort(strata[order], kind="stable")]
            rank = np.arange(len(pool)) - (np.cumsum(counts) - counts)[strata[order]]
            return np.sort(pool[order[rank < np.round(wished)[strata[order]]]])
        return self._allocate(pool, np.stack([counts - wished, wished]), (leave, 1), order)[1]

    def folds(
        self, pool: np.ndarray, num: int, *, needs: str, rng: np.random.Generator
    ) -> tuple[np.ndarray, ...]:
        """`pool` in `num` parts of sorted rows, alike in size and in their classes."""
        from sklearn.model_selection import StratifiedKFold

        self._check(pool, num, needs)
        blocks, sizes = np.unique(self._blocks[pool], return_counts=True)
        if len(blocks) == len(pool):
            splitter = StratifiedKFold(num, shuffle=True, random_state=int(rng.integers(2**31)))
            return tuple(pool[held] for _, held in splitter.split(pool, self._strata[pool]))
        order = rng.permutation(len(blocks))
        order = order[np.argsort(-sizes[order], kind="stable")]  # small ones even out large ones
        share = np.bincount(self._strata[pool]) / num
        return self._allocate(pool, np.tile(share, (num, 1)), (1,) * num, order)

    def _allocate(
        self, pool: np.ndarray, wished: np.ndarray, least: Sequence[int], order: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        _, members, sizes = np.unique(self._blocks[pool], return_inverse=True, return_counts=True)
        rows = np.split(np.argsort(members, kind="stable"), np.cumsum(sizes)[:-1])
        strata = self._strata[pool].tolist()
        blocks = [tuple(Counter(strata[row] for row in block.tolist()).items()) for block in rows]
        part = np.asarray(
            allocate(blocks, wished, least=least, by_stratum=self._every_class, order=order)
        )
        return tuple(pool[part[members] == place] for place in range(len(wished)))

    def _check(self, pool: np.ndarray, needed: int, needs: str) -> None:
        """Name the class, or the groups, that there are too few of."""
        split, fewer = self._split, "take fewer folds, " if self._split.folds else ""
        pairs = np.unique(np.stack([self._strata[pool], self._blocks[pool]]), axis=1)
        if self._every_class:
            counts = Counter(pairs[0].tolist())
            label, found = min(counts.items(), key=lambda item: item[1])
            if found < needed:
                rows = self._data.usable[self._data.labels[self._data.usable] == label]
                together = len(np.unique(self._blocks[rows])) < len(rows)
                unit = "set" if together else "image"
                have = f"{found} {unit}{'' if found == 1 else 's'}"
                have += " of near duplicates" if together else ""
                rule = f"class {shown(self._data.class_names[label])} has {have}{needs}"
                remedy = f"{fewer}add images of it, leave the class out, or use strategy: random"
                raise refused("data.split.strategy", split.strategy, rule, remedy)
        found = len(np.unique(pairs[1]))
        if found < needed:
            grouped = "group" in split.strategy
            unit = "group" if grouped else "set of near duplicates"
            have = f"there is 1 {unit}" if found == 1 else f"there are {found} {unit}s"
            more = "add groups, or use strategy: stratified" if grouped else "add images"
            raise refused("data.split.strategy", split.strategy, have + needs, fewer + more)


def _whole_numbers(
    wished: np.ndarray, num: int, high: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """`wished` (K,) in whole numbers by largest remainder, ties at random: from 1 to `high` (K,)
    each, the sum `num` where these bounds allow it; 0 where nothing is wished.
    """
    present, tie = wished > 0, rng.permutation(len(wished))
    takes = np.where(present, np.clip(np.floor(wished), 1, high), 0)
    while missing := int(num - takes.sum()):
        step = 1 if missing > 0 else -1
        free = present & (takes + step >= 1) & (takes + step <= high)
        if not free.any():
            break
        gaps = np.where(free, step * (wished - takes), -np.inf)
        takes[np.lexsort((tie, gaps))[-1]] += step
    return takes


def allocate(
    blocks: Sequence[Sequence[tuple[int, int]]],
    wished: np.ndarray,
    *,
    least: Sequence[int],
    by_stratum: bool,
    order: Sequence[int] | np.ndarray,
) -> list[int]:
    """The part, 0 … P - 1, of each block so that the counts come near those `wished` (P, strata).

    A block is pairs of a stratum and its number of images there. In this `order` each goes where
    the squared distance to the wishes grows least, then again and again each moves to where that
    falls most, until none does; then a count is within half a block of its wish. Every part keeps
    at least so many blocks as `least` says, of each stratum `by_stratum`, as far as there are
    enough.
    """
    parts, part = range(len(wished)), [-1] * len(blocks)
    guards = [[s for s, _ in block] if by_stratum else [0] for block in blocks]
    inside = [Counter[int]() for _ in parts]
    lacking = wished.tolist()

    def put(block: int, place: int) -> None:
        for to, sign in ((part[block], -1), (place, 1)):
            if to >= 0:
                for s, n in blocks[block]:
                    lacking[to][s] -= sign * n
                for s in guards[block]:
                    inside[to][s] += sign
        part[block] = place

    def gain(block: int, place: int) -> float:
        """How much nearer the block brings this part to its wish."""
        gained: float = sum(n * (2 * lacking[place][s] - n) for s, n in blocks[block])
        return gained

    def loss(block: int) -> float:
        """How much nearer its own part is to its wish because of it."""
        lost: float = sum(n * (2 * lacking[part[block]][s] + n) for s, n in blocks[block])
        return lost

    def is_free(block: int) -> bool:
        return all(inside[part[block]][s] > least[part[block]] for s in guards[block])

    def settle() -> None:
        moved = True
        while moved:
            moved = False
            for block in order:
                to = max(parts, key=lambda p: gain(block, p) if p != part[block] else -math.inf)
                if gain(block, to) > loss(block) + 1e-9 and is_free(block):
                    put(block, to)
                    moved = True

    for block in order:
        put(block, max(parts, key=lambda p: (gain(block, p), sum(lacking[p]))))
    settle()
    for place in parts:  # a block larger than twice the wish stays out
        for stratum in {s for guard in guards for s in guard}:
            if inside[place][stratum] < least[place]:
                others = (b for b in order if part[b] != place and stratum in guards[b])
                if free := [b for b in others if is_free(b)]:
                    put(max(free, key=lambda b: gain(b, place) - loss(b)), place)
    settle()
    return part


def _in_time(data: Dataset, split: SplitConfig) -> tuple[Split, ...]:
    """Train, then validate, then test; with folds an expanding window over what is not tested.

    `gap` images before each part are left out. Images of one time stay in one part: a border among
    them moves to their nearer end. Nothing is random.
    """
    from sklearn.model_selection import TimeSeriesSplit

    pool = data.usable
    if data.times is None:
        raise _missing("times", split)
    times = data.times[pool]
    if missing := int(np.isnan(times).sum()):
        raise _missing("times", split, missing)
    order = np.argsort(times, kind="stable")
    rows, times = pool[order], times[order]

    test_from = _edge(times, len(rows) - round(len(rows) * split.test))
    end = test_from - split.gap
    if split.folds and end > split.folds:
        windows = TimeSeriesSplit(split.folds).split(np.arange(end))
        borders = [int(held[0]) for _, held in windows]
    else:
        borders = [0 if split.folds else end - round(len(rows) * split.validation)]
    if borders[0] - split.gap < 1:
        if split.gap and borders[0] + split.gap > 0:
            rule = f"leaves none of {len(rows)} images to train on"
            remedy = "leave out fewer between the parts, or make validation and test smaller"
            raise refused("data.split.gap", str(split.gap), rule, remedy)
        raise _empty("train part", len(rows), split)
    starts = [_edge(times, border) for border in borders]
    ends = [*starts[1:], max(end, 0)]
    test = np.sort(rows[test_from:])
    return tuple(
        Split(
            train=np.sort(rows[: max(start - split.gap, 0)]),
            validation=np.sort(rows[start:stop]),
            test=test,
        )
        for start, stop in zip(starts, ends, strict=True)
    )


def _edge(times: np.ndarray, border: int) -> int:
    """`border`, or the nearer end of the run of equal `times`, ascending, that it would cut."""
    if not 0 < border < len(times):
        return border
    first = int(np.searchsorted(times, times[border], side="left"))
    last = int(np.searchsorted(times, times[border], side="right"))
    return first if first == border or border - first <= last - border else last


def past_of(data: AnySet, *, share: float) -> tuple[AnySet, np.ndarray]:
    """The set with the rows of the past alone, and the rows of the future: the latest `share` of
    the images that may be used, by their times, or by their order where the source has none. No
    split touches the future: it judges ways of splitting the past.

    Images of one time stay on one side, as `_edge` has it. Groups and near duplicates may lie on
    both sides, as they do in time.

    Raises:
        RequestError: some images have no time, a side would be empty, the future holds one class
            only or one that the past lacks.
    """

    def refusal(rule: str, remedy: str) -> RequestError:
        return refused("comparison.future", str(share), rule, remedy)

    rows = data.usable
    times = np.arange(len(rows), dtype=float) if data.times is None else data.times[rows]
    if missing := int(np.isnan(times).sum()):
        rule = f"{missing} {'image has' if missing == 1 else 'images have'} no time"
        raise refusal(rule, "give each a time, or write data.audit.missing_times: drop")
    order = np.argsort(times, kind="stable")
    border = _edge(times[order], len(rows) - round(len(rows) * share))
    if not 0 < border < len(rows):
        rule = f"leaves no image of {len(rows)} for the {'future' if border else 'past'}"
        remedy = "change the share or add images; those of one time stay on one side"
        raise refusal(rule, remedy)
    past, future = np.sort(rows[order[:border]]), np.sort(rows[order[border:]])
    classes, latest = np.unique(data.labels[future]), f"the latest {len(future)}"
    if len(classes) == 1:
        rule = f"{latest} images are of one class only, {shown(data.class_names[classes[0]])}"
        remedy = "take a larger share, or give times: a file's order may be that of its classes"
        raise refusal(rule, remedy)
    unknown = np.setdiff1d(classes, data.labels[past])
    if len(unknown):
        name = shown(data.class_names[unknown[0]])
        rule = f"class {name} is among {latest} images alone, so that none could be learnt from"
        raise refusal(rule, "take a smaller share, or add images")
    return replace(data, rows=past), future


def draw_past(
    data: Dataset, *, split: SplitConfig, labels_per_class: int | None, share: float, seed: int
) -> tuple[Split, np.ndarray]:
    """The images before the future divided by `split` with this seed, and the rows of the future.

    All rows are those of `data`. Other seeds redraw every part, the test part too, but where parts
    are given or in time. Fractions are of the past.

    Raises:
        RequestError: the future cannot be set apart (`past_of`), or the past not be divided
            (`draw_splits`).
    """
    assert not split.folds, "refused with the study"
    past, future = past_of(data, share=share)
    seeded = split.model_copy(update={"seed": seed})
    (parts,) = draw_splits(past, split=seeded, labels_per_class=labels_per_class, redraw=0)
    return parts, future


def describe(data: Dataset, splits: Sequence[Split], *, split: SplitConfig) -> SplitFacts:
    """Sizes and class shares of the parts, and what leaks from one to another."""
    used = np.unique(np.concatenate([rows for parts in splits for rows in parts]))
    folds = [(fold, parts._asdict().items()) for fold, parts in enumerate(splits, start=1)]
    pairs = tuple(
        _pair(data, fold, *two) for fold, parts in folds for two in combinations(parts, 2)
    )
    return SplitFacts(
        strategy=split.strategy,
        folds=split.folds,
        fingerprint=fingerprint(splits),
        left_out=len(data.usable) - len(used),
        parts=tuple(
            PartFacts(
                part=name,
                fold=fold,
                class_counts=tuple(
                    np.bincount(data.labels[rows], minlength=data.num_classes).tolist()
                ),
            )
            for fold, parts in folds
            for name, rows in parts
            if fold == 1 or name != "test"
        ),
        pairs=pairs,
        notes=tuple(_notes(data, splits, split, pairs)),
    )


def fingerprint(splits: Sequence[Split]) -> str:
    """16 hex digits that change with any index of any part."""
    digest = hashlib.sha256()
    for parts in splits:
        for rows in parts:
            digest.update(len(rows).to_bytes(8, "little"))
            digest.update(np.ascontiguousarray(rows, dtype="<i8").tobytes())
    return digest.hexdigest()[:16]


def listing(data: Dataset, splits: Sequence[Split]) -> dict[str, Any]:
    """Every part by its images, as JSON: names where they came from files, else indices."""

    def named(rows: np.ndarray) -> list[Any]:
        found: list[Any] = (rows if data.files is None else data.files.names[rows]).tolist()
        return found

    return {
        "fingerprint": fingerprint(splits),
        "images": "index" if data.files is None else "name",
        "test": named(splits[0].test),
        "folds": [
            {"train": named(parts.train), "validation": named(parts.validation)} for parts in splits
        ],
    }


_NamedRows = tuple[str, np.ndarray]


def _pair(data: Dataset, fold: int, first: _NamedRows, second: _NamedRows) -> PairFacts:
    a, b = first[1], second[1]

    def shared(column: np.ndarray | None) -> int | None:
        if column is None:
            return None
        common = np.intersect1d(column[a], column[b])
        return len(common) if common.dtype.kind in "US" else int((common >= 0).sum())

    shares = data.labels[a], data.labels[b]
    later = None
    if data.times is not None and not np.isnan(data.times[np.concatenate([a, b])]).any():
        later = int((data.times[a] > data.times[b].min()).sum())
    return PairFacts(
        first=first[0],
        second=second[0],
        fold=fold,
        distance=round(class_share_distance(shares, num_classes=data.num_classes), 6),
        duplicates=shared(None if data.files is None else data.files.digests),
        near_duplicates=shared(data.clusters),
        groups=shared(data.groups),
        later=later,
    )


_IF_A_CLASS_IS_ABSENT = {
    "train": ("training", "what is never seen is never recognised"),
    "validation": ("validation", "nothing is chosen by it"),
    "test": ("test", "its figure says nothing about it"),
}


def _notes(
    data: Dataset, splits: Sequence[Split], split: SplitConfig, pairs: Sequence[PairFacts]
) -> Iterator[str]:
    yield from data.notes
    present = np.unique(data.labels[data.usable])
    for fold, parts in enumerate(splits, start=1):
        where = f" in fold {fold}" if split.folds else ""
        for part, (name, consequence) in _IF_A_CLASS_IS_ABSENT.items():
            absent = np.setdiff1d(present, data.labels[getattr(parts, part)])
            if len(absent) and (fold == 1 or part != "test"):
                names = ", ".join(shown(data.class_names[label]) for label in absent[:5])
                more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
                yield f"no image of {names}{more} is in the {name} part{where}: {consequence}"
    for count in ("near_duplicates", "groups"):
        worst = max(getattr(pair, count) or 0 for pair in pairs if pair.second == "test")
        if worst:
            what = count.replace("_", " ")
            yield f"{what} on both sides of the test part ({worst}): its figure may be too good"
    if data.parts is None:
        return
    if split.strategy != "given" and (data.parts >= 0).any():
        yield (
            f"the source names parts of its own; a split that is {split.strategy} draws others, "
            "strategy: given takes them"
        )
    unnamed = int((data.parts[data.usable] < 0).sum())
    if split.strategy == "given" and unnamed:
        yield f"{unnamed} images without a given part are taken as training images"
