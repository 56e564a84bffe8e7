"""The coordinator is killed at every moment that its journal can tell apart.

A kill leaves a beginning of the journal, perhaps with half a record at its end. From each of them
the study must go on: nothing is lost or doubled, and each trial's figures are its own. After a kill
in the middle of a call to Optuna a sampler may draw other values, and a pruner judge later.
"""

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import optuna
import pytest
from optuna.trial import TrialState

from tlsearch.config.loader import read_study
from tlsearch.config.paths import Layout
from tlsearch.config.schema import StudyConfig
from tlsearch.execution.runs import Run
from tlsearch.search.baselines import baseline_run
from tlsearch.search.storage import open_storage
from tlsearch.search.store import Store
from tlsearch.training.results import EpochResult, TrainResult

pytestmark = [pytest.mark.slow, pytest.mark.ci]

STUDY = """
name: tiny
data: {source: digits}
backbone: {name: resnet18, weights: none}
budget: {trials: 5, epochs: 3}
search: SEARCH
space:
  lr: {low: 1.0e-3, high: 1.0e-1, log: true}
  batch_size: [16, 32]
  optimizer: {sgd: {momentum: {low: 0.8, high: 0.99}}, adam: {}}
baselines: [from_scratch]
"""
SEARCHES = {
    "random": "{sampler: random, pruner: none}",
    "tpe": "{sampler: {tpe: {n_startup_trials: 2}}, pruner: {median: {n_startup_trials: 1}}}",
    "halving": "{sampler: {tpe: {n_startup_trials: 1, multivariate: false}}, pruner: hyperband}",
}


@pytest.fixture(params=SEARCHES)
def config(request: pytest.FixtureRequest, tmp_path: Path) -> StudyConfig:
    file = tmp_path / "study.yaml"
    file.write_text(STUDY.replace("SEARCH", SEARCHES[request.param]))
    return read_study(file, overrides=[], preset=None)


def test_every_kill_of_the_coordinator_leads_to_the_same_study(
    config: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)  # thousands of them, and no power cut here
    whole = Layout(tmp_path / "whole")
    carry_on(config, whole)
    expected = told(config, whole)
    lines = whole.journal.read_bytes().splitlines(keepends=True)
    assert len(expected) == 6
    assert len({tuple(t["params"].items()) for t in expected}) >= 4
    for count in range(len(lines)):
        killed = Layout(tmp_path / f"killed-{count}")
        killed.root.mkdir()
        killed.journal.write_bytes(b"".join(lines[:count]) + lines[count][: len(lines[count]) // 2])
        carry_on(config, killed)
        found = told(config, killed)
        assert [t["number"] for t in found] == [t["number"] for t in expected], count
        for trial in found:
            assert trial["state"].is_finished(), count
            steps = len(trial["reports"])
            assert (steps == 3) == (trial["state"] == TrialState.COMPLETE), count
            own = [trained(trial["known"], step).val_accuracy for step in range(1, steps + 1)]
            assert list(trial["reports"].values()) == own, count
            assert trial["result"]["epochs"]["val_accuracy"] == own, count


def test_a_journal_that_cannot_grow_holds_whole_records(
    config: StudyConfig, tmp_path: Path
) -> None:
    layout = Layout(tmp_path / "full")
    layout.root.mkdir()
    store = Store(config, opened(config, layout))
    before = layout.journal.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 50, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            store.ask()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert layout.journal.read_bytes() == before
    carry_on(config, layout)
    whole = Layout(tmp_path / "whole")
    carry_on(config, whole)
    assert told(config, layout) == told(config, whole)


def carry_on(config: StudyConfig, layout: Layout) -> None:
    """What a coordinator tells its store, with one worker and trainings that take no time."""
    layout.root.mkdir(exist_ok=True)
    store = Store(config, opened(config, layout))
    store.recover()
    store.enqueue([baseline_run(config, name, seed=0) for name in config.baselines])
    for run in runs(store):
        epochs = tuple(trained(run.params, epoch) for epoch in range(1, 4))
        for result in epochs:
            if store.report(run, result, fold=None):
                break
        pruned = result is not epochs[-1]
        done = epochs[: result.epoch]
        store.tell(run, "pruned" if pruned else "complete", summed_up(done), reason="")


def opened(config: StudyConfig, layout: Layout) -> optuna.storages.BaseStorage:
    storage = open_storage(config, layout, create=True)
    assert storage is not None
    return storage


def runs(store: Store) -> Iterator[Run]:
    while (run := store.ask_fixed()) is not None:
        yield run
    while store.num_ended() < store.config.budget.trials:
        yield store.ask()


def trained(params: Any, epoch: int) -> EpochResult:
    """An epoch whose figures depend on what is trained, and on nothing else."""
    luck = crc32(repr(sorted(params.items())).encode()) / 2**32
    return EpochResult(
        epoch=epoch,
        train_loss=1.0,
        train_accuracy=0.5,
        val_loss=1 - luck,
        val_accuracy=luck * epoch / 3,
        lr=0.1,
        max_grad_norm=1.0,
        seconds=0.0,
    )


def summed_up(epochs: tuple[EpochResult, ...]) -> TrainResult:
    return TrainResult(
        ending="complete",
        reason="",
        epochs=epochs,
        chosen=epochs[-1],
        confusion=(),
        max_grad_norm=1.0,
        images_trained=0,
        seconds=0.0,
        step_seconds=0.0,
        folds=(),
        measures={},
    )


def told(config: StudyConfig, layout: Layout) -> list[dict[str, Any]]:
    """All trials of both studies, but for times and ids; `known` are all parameters."""
    store = Store(config, opened(config, layout))
    studies = {
        name: optuna.load_study(study_name=name, storage=store.storage).get_trials()
        for name in ("tiny", "tiny:fixed")
    }
    found = []
    for row in store.rows():
        trial = studies["tiny" if row.run.role == "trial" else "tiny:fixed"][row.number]
        found.append(
            {
                "number": trial.number,
                "state": trial.state,
                "params": trial.params,
                "values": trial.values,
                "reports": trial.intermediate_values,
                "known": row.run.params,
                "result": trial.user_attrs["tlsearch:result"],
            }
        )
    return found
