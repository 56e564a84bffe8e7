"""A search on recorded curves: the real runner and store, workers that only look up, and a clock
that jumps from event to event.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import optuna

from benchmarks.curves.landscape import Answer, Costs, Landscape
from benchmarks.curves.tasks import EPOCHS, study, value_at
from tlsearch.config.paths import Layout
from tlsearch.config.schema import StudyConfig
from tlsearch.data.records import SplitFacts
from tlsearch.execution.interrupts import Interrupts
from tlsearch.execution.messages import (
    DataFacts,
    Decision,
    EpochDone,
    EpochSeen,
    Event,
    Job,
    Notice,
    RunEnded,
    Setting,
    TrainDone,
    TrainJob,
)
from tlsearch.execution.runs import Ending, Run
from tlsearch.execution.scheduler import Scheduler
from tlsearch.search.baselines import run_of
from tlsearch.search.confirm import choose
from tlsearch.search.coordinator import Coordinator
from tlsearch.search.runner import Queue, agreed
from tlsearch.search.store import SEARCH, Store
from tlsearch.training.results import EpochResult, FoldResult, TrainResult

NOWHERE = Path("/nonexistent")  # nothing is written


@dataclass
class _Busy:
    """A worker's training. `sent` epochs were reported, the first `known` of them at an earlier
    time; `event` is what it says at the moment `due`, None while it waits for an answer.
    """

    job: TrainJob
    answer: Answer
    costs: Costs
    known: int
    sent: int
    due: float
    event: Event | None

    @property
    def length(self) -> int:
        return min(self.answer.num_epochs, self.job.run.num_epochs)


class VirtualExecutor:
    """An `Executor` whose workers answer from curves. `events` gives one event at a time, the
    earliest there is, and sets `now` to its moment; of several at once that of the lowest worker.

    A training costs `overhead` and what building it costs, and the first of a freeze depth what its
    activations cost. One that was paused goes on after its last epoch, and says those before again.
    """

    def __init__(
        self,
        num_workers: int,
        *,
        answer: Callable[[Run], Answer],
        costs: Callable[[Run], Costs],
        overhead: float,
    ) -> None:
        self.now = self.busy_seconds = 0.0
        self._answer, self._costs, self._overhead = answer, costs, overhead
        self._workers: list[_Busy | None] = [None] * num_workers
        self._paused: dict[str, int] = {}
        self._kept: set[tuple[str, int]] = set()

    def idle(self) -> list[int]:
        """Workers without a job."""
        return [i for i, busy in enumerate(self._workers) if busy is None]

    def configure(self, setting: Setting) -> None:
        """Nothing: what the trainings share is in the curves."""

    def submit(self, worker: int, job: Job) -> None:
        """Start a training, or go on with one that was paused."""
        assert isinstance(job, TrainJob)
        assert self._workers[worker] is None, "a busy worker was given a job"
        costs = self._costs(job.run)
        seconds = self._overhead + costs.start
        depth = job.run.backbone, int(job.run.params["freeze_depth"])
        if depth not in self._kept:
            self._kept.add(depth)
            seconds += costs.kept
        known = self._paused.pop(job.key, 0)
        busy = _Busy(job, self._answer(job.run), costs, known, 0, self.now + seconds, None)
        self.busy_seconds += seconds
        self._workers[worker] = busy
        self._go_on(busy)

    def answer(self, worker: int, decision: Decision) -> None:
        """Go on, or end, as a real worker does: told to pause at an epoch from before an earlier
        pause, it goes on.
        """
        busy = self._workers[worker]
        assert busy is not None
        assert busy.event is None, "an answer that nobody waits for"
        busy.due = self.now
        if decision == "stop":
            busy.event = self._done(busy, "stopped")
        elif decision == "pause" and busy.sent > busy.known:
            self._paused[busy.job.key] = busy.sent
            busy.event = self._done(busy, "paused")
        else:
            self._go_on(busy)

    def release(self, worker: int) -> None:
        """Forget the worker's job."""
        assert self._workers[worker] is not None, "released twice"
        self._workers[worker] = None

    def events(self, *, timeout: float) -> list[tuple[int, Event]]:
        """The next thing that is said."""
        waiting = [(b.due, i) for i, b in enumerate(self._workers) if b is not None and b.event]
        assert waiting, f"after {timeout} s nobody has anything to say, and nobody ever will"
        self.now, worker = min(waiting)
        busy = self._workers[worker]
        assert busy is not None
        assert busy.event is not None
        event, busy.event = busy.event, None
        return [(worker, event)]

    def shutdown(self, *, now: bool) -> None:
        """Nothing: there are no processes."""

    def _go_on(self, busy: _Busy) -> None:
        if busy.sent == busy.job.run.num_epochs:
            busy.event = self._done(busy, "complete")
            return
        if busy.sent >= busy.known:
            busy.due += busy.costs.epoch
            self.busy_seconds += busy.costs.epoch
        if busy.sent == busy.length:
            busy.event = self._done(busy, "diverged")
            return
        busy.sent += 1
        result = epoch_result(busy.answer, busy.sent, seconds=busy.costs.epoch)
        busy.event = EpochDone(busy.job.key, result, None)

    def _done(self, busy: _Busy, ending: Any) -> TrainDone:
        seconds = busy.costs.epoch
        epochs = [epoch_result(busy.answer, i + 1, seconds=seconds) for i in range(busy.sent)]
        result = TrainResult(
            ending="diverged" if ending == "diverged" else "complete",
            reason="the loss exploded" if ending == "diverged" else "",
            epochs=tuple(epochs),
            chosen=epochs[-1] if epochs else None,
            confusion=(),
            max_grad_norm=1.0,
            images_trained=0,
            seconds=seconds * len(epochs),
            step_seconds=seconds * len(epochs),
            folds=(),
            measures={},
        )
        return TrainDone(busy.job.key, ending, result)


