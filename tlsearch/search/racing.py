"""Racing with thawing: successive halving that pauses trials where others would end them.

Trials train in generations. Each brings the best of those that pause a rung further, the best
`1 / reduction_factor` of all that came as far (asynchronous successive halving, arXiv:1810.05934,
without its haste), and fills up with new ones; nobody decides before all of a generation have come
to their rung. So what is trained follows from the seed and the size of a generation, whatever the
number of workers. A trial that pauses keeps its checkpoint; it may go on many generations later,
once others have made it one of the best (freeze-thaw, arXiv:1406.3896), and ends as pruned when the
search does.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tlsearch.config.cells import Cell
from tlsearch.config.paths import checkpoint_path
from tlsearch.config.search_options import METRICS, Racing, num_steps
from tlsearch.execution.runs import Run, RunRow

if TYPE_CHECKING:
    from tlsearch.search.store import Store

MOST_BYTES = 4 << 30
"""Of the checkpoints of trials that pause: beyond it those that are least likely to go on train
again from the start if they do, with the same figures. A guess: 30 of ResNet-18 with Adam."""


class Generation(NamedTuple):
    """What trains next: trials that go on by number, each until which step, None to the end; then
    new ones, until there are `trials` in all.
    """

    trials: int
    go_on: Mapping[int, int | None]


class Ladder(NamedTuple):
    """The rungs at which trials of a study pause, in epochs, or folds; one in `reduction_factor` of
    those that came to a rung goes on.
    """

    rungs: tuple[int, ...]
    reduction_factor: int

    @property
    def first(self) -> int | None:
        """Where a new trial pauses first; None where it does not."""
        return self.rungs[0] if self.rungs else None

    def above(self, rung: int) -> int | None:
        """The next rung; None for the end."""
        return next((higher for lower, higher in pairwise(self.rungs) if lower == rung), None)


def next_generation(
    rows: Sequence[RunRow], ladder: Ladder, *, metric: str, size: int, budget: int, complete: int
) -> Generation | None:
    """The generation that follows from all trials so far, `rows`, none of which trains; None when
    the race is over. `budget` is the number of trials in all, `complete` how many are to come to
    their end at least.
    """
    promoted: dict[int, int | None] = {}
    for rung in reversed(ladder.rungs):
        came = [row for row in rows if row.steps >= rung or row.value is not None]
        ranked = sorted(came, key=lambda row: _standing(row, rung, metric))
        for row in ranked[: len(ranked) // ladder.reduction_factor]:
            if row.state == "paused" and row.steps == rung:
                promoted[row.number] = ladder.above(rung)
    promoted = dict(list(promoted.items())[:size])
    new = max(0, min(size - len(promoted), budget - len(rows)))
    if not promoted and not new:
        promoted = _to_complete(rows, ladder, metric=metric, wanted=complete)
    if not promoted and not new:
        return None
    return Generation(len(rows) + new, promoted)


def _to_complete(
    rows: Sequence[RunRow], ladder: Ladder, *, metric: str, wanted: int
) -> dict[int, int | None]:
    """The best of those that came furthest, for as many as are still to come to their end."""
    missing = wanted - sum(row.value is not None for row in rows)
    furthest = _furthest(rows, metric)[: max(0, missing)]
    return {row.number: ladder.above(row.steps) for row in furthest}


def _furthest(rows: Sequence[RunRow], metric: str) -> list[RunRow]:
    """Those that pause, the ones that came furthest first, of equals the best."""
    paused = [row for row in rows if row.state == "paused"]
    return sorted(paused, key=lambda row: (-row.steps, _standing(row, row.steps, metric)))


def _standing(row: RunRow, rung: int, metric: str) -> tuple[bool, float, float, int]:
    """Less is better: what came to no sound end last, then the value at a rung, the loss that parts
    equals, the earlier trial. One that stopped early has its last value there.
    """
    is_lost = row.state in ("diverged", "failed")
    if len(row.run.folds) > 1:
        fold = row.folds[min(rung, len(row.folds)) - 1]
        value, loss = getattr(fold, f"mean_{metric}"), fold.mean_val_loss
    else:
        epoch = row.epochs[min(rung, len(row.epochs)) - 1]
        value, loss = getattr(epoch, metric), epoch.val_loss
    sign = -1 if METRICS[metric].maximise else 1
    return is_lost, sign * value, loss, row.number


class Generations:
    """Hands out the trials of a cell, generation by generation, on from where the store stands;
    `budget` is asked before each how many trials there are to be in all.
    """

    def __init__(self, store: "Store", cell: Cell, *, budget: Callable[[], int]) -> None:
        config = store.cells[cell]
        racing = config.search.pruner
        assert isinstance(racing, Racing), "a cell that races"
        self._store, self._cell, self._metric = store, cell, config.search.metric
        self._budget, self._size = budget, racing.generation
        self._complete = max(config.confirm.rounds, default=1)
        self._ladder = Ladder(racing.rungs(num_steps(config)), racing.reduction_factor)
        # At once: nobody is to take what pauses for what has ended.
        self._ready = store.resume(cell, until=self._ladder.first)
        begun = store.generation(cell)
        if begun is not None:
            most = config.num_trials()  # the budget may have been lowered
            begun = begun._replace(trials=min(begun.trials, most))
            self._ready += store.begin_generation(cell, begun, self._ladder.first)

    def next_run(self, folder: Path, *, is_over: bool) -> Run | None:
        """The next trial to train, of a new generation once all of the last one have come to their
        rung; None while there is none. `is_over`: none begins but what brings one trial to its end.
        """
        if not self._ready and not self._trains():
            found = next_generation(
                self._store.trials(self._cell),
                self._ladder,
                metric=self._metric,
                size=0 if is_over else self._size,
                budget=0 if is_over else self._budget(),
                complete=1 if is_over else self._complete,
            )
            if found is not None:
                self._ready = self._store.begin_generation(self._cell, found, self._ladder.first)
                self._keep_within(folder)
        return self._ready.pop(0) if self._ready else None

    def beside(self, heads_at_once: Callable[[Run], int]) -> Run | None:
        """The next one of the generation that is under way which trains the head alone."""
        place = next((i for i, run in enumerate(self._ready) if heads_at_once(run)), None)
        return None if place is None else self._ready.pop(place)

    def left(self) -> list[Run]:
        """Those that pause for good: none of the cell trains, and none will."""
        if self._ready or self._trains():
            return []
        return [row.run for row in self._store.trials(self._cell) if row.state == "paused"]

    def _trains(self) -> bool:
        return any(row.state in ("running", "waiting") for row in self._store.trials(self._cell))

    def _keep_within(self, folder: Path) -> None:
        """Delete the checkpoints of those that pause beyond `MOST_BYTES`, the worst ones first."""
        room = MOST_BYTES
        for row in _furthest(self._store.trials(self._cell), self._metric):
            path = checkpoint_path(folder, row.run.key)
            if path.exists():
                room -= path.stat().st_size
                if room < 0:
                    path.unlink()
