"""Choosing, confirming, and what is done when; in a search and in the cells of a comparison."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
from sklearn.metrics import (
    balanced_accuracy_score,
    f1_score,
    log_loss,
    recall_score,
    roc_auc_score,
)

from tests.execution.test_prepare import images
from tests.search.conftest import BODY, HEAD, Study
from tests.search.fakes import drive, memory_store, result, setting_of
from tlsearch.config.catalog import CATALOGUE, groups, torchvision_names
from tlsearch.config.cells import Cell
from tlsearch.config.paths import scores_path
from tlsearch.config.runtime import no_progress
from tlsearch.config.search_options import METRICS
from tlsearch.data import dataset as image_store
from tlsearch.errors import StoreError
from tlsearch.execution.messages import Notice, StageStarted, TrainJob
from tlsearch.execution.prepare import divide
from tlsearch.execution.runs import Run, RunRow
from tlsearch.execution.workbench import Workbench
from tlsearch.search.baselines import BASELINES, baseline_run, folds_of
from tlsearch.search.champion import effects_on_test, recipe_of
from tlsearch.search.collect import CSV_FILE, JSON_FILE, collect, write_tables
from tlsearch.search.confirm import (
    Choice,
    baseline_keys,
    best_first,
    cell_is_done,
    choose,
    chosen,
    is_finished,
    runs_after,
    trials_left,
)
from tlsearch.search.jobs import MEASURES, measures_of, train_job
from tlsearch.search.runner import Queue
from tlsearch.search.store import SEARCH, SURVEY, TEST, Store
from tlsearch.search.summary import as_json, summarise
from tlsearch.training.plan import make_plan
from tlsearch.training.results import FoldResult

COMPARISON = """
space: {lr: {low: 1.0e-3, high: 1.0e-1, log: true}}
comparison:
  arms:
    one: {space.schedule: constant}
    other: {space.schedule: cosine}
    given: {space.lr: 0.05}
  scenarios:
    here: {traits: {labels: few}}
    there: {set: {data.labels_per_class: 3}, arms: [one, other]}
  tuning: {trials: 3, epochs: 2}
  confirm: {seeds: 3}
  sweeps: {seeds: 2, scenarios: [here], of: [{arm: given, dimension: lr, values: [0.05, 0.5]}]}
