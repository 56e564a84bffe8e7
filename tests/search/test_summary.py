from pathlib import Path
from typing import Any

from tests.search.conftest import Study
from tests.search.fakes import drive, memory_store, result
from tlsearch.config.paths import Layout
from tlsearch.search.baselines import baseline_run
from tlsearch.search.confirm import runs_after
from tlsearch.search.store import MLFLOW, SEARCH, TEST, Store
from tlsearch.search.summary import Summary, as_json, summarise


def summary_of(store: Store) -> Summary:
    return summarise(store, Layout(Path("/x/mlruns")))


def searched(study: Study, *overrides: str) -> Store:
    store = memory_store(study("confirm=null", *overrides))
    store.enqueue([baseline_run(store.config, n, seed=0) for n in store.config.baselines])
    drive(store, store.ask_fixed(), [0.55] * 3)  # type: ignore[arg-type]
    for value in (0.4, 0.7):
        drive(store, store.ask(), [value] * 3)
    ended = result([0.1], ending="diverged", reason="nan")
    store.tell(store.ask(), "diverged", ended, reason="nan")
    return store


def test_a_study_half_way(study: Study) -> None:
    store = searched(study)
    store.ask()
    found = summary_of(store)
    assert found.counts == {"complete": 2, "diverged": 1, "running": 1}
    assert found.best is not None
    assert (found.best.number, found.best.value) == (1, 0.7)
    assert found.baselines == {
        "linear_probe": 0.55,
        "full_fine_tuning": None,
        "from_scratch": None,
    }
    assert (found.test, found.is_finished, found.mlflow) == ({}, False, None)
    told = as_json(found, report=None, seconds=None)
    assert told["trials"] == {"complete": 2, "pruned": 0, "failed": 0, "diverged": 1}
    assert told["best"]["confirmed"] is False
    assert told["optuna"] == {"storage": "/x/mlruns/optuna.journal", "study_name": "s"}


def test_before_the_first_trial(study: Study) -> None:
    found = summary_of(memory_store(study()))
    assert found.best is None
    assert as_json(found, report=None, seconds=None)["best"] is None


def test_the_winner_of_the_confirmation_is_the_best(study: Study) -> None:
    store = searched(study)
    effect: dict[str, Any] = {"mean": 0.9, "low": 0.8, "high": 1.0, "num_seeds": 1, "num_images": 9}
    gain = effect | {"mean": -0.1, "low": -0.2, "high": -0.01}
    record = {
        "winner": 0,
        "keys": [],
        "accuracy": effect,
        "baselines": {"from_scratch": {"accuracy": effect, "gain": gain}},
        "model": "models:/m",
        "registered": "models:/s@champion",
    }
    store.note(TEST, record)
    store.note(MLFLOW, {"tracking_uri": "http://h", "experiment_id": "1"})
    found = summary_of(store)
    assert found.best is not None
    assert found.best.number == 0
    assert found.negative_transfer
    told = as_json(found, report=Path("/r.html"), seconds=1.0)
    assert told["best"]["confirmed"] is True
    assert told["test"] == {"winner": 0, "keys": [], "accuracy": effect}
    assert told["baselines"]["from_scratch"] == {
        "value": None,
        "recipe": "fixed",
        "trials": 1,
        "accuracy": effect,
        "gain": gain,
    }
    assert told["baselines"]["linear_probe"] == {"value": 0.55, "recipe": "fixed", "trials": 1}
    assert told["model"] == "models:/m"
    assert told["registered"] == "models:/s@champion"
    assert told["mlflow"] == {"tracking_uri": "http://h", "experiment_id": "1"}


def test_where_a_baseline_wins_the_best_trial_is_told_beside_it(study: Study) -> None:
    store = searched(study, "confirm.seeds=1", "baselines=[from_scratch]")
    effect: dict[str, Any] = {"mean": 0.9, "low": 0.8, "high": 1.0, "num_seeds": 1, "num_images": 9}
    best = {"accuracy": effect, "gain": effect, "recipe": "tuned", "trials": 3}
    record = {
        "winner": None,
        "baseline": "from_scratch",
        "best_trial": 1,
        "champion": "from_scratch-seed-0",
        "keys": ["from_scratch-seed-0"],
        "accuracy": effect,
        "baselines": {"best_trial": best},
    }
    store.note(TEST, record)
    fewer = Store(study("confirm.seeds=1", "baselines=[]"), store.storage)
    for one in (store, fewer):  # the winner may have been taken out of the study since
        found = summary_of(one)
        told = as_json(found, report=None, seconds=None)
        assert told["winner"] == "from scratch, seed 0"
        assert told["best"]["number"] == 1
        assert told["baselines"]["best_trial"] == {"value": 0.7, **best}
        assert "one fixed recipe" in found.negative_transfer_text


def test_no_password_is_told(study: Study) -> None:
    store = searched(study, "storage=postgresql://me:secret@h/x")
    told = as_json(summary_of(store), report=None, seconds=None)
    assert told["optuna"]["storage"] == "postgresql://me:***@h/x"


def test_a_search_without_a_winner_has_failed(study: Study) -> None:
    config = study("budget.trials=2", "baselines=[]", "confirm.seeds=1", "confirm.top=1")
    store = memory_store(config)
    for _ in range(2):
        assert not summary_of(store).failure
        store.tell(store.ask(), "diverged", None, reason="NaN")
    assert summary_of(store).failure == "All trials diverged: lower the rates in the study's space."
    store = memory_store(config)
    for _ in range(2):
        drive(store, store.ask(), [0.5] * 10)
    for _ in range(2):  # where one fails, the next best takes its place
        assert store.enqueue(runs_after(store, SEARCH)) == 1
        confirmation = store.ask_fixed()
        assert confirmation is not None
        assert not summary_of(store).failure
        store.tell(confirmation, "diverged", None, reason="NaN")
    assert summary_of(store).failure.startswith("No trial completed its confirmation")
