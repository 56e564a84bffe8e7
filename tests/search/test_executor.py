"""Real worker processes: what they say, and what is left when one is killed."""

import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests.execution.jobs import train_job
from tests.search.conftest import Study
from tlsearch.config.images import SplitConfig
from tlsearch.config.paths import examples_path, scores_folder, scores_path, weights_path
from tlsearch.config.schema import StudyConfig
from tlsearch.execution.executor import LocalExecutor, _begin
from tlsearch.execution.interrupts import SIGNALS
from tlsearch.execution.messages import (
    EpochDone,
    Event,
    ExamplesJob,
    JobDone,
    JobFailed,
    PrepareJob,
    Preparing,
    ScoreJob,
    Setting,
    SharesJob,
    SurveyJob,
    TrainDone,
    TrainJob,
    WorkerDied,
)

WAIT_SECONDS = 120.0


@pytest.fixture
def executor() -> Iterator[LocalExecutor]:
    made = LocalExecutor(num_workers=1, num_devices=0)
    yield made
    made.shutdown(now=True)


def test_what_a_process_prints_is_no_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", sys.stdout)  # put back, as the environment is
    _begin(dict(os.environ), print, "epoch 1")
    assert capsys.readouterr() == ("", "epoch 1\n")


def said(executor: LocalExecutor, kind: type | tuple[type, ...]) -> Any:
    """The next event of a kind; progress is passed over, everything else is a mistake."""
    for _ in range(1000):
        for worker, event in executor.events(timeout=WAIT_SECONDS):
            assert worker == 0
            if isinstance(event, kind):
                return event
            assert isinstance(event, Preparing), event
    raise AssertionError("only progress")


def prepare_job(config: StudyConfig, folder: Path) -> PrepareJob:
    return PrepareJob(
        config=config, folder=folder / "s", cache=folder, user_cache=folder / "u", threads=1
    )


def prepare(executor: LocalExecutor, config: StudyConfig, folder: Path) -> Setting:
    executor.submit(0, prepare_job(config, folder))
    assert executor.idle() == []
    setting: Setting = said(executor, JobDone).answer.setting
    executor.release(0)
    executor.configure(setting)
    return setting


@pytest.fixture
def job(study: Study) -> Callable[..., TrainJob]:
    config = study("space.lr=0.01")

    def make(trial: int = 0, **changes: Any) -> TrainJob:
        asked = {"params": {"freeze_depth": 4}, "trial": trial, "num_epochs": 3}
        return train_job(config, **(asked | changes))

    return make


MakeJob = Callable[..., TrainJob]


