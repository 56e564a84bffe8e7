"""Judge search policies by hundreds of searches on the kept curves, without training anything.

    python -m benchmarks.policies                                    # all: tens of minutes
    python -m benchmarks.policies --policies tpe-median random --tasks fashion-5-lite0 --seeds 10
    python -m benchmarks.policies --errors                           # of the surrogate, alone

A policy is a row of `POLICIES`: the sections of a study that make it. A search is judged by the
test accuracy, expected over seeds, of the configuration that it would choose at a moment, and by
when it gets to what plain TPE with the median pruner has after its 60 trials. Keeps the means over
seeds in benchmarks/policies.parquet, so that a new policy is judged beside those that are there,
and writes policies.md of all policies that were judged on every task.
"""

import argparse
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from hashlib import sha256
from statistics import median
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.curves import tables
from benchmarks.curves.landscape import Landscape, read_kept, recorded_tasks
from benchmarks.curves.portfolio import content, portfolio_of
from benchmarks.curves.tasks import EPOCHS, HERE
from benchmarks.replay import Replay, Stage, one_epoch_first, replay
from tlsearch.cli.init import CONFIRM
from tlsearch.config import portfolio as start
from tlsearch.config.schema import StudyConfig

TRIALS, WORKERS, SEEDS = 60, 2, 50


def portfolio_alone(config: StudyConfig, _seed: int) -> list[Stage]:
    return [Stage(portfolio_of(config.name), 0, EPOCHS)]


def portfolio_one_epoch(config: StudyConfig, _seed: int) -> list[Stage]:
    return [Stage(portfolio_of(config.name), 0, 1), Stage([], 2, EPOCHS)]


PEER, INIT = "tpe-median", "portfolio-hyperband"
RIVALS = (PEER, "tpe-hyperband", "asha", "random")
PLAIN: Mapping[str, Any] = {
    "budget": {"trials": TRIALS, "epochs": EPOCHS},
    "confirm": None,
    "baselines": False,
}
POLICIES: Mapping[str, Mapping[str, Any]] = {
    # Optuna's own TPESampler() and MedianPruner(); tlsearch models conditional dimensions, too.
    PEER: {**PLAIN, "search": {"sampler": {"tpe": {"group": False}}, "pruner": "median"}},
    "random": {**PLAIN, "search": {"sampler": "random", "pruner": "none"}},
    "tpe-hyperband": {**PLAIN, "search": {"sampler": "tpe", "pruner": "hyperband"}},
    "asha": {**PLAIN, "search": {"sampler": "random", "pruner": "successive_halving"}},
    "tpe-asha": {**PLAIN, "search": {"sampler": "tpe", "pruner": "successive_halving"}},
    "tpe-median-log-loss": {
        **PLAIN,
        "search": {"sampler": "tpe", "pruner": "median", "metric": "log_loss"},
    },
    "tpe-median-confirmed": {
        **PLAIN,
        "search": {"sampler": "tpe", "pruner": "median"},
        "confirm": {"top": 3, "seeds": 3},
    },
    "one-epoch-first": {**PLAIN, "plan": one_epoch_first},
    "racing": {**PLAIN, "search": {"pruner": "racing"}},
    "racing-random": {**PLAIN, "search": {"sampler": "random", "pruner": "racing"}},
    "racing-from-2-epochs": {**PLAIN, "search": {"pruner": {"racing": {"min_resource": 2}}}},
    "portfolio-median": {**PLAIN, "search": {"pruner": "median", "start": "portfolio"}},
    # What `tlsearch init` proposes, without and with its confirmation.
    INIT: {
        **PLAIN,
        "search": {"sampler": "tpe", "pruner": "hyperband", "start": "portfolio"},
    },
    f"{INIT}-confirmed": {
        **PLAIN,
        "search": {"sampler": "tpe", "pruner": "hyperband", "start": "portfolio"},
        "confirm": CONFIRM,
    },
    "portfolio-racing": {**PLAIN, "search": {"pruner": "racing", "start": "portfolio"}},
    "portfolio-racing-from-2-epochs": {
        **PLAIN,
        "search": {"pruner": {"racing": {"min_resource": 2}}, "start": "portfolio"},
    },
    "portfolio-median-stopped": {
        **PLAIN,
        "search": {"pruner": "median", "start": "portfolio", "stop": {"gain": 0.005}},
    },
    # Without a search: what tasks of other images would start with, in full; or an epoch of each,
    # and of the best two all.
    "portfolio-alone": {**PLAIN, "plan": portfolio_alone},
    "portfolio-one-epoch": {**PLAIN, "plan": portfolio_one_epoch},
}
"""What is plain tlsearch or Optuna, and what someone without either would do."""
DIP, ROUNDING, END = 0.005, 1e-9, 1.0
FILE = HERE.parent / "policies.parquet"
MOMENTS = np.geomspace(0.002, 2.0, 200)
"""When a search is looked at, as shares of the peer's mean time for its trials."""


