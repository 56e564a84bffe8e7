"""Trials that train the head alone go to a worker together, and come to what each does alone."""

from pathlib import Path
from typing import Any

import pytest

from tests.execution.jobs import setting_with
from tests.execution.test_heads_job import Pipe
from tests.execution.test_prepare import images
from tests.search.conftest import Study
from tests.search.fakes import Story, epoch, layout_in, states, train
from tests.search.scenes import Scene, Tell
from tlsearch.errors import WorkError
from tlsearch.execution import messages
from tlsearch.execution.interrupts import Interrupted
from tlsearch.execution.messages import (
    EpochDone,
    EpochSeen,
    HeadsJob,
    JobFailed,
    OutOfMemory,
    Remark,
    RunEnded,
    RunStarted,
    TrainDone,
    TrainJob,
    WorkerDied,
)
from tlsearch.execution.runs import RunRow
from tlsearch.execution.worker import _Server
from tlsearch.search.runner import Queue
from tlsearch.search.storage import open_storage
from tlsearch.search.store import SEARCH, Store

HEADS = (
    "space.freeze_depth=5",
    "search.sampler=random",
    "baselines=[]",
    "confirm=null",
    "budget.trials=6",
)


def one_by_one(job: Any, attempt: int, tell: Tell) -> Story:
    """What a worker tells of a job of one or many."""
    for each in job.jobs if isinstance(job, HeadsJob) else [job]:
        yield from tell(each, attempt)


def rising(job: Any, _attempt: int) -> Story:
    trial = job.run.trial or 0
    return train(job.key, [(7 * trial % 6) / 10 + 0.01 * i for i in range(1, 4)])


def searched(scene: Scene) -> list[RunRow]:
    queue = Queue(scene.coordinator)
    scene.coordinator.carry_out(lambda: queue.next_run([SEARCH]), queue.beside)
    return scene.store.trials()


def told(rows: list[RunRow]) -> list[Any]:
    return [(r.number, r.run.params, r.state, r.value, len(r.epochs), r.reason) for r in rows]


def made(study: Study, folder: Path, *options: str, tell: Tell = rising, workers: int = 1) -> Scene:
    def story(job: Any, attempt: int) -> Story:
        return one_by_one(job, attempt, tell)

    return Scene(study(*HEADS, *options), folder / "study", story, workers=workers)


