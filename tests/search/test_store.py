"""Runs and notes in Optuna: every sampler and pruner, interruptions, refusals."""

import json
import math
import random
import sqlite3
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from tests.search.conftest import Study
from tests.search.fakes import drive, epoch, layout_in, memory_store, result, states
from tlsearch.config.cells import Cell
from tlsearch.config.paths import PARTS
from tlsearch.config.schema import StudyConfig
from tlsearch.config.search_options import PRUNERS, SAMPLERS
from tlsearch.config.space import Choice, Fixed, Range, configuration_key
from tlsearch.errors import StoreError, WorkError
from tlsearch.search import store as store_module
from tlsearch.search.baselines import baseline_run
from tlsearch.search.confirm import candidates, num_trials, trials_left
from tlsearch.search.coordinator import start_over
from tlsearch.search.samplers import grid_point, make_pruner, make_sampler, suggest_with
from tlsearch.search.storage import open_storage
from tlsearch.search.store import SEARCH, Store, existing_store, is_started

NUMBERS = """
space:
  lr: {low: 1.0e-4, high: 1.0e-1, log: true}
  dropout: {low: 0.0, high: 0.5}
  freeze_depth: {low: 0, high: 5}
  batch_size: [16, 32]
"""
CONDITIONAL = """
space:
  lr: {low: 1.0e-4, high: 1.0e-1, log: true}
  optimizer: {sgd: {momentum: {low: 0.8, high: 0.99}}, adam: {}}
"""
GRID = "\nspace: {lr: [0.001, 0.01, 0.1], freeze_depth: [0, 5]}\n"
TRIALS = 13
Reopen = Callable[[StudyConfig], Store]


