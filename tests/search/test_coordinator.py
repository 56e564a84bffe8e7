"""The coordinator's loop against workers that do as a test tells them."""

import json
import math
from typing import Any

import numpy as np
import pytest

from tests.search.fakes import GROUPS, Story, epoch, result, states, train
from tests.search.scenes import Make
from tlsearch.config.paths import checkpoint_path, evaluation_path, scores_folder, scores_path
from tlsearch.execution.interrupts import Interrupted
from tlsearch.execution.messages import (
    EpochDone,
    EpochSeen,
    JobDone,
    Remark,
    RunEnded,
    RunStarted,
    ScoreJob,
    TrainDone,
    TrainJob,
)
from tlsearch.search.baselines import baseline_run
from tlsearch.search.champion import _score, _train_again
from tlsearch.search.confirm import choose
from tlsearch.search.mirroring import evaluation, mirror_row
from tlsearch.search.runner import Queue
from tlsearch.search.store import SEARCH, Store


@pytest.mark.parametrize("workers", [1, 3])
def test_all_goes_well(scene: Make, workers: int) -> None:
    it = scene(workers=workers)
    it.run(4)
    assert states(it.store) == {f"trial-000{i}": "complete" for i in range(4)}
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
    (row,) = it.store.rows()
    assert job == TrainJob(run=row.run)
    assert (job.run.seed, job.run.redraw, job.run.num_epochs) == (0, 0, 3)
    params, lr = it.mirror.params["trial-0000"], row.run.params["lr"]
    assert params["lr"] == params["group_lr.stem"] == params["group_lr.head"] == str(lr)
    assert set(row.run.params) | {f"group_lr.{g}" for g in GROUPS} <= set(params)
    assert it.mirror.tags["trial-0000"]["tlsearch.trial"] == "0"
    assert it.mirror.measured == {}
    content = it.mirror.artifacts["trial-0000"]["evaluation.json"]
    assert content["confusion"] == [[3, 1], [0, 4]]
    assert json.loads(evaluation_path(it.folder, "trial-0000").read_text()) == content


def test_weights_that_are_made_again_leave_no_checkpoint(scene: Make) -> None:
    def saves(job: Any, _attempt: int) -> Story:
        path = checkpoint_path(it.folder, job.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"0")
        return train(job.key, [0.5])

    it = scene(saves)
    probe = baseline_run(it.store.config, "linear_probe", seed=1)
    it.store.enqueue([probe])
    _train_again(it.coordinator, [probe.key])
    assert it.keys == [probe.key]
    assert list((it.folder / "checkpoints").iterdir()) == []


def test_fixed_runs_keep_their_weights(scene: Make) -> None:
    it = scene()
    it.store.enqueue([baseline_run(it.store.config, "linear_probe", seed=1)])
    it.coordinator.carry_out(it.store.ask_fixed)
    (job,) = it.executor.jobs
    assert isinstance(job, TrainJob)
    assert (job.key, job.keep_weights) == ("linear_probe-seed-1", True)
    tags = it.mirror.tags["linear_probe-seed-1"]
    assert tags["tlsearch.baseline"] == "linear_probe"
    assert "tlsearch.trial" not in tags


