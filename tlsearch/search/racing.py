"""Racing with thawing: successive halving that pauses trials where others would end them.

Trials train in generations. Each brings the best of those that pause a rung further, the best
`1 / reduction_factor` of all that came as far (asynchronous successive halving, arXiv:1810.05934,
without its haste), and fills up with new ones; nobody decides before all of a generation have come
to their rung. So what is trained follows from the seed and the size of a generation, whatever the
number of workers. A trial that pauses keeps its checkpoint; it may go on many generations later,
once others have made it one of the best (freeze-thaw, arXiv:1406.3896), and ends as pruned when the
search does.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from tlsearch.config.search_options import METRICS, Racing, num_steps
from tlsearch.execution.runs import RunRow


class Generation(NamedTuple):
    """What trains next: trials that go on by number, each until which step, None to the end; then
    new ones, until there are `trials` in all.
    """

    trials: int
    go_on: Mapping[int, int | None]


class Ladder(NamedTuple):
    """The rungs at which trials of a study pause, in steps, and its end."""

    rungs: tuple[int, ...]
    steps: int
    reduction_factor: int

    @classmethod
    def of(cls, racing: Racing, steps: int) -> "Ladder":
        """Those of a training of so many epochs, or folds."""
        return cls(racing.rungs(steps), steps, racing.reduction_factor)

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
        came = [row for row in rows if _steps(row) >= rung or row.value is not None]
        ranked = sorted(came, key=lambda row: _standing(row, rung, metric))
        for row in ranked[: len(ranked) // ladder.reduction_factor]:
            if _pauses_at(row, rung):
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
    paused = [row for row in rows if row.state == "paused"]
    furthest = sorted(paused, key=lambda row: (-_steps(row), _standing(row, _steps(row), metric)))
    return {row.number: ladder.above(_steps(row)) for row in furthest[: max(0, missing)]}


def _steps(row: RunRow) -> int:
    """Epochs, or folds, that a trial has trained."""
    return len(row.folds) if len(row.run.folds) > 1 else len(row.epochs)


def _pauses_at(row: RunRow, rung: int) -> bool:
    return row.state == "paused" and _steps(row) == rung


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


__all__ = ["Generation", "Ladder", "next_generation", "num_steps"]