def epoch_result(answer: Answer, epoch: int, *, seconds: float) -> EpochResult:
    """One epoch, counted from 1, of recorded curves. Classes are of one size in all tasks."""
    figures = {name: float(curve[epoch - 1]) for name, curve in answer.curves.items()}
    return EpochResult(
        epoch=epoch,
        train_accuracy=figures["val_accuracy"],
        lr=1.0,
        max_grad_norm=1.0,
        seconds=seconds,
        val_balanced_accuracy=figures["val_accuracy"],
        **figures,
    )


class NoMirror:
    """In place of MLflow."""

    def show(self, _wanted: object) -> None:
        """Show nothing."""

    def take_notices(self) -> tuple[str, ...]:
        """Nothing to say."""
        return ()


class Step(NamedTuple):
    """From `seconds` on a search would choose a configuration of this expected test accuracy."""

    seconds: float
    accuracy: float


class Replay(NamedTuple):
    """One search: its steps, its end on the clock, and what its workers worked."""

    steps: tuple[Step, ...]
    seconds: float
    busy_seconds: float
    trials: int


class Chooser:
    """Watches a search and knows what it would choose if it were stopped: the best complete trial
    by validation, as `confirm.best_first` ranks them; before there is one, the best so far.
    """

    def __init__(self, landscape: Landscape, *, world: int, maximise: bool, metric: str) -> None:
        self._landscape, self._world, self._metric = landscape, world, metric
        self._sign = 1 if maximise else -1
        self._last: dict[str, EpochResult] = {}
        self._best: tuple[Any, ...] | None = None
        self.steps: list[Step] = []
        self.trials = 0

    def watch(self, notice: Notice, *, now: float) -> None:
        if isinstance(notice, EpochSeen) and notice.run.role == "trial":
            self._last[notice.run.key] = notice.result
            self._consider(notice.run, notice.result, now=now, complete=False)
        elif isinstance(notice, RunEnded) and notice.run.role == "trial":
            self.trials += notice.ending is not None
            if notice.ending == "complete":
                self._consider(notice.run, self._last[notice.run.key], now=now, complete=True)

    def _consider(self, run: Run, result: EpochResult, *, now: float, complete: bool) -> None:
        value = self._sign * float(getattr(result, self._metric))
        rank = (complete, value, -result.val_loss, -(run.trial or 0))
        if self._best is None or rank > self._best:
            self._best = rank
            self.choose(run.params, now=now)

    def choose(self, params: Mapping[str, Any], *, now: float) -> None:
        accuracy = self._landscape.expected_test(params, world=self._world)
        self.steps.append(Step(now, accuracy))


def replay(
    landscape: Landscape,
    policy: Mapping[str, Any],
    *,
    seed: int,
    workers: int,
    overhead: float = 0.0,
) -> Replay:
    """A search by a policy, sections of a study, or a plan of its own under `plan`. The same seed
    meets the same noise whatever the policy.
    """
    sections = {name: value for name, value in policy.items() if name != "plan"}
    sections["search"] = {**sections.get("search", {}), "seed": seed}
    config = study(landscape.task, **sections)
    assert config.budget.epochs == EPOCHS, "curves are of trainings of so many epochs"

    def answer(run: Run) -> Answer:
        if run.role == "baseline":
            return landscape.baseline(run.name, redraw=run.redraw)
        return landscape.answer(run.params, redraw=run.redraw, world=seed)

    executor = VirtualExecutor(
        workers,
        answer=answer,
        costs=lambda run: landscape.costs(run.params),
        overhead=overhead,
    )
    metric, maximise = config.search.metric, config.search.metric != "val_loss"
    chooser = Chooser(landscape, world=seed, maximise=maximise, metric=metric)

    def watch(notice: Notice) -> None:
        chooser.watch(notice, now=executor.now)

    plan = policy.get("plan")
    if plan is not None:
        work = Planned(config, plan(config, seed), watch)
        Scheduler(executor=executor, watch=watch, interrupts=Interrupts(), folder=NOWHERE).run(work)
    else:
        images = landscape.num_validation
        chosen = search(config, executor, watch, workers=workers, num_validation=images)
        if chosen is not None:
            chooser.choose(chosen, now=executor.now)
    return Replay(tuple(chooser.steps), executor.now, executor.busy_seconds, chooser.trials)