class Judged(NamedTuple):
    """A policy on a task over seeds: mean, 10th and 90th percentile of the expected test accuracy
    at each moment; how long a whole search takes, and its mean accuracy at the end.
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    seconds: float
    final: float


@cache
def landscape(task: str) -> Landscape:
    return Landscape(task, read_kept(HERE))


class Setup(NamedTuple):
    """How many workers a search has, and seconds that each training costs beside itself."""

    workers: int
    overhead: float


def one(policy: str, task: str, seeds: Sequence[int], setup: Setup) -> list[Replay]:
    """Searches of one policy on one task, of whose images the portfolio knows nothing; in a process
    of its own.
    """
    found, row = landscape(task), POLICIES[policy]
    with patch.object(start, "portfolio", lambda: left_out_content(task)):
        return [
            replay(found, row, seed=seed, workers=setup.workers, overhead=setup.overhead)
            for seed in seeds
        ]


left_out_content = cache(content)


def accuracies(replays: Sequence[Replay], moments: np.ndarray, *, before: float) -> np.ndarray:
    """The accuracy (searches, moments) of what each search would choose; `before` it has any."""
    rows = []
    for found in replays:
        times = np.array([step.seconds for step in found.steps])
        values = np.array([before, *(step.accuracy for step in found.steps)])
        rows.append(values[np.searchsorted(times, moments, side="right")])
    return np.array(rows)


def judged(replays: Sequence[Replay], moments: np.ndarray, *, before: float) -> Judged:
    values = accuracies(replays, moments, before=before)
    low, high = np.percentile(values, [10, 90], axis=0)
    last = float(np.mean([found.steps[-1].accuracy for found in replays]))
    return Judged(values.mean(0), low, high, float(np.mean([f.seconds for f in replays])), last)


def reached(moments: np.ndarray, mean: np.ndarray, target: float) -> float:
    """The first moment at which the mean is at the target and from which on, to the peer's end, it
    falls no more than a `DIP` below; infinite if there is none.
    """
    # What the mean comes down to later, from every moment on.
    lowest = np.minimum.accumulate(np.where(moments <= END, mean, np.inf)[::-1])[::-1]
    found = np.flatnonzero((mean >= target - ROUNDING) & (lowest >= target - DIP))
    return float(moments[found[0]]) if len(found) else float("inf")


Results = dict[tuple[str, str], Judged]
"""By policy and task."""


def judge(
    policies: Sequence[str],
    tasks: Sequence[str],
    result: Results,
    *,
    seeds: int,
    setup: Setup,
    processes: int,
) -> Iterator[None]:
    """Add to `result` these policies on these tasks, and the peer where it lacks it; yields after
    each.
    """
    with ProcessPoolExecutor(processes, initializer=os.nice, initargs=(15,)) as pool:
        # Task by task, so that a process seldom fits another surrogate.
        waiting = {
            (policy, task): pool.submit(one, policy, task, range(seeds), setup)
            for task in tasks
            for policy in dict.fromkeys([PEER, *policies])
            if policy in policies or (policy, task) not in result
        }
        for (policy, task), future in waiting.items():
            began, replays = time.monotonic(), future.result()
            own = float(np.mean([found.seconds for found in replays]))
            whole = own if policy == PEER else result[PEER, task].seconds
            chance = landscape(task).chance
            result[policy, task] = judged(replays, MOMENTS * whole, before=chance)
            print(f"{task} {policy}: {time.monotonic() - began:.1f} s", flush=True)
            yield


# What is written.


def markdown(
    result: Results, policies: Sequence[str], tasks: Sequence[str], *, seeds: int, setup: Setup
) -> str:
    """Tables of policies, the peer first, on tasks, and what the surrogate is worth on them."""
    kept = tables.about(HERE, tables.TRAININGS)
    lines = [
        "# Search policies on recorded curves",
        "",
        f"`python -m benchmarks.policies --seeds {seeds}`: on each of {len(tasks)} "
        f"tasks, {setup.workers} workers, virtual time; curves of {kept['machine']}, torch "
        f"{kept['torch']}. Means over seeds of the test accuracy, expected over seeds, of the "
        "configuration that a search would choose. *Speed* is the peer's time for its "
        f"{TRIALS} trials ({PEER}) by a policy's time to the accuracy that the peer then has; "
        "0 where a policy does not get there within twice the peer's time, or falls back by more "
        f"than {100 * DIP:g} points.",
        "",
        "A search begins with the portfolio's strategies as they are kept, rounded, so the "
        "surrogate answers for them, which has seen the recorded ones and their luck; "
        "`portfolio-alone` takes the recorded ones, freed of luck. What the portfolio is worth "
        "lies between the two.",
        "",
        "| policy | speed: median over tasks (range) | tasks reached | accuracy at the peer's end, "
        "points above it | at its own end | its whole time by the peer's |",
        "|---|---|---|---|---|---|",
    ]
    last = int(np.argmin(np.abs(MOMENTS - 1)))
    for policy in policies:
        speeds, gains, ends, times = [], [], [], []
        for task in tasks:
            its, peer = result[policy, task], result[PEER, task]
            speeds.append(1 / reached(MOMENTS, its.mean, peer.final))
            gains.append(100 * (its.mean[last] - peer.final))
            ends.append(100 * (its.final - peer.final))
            times.append(its.seconds / peer.seconds)
        lines.append(
            f"| {policy} | {spread(speeds, '.1f')} | {sum(s > 0 for s in speeds)} of {len(tasks)} "
            f"| {spread(gains, '+.2f')} | {spread(ends, '+.2f')} | {spread(times, '.2f')} |"
        )
    lines += ["", *against_each(result, tasks), "", "## By task", ""]
    lines += [f"| task | {PEER}: accuracy, seconds | " + " | ".join(policies[1:]) + " |"]
    lines += ["|---" * (len(policies) + 1) + "|"]
    for task in tasks:
        peer = result[PEER, task]
        cells = []
        for policy in policies[1:]:
            its = result[policy, task]
            speed = 1 / reached(MOMENTS, its.mean, peer.final)
            cells.append(f"{100 * (its.final - peer.final):+.2f}, {speed:.1f}×")
        lines.append(
            f"| {task} | {peer.final:.4f}, {peer.seconds:.0f} | " + " | ".join(cells) + " |"
        )
    return "\n".join([*lines, "", *errors(tasks)]) + "\n"


def against_each(result: Results, tasks: Sequence[str]) -> list[str]:
    """What `tlsearch init` proposes against other searches, each by its own end, as a table."""
    lines = [f"## {INIT}, which `tlsearch init` proposes, against each", ""]
    lines += ["*Speed* as above, by the rival's own end and time.", ""]
    lines += ["| rival | speed: median over tasks (range) | tasks reached | points above it |"]
    lines += ["|---|---|---|---|"]
    for rival in RIVALS:
        speeds, gains = [], []
        for task in tasks:
            ours, its, peer = (result.get((name, task)) for name in (INIT, rival, PEER))
            if ours is None or its is None or peer is None:
                continue
            moments = MOMENTS * peer.seconds / its.seconds
            speeds.append(1 / reached(moments, ours.mean, its.final))
            gains.append(100 * (ours.final - its.final))
        if speeds:
            won = f"{sum(speed > 0 for speed in speeds)} of {len(speeds)}"
            lines += [f"| {rival} | {spread(speeds, '.1f')} | {won} | {spread(gains, '+.2f')} |"]
    return lines


def spread(values: Sequence[float], style: str) -> str:
    low, middle, high = min(values), median(values), max(values)
    return f"{middle:{style}} ({low:{style}} to {high:{style}})"


def errors(tasks: Sequence[str]) -> list[str]:
    """The surrogate's held-out errors, and what seeds do, as a table."""
    columns: dict[str, list[str]] = defaultdict(list)
    for task in tasks:
        found = landscape(task)
        columns["configurations"].append(str(len(found.params)))
        columns["trainings"].append(str(len(found.recorded)))
        for name, (error, deviation) in found.held_out_errors().items():
            columns[name].append(f"{error:.3f} of {deviation:.3f}")
        for name, value in found.seed_spread().items():
            columns[f"between seeds: {name}"].append(f"{value:.3f}")
    head = ["## The surrogate", "", "Root mean squared error on configurations that it was not"]
    head[-1] += " fitted to, of the standard deviation of the figure; of losses, of their logarithm"
    head[-1] += ". What one seed's training is off by is in it."
    rows = [f"| {name} | " + " | ".join(values) + " |" for name, values in columns.items()]
    return [*head, "", "| | " + " | ".join(tasks) + " |", "|---" * (len(tasks) + 1) + "|", *rows]