"""
ONE, OTHER, GIVEN = (Cell("here", arm) for arm in ("one", "other", "given"))
RIGHT = {"one": (1, 1, 0, 1), "other": (1, 0, 0, 1), "given": (0, 0, 0, 1)}
"""Which of four test images each arm answers rightly."""


def queue_of(store: Store) -> tuple[Queue, list[Notice]]:
    notices: list[Notice] = []
    work: Any = SimpleNamespace(store=store, watch=notices.append, num_workers=1)
    return Queue(work), notices


def carry_out(
    store: Store, value: Callable[[Run], float | None], *, scenario: str = "", epochs: int = 3
) -> list[str]:
    """Run a scenario to its end with one worker; a run without a value fails. The keys in order."""
    queue, keys = queue_of(store)[0], []
    cells = [cell for cell in store.cells if cell.scenario == scenario]
    while (run := queue.next_run(cells)) is not None:
        keys.append(run.key)
        found = value(run)
        if found is None:
            store.tell(run, "failed", None, reason="")
        else:
            store.tell(run, "complete", result([found] * epochs), reason="")
    return keys


def by_trial(*values: float) -> Callable[[Run], float]:
    return lambda run: values[run.trial] if run.role == "trial" and run.trial is not None else 0.5


def searched(study: Study, values: list[float], *overrides: str) -> Store:
    store = memory_store(study(*overrides))
    for value in values:
        drive(store, store.ask(), [value] * 3)
    return store


def score(folder: Path, key: str, right: tuple[int, ...]) -> None:
    """Store a run's probabilities of two classes for the test images."""
    labels = np.arange(len(right)) % 2
    answers = np.where(np.array(right, dtype=bool), labels, 1 - labels)
    path = scores_path(folder, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.arange(len(right))
    np.savez(path, probabilities=np.eye(2)[answers], labels=labels, rows=rows)


# A search.


def test_best_first(study: Study) -> None:
    store = searched(study, [0.4, 0.7, 0.5, 0.7])
    assert [row.number for row in best_first(store.rows(), maximise=True)] == [1, 3, 2, 0]
    assert [row.number for row in best_first(store.rows(), maximise=False)] == [0, 2, 1, 3]
    one, two = store.rows()[1:4:2]

    def with_losses(row: RunRow, losses: list[float], patience: int | None) -> RunRow:
        epochs = tuple(
            row.epochs[-1]._replace(epoch=i, val_loss=x) for i, x in enumerate(losses, 1)
        )
        params = {**row.run.params, "patience_epochs": patience}
        return replace(row, epochs=epochs, run=replace(row.run, params=params))

    # Of equal accuracies the smaller loss of the last epoch is better, with patience or without.
    for patience in (None, 2):
        pair = [with_losses(one, [1, 1, 3], patience), with_losses(two, [9, 9, 2], None)]
        assert [row.number for row in best_first(pair, maximise=True)] == [3, 1]
    folds = (FoldResult(1, 3, 5.0, 0.7, 5.0, 0.7), FoldResult(2, 6, 1.0, 0.7, 3.0, 0.7))
    assert replace(one, folds=folds).val_loss == 3.0
    assert replace(one, epochs=()).val_loss == math.inf


def test_a_search_in_its_order(study: Study) -> None:
    store = memory_store(study())
    queue, notices = queue_of(store)
    queue.announce()
    keys = carry_out(store, by_trial(0.4, 0.7, 0.5, 0.1))
    # The probe first, as it is almost free; those that take longest when the trials are done.
    assert keys == [
        *(f"linear_probe-seed-{seed}" for seed in (1, 2)),
        *(f"trial-000{i}" for i in range(4)),
        *(f"{name}-seed-{s}" for name in ("full_fine_tuning", "from_scratch") for s in (1, 2)),
        *(f"confirm-000{trial}-seed-{seed}" for seed in (1, 2) for trial in (1, 2)),
    ]
    rows = {row.run.key: row.run for row in store.rows()}
    again = rows["confirm-0002-seed-2"]
    assert (again.seed, again.redraw, again.params) == (2, 2, rows["trial-0002"].params)
    assert carry_out(store, by_trial(1.0)) == []
    queue.announce()
    started = [n for n in notices if isinstance(n, StageStarted)]
    assert [(n.name, n.done, n.total) for n in started] == [("search", 0, 4), ("search", 4, 4)]
    assert started[1].best == (0.7, rows["trial-0001"])


def test_a_tuned_baseline_has_as_many_trials_and_its_best_is_confirmed(study: Study) -> None:
    store = memory_store(study("baselines={from_scratch: tuned, linear_probe: fixed}"))

    def value(run: Run) -> float:
        return 0.5 + 0.1 * (run.role == "baseline" and run.trial == 2)

    keys = carry_out(store, value)
    assert [key for key in keys if key.startswith("from_scratch")] == [
        *(f"from_scratch-000{i}-seed-0" for i in range(4)),
        *(f"from_scratch-0002-seed-{seed}" for seed in (1, 2)),
    ]
    assert recipe_of(store, "from_scratch") == {"recipe": "tuned", "trials": 4}
    assert recipe_of(store, "linear_probe") == {"recipe": "fixed", "trials": 1}
    assert baseline_keys(store, None)["from_scratch"] == [
        f"from_scratch-0002-seed-{seed}" for seed in (1, 2)
    ]
    from tlsearch.config.paths import Layout

    found = summarise(store, Layout(Path("/x/mlruns")))
    assert found.counts == {"complete": 4}
    assert found.baselines["from_scratch"] == 0.6
    assert "tuned with 4 trials" in found.negative_transfer_text
    assert as_json(found, report=None, seconds=None)["baselines"]["from_scratch"] == {
        "value": 0.6, "recipe": "tuned", "trials": 4
    }  # fmt: skip


def test_what_waits_of_a_baseline_that_was_taken_out_waits_on(study: Study) -> None:
    store = memory_store(study("baselines={from_scratch: tuned}"))
    queue = queue_of(store)[0]
    while (run := queue.next_run(list(store.cells))) is not None:
        if run.redraw:  # the baseline's first seed: the user leaves
            break
        store.tell(run, "complete", result([0.5] * 3), reason="")
    store.recover()
    assert run is not None
    less = Store(study("baselines=[]"), store.storage)
    keys = carry_out(less, lambda _: 0.5)
    assert {key[:7] for key in keys} == {"confirm"}
    choice = choose(less)
    assert choice is not None
    record = {"keys": list(choice.keys), "baseline_keys": baseline_keys(less, choice)}
    less.note(TEST, {**record, "model": "models:/m"})
    assert is_finished(less)
    again = Store(study("baselines={from_scratch: tuned}"), store.storage)
    assert run.key in carry_out(again, lambda _: 0.5)


def test_a_tuned_baseline_from_scratch_starts_from_random_weights(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = study(
        "baselines={from_scratch: tuned, full_fine_tuning: tuned}", "backbone.weights=glyphs"
    )
    data = images()
    facts, _ = divide(data, config)
    place = image_store.save(data, tmp_path / "images")
    setting = replace(setting_of(config, tmp_path), data=facts, store=place)
    bench = Workbench(setting, device_index=None, on_progress=no_progress)
    loaded: list[str] = []
    monkeypatch.setattr(bench, "_read_weights", lambda: loaded.append(run.key))
    store = memory_store(config)
    carry_out(store, lambda _: 0.5)
    for run in (row.run for row in store.rows()):
        bench.trainer(train_job(config, run))
    keys = {row.run.key for row in store.rows()}
    assert {key for key in keys if key.startswith("from_scratch")} == keys - set(loaded)
    assert len(keys - set(loaded)) == 4 + 2


def test_the_winner_has_the_best_mean_and_the_first_seed_is_its_champion(study: Study) -> None:
    store = searched(study, [0.4, 0.7, 0.5, 0.1])
    values = {
        "confirm-0001-seed-1": 0.5, "confirm-0001-seed-2": 0.6,
        "confirm-0002-seed-1": 0.7, "confirm-0002-seed-2": 0.9,
    }  # fmt: skip
    carry_out(store, lambda run: values.get(run.key, 0.3))
    choice = choose(store)
    assert choice is not None
    # Seeds validate on different images: the best of them is no better than the first.
    assert (choice.number, choice.champion) == (2, "confirm-0002-seed-1")
    assert choice.mean == pytest.approx(0.8)


def test_a_failed_seed_rules_a_candidate_out(study: Study) -> None:
    store = searched(study, [0.4, 0.7, 0.5, 0.1])
    carry_out(store, lambda run: None if run.key == "confirm-0001-seed-2" else 0.1)
    choice = choose(store)
    assert choice is not None
    assert choice.number == 2
    none = searched(study, [0.4, 0.7, 0.5, 0.1])
    carry_out(none, lambda _run: None)
    assert choose(none) is None


def test_a_loss_is_chosen_by_its_least(study: Study) -> None:
    store = memory_store(study("search.metric=val_loss"))
    carry_out(store, lambda run: 0.1 * (run.trial or 0))
    choice = choose(store)
    assert choice is not None
    assert choice.number == 3


def test_effects_are_paired_by_seed_and_image(tmp_path: Path) -> None:
    choice = Choice(number=3, mean=0.9, keys=("a", "b"))
    for key, wrong in {"a": 0, "b": 4, "p": 10, "q": 14}.items():
        score(tmp_path, key, (1,) * (40 - wrong) + (0,) * wrong)
    effects = effects_on_test(choice, {"linear_probe": ("p", "q")}, tmp_path / "scores", "ab")
    assert effects["accuracy"]["mean"] == pytest.approx(0.95)
    # The exported model's own accuracy, which is not the mean over seeds.
    assert (effects["champion_accuracy"]["mean"], effects["champion_accuracy"]["num_seeds"]) == (
        1,
        1,
    )
    probe = effects["baselines"]["linear_probe"]
    assert probe["accuracy"]["mean"] == pytest.approx(0.7)
    # Every image that the winner gains, it gains at both seeds: the interval is that of 10 of 40.
    assert probe["gain"]["mean"] == pytest.approx(0.25)
    assert 0 < probe["gain"]["low"] < 0.25 < probe["gain"]["high"] < 0.45


def test_every_metric_of_the_winner_and_of_what_it_gains(tmp_path: Path) -> None:
    choice = Choice(number=3, mean=0.9, keys=("a", "b"))
    labels = np.repeat([0, 1, 2], [90, 7, 3])
    drawn = {}
    for i, key in enumerate("abpq"):
        odds = np.random.default_rng(i).random((100, 3)) + (2 - i // 2) * np.eye(3)[labels] / 3
        drawn[key] = odds / odds.sum(axis=1, keepdims=True)
        path = tmp_path / "scores" / f"{key}.npz"
        path.parent.mkdir(exist_ok=True)
        np.savez(path, probabilities=drawn[key], labels=labels)
    effects = effects_on_test(choice, {"linear_probe": ("p", "q")}, tmp_path / "scores", "abc")
    assert effects["scores"]["accuracy"] == effects["accuracy"]
    assert list(effects["scores"]) == [metric.name for metric in METRICS.values()]

    def mean(function: Any, *keys: str) -> float:
        return float(np.mean([function(labels, drawn[key]) for key in keys]))

    for name, function in {
        "balanced_accuracy": lambda y, p: balanced_accuracy_score(y, p.argmax(1)),
        "macro_f1": lambda y, p: f1_score(y, p.argmax(1), average="macro"),
        "macro_auroc": lambda y, p: roc_auc_score(y, p, multi_class="ovr"),
        "log_loss": log_loss,
    }.items():
        found, probe = effects["scores"][name], effects["baselines"]["linear_probe"]
        ours, theirs = mean(function, "a", "b"), mean(function, "p", "q")
        assert found["mean"] == pytest.approx(ours), name
        assert found["low"] < found["mean"] < found["high"]
        assert probe["scores"][name]["mean"] == pytest.approx(theirs)
        sign = -1 if name == "log_loss" else 1
        assert probe["gains"][name]["mean"] == pytest.approx(sign * (ours - theirs))
    assert probe["gains"]["accuracy"] == probe["gain"]
    recalls = np.mean([recall_score(labels, drawn[k].argmax(1), average=None) for k in "ab"], 0)
    assert effects["classes"]["worst"] == "abc"[int(recalls.argmin())]
    assert effects["classes"]["worst_recall"] == pytest.approx(recalls.min())


def test_when_a_search_is_finished(study: Study) -> None:
    store = memory_store(study())
    carry_out(store, by_trial(0.4, 0.7, 0.5, 0.1))
    assert trials_left(store) == 0
    assert not is_finished(store)  # the test part is not scored
    choice = choose(store)
    assert choice is not None
    record = {"keys": list(choice.keys), "baseline_keys": baseline_keys(store, choice)}
    store.note(TEST, record)
    assert not is_finished(store)  # no model is logged
    store.note(TEST, {**record, "model": "models:/m"})
    assert is_finished(store)
    fewer = Store(study("baselines=[linear_probe]"), store.storage)
    assert not is_finished(fewer)  # the test's record is of others
    assert not is_finished(Store(study("confirm.seeds=3"), store.storage))
    assert not is_finished(Store(study("budget.trials=5"), store.storage))
    lower = Store(study("budget.trials=3"), store.storage)
    assert is_finished(lower)
    lower.ask()
    assert not is_finished(lower)  # a trial that is RUNNING must be taken care of
    bare = memory_store(study("confirm=null", "baselines=[]"))
    assert not is_finished(bare)
    carry_out(bare, by_trial(0.4, 0.7, 0.5, 0.1))
    assert is_finished(bare)
    assert not is_finished(Store(study("confirm=null"), bare.storage))  # a baseline was added


def test_folds_take_turns_but_in_time_the_last_one_stands(study: Study) -> None:
    drawn = study("data.split.folds=3", "confirm.seeds=4")
    assert [folds_of(drawn, seed) for seed in (1, 2, 3, 4)] == [(0,), (1,), (2,), (0,)]
    in_time = study("data.split.folds=3", "confirm.seeds=4", "data.split.strategy=time")
    assert [folds_of(in_time, seed) for seed in (1, 2, 3, 4)] == [(2,)] * 4


def test_baselines_are_valid_for_every_backbone(study: Study) -> None:
    for backbone, facts in ((name, CATALOGUE[name]) for name in torchvision_names()):
        native = facts.native_size if "vit" in backbone else 0
        size = max(facts.min_size, facts.size_multiple, native)
        config = study(f"backbone.name={backbone}", f"data.size={size}")
        names = groups(facts)
        for name in BASELINES:
            run = baseline_run(config, name, seed=0)
            make_plan(run.strategy, groups=names, num_train_images=40, num_epochs=run.num_epochs)
            is_probe = name == "linear_probe"
            assert run.params["freeze_depth"] == (len(names) - 1 if is_probe else 0)
            assert run.num_epochs == (1 if is_probe else 3)
    glyphs = study("backbone.weights=glyphs")
    assert [baseline_run(glyphs, name, seed=1).init for name in BASELINES] == [
        "pretrained", "pretrained", "random"
    ]  # fmt: skip


# The cells of a comparison.


@pytest.fixture
def compared(study: Study) -> Store:
    return comparison(study)


def comparison(
    study: Study, *overrides: str, storage: optuna.storages.BaseStorage | None = None
) -> Store:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    config = study(*overrides, body=COMPARISON, head=HEAD)
    return Store(config, storage or optuna.storages.InMemoryStorage())


def by_rate(run: Run) -> float:
    """The nearer to 0.01, the better."""
    return 1.0 - abs(float(np.log10(run.params["lr"])) + 2) / 10


def scored(store: Store, folder: Path) -> list[str]:
    store.note(SURVEY, {"similarity": 0.25, "test_images": 4}, "here")

    def value(run: Run) -> float:
        if run.role != "trial":
            score(folder, run.key, RIGHT[run.arm])
        return by_rate(run)

    return carry_out(store, value, scenario="here", epochs=2)


def test_every_arm_tunes_alike_before_it_is_confirmed(compared: Store, tmp_path: Path) -> None:
    keys = scored(compared, tmp_path)
    rates = {
        cell.arm: [row.run.params["lr"] for row in compared.trials(cell)]
        for cell in (ONE, OTHER, GIVEN)
    }
    assert rates["one"] == rates["other"]
    assert len(set(rates["one"])) == 3
    assert rates["given"] == []
    assert len(keys) == len(set(keys)) == 6 + 9 + 2
    best = chosen(compared, ONE)
    assert best is not None
    assert {f"one@here.confirm-{best.trial:04d}-seed-{seed}" for seed in (1, 2, 3)} <= set(keys)
    # A setting that the confirmation has is not trained twice.
    assert {key for key in keys if "sweep" in key} == {
        f"given@here.sweep-as-given-lr=0.5-seed-{seed}" for seed in (1, 2)
    }
    runs = [r.run for r in compared.fixed_rows("here") if r.run.role == "confirm"]
    assert {(run.seed, run.redraw, run.num_epochs) for run in runs} == {
        (s, s, 2) for s in (1, 2, 3)
    }
    assert all(cell_is_done(compared, cell) for cell in (ONE, OTHER, GIVEN))
    assert not cell_is_done(compared, Cell("there", "one"))


def test_trials_beyond_the_number_asked_for_do_not_count(study: Study) -> None:
    store = comparison(study)
    for accuracy in (0.5, 0.7, 0.6, 0.9):  # the last one of a time when four were asked for
        drive(store, store.ask(ONE), [accuracy] * 2)
    best = chosen(store, ONE)
    assert best is not None
    assert best.trial == 1
    given = chosen(store, GIVEN)
    assert given is not None
    assert (given.trial, given.params["lr"]) == (None, 0.05)


def test_more_of_everything_goes_on(study: Study, tmp_path: Path) -> None:
    store = comparison(study)
    scored(store, tmp_path)
    seeds = comparison(study, "comparison.confirm.seeds=4", storage=store.storage)
    keys = scored(seeds, tmp_path)
    assert len(keys) == 3
    assert all(key.endswith("-seed-4") for key in keys)
    added = comparison(study, "comparison.arms.more={space.lr: 0.001}", storage=store.storage)
    assert {run.arm for run in runs_after(added, Cell("here", "more"))} == {"more"}
    changed = "comparison.arms.one={space.schedule: exponential}"
    with pytest.raises(StoreError, match=r"comparison\.arms\.one in scenario 'here'"):
        comparison(study, changed, storage=store.storage)


def test_results_by_hand(compared: Store, tmp_path: Path) -> None:
    scored(compared, tmp_path)
    found = collect(compared, tmp_path)
    here, there = found.scenarios
    assert (found.reference, found.trials, found.epochs) == ("one", 3, 2)
    assert there.arms == {}
    # The best arm answers three of four.
    assert here.facts == {"similarity": 0.25, "test_images": 4, "difficulty": 0.25}
    one, given = here.arms["one"], here.arms["given"]
    assert one.answers.tolist() == [list(RIGHT["one"])] * 3
    assert (one.settings, given.settings) == (1, 0)
    assert one.tuning.tolist() == [row.value for row in compared.trials(ONE)]
    assert given.tuning.size == 0
    assert one.seeds == given.seeds == (1, 2, 3)
    (sweep,) = here.sweeps
    assert (sweep.arm, sweep.dimension, sweep.settings) == ("given", "lr", (0.05, 0.5))
    assert sweep.answers.shape == (2, 2, 4)


def test_runs_that_diverge_answer_nothing_and_those_that_fail_are_missing(
    compared: Store, tmp_path: Path
) -> None:
    compared.note(SURVEY, {"test_images": 4}, "here")
    queue, _ = queue_of(compared)
    while (run := queue.next_run([ONE, OTHER, GIVEN])) is not None:
        ending: Any = "complete"
        if run.arm == "other":
            ending = {1: "diverged", 2: "failed"}.get(run.redraw, "complete")
            if run.role == "trial":
                ending = "diverged" if run.trial == 0 else "complete"
        if ending == "complete" and run.role != "trial":
            score(tmp_path, run.key, RIGHT[run.arm])
        done = None if ending == "failed" else result([0.1, by_rate(run)], ending=ending)
        compared.tell(run, ending, done, reason="")
    other = collect(compared, tmp_path).scenarios[0].arms["other"]
    assert other.tuning[0] == 0
    assert other.answers[0].tolist() == [0] * 4
    assert np.isnan(other.answers[1]).all()
    assert other.answers[2].tolist() == list(RIGHT["other"])
    content = write_tables(compared, tmp_path)[JSON_FILE]
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert (tmp_path / CSV_FILE).exists()


def test_tuning_never_touches_the_test_part(study: Study, compared: Store) -> None:
    """Of no run but confirmations and sweeps are test answers ordered, and no weights are kept."""
    jobs: dict[str, list[TrainJob]] = {}

    def value(run: Run) -> float:
        jobs.setdefault(run.role, []).append(train_job(compared.config, run))
        return by_rate(run)

    carry_out(compared, value, scenario="here", epochs=2)
    assert {role: len(its) for role, its in jobs.items()} == {"trial": 6, "confirm": 9, "sweep": 2}
    assert all(not job.keep_scores and job.measures == () for job in jobs["trial"])
    assert all(job.keep_scores for job in (*jobs["confirm"], *jobs["sweep"]))
    assert all(job.measures for job in jobs["confirm"])
    assert not any(job.keep_weights for its in jobs.values() for job in its)
    # Of a search the weights are kept of what may be scored later.
    config = study(body=BODY)
    baseline = train_job(config, baseline_run(config, "linear_probe", seed=1))
    assert (baseline.keep_scores, baseline.keep_weights) == (False, True)
    assert not train_job(study(), memory_store(study()).ask()).keep_weights


@pytest.mark.parametrize(
    ("arms", "measures"),
    [
        (("small batch", "large batch"), {"images_per_second", "noise_scale"}),
        (("no penalty", "l1"), {"sparsity"}),
        (("none", "dropout"), set()),  # the gap between training and validation is always taken
        (("all at once", "gradual"), {"cka_drift", "source_accuracy"}),
        (("none", "adversarial"), {"robust_accuracy"}),
    ],
)
def test_of_the_advice_what_its_arms_are_there_for(
    arms: tuple[str, ...], measures: set[str]
) -> None:
    from tlsearch.config.comparison import ComparisonConfig

    asked = ComparisonConfig(table="C", arms={arm: {} for arm in arms})
    assert set(measures_of(asked)) - set(MEASURES["C"]) == measures


def test_the_one_cell_of_a_search(study: Study) -> None:
    store = memory_store(study())
    assert list(store.cells) == [SEARCH]
    assert store.cells[SEARCH] == store.config