def search(
    config: StudyConfig,
    executor: VirtualExecutor,
    watch: Callable[[Notice], None],
    *,
    workers: int,
    num_validation: int,
) -> Mapping[str, Any] | None:
    """Carry out a study's trials and what they lead to; what is chosen after confirmation."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    store = Store(config, optuna.storages.InMemoryStorage())
    work = Coordinator(
        store=store,
        layout=Layout(NOWHERE),
        folder=NOWHERE,
        mirror=cast(Any, NoMirror()),
        workers=executor,
        preparer=executor,
        interrupts=Interrupts(),
        watch=watch,
        num_workers=workers,
    )
    work.configure(agreed(store, setting_of(config, num_validation=num_validation)))
    queue = Queue(work)
    queue.announce()
    work.carry_out(partial(queue.next_run, list(store.cells)))
    choice = choose(store)
    if choice is None:
        return None
    return next(row.run.params for row in store.trials() if row.number == choice.number)


def setting_of(config: StudyConfig, *, num_validation: int) -> Setting:
    """A setting without data, for a search that reads none: all that it knows is how many images
    validate.
    """
    split = SplitFacts(
        strategy="stratified", folds=None, fingerprint="", left_out=0, parts=(), pairs=(), notes=()
    )
    return Setting(
        config=config,
        data=DataFacts(
            num_images=0,
            class_names=(),
            fingerprint="",
            train_counts=(),
            validation_counts=(num_validation,),
            test_counts=(),
            split=split,
        ),
        groups=(),
        folder=NOWHERE,
        store=NOWHERE,
        activations=NOWHERE,
        activations_key="",
        source=None,
        weights="",
        weights_fingerprint="",
        precision="fp32",
        device="cpu",
    )


# Plans that are no study of tlsearch: what someone without it would do.


Plan = Callable[[StudyConfig, int], "list[Stage]"]


class Stage(NamedTuple):
    """Configurations to train for so many epochs; of the stage before it those that were best by
    its last epoch where there are none.
    """

    configurations: list[dict[str, Any]]
    best: int
    epochs: int


class Planned:
    """A plan as work for the scheduler: stage after stage."""

    def __init__(
        self, config: StudyConfig, stages: list[Stage], watch: Callable[[Notice], None]
    ) -> None:
        self._config, self._stages, self._watch = config, stages, watch
        self._left: list[dict[str, Any]] = []
        self._under_way = self._number = self._epochs = 0
        self._values: dict[int, tuple[float, dict[str, Any]]] = {}

    def next_runs(self) -> list[tuple[Run, TrainJob]]:
        if not self._left and not self._under_way and self._stages:
            stage = self._stages.pop(0)
            ranked = sorted(self._values.items(), key=lambda item: (-item[1][0], item[0]))
            self._left = stage.configurations or [p for _, (_, p) in ranked[: stage.best]]
            self._epochs = stage.epochs
        if not self._left:
            return []
        self._under_way += 1
        run = run_of(self._config, SEARCH, self._number, self._left.pop(0))
        self._number += 1
        return [(run, TrainJob(run=run))]

    def started(self, _run: Run) -> None:
        pass

    def epoch(self, run: Run, result: EpochResult, _fold: FoldResult | None) -> Decision:
        self._watch(EpochSeen(run, result))
        assert run.trial is not None
        self._values[run.trial] = result.val_accuracy, dict(run.params)
        return "stop" if result.epoch >= self._epochs < run.num_epochs else "continue"

    def ended(self, run: Run, ending: Ending, _result: TrainResult | None, reason: str) -> None:
        self._under_way -= 1
        self._watch(RunEnded(run, ending, None, reason))

    def paused(self, run: Run, _result: TrainResult | None) -> None:
        raise AssertionError(f"{run.key}: a plan pauses nothing")


def drawn(config: StudyConfig, seed: int, number: int) -> list[dict[str, Any]]:
    """Configurations drawn at random from the space of a study."""
    draw = np.random.default_rng(seed)
    return [config.assign(lambda _n, d: value_at(d, draw.random())) for _ in range(number)]


def one_epoch_first(config: StudyConfig, seed: int) -> list[Stage]:
    """One epoch for all of the budget's trials, then the best 6 anew and in full."""
    return [Stage(drawn(config, seed, config.budget.trials), 0, 1), Stage([], 6, EPOCHS)]
