"""One pass after a crash: which runs mirror which trial, and which mirror none."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from tlsearch.tracking.records import KEY_TAG, PARENT, Known

_CLOSED = ("FINISHED", "FAILED", "KILLED")


class Plan(NamedTuple):
    """The one run of each key, and the runs to delete."""

    kept: dict[str, Known]
    deleted: tuple[Known, ...]


def key_of(run: Known) -> str:
    """The key that a run mirrors; the parent's is empty."""
    return run.tags.get(KEY_TAG, PARENT)


def one_run_per_key(runs: Sequence[Known]) -> Plan:
    """Keep the fullest run of each key, the oldest of equally full ones."""
    kept: dict[str, Known] = {}
    deleted: list[Known] = []
    for run in sorted(runs, key=_emptiness):
        if key_of(run) in kept:
            deleted.append(run)
        else:
            kept[key_of(run)] = run
    return Plan(kept, tuple(deleted))


def agree(
    runs: Sequence[Known], *, truth: Mapping[str, Mapping[str, str]], protected: Collection[str]
) -> Plan:
    """Keep one run for the parent, for each key of the truth (key → params) and each protected key.

    A run whose params contradict the truth mirrors something else and goes as well: params cannot
    be changed in MLflow.
    """
    fitting = [run for run in runs if _fits(run, truth, protected)]
    plan = one_run_per_key(fitting)
    strays = tuple(run for run in runs if run not in fitting)
    return Plan(plan.kept, plan.deleted + strays)


def _fits(run: Known, truth: Mapping[str, Mapping[str, str]], protected: Collection[str]) -> bool:
    key = key_of(run)
    if key == PARENT or key in protected:
        return True
    params = truth.get(key)
    return params is not None and all(params.get(k, v) == v for k, v in run.params.items())


def _emptiness(run: Known) -> tuple[int, int, bool, int]:
    """Sorts the fullest run first: most steps, most params, closed, oldest."""
    return (
        -sum(run.steps.values()),
        -len(run.params),
        run.status not in _CLOSED,
        run.start_ms,
    )