@pytest.fixture(params=["journal", "sqlite"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Reopen:
    """Opens the same store again, as another process would."""
    layout = layout_in(tmp_path)

    def opening(config: StudyConfig) -> Store:
        if request.param == "sqlite":
            config = config.model_copy(update={"storage": "sqlite:///studies.db"})
        storage = open_storage(config, layout, create=True)
        assert storage is not None
        return Store(config, storage)

    return opening


def configured(study: Study, body: str, sampler: str, pruner: str) -> StudyConfig:
    head = f"\nbudget: {{trials: 6, epochs: 4}}\nsearch: {{sampler: {sampler}, pruner: {pruner}}}"
    return study(body=f"{head}\nconfirm: null\n{body}")


def search(store: Store, trials: int) -> list[bool]:
    """Trials whose best rate is 1e-2; which were pruned."""
    pruned = []
    for _ in range(trials):
        run = store.ask()
        noise = random.Random(run.trial).uniform(0, 0.01)
        best = 1 - 0.2 * abs(math.log10(run.params["lr"]) + 2) - 0.1 * run.params["dropout"] - noise
        pruned.append(drive(store, run, [best * share for share in (0.3, 0.6, 0.8, 0.9)]))
    return pruned


def test_round_trip(study: Study, reopen: Reopen) -> None:
    config = study()
    store = reopen(config)
    run = store.ask()
    assert (store.num_running(), store.num_ended()) == (1, 0)
    assert not drive(store, run, [0.2, 0.5, 0.4])
    assert (store.num_running(), store.num_ended()) == (0, 1)
    store.note("facts", {"a": 1}, "here")
    again = reopen(config)
    (row,) = again.rows()
    assert (row.run, row.run.key, row.number) == (run, "trial-0000", 0)
    assert (row.state, row.value) == ("complete", 0.4)
    assert row.epochs == tuple(epoch(i, a) for i, a in enumerate([0.2, 0.5, 0.4], 1))
    assert (row.images_trained, row.max_grad_norm) == (30, 2.0)
    assert row.ended >= row.started
    assert again.rows()[0] is row  # a finished trial is read once
    assert (again.noted("facts", "here"), again.noted("facts")) == ({"a": 1}, None)


def test_what_was_under_way_goes_on(study: Study, reopen: Reopen) -> None:
    config = study()
    store = reopen(config)
    store.enqueue([baseline_run(config, "linear_probe", seed=0)])
    runs = [store.ask_fixed(), store.ask(), store.ask()]
    assert runs[0]
    store.report(runs[2], epoch(1, 0.3), fold=None)  # type: ignore[arg-type]
    store.pause(runs[1], None)  # type: ignore[arg-type]
    store = reopen(config)  # as after a kill
    assert store.recover() == 3
    assert set(states(store).values()) == {"waiting"}
    assert [store.ask_fixed(), store.ask(), store.ask()] == runs
    assert store.ask().trial == 2  # nobody is left to go on
    store.report(runs[2], epoch(1, 0.9), fold=None)  # type: ignore[arg-type]
    assert store.study.get_trials()[1].intermediate_values == {1: 0.3}  # recorded once


def test_a_trial_whose_sampling_was_cut_short_is_sampled_to_its_end(
    study: Study, reopen: Reopen
) -> None:
    store = reopen(study())
    store.study.ask()
    assert store.rows() == []
    store.recover()
    assert store.ask().trial == 0
    assert [row.state for row in store.rows()] == ["running"]


@pytest.mark.parametrize(
    ("ending", "state"),
    [("pruned", TrialState.PRUNED), ("diverged", TrialState.PRUNED), ("failed", TrialState.FAIL)],
)
def test_endings(study: Study, ending: Any, state: TrialState) -> None:
    store = memory_store(study())
    run = store.ask()
    store.report(run, epoch(1, 0.3), fold=None)
    found = None if ending == "failed" else result([0.3], ending="diverged", reason="nan")
    assert store.tell(run, ending, found, reason="because").value is None
    (trial,), (row,) = store.study.get_trials(), store.rows()
    assert trial.state == state
    assert (row.state, row.value, row.reason) == (ending, None, "because")


def test_measures_are_kept_as_json_can_hold_them(study: Study) -> None:
    store = memory_store(study())
    taken = {"seconds": 3.5, "cka_drift": math.nan, "noise_scale": math.inf}
    run = store.ask()
    store.tell(run, "complete", replace(result([0.5]), measures=taken), reason="")
    (row,) = store.rows()
    assert (row.measures["seconds"], row.measures["noise_scale"]) == (3.5, math.inf)
    assert math.isnan(row.measures["cka_drift"])
    json.dumps(store.study.trials[0].user_attrs, allow_nan=False)


def test_fixed_runs_are_enqueued_once_and_kept_from_the_sampler(
    study: Study, reopen: Reopen
) -> None:
    config = study("search.metric=val_loss")
    runs = [baseline_run(config, name, seed=0) for name in config.baselines]
    store = reopen(config)
    store.enqueue(runs)
    store = reopen(config)
    store.enqueue(runs)
    assert [store.ask_fixed() for _ in range(4)] == [*runs, None]
    for run in runs:
        drive(store, run, [0.75] * 3)
    assert store.num_ended() == len(store.study.get_trials()) == 0
    assert [row.value for row in store.rows()] == [0.25] * 3
    assert store.study.direction == optuna.study.StudyDirection.MINIMIZE


def test_a_tuned_baseline_has_trials_of_its_own(study: Study) -> None:
    config = study(
        "baselines={from_scratch: tuned}", "backbone.weights=glyphs", "space.l2_sp=[0, 0.1]"
    )
    store, scratch = memory_store(config), Cell("", "from_scratch")
    run = store.ask(scratch)
    assert (run.role, run.name, run.trial, run.redraw) == ("baseline", "from_scratch", 0, 0)
    assert run.init == "random"
    assert (run.params["freeze_depth"], run.params["l2_sp"]) == (0, 0)
    assert "lr" in store.cells[scratch].searched()
    assert run.key == "from_scratch-0000-seed-0"
    drive(store, run, [0.5] * 3)
    assert (store.num_ended(scratch), store.num_ended()) == (1, 0)
    assert [row.run for row in store.trials(scratch)] == [run]


def test_a_trial_counts_by_its_last_epoch_even_if_an_earlier_one_is_kept(study: Study) -> None:
    store = memory_store(study("space.patience_epochs=1"))
    run, found = store.ask(), result([0.4, 0.7, 0.6])
    kept = replace(found, chosen=found.epochs[1])
    assert store.tell(run, "complete", kept, reason="").value == 0.6
    (row,) = store.trials()
    assert (row.value, store.study.trials[0].value) == (0.6, 0.6)
    assert row.val_loss == found.epochs[-1].val_loss


# Samplers and pruners.


@pytest.mark.parametrize("name", sorted(set(SAMPLERS) - {"grid"}))
def test_every_sampler_runs_a_study_and_can_be_stopped(study: Study, name: str) -> None:
    config = configured(study, NUMBERS, name, "none")
    storage = optuna.storages.InMemoryStorage()
    for _ in range(TRIALS):
        search(Store(config, storage), 1)
    in_one = memory_store(config)
    search(in_one, TRIALS)
    rows = in_one.rows()
    assert [r.run for r in Store(config, storage).rows()] == [r.run for r in rows]
    assert [row.state for row in rows] == ["complete"] * TRIALS
    assert len({row.run.params["lr"] for row in rows}) == TRIALS
    for row in rows:
        assert 1e-4 <= row.run.params["lr"] <= 1e-1
        assert row.run.params["batch_size"] in (16, 32)
        assert row.run.strategy.lr == row.run.params["lr"]


def test_choices_open_dimensions(study: Study) -> None:
    store = memory_store(configured(study, CONDITIONAL, "tpe", "none"))
    for _ in range(TRIALS):
        drive(store, store.ask(), [0.5])
    for row in store.rows():
        sgd = row.run.params["optimizer"] == "sgd"
        assert ("optimizer.sgd.momentum" in row.sampled) == sgd
        assert type(row.run.strategy.optimizer).__name__ == ("Sgd" if sgd else "Adam")


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp", "cmaes", "qmc"])
def test_no_configuration_is_trained_twice(study: Study, sampler: str) -> None:
    body = "\nspace: {lr: {low: 0.1, high: 0.3, step: 0.1}, freeze_depth: {low: 0, high: 3}}\n"
    store = memory_store(configured(study, body, sampler, "none"))
    runs = []
    for _ in range(6):  # two at a time
        pair = store.ask(), store.ask()
        runs += pair
        for run in pair:
            drive(store, run, [run.params["lr"]] * 4)
    assert store.config.num_configurations() == 12
    assert len({configuration_key(run.params) for run in runs}) == 12


def test_a_choice_counts_what_it_opens(study: Study) -> None:
    body = "\nspace: {optimizer: {sgd: {momentum: [0.8, 0.9]}, adam: {}}}\n"
    store = memory_store(configured(study, body, "tpe", "none"))
    assert (store.config.num_configurations(), num_trials(store, SEARCH)) == (3, 3)
    for _ in range(3):
        drive(store, store.ask(), [0.5] * 4)
    assert len({configuration_key(row.run.params) for row in store.rows()}) == 3
    assert not trials_left(store)


def test_copies_of_a_configuration_are_confirmed_once(study: Study) -> None:
    body = "\nspace: {lr: {low: 0.1, high: 0.3}}\nconfirm: {top: 3}\n"
    store = memory_store(study(body=body))
    for lr in (0.2, 0.2, 0.3):
        store.study.enqueue_trial({"lr": lr})  # as a user of Optuna may
        drive(store, store.ask(), [lr] * 10)
    assert [one.trial for one in candidates(store, SEARCH)] == [2, 0]


def test_the_grid_is_walked_once(study: Study) -> None:
    store = memory_store(configured(study, GRID, "grid", "none"))
    store.tell(store.ask(), "failed", None, reason="")  # a failed point was visited, too
    paused = store.ask()
    store.pause(paused, None)
    assert store.ask() == paused
    other = store.ask()
    drive(store, paused, [0.1] * 4)
    drive(store, other, [0.1] * 4)
    for _ in range(3):
        drive(store, store.ask(), [0.1] * 4)
    points = [(r.run.params["lr"], r.run.params["freeze_depth"]) for r in store.rows()]
    assert sorted(points) == [(lr, f) for lr in (0.001, 0.01, 0.1) for f in (0, 5)]
    assert points != sorted(points)
    assert grid_point(store.config, 0) == {"lr": points[0][0], "freeze_depth": points[0][1]}


@pytest.mark.parametrize("name", sorted(PRUNERS))
def test_every_pruner_runs_a_study(study: Study, name: str) -> None:
    store = memory_store(configured(study, NUMBERS, "random", name))
    pruned = search(store, TRIALS)
    rows = store.rows()
    assert [row.state for row in rows] == ["pruned" if p else "complete" for p in pruned]
    # Wilcoxon needs more steps than these, and a race prunes none before its end.
    assert any(pruned) == (name not in ("none", "wilcoxon", "racing"))
    assert not all(pruned)
    # A trial that has trained all its epochs is complete, however bad it is.
    assert all((len(row.epochs) == 4) == (row.state == "complete") for row in rows)


def test_options_reach_optuna_without_news_of_experiments(study: Study) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in SAMPLERS:
            body = GRID if name == "grid" else NUMBERS
            make_sampler(configured(study, body, name, "none"), seed=1)
        for name in PRUNERS:
            make_pruner(configured(study, NUMBERS, "random", name))
    for body, grouped in ((NUMBERS, False), (CONDITIONAL, True)):
        sampler: Any = make_sampler(configured(study, body, "tpe", "none"), seed=1)
        assert (sampler._group, sampler._multivariate) == (grouped, True)
    hyperband: Any = make_pruner(configured(study, NUMBERS, "random", "hyperband"))
    assert (hyperband._max_resource, hyperband._reduction_factor) == (4, 3)


def test_a_pruner_judges_new_epochs_of_trials_alone(study: Study) -> None:
    pruner = "{percentile: {percentile: 50, n_startup_trials: 2}}"
    store = memory_store(configured(study, NUMBERS, "random", pruner))
    for accuracy in (0.5, 0.7):
        drive(store, store.ask(), [accuracy] * 4)
    worse = store.ask()
    assert not store.report(store.ask(), epoch(1, 0.65), fold=None)
    # The answer to a repeated epoch is the same: its worker may have died before it heard it.
    assert store.report(worse, epoch(1, 0.55), fold=None)
    assert store.report(worse, epoch(1, 0.55), fold=None)
    assert store.report(worse, epoch(2, 0.1), fold=None)
    assert not store.report(worse, epoch(1, 0.55), fold=None)  # an old epoch decides nothing
    assert store.report(worse, epoch(3, 0.1), fold=None)
    assert not store.report(worse, epoch(4, 0.1), fold=None)  # all is trained
    baseline = baseline_run(store.config, "from_scratch", seed=0)
    store.enqueue([baseline])
    store.ask_fixed()
    assert not store.report(baseline, epoch(1, 0.0), fold=None)


def test_suggestions() -> None:
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    suggest = suggest_with(trial)
    assert suggest("a", Choice((None, "x", 2))) in (None, "x", 2)
    whole = suggest("b", Range(low=0, high=9, log=False, step=3))
    assert isinstance(whole, int)
    assert whole % 3 == 0
    assert 1e-4 <= suggest("c", Range(low=1e-4, high=1e-1, log=True, step=None)) <= 1e-1
    with pytest.raises(AssertionError, match="not searched"):
        suggest("e", Fixed(1))


# What may change, and what is refused.


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("space.lr={low: 0.001, high: 0.2}", "space.lr: "),
        ("data.labels_per_class=3", "data.labels_per_class: 2 → 3"),
        ("budget.epochs=2", "budget.epochs: 3 → 2"),
    ],
)
def test_other_settings_are_refused(study: Study, change: str, line: str) -> None:
    storage = optuna.storages.InMemoryStorage()
    Store(study(), storage).ask()
    with pytest.raises(StoreError) as caught:
        Store(study(change), storage)
    message = str(caught.value)
    assert f"\n  {line}" in message
    assert message.startswith("name = 's': ")
    assert "--fresh" in message
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "change",
    ["budget.trials=9", "workers=1", "confirm.seeds=3", "baselines=[]", "budget.timeout=1h"],
)
def test_more_of_the_same_goes_on(study: Study, change: str) -> None:
    storage = optuna.storages.InMemoryStorage()
    first = Store(study(), storage)
    first.ask()
    assert Store(study(change), storage).key == first.key