def sizes(scene: Scene) -> list[int]:
    return [len(j.jobs) if isinstance(j, HeadsJob) else 1 for j in scene.executor.jobs]


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("search.pruner={median: {n_startup_trials: 1}}",),
        ("search.sampler=grid", "space.lr=[0.01, 0.02, 0.03]", "space.batch_size=[8, 16]"),
    ],
)
def test_all_that_are_known_ahead_go_together(
    study: Study, tmp_path: Path, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    together = made(study, tmp_path / "together", *options)
    three = made(study, tmp_path / "three", *options, workers=3)
    found = told(searched(together))
    assert told(searched(three)) == found
    assert sizes(together) == sizes(three) == [6]
    assert [n.run.key for n in together.watched.of(RunStarted)] == together.mirror.started
    assert [n.run.key for n in together.watched.of(RunEnded)] == together.mirror.started
    monkeypatch.setattr(messages, "MOST_HEADS", 0)
    alone = made(study, tmp_path / "alone", *options)
    assert told(searched(alone)) == found
    assert sizes(alone) == [1] * 6
    assert alone.mirror.steps == together.mirror.steps
    assert alone.mirror.finished == together.mirror.finished


@pytest.mark.parametrize(
    "options",
    [
        ("search.sampler=tpe",),  # it learns from each
        ("space.freeze_depth={low: 4, high: 5}",),  # some train more
        ("space.erasing={low: 0.0, high: 0.5}",),
        ("search.stop.gain=0.002",),  # it may end before them
    ],
)
def test_others_are_asked_for_one_by_one(
    study: Study, tmp_path: Path, options: tuple[str, ...]
) -> None:
    scene = made(study, tmp_path, *options)
    searched(scene)
    assert sizes(scene) == [1] * 6


@pytest.mark.parametrize("workers", [1, 3])
def test_heads_of_a_generation_go_together(
    study: Study, tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    race = (
        "search.pruner={racing: {generation: 6}}",
        "search.sampler=tpe",
        "space.freeze_depth={low: 4, high: 5}",
        "budget.trials=12",
    )
    together = made(study, tmp_path / "together", *race, workers=workers)
    found = told(searched(together))
    assert max(sizes(together)) > 1
    for job in together.executor.jobs:
        depths = [j.run.params["freeze_depth"] for j in getattr(job, "jobs", [])]
        assert set(depths) <= {5}
    monkeypatch.setattr(messages, "MOST_HEADS", 0)
    assert told(searched(made(study, tmp_path / "alone", *race))) == found
    assert {state for _, _, state, *_ in found} == {"complete", "pruned"}


def test_no_more_than_the_budget_and_the_most(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "LEAST_HEADS", 1)
    monkeypatch.setattr(messages, "MOST_HEADS", 4)
    scene = made(study, tmp_path)
    assert len(searched(scene)) == 6
    assert sizes(scene) == [4, 2]


# Troubles: of one head, of all at once, and of the user's.


def test_one_fails_and_one_diverges_among_healthy_ones(study: Study, tmp_path: Path) -> None:
    def tell(job: Any, attempt: int) -> Story:
        if job.run.trial == 1:
            yield JobFailed(job.key, "features do not allow it", 2, "")
        elif job.run.trial == 3:
            yield EpochDone(job.key, epoch(1, 0.1), None)
            (*_, ended) = train(job.key, [0.1])
            yield TrainDone(job.key, "diverged", ended.result)  # type: ignore[attr-defined]
        else:
            yield from rising(job, attempt)

    scene = made(study, tmp_path, tell=tell)
    rows = searched(scene)
    assert sizes(scene) == [6]
    expected = ["complete", "failed", "complete", "diverged", "complete", "complete"]
    assert [row.state for row in rows] == expected
    assert rows[1].reason == "features do not allow it"
    assert scene.executor.idle() == [0]


@pytest.mark.parametrize("trouble", ["death", "memory", "fault"])
@pytest.mark.parametrize("workers", [1, 2])
def test_what_breaks_all_is_repeated_one_by_one(
    study: Study, tmp_path: Path, trouble: str, workers: int
) -> None:
    def story(job: Any, attempt: int) -> Story:
        if not isinstance(job, HeadsJob):
            yield from rising(job, attempt)
            return
        yield from rising(job.jobs[0], attempt)  # what is told stays
        yield EpochDone(job.jobs[1].key, epoch(1, 0.11), None)
        yield {
            "death": WorkerDied(-9, job.key),
            "memory": OutOfMemory(job.key, "out of memory: 2 GiB wanted"),
            "fault": JobFailed(job.key, "KeyError: 'x'", None, "Traceback …"),
        }[trouble]

    scene = Scene(study(*HEADS), tmp_path / "study", story, workers=workers)
    scene.folder.mkdir(parents=True)
    rows = searched(scene)
    assert sizes(scene) == [6, 1, 1, 1, 1, 1]
    assert {row.state for row in rows} == {"complete"}
    (remark,) = scene.watched.of(Remark)
    assert "5 heads trained at once" in remark.text
    assert (scene.folder / "faults.log").exists() is (trouble == "fault")
    again = [n.result.epoch for n in scene.watched.of(EpochSeen) if n.run.trial == 1]
    assert again == [1, 2, 3]
    assert scene.executor.idle() == list(range(workers))


def test_a_head_that_kills_its_workers_is_given_up(study: Study, tmp_path: Path) -> None:
    def story(job: Any, attempt: int) -> Story:
        if isinstance(job, HeadsJob) or job.run.trial == 2:
            yield WorkerDied(-9, job.key)
        else:
            yield from rising(job, attempt)

    scene = Scene(study(*HEADS), tmp_path / "study", story)
    rows = searched(scene)
    assert [row.state for row in rows].count("complete") == 5
    assert "died (exit code -9) in trial-0002, 3 times" in rows[2].reason


def test_a_full_disk_ends_the_study_and_keeps_all(study: Study, tmp_path: Path) -> None:
    def story(job: Any, attempt: int) -> Story:
        yield from rising(job.jobs[0], attempt)
        yield JobFailed(job.jobs[1].key, "no space is left", WorkError.exit_code, "")

    scene = Scene(study(*HEADS), tmp_path / "study", story)
    with pytest.raises(WorkError, match="no space"):
        searched(scene)
    assert list(states(scene.store).values()) == ["complete"] + ["waiting"] * 5


@pytest.mark.parametrize("dies", [False, True])
def test_whoever_leaves_keeps_what_is_told(study: Study, tmp_path: Path, dies: bool) -> None:
    def tell(job: Any, attempt: int) -> Story:
        if dies and job.run.trial == 1:
            yield WorkerDied(-9, "HeadsJob")
        yield from rising(job, attempt)

    scene = opened(made(study, tmp_path, tell=tell), tmp_path)

    def leave() -> None:
        scene.interrupts.count = int(len(scene.watched.of(RunEnded)) > 0)

    scene.executor.between = leave
    with pytest.raises(Interrupted):
        searched(scene)
    assert list(states(scene.store).values()) == ["complete"] + ["waiting"] * 5
    again = opened(made(study, tmp_path), tmp_path)
    rows = searched(again)
    assert sizes(again) == [5]
    assert [row.state for row in rows] == ["complete"] * 6
    whole = searched(made(study, tmp_path / "whole"))
    assert told(rows) == told(whole)


def opened(scene: Scene, folder: Path) -> Scene:
    """On a store of its own in a folder, as one invocation after another has it."""
    storage = open_storage(scene.store.config, layout_in(folder), create=True)
    assert storage is not None
    scene.store = scene.coordinator.store = Store(scene.store.config, storage)
    scene.store.recover()
    return scene


# The same search with real trainings, together and alone.


def trained(study: Study, folder: Path) -> Scene:
    options = (
        *("precision=fp32", "device=cpu", "workers=1", "data.size=32", "budget.trials=8"),
        *(
            "space.dropout=[0.0, 0.3]",
            "space.batch_size=[8, 16]",
            "space.lr=[0.001, 0.01, 1.0e+30]",
        ),
        "space.optimizer={sgd: {momentum: {low: 0.8, high: 0.99}}, adam: {}}",
    )
    config = study(*HEADS, *options)
    pipe: Any = Pipe()
    server = _Server(pipe, None)

    def story(job: Any, _attempt: int) -> Story:
        server.serve(job)
        events, pipe.sent = pipe.sent, []
        for event in events:  # noqa: UP028  (a list takes no answers)
            yield event

    scene = Scene(config, folder / "study", story)
    setting = setting_with(images(60), config, folder)
    server.configure(setting)
    scene.coordinator.configure(setting)
    return scene


def test_real_heads_together_and_alone(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = trained(study, tmp_path / "together")
    rows = searched(together)
    assert sizes(together) == [8]
    monkeypatch.setattr(messages, "MOST_HEADS", 0)
    by_trainer = trained(study, tmp_path / "alone")
    others = searched(by_trainer)
    assert all(isinstance(job, TrainJob) for job in by_trainer.executor.jobs)
    assert {row.state for row in rows} == {"complete", "diverged"}
    for ours, its in zip(rows, others, strict=True):
        assert (ours.run, ours.state, ours.value) == (its.run, its.state, its.value)
        assert (len(ours.epochs), ours.images_trained) == (len(its.epochs), its.images_trained)
        losses = [epoch.val_loss for epoch in its.epochs]
        assert [epoch.val_loss for epoch in ours.epochs] == pytest.approx(losses, rel=1e-4)
    assert together.mirror.artifacts == by_trainer.mirror.artifacts  # confusion matrices
    assert together.mirror.finished == by_trainer.mirror.finished