@pytest.mark.slow
def test_a_life_of_a_worker(
    executor: LocalExecutor, study: Study, job: MakeJob, tmp_path: Path
) -> None:
    config = study("precision=fp32", "device=cpu", "workers=1")
    setting = prepare(executor, config, tmp_path / "cache")
    assert setting.data.num_images == 1797
    assert sum(setting.data.train_counts) == 20
    assert executor.idle() == [0]

    # To the end, with its weights kept.
    folder, key = setting.folder, "trial-0000"
    names = ("epochs_spent", "largest_step_norm", "weight_drift")
    executor.submit(0, job(keep_weights=True, keep_scores=True, measures=names))
    for number in (1, 2, 3):
        event = said(executor, EpochDone)
        assert (event.key, event.result.epoch) == ("trial-0000", number)
        executor.answer(0, "continue")
    done = said(executor, TrainDone)
    assert done.ending == "complete"
    assert done.result.chosen == done.result.epochs[-1]
    assert sum(map(sum, done.result.confusion)) == sum(setting.data.validation_counts)
    assert done.result.measures["epochs_spent"] == 3
    assert done.result.measures["largest_step_norm"] > 0
    assert math.isnan(done.result.measures["weight_drift"])  # it started at random
    executor.release(0)

    # Scored on the test part.
    live = scores_path(folder, key).rename(tmp_path / "live.npz")
    executor.submit(0, ScoreJob(keys=(key,), backbone=""))
    said(executor, JobDone)
    executor.release(0)
    with np.load(live) as at_once, np.load(scores_path(folder, key)) as from_file:
        assert set(at_once) == set(from_file) == {"probabilities", "labels", "rows"}
        assert all(np.array_equal(at_once[name], from_file[name]) for name in at_once)
        accuracy = (at_once["probabilities"].argmax(1) == at_once["labels"]).mean()
    assert [p.name for p in scores_folder(folder).iterdir()] == [f"{key}.npz"]

    # A few pictures for the report, in as many epochs as it was trained for.
    params = study("space.augmentation=basic").space.assign(lambda _name, _dimension: 0.01)
    pictured = job(params=params, seed=1, num_epochs=2).run
    executor.submit(0, ExamplesJob(run=pictured))
    said(executor, JobDone)
    executor.release(0)
    shown = json.loads(examples_path(folder, key).read_text())
    assert shown["num_images"] == sum(setting.data.test_counts)
    assert shown["num_wrong"] == round((1 - accuracy) * shown["num_images"])
    assert [len(row["images"]) for row in shown["training"]] == [3] * 4
    assert all(len(set(row["images"])) == 3 for row in shown["training"]), "every view is another"

    # Surveyed, and divided without training.
    executor.submit(0, SurveyJob(future=None))
    facts = said(executor, JobDone).answer
    assert (facts["classes"], facts["train_images"], facts["similarity"]) == (10, 20, None)
    executor.release(0)
    splits = {"time": SplitConfig(strategy="time", test=0.3)}
    executor.submit(0, SharesJob(splits=splits, future=0.2, seeds=(1,), redraws=2))
    ((name, (first, second)),) = said(executor, JobDone).answer.items()
    assert (name, first) == ("time", second)
    executor.release(0)
    executor.submit(0, SharesJob(splits=splits, future=0.0001, seeds=(1,), redraws=2))
    refused = said(executor, JobFailed)
    assert (refused.key, refused.exit_code) == ("SharesJob", 2)
    executor.release(0)

    # Stopped as it was told.
    executor.submit(0, job(1))
    said(executor, EpochDone)
    executor.answer(0, "stop")
    assert said(executor, TrainDone).ending == "stopped"
    executor.release(0)

    # What cannot be read and what should not be are told, and the worker lives on.
    before = pid(executor)
    executor.submit(0, ScoreJob(keys=("no",), backbone=""))
    missing = said(executor, JobFailed)
    assert missing.exit_code == 1
    assert str(weights_path(folder, "no")) in missing.message
    executor.release(0)
    executor.submit(0, job(num_epochs=None))
    fault = said(executor, JobFailed)
    assert (fault.key, fault.exit_code) == ("trial-0000", None)
    assert fault.message.startswith("TypeError: ")
    assert "Traceback" in fault.details
    executor.release(0)

    # Paused and taken up: the same epochs as in one go.
    executor.submit(0, job(2))
    said(executor, EpochDone)
    executor.answer(0, "pause")
    assert said(executor, TrainDone).ending == "paused"
    executor.release(0)
    assert pid(executor) == before

    # Killed in mid-job: it is reported and replaced, and the next one knows the setting.
    executor.submit(0, job(2))
    assert said(executor, EpochDone).result.epoch == 1  # told again from the checkpoint
    executor.answer(0, "continue")
    assert said(executor, EpochDone).result.epoch == 2
    psutil.Process(before).kill()
    died = said(executor, WorkerDied)
    assert (died.exit_code, died.key) == (-9, "trial-0002")
    assert executor.idle() == [0]
    assert pid(executor) != before
    executor.answer(0, "continue")  # too late, and nobody's
    executor.submit(0, job(2))
    again = [_continued(executor) for _ in range(3)]
    assert [event.result.epoch for event in again] == [1, 2, 3]
    resumed = said(executor, TrainDone).result
    assert resumed.measures == {}
    assert [e._replace(seconds=0) for e in resumed.epochs] == [
        e._replace(seconds=0) for e in done.result.epochs
    ]


def _continued(executor: LocalExecutor) -> Event:
    event: Event = said(executor, EpochDone)
    executor.answer(0, "continue")
    return event


def pid(executor: LocalExecutor) -> int:
    found = executor._workers[0].process.pid
    assert found is not None
    return found


@pytest.mark.slow
def test_idle_workers_die_and_leave(executor: LocalExecutor) -> None:
    first = pid(executor)
    psutil.Process(first).kill()
    assert said(executor, WorkerDied).key == ""
    second = pid(executor)
    assert second != first
    assert os.environ.get("OMP_NUM_THREADS") == "1" or "OMP_NUM_THREADS" not in os.environ
    executor.shutdown(now=False)
    executor.shutdown(now=True)  # nothing is left to end
    assert not psutil.pid_exists(second)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
def test_workers_are_forked_with_torch_and_survive_their_server(executor: LocalExecutor) -> None:
    first = psutil.Process(pid(executor))
    server = first.parent()
    assert server is not None
    assert (server.ppid(), server.num_threads()) == (os.getpid(), 1)
    for sign in SIGNALS:  # as a terminal sends them to the whole group
        server.send_signal(sign)
    first.kill()
    assert said(executor, WorkerDied).exit_code == -9
    second = psutil.Process(pid(executor))
    assert second.ppid() == server.pid
    assert any("libtorch" in part.path for part in second.memory_maps())
    server.kill()
    assert said(executor, WorkerDied).exit_code == 255
    assert pid(executor) != second.pid
    assert not psutil.wait_procs([second], timeout=WAIT_SECONDS)[1]


@pytest.mark.slow
def test_a_worker_has_one_thread_and_no_store(executor: LocalExecutor, study: Study) -> None:
    """A request that cannot be met comes back in words; the process stays light until it trains."""
    config = study("device=cpu").model_copy(update={"device": "cuda"})
    folder = Path("/nonexistent")
    executor.submit(0, prepare_job(config, folder))
    failed = said(executor, JobFailed)
    assert failed.key == "PrepareJob"
    assert failed.exit_code == 2
    assert "device = 'cuda'" in failed.message
    environment = psutil.Process(pid(executor)).environ()
    assert {environment[n] for n in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")} == {"1"}
