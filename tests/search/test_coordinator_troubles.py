"""The coordinator when workers die or fail, and when the user leaves."""

from dataclasses import replace
from typing import Any

import pytest

from tests.search.fakes import Story, epoch, states, train
from tests.search.scenes import Make, Scene, Tell
from tlsearch.errors import WorkError
from tlsearch.execution.interrupts import Interrupted
from tlsearch.execution.messages import (
    EpochDone,
    EpochSeen,
    Event,
    JobDone,
    JobFailed,
    NetworkJob,
    OutOfMemory,
    Remark,
    RunEnded,
    WorkerDied,
)
from tlsearch.execution.scheduler import MAX_DEATHS, MAX_FAULTS
from tlsearch.search.baselines import baseline_run


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
    assert list(states(it.store).values()) == ["complete"] * 3
    assert it.keys.count("trial-0001") == deaths + 1
    (trial,) = (t for t in it.store.study.get_trials() if t.number == 1)
    assert trial.intermediate_values == {1: 0.2, 2: 0.3, 3: 0.4}
    seen = [n.result.epoch for n in it.watched.of(EpochSeen) if n.run.key == "trial-0001"]
    assert seen == [1, 2, 3]
    assert [k for k, _, _ in it.mirror.finished].count("trial-0001") == 1
    assert len(it.watched.of(Remark)) == deaths


def test_a_job_that_kills_its_workers_is_given_up(scene: Make) -> None:
    it = scene(dies_until(MAX_DEATHS))
    it.run(3)
    assert list(states(it.store).values()) == ["complete", "failed", "complete"]
    reason = it.store.rows()[1].reason
    assert "died (exit code -9) in trial-0001, 3 times" in reason
    assert it.mirror.finished[1][1] == "FAILED"
    assert it.keys.count("trial-0001") == MAX_DEATHS


def test_an_answer_counts_though_its_worker_dies_right_after(scene: Make) -> None:
    it = scene()
    told: list[tuple[int, Event]] = [(0, JobDone("scored")), (0, WorkerDied(-9, "NetworkJob"))]
    it.executor.events = lambda *, timeout: told  # type: ignore[method-assign]  # noqa: ARG005
    it.executor.submit = lambda worker, job: None  # type: ignore[method-assign]  # noqa: ARG005
    it.executor.release = lambda worker: None  # type: ignore[method-assign]  # noqa: ARG005
    assert it.coordinator.scheduler.run_job(NetworkJob(backbone="")) == "scored"


def dies_idle(it: Scene, worker: int, *, turns: int) -> None:
    """Let an idle worker die in each of the first turns."""
    seen, left = it.executor.events, iter(range(turns))

    def events(*, timeout: float) -> list[tuple[int, Event]]:
        died = [(worker, WorkerDied(1, "")) for _ in [next(left, None)] if _ is not None]
        return [*seen(timeout=timeout), *died]

    it.executor.events = events  # type: ignore[method-assign]


def test_an_idle_worker_that_dies_is_replaced(scene: Make) -> None:
    it = scene(workers=2)
    dies_idle(it, 7, turns=MAX_DEATHS - 1)
    it.run(2)
    assert set(states(it.store).values()) == {"complete"}


def test_a_worker_that_cannot_start_ends_the_study(scene: Make) -> None:
    it = scene(workers=2)
    dies_idle(it, 7, turns=MAX_DEATHS)
    with pytest.raises(WorkError, match=r"worker 7 died 3 times in a row .*\(exit code 1\)"):
        it.run(2)
    assert set(states(it.store).values()) == {"waiting"}


def test_runs_that_all_kill_their_workers_end_the_study(scene: Make) -> None:
    def story(job: Any, _attempt: int) -> Story:
        yield WorkerDied(1, job.key)

    it = scene(story)
    with pytest.raises(WorkError, match=r"3 runs in a row failed.*exit code 1"):
        it.run(9)
    assert list(states(it.store).values()) == ["failed"] * MAX_FAULTS


def test_out_of_memory_prunes_what_was_drawn_and_the_study_goes_on(scene: Make) -> None:
    def story(job: Any, _attempt: int) -> Story:
        if job.key in ("trial-0002", "linear_probe-seed-0"):
            yield from train(job.key, [0.2])
        else:
            yield EpochDone(job.key, epoch(1, 0.2), None)
            yield OutOfMemory(job.key, "out of memory: 2 GiB wanted")

    it = scene(story, "baselines={from_scratch: tuned, linear_probe: fixed}")
    it.run(4)
    config = it.store.config
    repeated = replace(baseline_run(config, "from_scratch", seed=1), trial=0)
    it.store.enqueue([baseline_run(config, "linear_probe", seed=0), repeated])
    it.coordinator.carry_out(it.store.ask_fixed)
    found = states(it.store)
    assert [found[f"trial-000{i}"] for i in range(4)] == ["pruned", "pruned", "complete", "pruned"]
    assert found["from_scratch-0000-seed-1"] == "failed"
    assert found["linear_probe-seed-0"] == "complete"
    (_, status, tags) = it.mirror.finished[0]
    assert status == "KILLED"
    assert tags["tlsearch.reason"] == "out of memory: 2 GiB wanted"
    assert not (it.folder / "faults.log").exists()


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
    assert list(states(it.store).values()) == ["failed", "complete"]
    tags = {"tlsearch.state": "failed", "tlsearch.reason": "KeyError: 'x'"}
    assert it.mirror.finished[0] == ("trial-0000", "FAILED", tags)
    assert not (it.folder / "faults.log").exists()


def test_work_that_cannot_go_on_ends_the_study_and_keeps_the_run(scene: Make) -> None:
    it = scene(fails(1, keys=("trial-0001",)), workers=2)
    with pytest.raises(WorkError, match="KeyError"):
        it.run(4)
    assert set(states(it.store).values()) == {"waiting"}
    assert it.executor.shutdowns == [True]
    assert {status for _, status, _ in it.mirror.finished} == {"SCHEDULED"}


def test_a_fault_of_ours_is_logged_and_the_study_goes_on(scene: Make) -> None:
    it = scene(fails(None, keys=("trial-0000", "trial-0002")))
    it.folder.mkdir()
    it.run(4)
    assert list(states(it.store).values()) == ["failed", "complete"] * 2
    assert (it.folder / "faults.log").read_text().count("Traceback …") == 2


def test_faults_in_a_row_end_the_study(scene: Make) -> None:
    it = scene(fails(None, keys=tuple(f"trial-000{i}" for i in range(9))))
    it.folder.mkdir()
    with pytest.raises(WorkError, match=r"3 runs in a row failed.*faults\.log"):
        it.run(8)
    assert list(states(it.store).values()) == ["failed"] * MAX_FAULTS


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
    assert list(states(it.store).values()) == ["waiting"] * workers
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
    assert set(states(it.store).values()) == {"waiting"}


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
    assert list(states(it.store).values()) == ["complete", "pruned"]


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
    assert states(it.store) == {"trial-0000": "waiting"}


def test_whatever_ends_the_loop_leaves_nothing_running(scene: Make) -> None:
    it = scene(workers=3)

    def break_down() -> None:
        if it.watched.of(EpochSeen):
            raise OSError(28, "No space left on device")

    it.executor.between = break_down
    with pytest.raises(OSError, match="No space"):
        it.run(4)
    assert list(states(it.store).values()) == ["waiting"] * 3
    assert it.executor.shutdowns == [True]
