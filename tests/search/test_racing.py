"""Racing with thawing: what goes on, what is new, and that workers make no difference."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from tests.search.conftest import BODY, Study
from tests.search.fakes import FakeExecutor, Story, epoch, layout_in, memory_store, train
from tests.search.scenes import Scene
from tests.search.test_folds import summed
from tests.search.test_folds import told as told_of_folds
from tlsearch.config.paths import checkpoint_path
from tlsearch.config.portfolio import entries, starts
from tlsearch.config.search_options import Racing
from tlsearch.execution.interrupts import Interrupted
from tlsearch.execution.messages import EpochDone, TrainDone, WorkerDied
from tlsearch.execution.runs import Run, RunRow
from tlsearch.search import racing
from tlsearch.search.racing import Ladder, next_generation
from tlsearch.search.runner import Queue
from tlsearch.search.storage import open_storage
from tlsearch.search.store import SEARCH, Store

LADDER = Ladder(rungs=(1, 3), reduction_factor=3)
RACE = (
    "search.pruner={racing: {generation: 4}}",
    "search.sampler=tpe",
    "budget.trials=12",
    "budget.epochs=9",
    "baselines=[]",
    "confirm.top=1",
)


def skill(trial: int) -> float:
    """What a trial comes to; they are in no order."""
    return (7 * trial % 12) / 20


def learns(job: Any, _attempt: int) -> Story:
    run = job.run
    slow = 0.3 if run.trial == 5 else 0.0  # behind at first, the best in the end
    values = [skill(run.trial or 0) + 0.01 * i - slow * (i < 3) for i in range(1, 10)]
    return train(run.key, values[: run.num_epochs])


def raced(study: Study, folder: Path, *, workers: int) -> tuple[list[RunRow], Scene]:
    scene = Scene(study(*RACE), folder / "study", learns, workers=workers)
    queue = Queue(scene.coordinator)
    scene.coordinator.carry_out(lambda: queue.next_run([SEARCH]))
    return scene.store.trials(), scene


def test_rungs() -> None:
    assert Racing().rungs(10) == (1, 3, 9)
    assert Racing(min_resource=2, reduction_factor=2).rungs(8) == (2, 4)
    assert Racing().rungs(1) == ()


def rows_of(study: Study, *trained: tuple[float, ...]) -> list[RunRow]:
    """Trials that pause, with their values by epoch."""
    store = memory_store(study(body=BODY))
    found = []
    for number, values in enumerate(trained):
        store.ask()
        row = store.trials()[number]
        epochs = tuple(epoch(i, value) for i, value in enumerate(values, 1))
        found.append(replace(row, state="paused", epochs=epochs))
    return found


def test_what_follows(study: Study) -> None:
    def follows(rows: list[RunRow], size: int = 4, budget: int = 9) -> Any:
        kwargs: Any = {"metric": "val_accuracy", "complete": 1}
        return next_generation(rows, LADDER, size=size, budget=budget, **kwargs)

    assert follows([]) == (4, {})
    rows = rows_of(study, (0.2,), (0.5,), (0.4,), (0.3,), (0.5,), (0.1,))
    # The best third go on, equals by the smaller loss and then the earlier; new ones fill up.
    assert follows(rows) == (8, {1: 3, 4: 3})
    assert follows(rows, size=1) == (6, {1: 3})
    # Nobody goes on twice from one rung; one of three goes on to the end.
    further = rows_of(
        study, (0.2,), (0.5, 0.6, 0.6), (0.4, 0.4, 0.7), (0.6, 0.7, 0.5), *[(0.1,)] * 5
    )
    assert follows(further) == (9, {2: None})
    done = [replace(r, state="complete", value=0.7) if r.number == 2 else r for r in further]
    assert follows(done) is None
    # What diverged came to its rung, and is the last there.
    lost = [replace(r, state="diverged") if r.number == 1 else r for r in rows]
    assert follows(lost) == (8, {2: 3, 4: 3})
    # At least as many as are wanted come to their end.
    assert follows(rows[:2], budget=2) == (2, {1: 3})


def test_the_same_race_whatever_the_number_of_workers(study: Study, tmp_path: Path) -> None:
    one, _ = raced(study, tmp_path / "one", workers=1)
    three, scene = raced(study, tmp_path / "three", workers=3)

    def told(rows: list[RunRow]) -> list[Any]:
        return [(r.number, r.run.params["lr"], r.state, len(r.epochs), r.value) for r in rows]

    assert told(one) == told(three)
    assert len(one) == 12
    assert {row.state for row in one} == {"complete", "pruned"}
    lengths = [len(row.epochs) for row in one]
    assert set(lengths) == {1, 3, 9}
    assert sum(lengths) < 12 * 9 / 2
    ended = {row.number: row.reason for row in one if row.state == "pruned"}
    assert set(ended.values()) == {"fell behind where it paused"}
    # A trial that goes on is handed out again.
    best = max(one, key=lambda row: row.value or 0.0)
    assert scene.keys.count(best.run.key) == 3


def test_a_race_that_is_carried_on_goes_the_same_way(study: Study, tmp_path: Path) -> None:
    whole, _ = raced(study, tmp_path / "whole", workers=2)
    config = study(*RACE)
    layout = layout_in(tmp_path)
    invocations = 0
    while True:  # each hands out five trainings, and is then killed: what it held stays RUNNING
        scene = Scene(config, tmp_path / "study", learns, workers=2)
        store = Store(config, open_storage(config, layout, create=True) or InMemoryStorage())
        scene.store = scene.coordinator.store = store
        store.recover()
        queue, told = Queue(scene.coordinator), 0

        def few(queue: Queue = queue) -> Run | None:
            nonlocal told
            told += 1
            return None if told > 5 else queue.next_run([SEARCH])

        scene.coordinator.carry_out(few)
        invocations += 1
        if told <= 5:
            break
    assert invocations > 3
    again = store.trials()
    assert [(r.run.params["lr"], len(r.epochs)) for r in again] == [
        (r.run.params["lr"], len(r.epochs)) for r in whole
    ]


def test_a_trial_that_loses_its_worker_at_a_rung_comes_there_again(
    study: Study, tmp_path: Path
) -> None:
    """Optuna knows already that it came there, but no checkpoint was written."""

    def story(job: Any, attempt: int) -> Story:
        if job.key != "trial-0000" or attempt:
            yield from learns(job, attempt)
            return
        for number in (1, 2):
            yield EpochDone(job.key, epoch(number, 0.01 * number), None)
        yield WorkerDied(-9, job.key)

    config = study(*RACE, "search.pruner={racing: {generation: 4, min_resource: 2}}")
    scene = Scene(config, tmp_path / "study", story)
    queue = Queue(scene.coordinator)
    scene.coordinator.carry_out(lambda: queue.next_run([SEARCH]))
    rows = scene.store.trials()
    assert len(rows) == 12
    assert {row.state for row in rows} == {"complete", "pruned"}
    assert {len(row.epochs) for row in rows} == {2, 6, 9}


def test_a_race_over_folds_pauses_between_them(study: Study, tmp_path: Path) -> None:
    def story(job: Any, attempt: int) -> Story:
        epochs, folds = told_of_folds([skill(job.run.trial)] * 4)
        for number, one in enumerate(epochs, 1):
            fold = folds[number // 3 - 1] if number % 3 == 0 else None
            decision = yield EpochDone(job.key, one, fold)
            if (job.key, number, attempt) == ("trial-0000", 3, 0):
                yield WorkerDied(-9, job.key)
            if decision == "pause":
                yield TrainDone(job.key, "paused", summed(epochs[:number], folds[: number // 3]))
                return
        yield TrainDone(job.key, "complete", summed(epochs, folds))

    scene = Scene(study(*RACE, "data.split.folds=4", "budget.epochs=3"), tmp_path / "study", story)
    queue = Queue(scene.coordinator)
    scene.coordinator.carry_out(lambda: queue.next_run([SEARCH]))
    rows = scene.store.trials()
    assert {row.state for row in rows} == {"complete", "pruned"}
    assert [len(row.folds) for row in rows if row.state == "complete"] == [4]
    assert {len(row.folds) for row in rows} == {1, 3, 4}


def test_who_leaves_a_race_leaves_nothing_running(study: Study, tmp_path: Path) -> None:
    scene = Scene(study(*RACE), tmp_path / "study", learns)
    queue, asked = Queue(scene.coordinator), 0

    def next_run() -> Run | None:
        nonlocal asked
        asked += 1
        scene.interrupts.count = asked // 3  # two pause at a rung, one trains, one has not begun
        return queue.next_run([SEARCH])

    with pytest.raises(Interrupted):
        scene.coordinator.carry_out(next_run)
    trials = scene.store.study.get_trials()
    assert {trial.state for trial in trials} == {TrialState.WAITING}
    assert [row.state for row in scene.store.trials()] == ["paused"] * 3 + ["waiting"]
    last = {key: status for key, status, _ in scene.mirror.finished}
    assert set(last.values()) == {"SCHEDULED"}


def test_a_race_that_is_out_of_time_brings_one_trial_to_its_end(
    study: Study, tmp_path: Path
) -> None:
    scene = Scene(study(*RACE, "budget.timeout=1"), tmp_path / "study", learns)
    queue = Queue(scene.coordinator)
    queue._end = 0.0
    scene.coordinator.carry_out(lambda: queue.next_run([SEARCH]))
    assert scene.store.trials() == []  # as none was begun
    queue._end = math.inf
    asked = 0

    def until_late() -> Run | None:
        nonlocal asked
        asked += 1
        queue._end = 0.0 if asked > 3 else math.inf
        return queue.next_run([SEARCH])

    scene.coordinator.carry_out(until_late)
    states = [row.state for row in scene.store.trials()]
    assert sorted(states) == ["complete", "pruned", "pruned", "pruned"]


def test_a_search_that_is_out_of_time_ends_what_pauses(study: Study, tmp_path: Path) -> None:
    scene = Scene(study(*RACE, "budget.timeout=1"), tmp_path / "study", learns)
    queue = Queue(scene.coordinator)
    asked = 0

    def until_late() -> Any:
        nonlocal asked
        asked += 1
        if asked == 6:
            queue._end = 0.0
        return queue.next_run([SEARCH])

    scene.coordinator.carry_out(until_late)
    states = {row.state for row in scene.store.trials()}
    assert states <= {"complete", "pruned"}
    assert len(scene.store.trials()) < 12


def test_checkpoints_of_those_that_pause_are_bounded(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(racing, "MOST_BYTES", 250)
    kept: list[int] = []

    class Saves(FakeExecutor):
        def answer(self, worker: int, decision: Any) -> None:
            if decision == "pause":
                job: Any = self.jobs[-1]
                path = checkpoint_path(scene.folder, job.key)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"0" * 100)
            super().answer(worker, decision)

    scene = Scene(study(*RACE), tmp_path / "study", learns)
    scene.coordinator.workers = scene.executor = Saves(1, learns)
    scene.coordinator.__post_init__()
    queue = Queue(scene.coordinator)

    def watched() -> Any:
        run = queue.next_run([SEARCH])
        kept.append(len(list((scene.folder / "checkpoints").glob("*.pt"))))
        return run

    scene.coordinator.carry_out(watched)
    assert max(kept) <= 2 + 4  # what a generation adds comes on top
    assert kept[-1] == 0


@pytest.mark.slow
@pytest.mark.ci
def test_every_kill_of_a_race_leads_to_the_same_end(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill leaves a beginning of the journal, and may leave no checkpoint at all."""
    monkeypatch.setattr("os.fsync", lambda _: None)
    short = ("search.sampler=random", "budget.trials=5", "budget.epochs=4")
    config = study(*RACE, *short, "search.pruner={racing: {generation: 3}}", "confirm=null")

    def ends(folder: Path) -> tuple[list[Any], list[bytes]]:
        layout = layout_in(folder)
        scene = Scene(config, folder / "study", learns)
        store = Store(config, open_storage(config, layout, create=True) or InMemoryStorage())
        scene.store = scene.coordinator.store = store
        store.recover()
        queue = Queue(scene.coordinator)
        scene.coordinator.carry_out(lambda: queue.next_run([SEARCH]))
        told = [(r.number, r.state, len(r.epochs), r.value) for r in store.trials()]
        return told, layout.journal.read_bytes().splitlines(keepends=True)

    expected, lines = ends(tmp_path / "whole")
    assert {state for _, state, _, _ in expected} == {"complete", "pruned"}
    assert {length for _, _, length, _ in expected} == {1, 3, 4}
    for count in range(len(lines)):
        killed = layout_in(tmp_path / f"killed-{count}")
        killed.journal.write_bytes(b"".join(lines[:count]) + lines[count][: len(lines[count]) // 2])
        assert ends(killed.root.parent)[0] == expected, count


@pytest.mark.parametrize("pruner", ["none", "{racing: {generation: 4}}"])
def test_a_search_begins_with_the_portfolio(study: Study, tmp_path: Path, pruner: str) -> None:
    config = study(*RACE, f"search.pruner={pruner}", "search.start=portfolio")
    scene = Scene(config, tmp_path / "study", learns)
    queue = Queue(scene.coordinator)
    scene.coordinator.carry_out(lambda: queue.next_run([SEARCH]))
    wanted = [start.values["lr"] for start in starts(config)]
    found = [row.run.params["lr"] for row in scene.store.trials()]
    # Adam's rates are none for SGD, the only optimizer here; the space's least is 0.001.
    rates = [max(entry["lr"], 0.001) for entry in entries() if entry["optimizer"] == "sgd"]
    assert wanted == list(dict.fromkeys(rates))
    assert wanted
    assert found[: len(wanted)] == wanted
    assert len({*found}) == len(found) == 12
