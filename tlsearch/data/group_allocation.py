"""Drawing by lot where some images must stay together: so many images, or so many equal parts.

scikit-learn's group splitters are not used: GroupShuffleSplit counts groups, not images, and
StratifiedGroupKFold takes seconds where nearly every image is a group of its own, which is what
near duplicates come to.
"""

from typing import NamedTuple

import numpy as np

_Counts = tuple[tuple[int, int], ...]


class Lots(NamedTuple):
    """What a draw heeds, arrays (N,): `strata` are balanced between parts, images of one `block`
    stay together. With `strict`, every part gets every stratum.
    """

    strata: np.ndarray
    blocks: np.ndarray
    strict: bool


class TooFewError(Exception):
    """A stratum (None: the whole pool) has only `found` blocks."""

    def __init__(self, stratum: int | None, found: int, needed: int) -> None:
        super().__init__(stratum, found, needed)
        self.stratum, self.found, self.needed = stratum, found, needed


def joined(columns: tuple[np.ndarray, ...], *, num: int) -> np.ndarray:
    """Blocks (num,): images that share a value of any column, directly or over others. A negative
    value stands for none.
    """
    ids = np.arange(num)
    told = []
    for column in columns:
        own = np.where(column < 0, column.max(initial=0) + 1 + np.arange(num), column)
        told.append(np.unique(own, return_inverse=True)[1])
    while True:
        before = ids
        for column in told:
            lowest = np.full(num, num)
            np.minimum.at(lowest, column, ids)
            ids = lowest[column]
        if np.array_equal(ids, before):
            return ids


def take(
    pool: np.ndarray, lots: Lots, *, num: int, leave: int, rng: np.random.Generator
) -> np.ndarray:
    """About `num` sorted rows out of `pool`, exactly so many where every image is a block.

    At least `leave` blocks stay, of each stratum where that is strict.

    Raises:
        TooFewError: there are not `leave` + 1 of them.
    """
    _check(pool, lots, needed=leave + 1)
    strata, blocks = lots.strata[pool], lots.blocks[pool]
    _, members, counts = np.unique(strata, return_inverse=True, return_counts=True)
    if len(np.unique(blocks)) == len(pool):
        if len(counts) == 1:
            return np.sort(rng.permutation(pool)[:num])
        takes = _allocate(counts, num, leave if lots.strict else None, rng)
        return _take_single(pool, members, counts, takes, rng)
    if lots.strict:
        targets = _allocate(counts, num, leave, rng).astype(float)
    else:
        targets = counts * (num / len(pool))
    found, pairs = _divided(pool, members, blocks)
    chosen = _choose(pairs, targets, leave=leave, strict=lots.strict, rng=rng)
    return np.sort(np.concatenate([found[i] for i in chosen]))


def deal(
    pool: np.ndarray, lots: Lots, *, hands: int, rng: np.random.Generator
) -> tuple[np.ndarray, ...]:
    """`pool` dealt into `hands` parts of sorted rows, alike in size and in their strata.

    Raises:
        TooFewError: there are not so many blocks, of each stratum where that is strict.
    """
    _check(pool, lots, needed=hands)
    strata, blocks = lots.strata[pool], lots.blocks[pool]
    members = np.unique(strata, return_inverse=True)[1]
    if len(np.unique(blocks)) == len(pool):
        order = rng.permutation(len(pool))
        order = order[np.argsort(members[order], kind="stable")]
        return tuple(np.sort(pool[order[hand::hands]]) for hand in range(hands))
    found, pairs = _divided(pool, members, blocks)
    sizes = np.array([len(rows) for rows in found])
    order = rng.permutation(len(found))
    order = order[np.argsort(-sizes[order], kind="stable")]
    share = np.bincount(members) / hands
    owed = [share.tolist() for _ in range(hands)]
    held = [0] * hands
    dealt: list[list[np.ndarray]] = [[] for _ in range(hands)]
    for block in order.tolist():
        costs = [(_cost(pairs[block], owed[hand]), held[hand], hand) for hand in range(hands)]
        hand = min(costs)[2]
        dealt[hand].append(found[block])
        held[hand] += int(sizes[block])
        for stratum, images in pairs[block]:
            owed[hand][stratum] -= images
    return tuple(np.sort(np.concatenate(rows)) if rows else pool[:0] for rows in dealt)