def test_a_baseline_that_is_added_is_scored_beside_the_same_winner(scene: Make) -> None:
    def story(job: Any, _attempt: int) -> Story:
        if isinstance(job, ScoreJob):
            scores_folder(it.folder).mkdir(parents=True, exist_ok=True)
            for key in job.keys:
                answers = np.eye(2)[[0, 1, int("scratch" in key)]]
                np.savez(scores_path(it.folder, key), probabilities=answers, labels=[0, 1, 0])
            yield JobDone(None)
        else:
            yield from train(job.key, [0.2, 0.3, 0.4])

    it = scene(story)

    def scored(*names: str) -> dict[str, Any]:
        baselines = dict.fromkeys(names, "fixed")
        config = it.store.config.model_copy(update={"baselines": baselines})
        it.coordinator.store = Store(config, it.store.storage)
        queue = Queue(it.coordinator)
        it.coordinator.carry_out(lambda: queue.next_run([SEARCH]))
        choice = choose(it.coordinator.store)
        assert choice is not None
        return _score(it.coordinator, choice, ("a", "b"))

    before = scored("linear_probe")
    after = scored("linear_probe", "from_scratch")
    assert scored("linear_probe", "from_scratch") == after
    assert (before["keys"], before["scorings"]) == (after["keys"], after["scorings"])
    assert after["scorings"] == 1
    assert set(before["baselines"]) == {"linear_probe"}
    assert after["baselines"]["linear_probe"] == before["baselines"]["linear_probe"]
    assert after["baselines"]["from_scratch"]["gain"]["mean"] == pytest.approx(1 / 3)
    last = [job for job in it.executor.jobs if isinstance(job, ScoreJob)][-1]
    assert list(last.keys) == [f"from_scratch-seed-{seed}" for seed in (1, 2)]
    assert not any("is scored for the" in note.text for note in it.watched.of(Remark))


def test_pruned(scene: Make) -> None:
    def story(job: Any, _attempt: int) -> Story:
        return train(job.key, [0.9] * 3 if job.key == "trial-0000" else [0.1] * 3)

    it = scene(story, "search.pruner={median: {n_startup_trials: 1}}")
    it.run(3)
    assert list(states(it.store).values()) == ["complete", "pruned", "pruned"]
    assert it.mirror.steps["trial-0001"] == [1]
    assert [(k, s) for k, s, _ in it.mirror.finished][1:] == [
        ("trial-0001", "KILLED"),
        ("trial-0002", "KILLED"),
    ]
    assert it.mirror.finished[1][2] == {"tlsearch.state": "pruned"}
    assert [row.value for row in it.store.rows()] == [0.9, None, None]


def test_diverged(scene: Make) -> None:
    def story(job: Any, _attempt: int) -> Story:
        yield EpochDone(job.key, epoch(1, 0.1), None)
        ended = result([0.1], ending="diverged", reason="loss is nan")
        yield TrainDone(job.key, "diverged", ended)

    it = scene(story)
    it.run(1)
    (row,) = it.store.rows()
    assert (row.state, row.reason, len(row.epochs)) == ("diverged", "loss is nan", 1)
    tags = {"tlsearch.state": "diverged", "tlsearch.reason": "loss is nan"}
    assert it.mirror.finished == [("trial-0000", "FAILED", tags)]


def test_a_run_that_was_paused_goes_on_where_it_was(scene: Make) -> None:
    it = scene()
    it.executor.between = lambda: setattr(it.interrupts, "count", 1)
    with pytest.raises(Interrupted):
        it.run(2)
    it.executor.between = lambda: None
    it.interrupts.count = 0
    it.run(2)
    assert list(states(it.store).values()) == ["complete"] * 2
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


def test_measures_are_stored_and_mirrored_as_a_later_pass_would(scene: Make) -> None:
    taken = {"seconds": 3.5, "cka_drift": math.nan, "noise_scale": math.inf}
    it = scene(lambda job, _attempt: train(job.key, [0.2, 0.3, 0.4], taken))
    it.run(1)
    (row,) = it.store.rows()
    assert row.measures.keys() == taken.keys()
    assert (row.measures["seconds"], row.measures["noise_scale"]) == (3.5, math.inf)
    assert math.isnan(row.measures["cka_drift"])
    json.dumps(it.store.study.trials[0].user_attrs, allow_nan=False)  # as a server stores it
    live, again = (
        it.mirror.measured[row.run.key],
        mirror_row(row, GROUPS, folder=it.folder, table=None),
    )
    (point,) = [p for p in again.points if p.name.startswith("measure.")]
    assert (point.name, point.step, point.value) == ("measure.seconds", 3, 3.5)
    assert live.points == again.points
    assert (
        again.not_finite
        == live.not_finite
        == ["measure.cka_drift@3=nan", "measure.noise_scale@3=inf"]
    )
