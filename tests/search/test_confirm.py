import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.search.conftest import Study
from tests.search.fakes import drive, memory_ledger
from tlsearch.config.catalog import BACKBONES, groups
from tlsearch.config.schema import StudyConfig
from tlsearch.execution.runs import RunRow
from tlsearch.search.baselines import BASELINES, PROBE_EPOCHS_FACTOR, baseline_spec
from tlsearch.search.confirm import (
    Choice,
    best_first,
    choose,
    confirm_key,
    confirm_specs,
    effects_on_test,
    is_finished,
    search_left,
)
from tlsearch.search.ledger import Ledger
from tlsearch.search.runs import confirm_fold
from tlsearch.training.plan import make_plan
from tlsearch.training.results import FoldResult


def searched(config: StudyConfig, values: list[float]) -> Ledger:
    ledger = memory_ledger(config)
    for value in values:
        drive(ledger, ledger.ask(), [value] * 3)
    return ledger


def confirmed(ledger: Ledger, values: dict[str, float]) -> Choice | None:
    """Carry out the confirmation with these values; a run without one fails."""
    ledger.enqueue(confirm_specs(ledger.config, ledger.rows()))
    while run := ledger.ask_fixed():
        if run.key in values:
            drive(ledger, run, [values[run.key]] * 3)
        else:
            ledger.tell(run, "failed", None, reason="")
    return choose(ledger.config, ledger.rows())


def test_best_first(study: Study) -> None:
    ledger = searched(study(), [0.4, 0.7, 0.5, 0.7])
    run = ledger.ask()
    ledger.tell(run, "failed", None, reason="")
    numbers = [row.number for row in best_first(ledger.rows(), maximise=True)]
    assert numbers == [1, 3, 2, 0]
    numbers = [row.number for row in best_first(ledger.rows(), maximise=False)]
    assert numbers == [0, 2, 1, 3]


def test_of_equal_accuracies_the_smaller_loss_is_better(study: Study) -> None:
    one, two, three = searched(study(), [0.7, 0.7, 0.8]).rows()

    def with_losses(row: RunRow, losses: list[float], patience: int | None) -> RunRow:
        """Its last three epochs are equally accurate."""
        (last, *_) = row.epochs[::-1]
        epochs = tuple(last._replace(epoch=i, val_loss=x) for i, x in enumerate(losses, 1))
        params = {**row.run.params, "patience_epochs": patience}
        return replace(row, epochs=epochs, run=replace(row.run, params=params))

    def ranked(*rows: RunRow) -> list[int]:
        return [row.number for row in best_first(rows, maximise=True)]

    # The last epoch's weights are kept, with early stopping those of the first best.
    assert ranked(with_losses(one, [1, 1, 3], None), with_losses(two, [9, 9, 2], None)) == [1, 0]
    assert ranked(with_losses(one, [1, 1, 3], 2), with_losses(two, [9, 9, 2], 2)) == [0, 1]
    assert ranked(with_losses(one, [2, 2, 2], 2), with_losses(two, [2, 2, 2], None)) == [0, 1]
    assert ranked(with_losses(one, [0, 0, 0], None), with_losses(three, [9, 9, 9], None)) == [2, 0]
    folds = (FoldResult(1, 3, 5.0, 0.7, 5.0, 0.7), FoldResult(2, 6, 1.0, 0.7, 3.0, 0.7))
    validated = replace(one, folds=folds)
    assert validated.val_loss == 3.0
    assert replace(one, epochs=()).val_loss == math.inf


def test_the_epoch_that_counts_is_the_one_that_was_kept(study: Study) -> None:
    (row,) = searched(study("search.metric=val_loss"), [0.5]).rows()
    (last, *_) = row.epochs[::-1]
    figures = [(1, 0.9, 0.6), (2, 0.5, 0.8), (3, 0.9, 0.95)]  # epoch, loss, accuracy
    epochs = tuple(last._replace(epoch=e, val_loss=x, val_accuracy=a) for e, x, a in figures)

    def kept(patience: int | None) -> int:
        spec = replace(row.run, params={**row.run.params, "patience_epochs": patience})
        found = replace(row, epochs=epochs, run=spec, value=0.5 if patience else 0.9).kept
        assert found is not None
        return found.epoch

    assert kept(patience=2) == 2
    assert kept(patience=None) == 3
    assert replace(row, epochs=()).kept is None