def test_before_its_first_run_a_study_may_become_another(study: Study) -> None:
    storage = optuna.storages.InMemoryStorage()
    first, other = Store(study(), storage), study("search.seed=5")
    first.adopt()
    key = first.key
    looked_at = Store(other, storage)
    assert looked_at.key == key, "looking changes nothing"
    looked_at.adopt()
    assert looked_at.key != key
    looked_at.ask()
    with pytest.raises(StoreError):
        Store(study(), storage)


def test_studies_of_others_and_of_other_versions_are_refused(study: Study) -> None:
    storage = optuna.storages.InMemoryStorage()
    theirs = optuna.create_study(study_name="s", storage=storage)
    theirs.optimize(lambda _: 0.0, n_trials=1)
    with pytest.raises(StoreError, match="tlsearch did not make"):
        Store(study(), storage)
    assert not is_started("s", storage)
    theirs.set_user_attr("tlsearch:identity", {})  # as versions before the layout was numbered
    for wrong in (None, 1):
        theirs.set_user_attr("tlsearch:layout", wrong)
        with pytest.raises(StoreError, match=r"^name = 's': .*another version.*--fresh$"):
            Store(study(), storage)
        with pytest.raises(StoreError, match="another version"):
            existing_store(study(), storage)


def test_a_study_whose_maker_was_killed_at_once_is_taken_up(study: Study) -> None:
    storage = optuna.storages.InMemoryStorage()
    optuna.create_study(study_name="s", storage=storage, direction="maximize")
    assert not is_started("s", storage)
    assert existing_store(study(), storage) is None
    Store(study(), storage).ask()
    assert is_started("s", storage)


