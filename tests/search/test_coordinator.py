"""The coordinator's loop against workers that do as a test tells them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.search.conftest import Study
from tests.search.fakes import (
    GROUPS,
    FakeExecutor,
    FakeMirror,
    Story,
    Watched,
    epoch,
    memory_ledger,
    result,
    setting_of,
    states,
    train,
)
from tlsearch.errors import RequestError, WorkError
from tlsearch.search.baselines import baseline_spec
from tlsearch.search.coordinator import MAX_FAULTS, Coordinator, evaluation
from tlsearch.search.errand import MAX_DEATHS
from tlsearch.search.folder import checkpoint_path, evaluation_path
from tlsearch.search.interrupts import Interrupted, Interrupts
from tlsearch.search.jobs import (
    EpochDone,
    JobFailed,
    Progress,
    Scored,
    ScoreJob,
    TrainDone,
    WorkerDied,
)
from tlsearch.search.ledger import Ledger, Run
from tlsearch.search.watching import EpochSeen, Preparing, Remark, RunEnded, RunStarted
from tlsearch.study.config import StudyConfig

Tell = Callable[[Any, int], Story]


class Scene:
    """A coordinator with everything around it."""

    def __init__(self, config: StudyConfig, folder: Path, story: Tell, *, workers: int = 1) -> None:
        self.ledger = memory_ledger(config)
        self.executor = FakeExecutor(workers, story)
        self.mirror, self.watched = FakeMirror(), Watched()
        self.interrupts, self.folder = Interrupts(), folder
        self.coordinator = Coordinator(
            ledger=self.ledger,
            executor=self.executor,
            mirror=self.mirror,  # type: ignore[arg-type]
            watch=self.watched,
            interrupts=self.interrupts,
            folder=folder,
        )
        self.coordinator.configure(setting_of(config, folder))

    def run(self, trials: int) -> None:
        self.coordinator.carry_out(limited(self.ledger, trials))

    @property
    def keys(self) -> list[str]:
        return [job.key for job in self.executor.jobs]  # type: ignore[union-attr]


def limited(ledger: Ledger, trials: int) -> Callable[[], Run | None]:
    def next_run() -> Run | None:
        if ledger.num_ended() + ledger.num_running() >= trials:
            return None
        return ledger.ask()

    return next_run


def steady(job: Any, _attempt: int) -> Story:
    return train(job.key, [0.2, 0.3, 0.4])


@pytest.fixture
def scene(study: Study, tmp_path: Path) -> Callable[..., Scene]:
    def make(story: Tell = steady, *overrides: str, workers: int = 1) -> Scene:
        return Scene(study(*overrides), tmp_path / "study", story, workers=workers)

    return make


Make = Callable[..., Scene]


@pytest.mark.parametrize("workers", [1, 3])
def test_all_goes_well(scene: Make, workers: int) -> None:
    it = scene(workers=workers)
    it.run(4)
    assert states(it.ledger) == {f"trial-000{i}": "complete" for i in range(4)}
    assert sorted(it.mirror.started) == sorted(it.keys) == [f"trial-000{i}" for i in range(4)]
    assert it.mirror.steps == {key: [1, 2, 3] for key in it.keys}
    assert {(key, status) for key, status, _ in it.mirror.finished} == {
        (key, "FINISHED") for key in it.keys
    }
    assert [n.value for n in it.watched.of(RunEnded)] == [0.4] * 4
    assert len(it.watched.of(EpochSeen)) == 12
    assert len(it.watched.of(RunStarted)) == 4
    assert {decision for _, decision in it.executor.answers} == {"continue"}
    assert not it.executor.shutdowns  # the same workers confirm


def test_what_a_worker_and_the_mirror_are_told(scene: Make) -> None:
    it = scene()
    it.run(1)
    (job,) = it.executor.jobs
    (row,) = it.ledger.rows()
    assert job.strategy == row.spec.strategy
    assert (job.seed, job.redraw, job.num_epochs, job.weights_to) == (0, 0, 3, None)
    assert job.checkpoint == checkpoint_path(it.folder, "trial-0000")
    params, lr = it.mirror.params["trial-0000"], row.spec.params["lr"]
    assert params["lr"] == params["group_lr.stem"] == params["group_lr.head"] == lr
    assert set(row.spec.params) | {f"group_lr.{g}" for g in GROUPS} <= set(params)
    assert it.mirror.tags["trial-0000"]["tlsearch.trial"] == 0
    content = it.mirror.artifacts["trial-0000"]["evaluation.json"]
    assert content["confusion"] == [[3, 1], [0, 4]]
    assert json.loads(evaluation_path(it.folder, "trial-0000").read_text()) == content


def test_fixed_runs_keep_their_weights(scene: Make) -> None:
    it = scene()
    it.ledger.enqueue([baseline_spec(it.ledger.config, "linear_probe", seed=0)])
    it.coordinator.carry_out(it.ledger.ask_fixed)
    (job,) = it.executor.jobs
    assert job.weights_to == it.folder / "weights" / "linear_probe-seed-0.safetensors"
    tags = it.mirror.tags["linear_probe-seed-0"]
    assert tags["tlsearch.baseline"] == "linear_probe"
    assert "tlsearch.trial" not in tags


def test_pruned(scene: Make) -> None:
    def story(job: Any, _attempt: int) -> Story:
        return train(job.key, [0.9] * 3 if job.key == "trial-0000" else [0.1] * 3)

    it = scene(story, "search.pruner={median: {n_startup_trials: 1}}")
    it.run(3)
    assert list(states(it.ledger).values()) == ["complete", "pruned", "pruned"]
    assert it.mirror.steps["trial-0001"] == [1]
    assert [(k, s) for k, s, _ in it.mirror.finished][1:] == [
        ("trial-0001", "KILLED"),
        ("trial-0002", "KILLED"),
    ]
    assert it.mirror.finished[1][2] == {"tlsearch.state": "pruned"}
    assert [row.value for row in it.ledger.rows()] == [0.9, None, None]


def test_diverged(scene: Make) -> None:
    def story(job: Any, _attempt: int) -> Story:
        yield EpochDone(job.key, epoch(1, 0.1), None)
        ended = result([0.1], ending="diverged", reason="loss is nan")
        yield TrainDone(job.key, "diverged", ended)

    it = scene(story)
    it.run(1)
    (row,) = it.ledger.rows()
    assert (row.state, row.reason, len(row.epochs)) == ("diverged", "loss is nan", 1)
    tags = {"tlsearch.state": "diverged", "tlsearch.reason": "loss is nan"}
    assert it.mirror.finished == [("trial-0000", "FAILED", tags)]


def dies_until(attempts: int, *, after: int = 1) -> Tell:
    """Trial 1 loses its worker that often, after some epochs; what it knows is told again."""

    def story(job: Any, attempt: int) -> Story:
        if job.key != "trial-0001" or attempt >= attempts:
            yield from train(job.key, [0.2, 0.3, 0.4])
            return
        for number in range(1, after + 1):
            yield EpochDone(job.key, epoch(number, (0.2, 0.3, 0.4)[number - 1]), None)
        yield WorkerDied(-9, job.key)

    return story


@pytest.mark.parametrize(("deaths", "after"), [(1, 0), (1, 2), (2, 1)])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_dead_worker_costs_nothing(scene: Make, deaths: int, after: int, workers: int) -> None:
    it = scene(dies_until(deaths, after=after), workers=workers)
    it.run(3)
    assert list(states(it.ledger).values()) == ["complete"] * 3
    assert it.keys.count("trial-0001") == deaths + 1
    (trial,) = (t for t in it.ledger.search.get_trials() if t.number == 1)
    assert trial.intermediate_values == {1: 0.2, 2: 0.3, 3: 0.4}
    seen = [n.result.epoch for n in it.watched.of(EpochSeen) if n.spec.key == "trial-0001"]
    assert seen == [1, 2, 3]
    assert [k for k, _, _ in it.mirror.finished].count("trial-0001") == 1
    assert len(it.watched.of(Remark)) == deaths


def test_a_job_that_kills_its_workers_is_given_up(scene: Make) -> None:
    it = scene(dies_until(MAX_DEATHS))
    it.run(3)
    assert list(states(it.ledger).values()) == ["complete", "failed", "complete"]
    reason = it.ledger.rows()[1].reason
    assert "died (exit code -9) in trial-0001, 3 times" in reason
    assert it.mirror.finished[1][1] == "FAILED"
    assert it.keys.count("trial-0001") == MAX_DEATHS


def test_an_idle_worker_that_dies_is_no_news(scene: Make) -> None:
    def story(job: Any, _attempt: int) -> Story:
        yield TrainDone(job.key, "complete", result([0.5]))

    it = scene(story)
    seen = it.executor.events
    it.executor.events = lambda *, timeout: [*seen(timeout=timeout), (0, WorkerDied(-9, "x"))]  # type: ignore[method-assign]
    it.run(2)
    assert set(states(it.ledger).values()) == {"complete"}


def fails(exit_code: int | None, *, keys: tuple[str, ...] = ("trial-0000",)) -> Tell:
    def story(job: Any, _attempt: int) -> Story:
        if job.key not in keys:
            yield from train(job.key, [0.2, 0.3, 0.4])
        else:
            yield JobFailed(job.key, "KeyError: 'x'", exit_code, "Traceback …")

    return story


def test_a_wrong_request_of_a_run_is_a_failed_run(scene: Make) -> None:
    it = scene(fails(2))
    it.run(2)
    assert list(states(it.ledger).values()) == ["failed", "complete"]
    tags = {"tlsearch.state": "failed", "tlsearch.reason": "KeyError: 'x'"}
    assert it.mirror.finished[0] == ("trial-0000", "FAILED", tags)
    assert not (it.folder / "faults.log").exists()


def test_work_that_cannot_go_on_ends_the_study_and_keeps_the_run(scene: Make) -> None:
    it = scene(fails(1, keys=("trial-0001",)), workers=2)
    with pytest.raises(WorkError, match="KeyError"):
        it.run(4)
    assert set(states(it.ledger).values()) == {"waiting"}
    assert it.executor.shutdowns == [True]
    assert {status for _, status, _ in it.mirror.finished} == {"SCHEDULED"}


def test_a_fault_of_ours_is_logged_and_the_study_goes_on(scene: Make) -> None:
    it = scene(fails(None, keys=("trial-0000", "trial-0002")))
    it.folder.mkdir()
    it.run(4)
    assert list(states(it.ledger).values()) == ["failed", "complete"] * 2
    assert (it.folder / "faults.log").read_text().count("Traceback …") == 2


def test_faults_in_a_row_end_the_study(scene: Make) -> None:
    it = scene(fails(None, keys=tuple(f"trial-000{i}" for i in range(9))))
    it.folder.mkdir()
    with pytest.raises(WorkError, match=r"3 runs in a row failed.*faults\.log"):
        it.run(8)
    assert list(states(it.ledger).values()) == ["failed"] * MAX_FAULTS


@pytest.mark.parametrize("workers", [1, 2])
def test_asked_to_leave_once(scene: Make, workers: int) -> None:
    it = scene(workers=workers)

    def ask_during_the_second_epoch() -> None:
        if len(it.watched.of(EpochSeen)) == workers:
            it.interrupts.count = 1

    it.executor.between = ask_during_the_second_epoch
    with pytest.raises(Interrupted) as caught:
        it.run(4)
    assert caught.value.exit_code == 130
    assert list(states(it.ledger).values()) == ["waiting"] * workers
    assert [d for _, d in it.executor.answers] == ["continue"] * workers + ["pause"] * workers
    assert {(k, s) for k, s, _ in it.mirror.finished} == {
        (f"trial-000{i}", "SCHEDULED") for i in range(workers)
    }
    assert [n.ending for n in it.watched.of(RunEnded)] == [None] * workers
    assert len(it.executor.jobs) == workers  # nothing new was begun


def test_asked_to_leave_twice(scene: Make) -> None:
    it = scene(workers=2)

    def lose_patience() -> None:
        if it.watched.of(EpochSeen):
            it.interrupts.count = 2

    it.executor.between = lose_patience
    with pytest.raises(Interrupted, match="at once"):
        it.run(4)
    assert it.executor.shutdowns == [True]
    assert set(states(it.ledger).values()) == {"waiting"}


def test_pruning_goes_before_leaving(scene: Make) -> None:
    def story(job: Any, _attempt: int) -> Story:
        return train(job.key, [0.9] * 3 if job.key == "trial-0000" else [0.1] * 3)

    it = scene(story, "search.pruner={median: {n_startup_trials: 1}}")

    def leave_in_the_second_run() -> None:
        if len(it.executor.jobs) == 2:
            it.interrupts.count = 1

    it.executor.between = leave_in_the_second_run
    with pytest.raises(Interrupted):
        it.run(4)
    assert list(states(it.ledger).values()) == ["complete", "pruned"]


def test_a_worker_dies_while_all_leave(scene: Make) -> None:
    def story(job: Any, _attempt: int) -> Story:
        yield EpochDone(job.key, epoch(1, 0.2), None)
        yield WorkerDied(-9, job.key)

    it = scene(story)

    def leave() -> None:
        it.interrupts.count = int(bool(it.watched.of(EpochSeen)))

    it.executor.between = leave
    with pytest.raises(Interrupted):
        it.run(2)
    assert states(it.ledger) == {"trial-0000": "waiting"}


def test_whatever_ends_the_loop_leaves_nothing_running(scene: Make) -> None:
    it = scene(workers=3)

    def break_down() -> None:
        if it.watched.of(EpochSeen):
            raise OSError(28, "No space left on device")

    it.executor.between = break_down
    with pytest.raises(OSError, match="No space"):
        it.run(4)
    assert list(states(it.ledger).values()) == ["waiting"] * 3
    assert it.executor.shutdowns == [True]


def test_a_run_that_was_paused_goes_on_where_it_was(scene: Make) -> None:
    it = scene()
    it.executor.between = lambda: setattr(it.interrupts, "count", 1)
    with pytest.raises(Interrupted):
        it.run(2)
    it.executor.between = lambda: None
    it.interrupts.count = 0
    it.run(2)
    assert list(states(it.ledger).values()) == ["complete"] * 2
    assert it.keys == ["trial-0000", "trial-0000", "trial-0001"]
    seen = [n.result.epoch for n in it.watched.of(EpochSeen)]
    assert seen == [1, 2, 3, 1, 2, 3]


def test_the_checkpoint_goes_with_the_ending(scene: Make) -> None:
    it = scene()
    path = checkpoint_path(it.folder, "trial-0000")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    it.run(1)
    assert not path.exists()


def test_words_of_the_mirror_are_passed_on(scene: Make) -> None:
    it = scene()
    it.mirror.notices = ["MLflow is gone"]
    it.run(1)
    assert [n.text for n in it.watched.of(Remark)] == ["MLflow is gone"]


SCORE = ScoreJob(weights=(), scores_to=Path("x"))


def test_an_errand_tells_of_its_progress(scene: Make) -> None:
    def story(_job: Any, _attempt: int) -> Story:
        yield Progress(0.5, "half")
        yield Scored((("a", 0.9),))

    it = scene(story, workers=2)
    assert it.coordinator.errand(SCORE) == Scored((("a", 0.9),))
    assert it.watched.of(Preparing) == [Preparing(0.5, "half")]
    assert it.executor.idle() == [0, 1]


@pytest.mark.parametrize(
    ("exit_code", "error"), [(2, RequestError), (1, WorkError), (None, WorkError)]
)
def test_an_errand_that_fails(scene: Make, exit_code: int | None, error: type) -> None:
    def story(_job: Any, _attempt: int) -> Story:
        yield JobFailed("ScoreJob", "no such weights", exit_code, "Traceback …")

    it = scene(story)
    it.folder.mkdir()
    with pytest.raises(error, match="no such weights") as caught:
        it.coordinator.errand(SCORE)
    assert ("faults.log" in str(caught.value)) == (exit_code is None)
    assert it.executor.idle() == [0]


@pytest.mark.parametrize("deaths", [1, MAX_DEATHS])
def test_an_errand_whose_worker_dies(scene: Make, deaths: int) -> None:
    def story(_job: Any, attempt: int) -> Story:
        if attempt < deaths:
            yield WorkerDied(-9, "ScoreJob")
        else:
            yield Scored(())

    it = scene(story)
    if deaths < MAX_DEATHS:
        assert it.coordinator.errand(SCORE) == Scored(())
    else:
        with pytest.raises(WorkError, match="died 3 times while it did ScoreJob"):
            it.coordinator.errand(SCORE)


def test_an_errand_can_be_left(scene: Make) -> None:
    def story(_job: Any, _attempt: int) -> Story:
        while True:
            yield Progress(0.1, "slow")

    it = scene(story)
    it.executor.between = lambda: setattr(it.interrupts, "count", 1)
    with pytest.raises(Interrupted):
        it.coordinator.errand(SCORE)
    assert it.executor.shutdowns == [True]


def test_evaluation_by_hand() -> None:
    found = evaluation(("a", "b"), ((3, 1), (0, 4)))
    assert found["classes"] == ["a", "b"]
    assert found["per_class"][0] == {
        "class": "a",
        "precision": 1.0,
        "recall": 0.75,
        "f1": pytest.approx(6 / 7),
        "images": 4,
    }
    assert found["per_class"][1]["precision"] == pytest.approx(0.8)
    json.dumps(found)