_COLUMNS: Mapping[str, pa.DataType] = {
    "policy": pa.string(),
    "task": pa.string(),
    "share_of_peer": pa.float32(),
    **dict.fromkeys(("mean", "low", "high", "seconds", "final"), pa.float64()),
}


def circumstances(seeds: int, setup: Setup) -> dict[str, str]:
    """What results depend on beside policy and task."""
    digest = sha256(b"".join((HERE / name).read_bytes() for name in sorted(tables.ALL)))
    return {"curves": digest.hexdigest()[:16], "seeds": str(seeds), "setup": str(setup)}


def write(result: Results, about: Mapping[str, str]) -> None:
    """The curves of means, a row for each policy, task and moment."""
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    for (policy, task), its in result.items():
        of_all = {"policy": policy, "task": task, "seconds": its.seconds, "final": its.final}
        for i, share in enumerate(MOMENTS):
            moment = {"share_of_peer": share, "mean": its.mean[i]}
            row = {**of_all, **moment, "low": its.low[i], "high": its.high[i]}
            for name, values in columns.items():
                values.append(row[name])
    schema = pa.schema(list(_COLUMNS.items()), metadata=dict(about))
    pq.write_table(pa.table(columns, schema=schema), FILE, compression="zstd")


def read(about: Mapping[str, str]) -> Results:
    """What was written in the same circumstances; nothing in others."""
    if not FILE.exists():
        return {}
    table = pq.read_table(FILE)
    known = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    if known != dict(about):
        return {}
    rows = defaultdict(list)
    for row in table.to_pylist():
        rows[row["policy"], row["task"]].append(row)
    return {
        place: Judged(
            mean=np.array([row["mean"] for row in its]),
            low=np.array([row["low"] for row in its]),
            high=np.array([row["high"] for row in its]),
            seconds=its[0]["seconds"],
            final=its[0]["final"],
        )
        for place, its in rows.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    # Without repetitions there is no noise, and any policy looks better than it is.
    known = recorded_tasks(repeated=True)
    parser.add_argument("--tasks", nargs="+", default=known, choices=known)
    parser.add_argument("--policies", nargs="+", default=list(POLICIES), choices=list(POLICIES))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--overhead", type=float, default=0.0, help="seconds a training")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--errors", action="store_true")
    given = parser.parse_args()
    if given.errors:
        print("\n".join(errors(given.tasks)))
        return
    setup = Setup(given.workers, given.overhead)
    about = circumstances(given.seeds, setup)
    result, policies = read(about), [PEER, *(p for p in given.policies if p != PEER)]
    for _ in judge(
        policies if PEER in given.policies else policies[1:],
        given.tasks,
        result,
        seeds=given.seeds,
        setup=setup,
        processes=given.processes,
    ):
        write(result, about)
    whole = [p for p in POLICIES if all((p, task) in result for task in known)]
    if PEER in whole:
        text = markdown(result, whole, known, seeds=given.seeds, setup=setup)
        FILE.with_suffix(".md").write_text(text, encoding="utf-8")
    print(markdown(result, policies, given.tasks, seeds=given.seeds, setup=setup))


if __name__ == "__main__":
    main()