def test_a_study_set_aside_while_one_looks_is_not_made_anew(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = optuna.storages.InMemoryStorage()
    Store(study(), storage)
    assert existing_store(study(), storage) is not None
    monkeypatch.setattr(store_module, "is_started", lambda _name, _storage: True)
    optuna.delete_study(study_name="s", storage=storage)
    assert existing_store(study(), storage) is None
    assert "s" not in optuna.get_all_study_names(storage)


@pytest.mark.parametrize("address", ["null", "sqlite:///x.db"])
def test_starting_over_keeps_what_was_there(study: Study, tmp_path: Path, address: str) -> None:
    config, layout = study(f"storage={address}"), layout_in(tmp_path)
    storage = open_storage(config, layout, create=True)
    assert storage is not None
    store = Store(config, storage)
    drive(store, store.ask(), [0.5] * 3)
    store.ask()
    store.pause(store.ask(), None)
    key, folder = store.key, layout.study("s")
    for part in PARTS:
        (folder / part).mkdir(parents=True)
    (folder / "report.html").write_text("r")
    (layout.artifacts / "s").mkdir(parents=True)
    (layout.artifacts / "s" / "model").write_bytes(b"m" * 10**6)
    text = start_over(config, layout, storage)
    assert text is not None
    assert f"are kept: 1.0 MB in {layout.artifacts / 's'}" in text
    assert ("tlsearch clean" in text) == (address == "null")
    names = optuna.get_all_study_names(storage)
    (old,) = (name for name in names if name.startswith("s until "))
    assert len(names) == 2
    assert [p.name for p in folder.iterdir()] == ["report.html"]
    ended = [t.state for t in optuna.load_study(study_name=old, storage=storage).get_trials()]
    assert ended == [TrialState.COMPLETE, TrialState.FAIL, TrialState.FAIL]
    fresh = Store(study(f"storage={address}", "search.seed=7"), storage)
    assert fresh.rows() == []
    assert fresh.key != key
    assert fresh.given_up() == key


def test_nothing_is_set_aside_where_the_new_study_could_not_run(
    study: Study, tmp_path: Path
) -> None:
    layout = layout_in(tmp_path)
    layout.create()
    storage = open_storage(study(), layout, create=True)
    assert storage is not None
    assert start_over(study(), layout, storage) is None  # there was none
    Store(study(), storage).ask()
    with sqlite3.connect(layout.mlflow_db) as database:
        database.execute("CREATE TABLE experiments (experiment_id, name, lifecycle_stage)")
        database.execute("INSERT INTO experiments VALUES (1, 's', 'deleted')")
    with pytest.raises(WorkError, match="'s' was deleted — bring it back"):
        start_over(study(), layout, storage)
    assert optuna.get_all_study_names(storage) == ["s", "s:fixed"]
