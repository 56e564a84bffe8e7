"""Runs that are cross-validations: what the stores, the pruner and the confirmation see."""

from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from tests.search.conftest import BODY, Study
from tests.search.fakes import GROUPS, drive, epoch, memory_store, result
from tlsearch.execution.runs import Run
from tlsearch.search.baselines import baseline_run
from tlsearch.search.confirm import best_first, runs_after
from tlsearch.search.jobs import train_job
from tlsearch.search.mirroring import mirror_row
from tlsearch.search.samplers import make_pruner
from tlsearch.search.store import SEARCH, Store
from tlsearch.training.results import EpochResult, FoldResult, TrainResult

HEAD = """
name: s
data: {source: digits, split: {test: 0.6, folds: 4}, labels_per_class: 2}
backbone: {name: resnet18, weights: none}
"""
EPOCHS = 3


@pytest.fixture
def crossed(study: Study) -> Callable[..., Store]:
    def make(pruner: str = "none", *overrides: str) -> Store:
        return memory_store(study(f"search.pruner={pruner}", *overrides, body=BODY, head=HEAD))

    return make


def told(accuracies: list[float]) -> tuple[list[EpochResult], list[FoldResult]]:
    """What a worker tells of folds that end with these accuracies, three epochs each."""
    epochs, folds = [], []
    for number, accuracy in enumerate(accuracies, 1):
        epochs += [epoch((number - 1) * EPOCHS + i, accuracy / (4 - i)) for i in (1, 2, 3)]
        mean = fmean(accuracies[:number])
        folds.append(FoldResult(number, number * EPOCHS, 1 - accuracy, accuracy, 1 - mean, mean))
    return epochs, folds