def test_the_best_are_confirmed_beside_all_baselines(study: Study) -> None:
    ledger = searched(study(), [0.4, 0.7, 0.5])
    specs = confirm_specs(ledger.config, ledger.rows())
    keys = [spec.key for spec in specs]
    assert keys == [
        key
        for seed in (1, 2)
        for key in (
            confirm_key(1, seed),
            confirm_key(2, seed),
            *(f"{name}-seed-{seed}" for name in ledger.config.baselines),
        )
    ]
    rows = {row.number: row for row in ledger.rows()}
    for spec in specs:
        assert spec.seed == ledger.config.search.seed + spec.redraw
        assert spec.redraw == int(spec.key[-1])  # another draw of training and validation part
        if spec.role == "confirm":
            assert spec.trial is not None
            assert spec.params == rows[spec.trial].run.params


def test_folds_take_turns_but_in_time_the_last_one_stands(study: Study) -> None:
    by_lot = study("data.split.folds=3", "confirm.seeds=4")
    assert [confirm_fold(by_lot, seed) for seed in (1, 2, 3, 4)] == [(0,), (1,), (2,), (0,)]
    in_time = study("data.split.folds=3", "confirm.seeds=4", "data.split.strategy=time")
    assert [confirm_fold(in_time, seed) for seed in (1, 2, 3, 4)] == [(2,)] * 4


def test_the_winner_has_the_best_mean_and_its_best_model_is_the_champion(study: Study) -> None:
    ledger = searched(study(), [0.4, 0.7, 0.5])
    values = {confirm_key(1, 1): 0.5, confirm_key(1, 2): 0.6}
    values |= {confirm_key(2, 1): 0.9, confirm_key(2, 2): 0.7}
    choice = confirmed(ledger, values)
    assert choice is not None
    assert (choice.number, choice.champion) == (2, confirm_key(2, 1))
    assert choice.mean == pytest.approx(0.8)


def test_of_equals_the_better_trial_wins(study: Study) -> None:
    ledger = searched(study(), [0.4, 0.7, 0.5])
    values = {confirm_key(n, s): 0.6 for n in (1, 2) for s in (1, 2)}
    choice = confirmed(ledger, values)
    assert choice is not None
    assert (choice.number, choice.champion) == (1, confirm_key(1, 1))


def test_a_failed_seed_rules_a_candidate_out(study: Study) -> None:
    ledger = searched(study(), [0.4, 0.7, 0.5])
    choice = confirmed(ledger, {confirm_key(1, 1): 0.9} | {confirm_key(2, s): 0.1 for s in (1, 2)})
    assert choice is not None
    assert choice.number == 2
    assert confirmed(searched(study(), [0.4, 0.7]), {}) is None


def test_a_loss_is_chosen_by_its_least(study: Study) -> None:
    ledger = searched(study("search.metric=val_loss"), [0.4, 0.7, 0.5])
    values = {confirm_key(n, s): 0.1 * n + 0.01 * s for n in (1, 2) for s in (1, 2)}
    choice = confirmed(ledger, values)
    assert choice is not None
    assert (choice.number, choice.champion) == (2, confirm_key(2, 2))


def write_scores(folder: Path, right: dict[str, list[int]]) -> None:
    for key, answers in right.items():
        labels = np.arange(len(answers)) % 2
        found = np.where(np.array(answers, dtype=bool), labels, 1 - labels)
        np.savez(folder / f"{key}.npz", probabilities=np.eye(2)[found], labels=labels)


def test_effects_are_paired_by_seed_and_image(study: Study, tmp_path: Path) -> None:
    config = study()
    choice = Choice(number=3, mean=0.9, keys=("confirm-a", "confirm-b"), champion="confirm-a")
    probes = ("linear_probe-seed-1", "linear_probe-seed-2")
    right = {"confirm-a": [1] * 40, "confirm-b": [1] * 36 + [0] * 4}
    right |= {probes[0]: [1] * 30 + [0] * 10, probes[1]: [1] * 26 + [0] * 14}
    write_scores(tmp_path, right)
    complete = frozenset((*probes, "from_scratch-seed-1"))
    effects = effects_on_test(config, choice, complete, tmp_path)
    assert effects["accuracy"]["mean"] == pytest.approx(0.95)
    assert set(effects["baselines"]) == {"linear_probe"}  # the others lack a seed
    probe = effects["baselines"]["linear_probe"]
    assert probe["accuracy"]["mean"] == pytest.approx(0.7)
    # Every image that the winner gains, it gains at both seeds: the interval is that of 10 of 40.
    assert probe["gain"]["mean"] == pytest.approx(0.25)
    assert 0 < probe["gain"]["low"] < 0.25 < probe["gain"]["high"] < 0.45