def _check(pool: np.ndarray, lots: Lots, *, needed: int) -> None:
    pairs = np.unique(np.stack([lots.strata[pool], lots.blocks[pool]]), axis=1)
    total = len(np.unique(pairs[1]))
    if lots.strict and total:
        strata, counts = np.unique(pairs[0], return_counts=True)
        least = int(counts.argmin())
        if counts[least] < needed:
            raise TooFewError(int(strata[least]), int(counts[least]), needed)
    if total < needed:
        raise TooFewError(None, total, needed)


def _take_single(
    pool: np.ndarray,
    members: np.ndarray,
    counts: np.ndarray,
    takes: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """`takes` images of each stratum, by lot."""
    order = rng.permutation(len(pool))
    order = order[np.argsort(members[order], kind="stable")]
    starts = np.cumsum(counts) - counts
    rank = np.arange(len(pool)) - np.repeat(starts, counts)
    return np.sort(pool[order[rank < np.repeat(takes, counts)]])


def _allocate(
    counts: np.ndarray, num: int, leave: int | None, rng: np.random.Generator
) -> np.ndarray:
    """How many to take of each stratum: proportional, by largest remainder, ties by lot.

    At least 1 and at most count - `leave` of each, unless `leave` is None; the sum is `num` where
    these bounds allow it.
    """
    ideal = counts * (num / counts.sum())
    low, high = np.ones_like(counts), counts - (leave or 0)
    if leave is None:
        low = np.zeros_like(counts)
    takes: np.ndarray = np.clip(np.floor(ideal).astype(np.int64), low, high)
    while (missing := num - int(takes.sum())) != 0:
        step = 1 if missing > 0 else -1
        can_move = (takes < high) if step > 0 else (takes > low)
        if not can_move.any():
            break
        by_lot = rng.permutation(len(counts))
        worst_first = by_lot[np.argsort((step * (takes - ideal))[by_lot], kind="stable")]
        chosen = [c for c in worst_first if can_move[c]][: abs(missing)]
        takes[chosen] += step
    return takes


def _divided(
    pool: np.ndarray, members: np.ndarray, blocks: np.ndarray
) -> tuple[list[np.ndarray], list[_Counts]]:
    """The rows of each block, and how many images of each stratum it has."""
    _, inverse, sizes = np.unique(blocks, return_inverse=True, return_counts=True)
    order = np.argsort(inverse, kind="stable")
    found = np.split(pool[order], np.cumsum(sizes)[:-1])
    pairs: list[list[tuple[int, int]]] = [[] for _ in found]
    keys, images = np.unique(np.stack([inverse, members]), axis=1, return_counts=True)
    for block, stratum, count in zip(*keys.tolist(), images.tolist(), strict=True):
        pairs[block].append((stratum, count))
    return found, [tuple(p) for p in pairs]


def _cost(pairs: _Counts, owed: list[float]) -> float:
    """Change of the squared distance to the targets if this block is added; `owed` is what they
    lack.
    """
    return sum(images * (images - 2 * owed[stratum]) for stratum, images in pairs)


def _choose(
    pairs: list[_Counts],
    targets: np.ndarray,
    *,
    leave: int,
    strict: bool,
    rng: np.random.Generator,
) -> list[int]:
    """Blocks that come near the targets: in an order by lot, each is taken or put back if that
    brings the counts nearer, until none does. Then the counts are within half a block.
    """
    owed, order = targets.tolist(), rng.permutation(len(pairs)).tolist()
    taken = [False] * len(pairs)
    guards = [[s for s, _ in p] if strict else [0] for p in pairs]
    outside = [0] * len(owed)
    inside = [0] * len(owed)
    for guard in guards:
        for s in guard:
            outside[s] += 1

    def toggle(block: int) -> None:
        sign = -1 if taken[block] else 1
        taken[block] = not taken[block]
        for stratum, images in pairs[block]:
            owed[stratum] -= sign * images
        for s in guards[block]:
            outside[s] -= sign
            inside[s] += sign

    def may_move(block: int) -> bool:
        if taken[block]:
            return all(inside[s] > 1 for s in guards[block])
        return all(outside[s] > leave for s in guards[block])

    def settle() -> None:
        moved = True
        while moved:
            moved = False
            for block in order:
                sign = -1 if taken[block] else 1
                gain = sum(n * (n - 2 * sign * owed[s]) for s, n in pairs[block])
                if gain < -1e-9 and may_move(block):
                    toggle(block)
                    moved = True

    settle()
    for s in range(len(owed)) if strict else [0]:  # blocks larger than twice the target stay out
        has = [b for b in order if s in guards[b] and may_move(b)]
        if not inside[s] and has:
            toggle(min(has, key=lambda b: _cost(pairs[b], owed)))
    settle()
    return [block for block, is_in in enumerate(taken) if is_in]