def run_through(store: Store, run: Run, accuracies: list[float]) -> int:
    """Report all epochs until it is pruned or told; the number of epochs."""
    epochs, folds = told(accuracies)
    ended = {fold.last_epoch: fold for fold in folds}
    for number, one in enumerate(epochs, 1):
        if store.report(run, one, fold=ended.get(one.epoch)):
            store.tell(run, "pruned", summed(epochs[:number], folds[: number // 3]), reason="")
            return number
    store.tell(run, "complete", summed(epochs, folds), reason="")
    return len(epochs)


def summed(epochs: list[EpochResult], folds: list[FoldResult]) -> TrainResult:
    return TrainResult(
        ending="complete",
        reason="",
        epochs=tuple(epochs),
        chosen=None,
        confusion=((1, 0), (0, 1)),
        max_grad_norm=1.0,
        images_trained=5,
        seconds=1.0,
        step_seconds=0.8,
        folds=tuple(folds),
        measures={},
    )


def test_a_trials_value_is_the_mean_over_folds(crossed: Any) -> None:
    store = crossed()
    run = store.ask()
    assert run.folds == (0, 1, 2, 3)
    assert run.total_epochs == 12
    assert run_through(store, run, [0.9, 0.5, 0.6, 0.8]) == 12
    (row,) = store.rows()
    assert row.value == pytest.approx(0.7)
    assert (len(row.epochs), row.folds) == (12, tuple(told([0.9, 0.5, 0.6, 0.8])[1]))


def test_optuna_hears_of_folds_alone_and_of_their_running_mean(crossed: Any) -> None:
    store = crossed()
    run_through(store, store.ask(), [0.9, 0.5, 0.6, 0.8])
    (trial,) = store.study.get_trials()
    assert trial.intermediate_values == pytest.approx({1: 0.9, 2: 0.7, 3: 2 / 3, 4: 0.7})


def test_wilcoxon_hears_of_each_fold_itself(crossed: Any) -> None:
    store = crossed("{wilcoxon: {p_threshold: 0.1}}")
    run_through(store, store.ask(), [0.9, 0.5, 0.6, 0.8])
    (trial,) = store.study.get_trials()
    assert trial.intermediate_values == {1: 0.9, 2: 0.5, 3: 0.6, 4: 0.8}


def test_a_loss_is_reported_as_a_loss(crossed: Any) -> None:
    store = crossed("none", "search.metric=val_loss")
    run_through(store, store.ask(), [0.9, 0.5])
    (trial,) = store.study.get_trials()
    assert trial.intermediate_values == pytest.approx({1: 0.1, 2: 0.3})


def test_pruned_between_folds_alone(crossed: Any) -> None:
    store = crossed("{median: {n_startup_trials: 1, n_warmup_steps: 2}}")
    assert run_through(store, store.ask(), [0.8, 0.8, 0.8, 0.8]) == 12
    assert run_through(store, store.ask(), [0.7, 0.5, 0.9, 0.9]) == 2 * EPOCHS
    assert [row.state for row in store.rows()] == ["complete", "pruned"]


def test_the_last_fold_is_never_pruned(crossed: Any) -> None:
    store = crossed("{median: {n_startup_trials: 1}}")
    run_through(store, store.ask(), [0.8] * 4)
    assert run_through(store, store.ask(), [0.9, 0.8, 0.8, 0.1]) == 12
    assert store.rows()[1].value == pytest.approx(0.65)


def test_what_is_repeated_after_an_interruption_is_recorded_once(crossed: Any) -> None:
    store = crossed("{median: {n_startup_trials: 1, n_warmup_steps: 2}}")
    run_through(store, store.ask(), [0.8] * 4)
    run = store.ask()
    epochs, folds = told([0.7, 0.5, 0.9, 0.9])
    for one in epochs[:3]:
        store.report(run, one, fold=folds[0] if one.epoch == 3 else None)
    store.pause(run, None)
    again = store.ask()
    assert run_through(store, again, [0.7, 0.5, 0.9, 0.9]) == 6
    trial = store.study.get_trials()[1]
    assert trial.intermediate_values == pytest.approx({1: 0.7, 2: 0.6})


def test_hyperband_counts_folds(study: Study) -> None:
    pruner: Any = make_pruner(study("search.pruner=hyperband", head=HEAD))
    assert pruner._max_resource == 4


def test_confirmation_takes_turns(crossed: Any) -> None:
    store = crossed("none", "confirm.seeds=6", "confirm.top=1")
    run_through(store, store.ask(), [0.7] * 4)
    specs = []
    while store.enqueue(runs_after(store, SEARCH)):
        while (spec := store.ask_fixed()) is not None:
            store.tell(spec, "complete", result([0.7]), reason="")
            specs.append(spec)
    by_seed = {spec.redraw: spec.folds for spec in specs}
    assert by_seed == {1: (0,), 2: (1,), 3: (2,), 4: (3,), 5: (0,), 6: (1,)}
    assert all(spec.folds == by_seed[spec.redraw] for spec in specs)
    assert baseline_run(store.config, "linear_probe", seed=0).folds == (0, 1, 2, 3)


def test_a_holdout_is_one_fold(study: Study) -> None:
    store = memory_store(study())
    run = store.ask()
    drive(store, run, [0.5] * 3)
    assert run.folds == (0,)
    assert result([0.5]).folds == ()
    (row,) = store.rows()
    assert (row.folds, best_first([row], maximise=True)) == ((), [row])
    specs = [
        *runs_after(store, SEARCH),
        baseline_run(store.config, "linear_probe", seed=0),
    ]
    assert {spec.folds for spec in specs} == {(0,)}


def test_weights_are_kept_of_single_trainings(crossed: Any) -> None:
    config = crossed().config
    one, whole = (baseline_run(config, "linear_probe", seed=seed) for seed in (1, 0))
    assert (train_job(config, one).keep_weights, one.folds) == (True, (0,))
    assert (train_job(config, whole).keep_weights, whole.folds) == (False, (0, 1, 2, 3))


def test_mlflow_shows_folds_at_their_last_epochs(crossed: Any, tmp_path: Path) -> None:
    store = crossed()
    run_through(store, store.ask(), [0.9, 0.5, 0.6, 0.8])
    row = mirror_row(store.rows()[0], GROUPS, folder=tmp_path, table=None)
    assert list(dict.fromkeys(p.step for p in row.points)) == list(range(1, 13))
    assert {p.step: p.value for p in row.points if p.name == "fold"} == {
        3: 1,
        6: 2,
        9: 3,
        12: 4,
    }
    assert row.params["folds"] == "4"