@pytest.mark.parametrize("backbone", BACKBONES)
def test_baselines_are_valid_for_every_backbone(study: Study, backbone: str) -> None:
    facts = BACKBONES[backbone]
    size = max(facts.min_size, facts.size_multiple, facts.native_size if "vit" in backbone else 0)
    config = study(f"backbone.name={backbone}", f"data.size={size}")
    names = groups(facts)
    for name in BASELINES:
        spec = baseline_spec(config, name, seed=0)
        plan = make_plan(
            spec.strategy, groups=names, num_train_images=40, num_epochs=spec.num_epochs
        )
        assert plan is not None
        depth = spec.params["freeze_depth"]
        assert depth == (len(names) - 1 if name == "linear_probe" else 0)
        factor = PROBE_EPOCHS_FACTOR if name == "linear_probe" else 1
        assert spec.num_epochs == 3 * factor


def test_only_the_one_from_scratch_forgets_the_weights(study: Study) -> None:
    glyphs = study("backbone.weights=glyphs")
    inits = {name: baseline_spec(glyphs, name, seed=1).init for name in BASELINES}
    assert inits == {
        "linear_probe": "pretrained",
        "full_fine_tuning": "pretrained",
        "from_scratch": "random",
    }
    assert {baseline_spec(study(), name, seed=0).init for name in BASELINES} == {"random"}


def baselines_done(ledger: Ledger) -> None:
    config = ledger.config
    ledger.enqueue([baseline_spec(config, name, seed=0) for name in config.baselines])
    while run := ledger.ask_fixed():
        drive(ledger, run, [0.5] * 3)


def test_when_a_study_is_finished(study: Study) -> None:
    ledger = searched(study("confirm=null"), [0.4, 0.7, 0.5])
    baselines_done(ledger)
    assert search_left(ledger) == 1
    assert not is_finished(ledger)
    run = ledger.ask()
    assert not is_finished(ledger)
    ledger.tell(run, "failed", None, reason="")
    assert search_left(ledger) == 0
    assert is_finished(ledger)


def test_a_baseline_that_was_added_is_still_to_be_run(study: Study) -> None:
    none: Any = searched(study("confirm=null", "baselines=[]"), [0.1] * 4)
    assert is_finished(none)
    storage = none._storage
    assert not is_finished(Ledger(study("confirm=null"), storage))


def test_a_lowered_budget_leaves_trials_waiting(study: Study) -> None:
    ledger = searched(study("confirm=null", "baselines=[]"), [0.1] * 3)
    ledger.pause(ledger.ask())
    lower = Ledger(study("confirm=null", "baselines=[]", "budget.trials=3"), ledger._storage)
    assert is_finished(lower)
    assert not is_finished(ledger)
    lower.ask()
    assert not is_finished(lower)  # a trial that is RUNNING must be taken care of


def test_a_study_is_not_finished_before_its_model_is_logged(study: Study) -> None:
    from tlsearch.search.ledger import TEST

    ledger = searched(study(), [0.4, 0.7, 0.5, 0.1])
    baselines_done(ledger)
    assert not is_finished(ledger)
    values = {confirm_key(n, s): 0.6 for n in (1, 2) for s in (1, 2)}
    values |= {f"{name}-seed-{s}": 0.5 for name in ledger.config.baselines for s in (1, 2)}
    choice = confirmed(ledger, values)
    assert choice is not None
    assert not is_finished(ledger)
    record = {"winner": choice.number, "keys": list(choice.keys)}
    ledger.fixed.set_user_attr(TEST, record)
    assert not is_finished(ledger)
    ledger.fixed.set_user_attr(TEST, record | {"model": "models:/m"})
    assert is_finished(ledger)
    more = Ledger(study("confirm.seeds=3"), ledger._storage)
    assert not is_finished(more)
    confirmed(more, {confirm_key(n, 3): 0.6 for n in (1, 2)})
    assert not is_finished(more)  # three seeds were asked for, and the record tells of two
