"""Jobs that are no runs."""

from typing import Any

import pytest

from tests.search.fakes import Story
from tests.search.scenes import Make
from tlsearch.errors import RequestError, WorkError
from tlsearch.execution.interrupts import Interrupted
from tlsearch.execution.messages import JobDone, JobFailed, Preparing, ScoreJob, WorkerDied
from tlsearch.execution.scheduler import MAX_DEATHS

SCORE = ScoreJob(keys=(), backbone="")


def test_a_job_says_how_far_it_is(scene: Make) -> None:
    def story(_job: Any, _attempt: int) -> Story:
        yield Preparing(0.5, "half")
        yield JobDone(0.9)

    it = scene(story, workers=2)
    assert it.coordinator.scheduler.run_job(SCORE) == 0.9
    assert it.watched.of(Preparing) == [Preparing(0.5, "half")]
    assert it.executor.idle() == [0, 1]


@pytest.mark.parametrize(
    ("exit_code", "error"), [(2, RequestError), (1, WorkError), (None, WorkError)]
)
def test_a_job_that_fails(scene: Make, exit_code: int | None, error: type) -> None:
    def story(_job: Any, _attempt: int) -> Story:
        yield JobFailed("ScoreJob", "no such weights", exit_code, "Traceback …")

    it = scene(story)
    it.folder.mkdir()
    with pytest.raises(error, match="no such weights") as caught:
        it.coordinator.scheduler.run_job(SCORE)
    assert ("faults.log" in str(caught.value)) == (exit_code is None)
    assert it.executor.idle() == [0]


@pytest.mark.parametrize("deaths", [1, MAX_DEATHS])
def test_a_job_whose_worker_dies(scene: Make, deaths: int) -> None:
    def story(_job: Any, attempt: int) -> Story:
        if attempt < deaths:
            yield WorkerDied(-9, "ScoreJob")
        else:
            yield JobDone("done")

    it = scene(story)
    if deaths < MAX_DEATHS:
        assert it.coordinator.scheduler.run_job(SCORE) == "done"
    else:
        with pytest.raises(WorkError, match=r"died 3 times .* while it did ScoreJob"):
            it.coordinator.scheduler.run_job(SCORE)


def test_a_job_can_be_left(scene: Make) -> None:
    def story(_job: Any, _attempt: int) -> Story:
        while True:
            yield Preparing(0.1, "slow")

    it = scene(story)
    it.executor.between = lambda: setattr(it.interrupts, "count", 1)
    with pytest.raises(Interrupted):
        it.coordinator.scheduler.run_job(SCORE)
    assert it.executor.shutdowns == [True]
