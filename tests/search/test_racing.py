"""Racing with thawing: what goes on, what is new, and that workers make no difference."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import InMemoryStorage

from tests.search.conftest import BODY, Study
from tests.search.fakes import FakeExecutor, Story, epoch, layout_in, memory_store, train
from tests.search.scenes import Scene
from tlsearch.config.paths import checkpoint_path
from tlsearch.config.portfolio import starts
from tlsearch.config.search_options import Racing
from tlsearch.execution.runs import Run, RunRow
from tlsearch.search import racing
from tlsearch.search.racing import Ladder, next_generation
from tlsearch.search.runner import Queue
from tlsearch.search.storage import open_storage
from tlsearch.search.store import SEARCH, Store

LADDER = Ladder(rungs=(1, 3), steps=9, reduction_factor=3)
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


@pytest.mark.parametrize("pruner", ["none", "{racing: {generation: 4}}"])
def test_a_search_begins_with_the_portfolio(study: Study, tmp_path: Path, pruner: str) -> None:
    config = study(*RACE, f"search.pruner={pruner}", "search.start=portfolio")
    scene = Scene(config, tmp_path / "study", learns)
    queue = Queue(scene.coordinator)
    scene.coordinator.carry_out(lambda: queue.next_run([SEARCH]))
    wanted = [start.values["lr"] for start in starts(config)]
    found = [row.run.params["lr"] for row in scene.store.trials()]
    assert len(wanted) > 4
    assert found[: len(wanted)] == wanted
    assert len({*found}) == len(found) == 12
