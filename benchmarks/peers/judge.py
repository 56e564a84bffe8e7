"""What the runs of benchmarks/versus.py come to: the accuracy that a search had at each moment, and
when it had its peer's; how both sides did the same trials.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple
from zlib import crc32

import numpy as np

from benchmarks.curves.record import Recording, read_lines, say
from benchmarks.curves.tasks import LITE
from benchmarks.peers.runs import PROCESSES, Record, Task
from benchmarks.policies import MOMENTS, accuracies, judged, reached
from benchmarks.replay import Replay, Step
from tlsearch.config.schema import StudyConfig
from tlsearch.execution.executor import LocalExecutor
from tlsearch.execution.interrupts import Interrupts
from tlsearch.execution.runs import Run
from tlsearch.execution.scheduler import Scheduler
from tlsearch.search.baselines import baseline_run, run_of
from tlsearch.search.store import SEARCH

REDRAWS = (101, 102)
"""Draws of training and validation part that no search has seen."""


def choices(record: Record) -> list[tuple[float, Record]]:
    """What a search would have chosen from which second on: the best complete trial or baseline so
    far by validation, in the end what its confirmation chose.
    """
    candidates = [
        (one["seconds"], (one["value"], -(one["loss"] or 0.0), -number), one)
        for number, one in enumerate([*record.get("baselines", ()), *record["trials"]])
        if one["value"] is not None
    ]
    best, found = None, list[tuple[float, Record]]()
    for seconds, rank, one in sorted(candidates, key=lambda candidate: candidate[0]):
        if best is None or rank > best:
            best = rank
            baseline, params = one.get("baseline", ""), one.get("params", {})
            found.append((seconds, {"baseline": baseline, "params": params}))
    if (last := record.get("choice")) is not None:
        found.append((last["seconds"], {k: last[k] for k in ("baseline", "params")}))
    return found


def runs_of(config: StudyConfig, choice: Record) -> list[Run]:
    """The trainings by which a choice is judged."""
    if choice["baseline"]:
        return [baseline_run(config, choice["baseline"], seed=seed) for seed in REDRAWS]
    params = choice["params"]
    number = crc32(json.dumps(params, sort_keys=True).encode())
    return [run_of(config, SEARCH, number, params, seed=seed) for seed in REDRAWS]


def evaluate(task: Task, records: Sequence[Record]) -> None:
    """Train whatever any of the searches would have chosen, unless that was done before."""
    chosen = [choice for record in records for _, choice in choices(record)]
    runs = [run for choice in chosen for run in runs_of(task.config, choice)]
    executor = LocalExecutor(num_workers=PROCESSES, num_devices=0)
    interrupts = Interrupts()
    scheduler = Scheduler(executor=executor, watch=say, interrupts=interrupts, folder=task.folder)
    try:
        with interrupts.listening():
            scheduler.configure(task.setting.with_precisions({LITE: "fp32"}))
            distinct = {run.key: run for run in runs}.values()
            scheduler.run(Recording(task.folder, evaluations(task.folder), distinct))
    finally:
        executor.shutdown(now=True)


def evaluations(folder: Path) -> Path:
    return folder / "evaluations.jsonl"


class Judge:
    """The expected test accuracies of a task's choices. What diverged has that of chance."""

    def __init__(self, task: Task) -> None:
        self.chance = 1 / task.setting.data.num_classes
        self._config = task.config
        self._known = {
            line["key"]: line.get("test_accuracy", self.chance)
            for line in read_lines(evaluations(task.folder))
        }

    def expected(self, choice: Record) -> float:
        return fmean(self._known[run.key] for run in runs_of(self._config, choice))

    def replay(self, record: Record) -> Replay:
        """A run as steps of the accuracy that it had; its end is that of its last training."""
        steps = [Step(seconds, self.expected(choice)) for seconds, choice in choices(record)]
        ends = [trial["seconds"] for trial in record["trials"]] + [s.seconds for s in steps]
        return Replay((Step(0.0, self.chance), *steps), max(ends), 0.0, len(record["trials"]))


class Race(NamedTuple):
    """A peer's `seconds` and its accuracy in the end, `target`; when it first had that itself, when
    tlsearch had it in the mean over seeds, and by seed; and how tlsearch ends. Infinite: never.
    """

    seconds: float
    target: float
    peer_reached: float
    reached: float
    by_seed: list[float]
    own_seconds: float
    own_final: float

    @property
    def speed(self) -> float:
        return self.seconds / self.reached


def race(ours: Sequence[Replay], peers: Sequence[Replay], *, chance: float) -> Race:
    """When the mean over seeds of the accuracies is what the peer's comes to."""
    seconds = fmean(found.seconds for found in peers)
    moments = MOMENTS * seconds
    its, own = (judged(found, moments, before=chance) for found in (peers, ours))
    rows = accuracies(ours, moments, before=chance)
    return Race(
        seconds=seconds,
        target=its.final,
        peer_reached=seconds * reached(MOMENTS, its.mean, its.final),
        reached=seconds * reached(MOMENTS, own.mean, its.final),
        by_seed=[seconds * reached(MOMENTS, row, its.final) for row in rows],
        own_seconds=own.seconds,
        own_final=own.final,
    )


class Pair(NamedTuple):
    """The same trials by both sides: seconds, processor seconds, and how far the peer's validation
    accuracies are from tlsearch's: mean difference and correlation.
    """

    ours: Record
    peer: Record

    @property
    def ratio(self) -> float:
        return float(self.peer["seconds"] / self.ours["seconds"])

    @property
    def cpu_ratio(self) -> float:
        return float(self.peer["cpu"] / self.ours["cpu"])

    def agreement(self, head: str = "") -> tuple[float, float, int]:
        """Mean difference and correlation of the values of trials that both completed, and their
        number; of those whose head starts so.
        """
        by_ours, by_peer = (
            {json.dumps(t["params"], sort_keys=True): t["value"] for t in side["trials"]}
            for side in self
        )
        assert by_ours.keys() == by_peer.keys(), "both sides have the same trials"
        kept = [k for k in by_ours if json.loads(k).get("head_init", "").startswith(head)]
        pairs = [(by_ours[k], by_peer[k]) for k in kept]
        found = np.array([pair for pair in pairs if None not in pair], dtype=float).reshape(-1, 2)
        varies = len(found) > 1 and bool((found.std(0) > 0).all())
        correlation = float(np.corrcoef(found.T)[0, 1]) if varies else float("nan")
        mean = float((found[:, 1] - found[:, 0]).mean()) if len(found) else float("nan")
        return mean, correlation, len(found)
