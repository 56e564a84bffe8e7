"""Stand-ins that say what a test tells them to: workers in memory, a mirror that remembers."""

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna

from tlsearch.config.paths import Layout
from tlsearch.config.schema import StudyConfig
from tlsearch.data.records import SplitFacts
from tlsearch.execution.messages import (
    DataFacts,
    Decision,
    EpochDone,
    Event,
    Job,
    Notice,
    Setting,
    TrainDone,
    WorkerDied,
)
from tlsearch.execution.runs import Run
from tlsearch.search.store import Store
from tlsearch.tracking.reconcile import Wanted
from tlsearch.training.results import EpochResult, TrainResult

GROUPS = ("stem", "layer1", "layer2", "layer3", "layer4", "head")
Story = Generator[Event, Decision, None]


def epoch(number: int, accuracy: float) -> EpochResult:
    return EpochResult(number, 1.0, 0.5, 1.0 - accuracy, accuracy, 0.01, 2.0, 0.1)


def result(
    accuracies: list[float], *, ending: str = "complete", reason: str = "", last: int | None = None
) -> TrainResult:
    epochs = tuple(epoch(i, a) for i, a in enumerate(accuracies, 1))[:last]
    return TrainResult(
        ending=ending,  # type: ignore[arg-type]
        reason=reason,
        epochs=epochs,
        chosen=epochs[-1] if epochs and ending == "complete" else None,
        confusion=((3, 1), (0, 4)) if ending == "complete" else (),
        max_grad_norm=2.0,
        images_trained=10 * len(epochs),
        seconds=0.1 * len(epochs),
        step_seconds=0.08 * len(epochs),
        folds=(),
        measures={},
    )


def train(key: str, accuracies: list[float], measures: Mapping[str, float] | None = None) -> Story:
    """What a worker tells of a training that obeys its answers."""
    for number, accuracy in enumerate(accuracies, 1):
        decision = yield EpochDone(key, epoch(number, accuracy), None)
        if decision != "continue":
            ending = "stopped" if decision == "stop" else "paused"
            told = result(accuracies, last=number)
            yield TrainDone(key, ending, told)  # type: ignore[arg-type]
            return
    yield TrainDone(key, "complete", replace(result(accuracies), measures=measures or {}))


def drive(store: Store, run: Run, accuracies: list[float]) -> bool:
    """Report a whole run and tell it; whether it was pruned."""
    for number, accuracy in enumerate(accuracies, 1):
        if store.report(run, epoch(number, accuracy), fold=None):
            store.tell(run, "pruned", result(accuracies, last=number), reason="")
            return True
    store.tell(run, "complete", result(accuracies), reason="")
    return False


class FakeExecutor:
    """Tells `story(job, attempt)` of each job, one event a turn; every job sees its answers."""

    def __init__(self, num_workers: int, story: Callable[[Any, int], Story]) -> None:
        self._story = story
        self._live: list[Story | None] = [None] * num_workers
        self._next: list[Event | None] = [None] * num_workers
        self._ended = [True] * num_workers
        self.jobs: list[Job] = []
        self.answers: list[tuple[str, Decision]] = []
        self.settings: list[Setting] = []
        self.shutdowns: list[bool] = []
        self.between: Callable[[], None] = lambda: None

    def idle(self) -> list[int]:
        return [i for i, story in enumerate(self._live) if story is None]

    def configure(self, setting: Setting) -> None:
        self.settings.append(setting)

    def submit(self, worker: int, job: Job) -> None:
        assert self._live[worker] is None, "a busy worker was given a job"
        attempt = sum(j.key == job.key for j in self.jobs)
        self.jobs.append(job)
        self._live[worker] = story = self._story(job, attempt)
        self._next[worker] = next(story)

    def answer(self, worker: int, decision: Decision) -> None:
        story = self._live[worker]
        if story is None:
            return  # it died meanwhile
        assert self._next[worker] is None, "an answer that nobody waits for"
        self._next[worker] = story.send(decision)
        self.answers.append((self.jobs[-1].key if len(self._live) == 1 else "", decision))  # type: ignore[union-attr]

    def release(self, worker: int) -> None:
        assert self._live[worker] is not None, "released twice"
        self._live[worker] = None

    def events(self, *, timeout: float) -> list[tuple[int, Event]]:
        assert timeout > 0
        self.between()
        told: list[tuple[int, Event]] = []
        for worker, event in enumerate(self._next):
            if event is None:
                continue
            told.append((worker, event))
            self._next[worker] = None
            story = self._live[worker]
            if isinstance(event, WorkerDied):
                self._live[worker] = None
            elif not isinstance(event, EpochDone) and story is not None:
                self._next[worker] = next(story, None)
        assert told or not any(self._live), "everybody waits for everybody"
        return told

    def shutdown(self, *, now: bool) -> None:
        self.shutdowns.append(now)


class FakeMirror:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.finished: list[tuple[str, str, Mapping[str, Any]]] = []
        self.steps: dict[str, list[int]] = {}
        self.measured: dict[str, Wanted] = {}
        self.params: dict[str, Mapping[str, Any]] = {}
        self.tags: dict[str, Mapping[str, Any]] = {}
        self.artifacts: dict[str, Mapping[str, Any]] = {}
        self.notices: list[str] = []

    def show(self, wanted: Wanted) -> None:
        key = wanted.key
        if wanted.status == "RUNNING":
            assert (wanted.run_name or "").startswith(key)
            self.started.append(key)
            self.params[key], self.tags[key] = wanted.params, wanted.tags
        elif wanted.status is not None:
            ending = ("tlsearch.state", "tlsearch.reason")
            tags = {name: text for name, text in wanted.tags.items() if name in ending}
            self.finished.append((key, wanted.status, tags))
            self.artifacts[key] = {path: json.loads(it) for path, it in wanted.artifacts.items()}
            if any(point.name.startswith("measure.") for point in wanted.points):
                self.measured[key] = wanted
        else:
            (step,) = {point.step for point in wanted.points}
            assert "val_accuracy" in {point.name for point in wanted.points}
            self.steps.setdefault(key, []).append(step)

    def take_notices(self) -> tuple[str, ...]:
        taken, self.notices = tuple(self.notices), []
        return taken


class Watched:
    """A watcher that keeps all notices."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []

    def __call__(self, notice: Notice) -> None:
        self.notices.append(notice)

    def of(self, kind: type) -> list[Any]:
        return [n for n in self.notices if isinstance(n, kind)]


def setting_of(config: StudyConfig, folder: Path) -> Setting:
    return Setting(
        config=config,
        data=DataFacts(
            num_images=20,
            class_names=("a", "b"),
            fingerprint="f" * 16,
            train_counts=(4, 4),
            validation_counts=(4, 4),
            test_counts=(2, 2),
            split=SplitFacts(
                strategy="stratified",
                folds=None,
                fingerprint="5" * 16,
                left_out=0,
                parts=(),
                pairs=(),
                notes=(),
            ),
        ),
        groups=GROUPS,
        folder=folder,
        store=folder / "store",
        activations=folder / "activations",
        activations_key="f" * 16,
        source=None,
        weights="none",
        weights_fingerprint="none",
        precision="fp32",
        device="cpu",
    )


def memory_store(config: StudyConfig) -> Store:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return Store(config, optuna.storages.InMemoryStorage())


def states(store: Store) -> dict[str, str]:
    return {row.run.key: row.state for row in store.rows()}


def layout_in(folder: Path) -> Layout:
    layout = Layout(folder / "mlruns")
    layout.create()
    return layout
