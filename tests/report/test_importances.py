import math
from pathlib import Path

import numpy as np
import optuna
import pytest

from tests.report.fake import Fake, fake_study, search, train
from tlsearch.report import importances as module
from tlsearch.report.context import read_search
from tlsearch.report.figures.search import ImportancePlot
from tlsearch.report.importances import MAX_TRIALS, Importances
from tlsearch.report.wording import Absent


def importances(fake: Fake) -> Importances | Absent:
    return read_search(fake.store, fake.layout).importances


def test_a_dominant_rate_is_found_on_its_log_scale(tmp_path: Path) -> None:
    fake = fake_study(tmp_path)
    search(fake, 40)
    found = importances(fake)
    assert isinstance(found, Importances)
    assert found.shares[0].name == "lr"
    assert found.shares[0].share > 0.5
    assert {one.name for one in found.shares} == {
        "freeze_depth", "lr", "lr_ratio", "optimizer", "dropout", "batch_size",
    }  # fmt: skip
    assert found.left_out == ("optimizer.sgd.momentum",)
    assert found == importances(fake), "the same trials give the same shares"


def test_it_is_optunas_own_figure_where_nothing_is_logarithmic(tmp_path: Path) -> None:
    linear = {"lr": "{low: 0.001, high: 0.1}", "lr_ratio": "0.5", "optimizer": "sgd"}
    fake = fake_study(tmp_path, *(f"space.{k}={v}" for k, v in linear.items()))
    for _ in range(12):
        run = fake.store.ask()
        train(fake, run, 0.5 + 3 * run.params["lr"])
    found = importances(fake)
    assert isinstance(found, Importances)
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=32, seed=0)
    shares = {one.name: one.share for one in found.shares}
    assert shares == pytest.approx(evaluator.evaluate(fake.store.study))


def test_too_few_trials_equal_values_or_one_dimension_say_so(tmp_path: Path) -> None:
    fake = fake_study(tmp_path)
    search(fake, 5)
    found = importances(fake)
    assert isinstance(found, Absent)
    assert "need 10 complete trials, and there are 4" in found.reason
    same = fake_study(tmp_path)
    for _ in range(12):
        train(same, same.store.ask(), 0.5)
    assert importances(same) == Absent(
        "All complete trials have the same value: nothing to explain."
    )
    fixed = {"freeze_depth": 0, "lr_ratio": 1, "dropout": 0, "batch_size": 16, "optimizer": "sgd"}
    one = fake_study(tmp_path, *(f"space.{k}={v}" for k, v in fixed.items()))
    assert isinstance(importances(one), Absent)


def test_many_trials_are_thinned_and_it_is_said(tmp_path: Path) -> None:
    fake = fake_study(tmp_path)
    for _ in range(MAX_TRIALS + 5):
        run = fake.store.ask()
        train(fake, run, 0.9 + 0.01 * math.log10(run.params["lr"]))
    found = importances(fake)
    assert isinstance(found, Importances)
    assert (found.num_trials, found.num_complete) == (MAX_TRIALS, MAX_TRIALS + 5)


def but_one_alike(folder: Path, number: int, odd: int) -> Fake:
    fake = fake_study(folder)
    for i in range(number):
        train(fake, fake.store.ask(), 0.99 if i == odd else 1.0)
    return fake


def test_where_all_that_are_drawn_are_alike_it_is_said(tmp_path: Path) -> None:
    drawn = np.random.default_rng(0).choice(150, size=MAX_TRIALS, replace=False)
    odd = min(set(range(150)) - set(drawn.tolist()))
    assert importances(but_one_alike(tmp_path, 150, odd)) == Absent(
        "100 of 150 complete trials have the same value: nothing to explain."
    )


def test_resamples_without_the_odd_trial_count_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = but_one_alike(tmp_path, 12, 5)
    found = importances(fake)
    assert isinstance(found, Importances)
    assert all(one.spread >= 0 for one in found.shares)
    monkeypatch.setattr(module, "NUM_RESAMPLES", 1)
    assert importances(fake) == Absent(
        "Nearly all complete trials have the same value: too little to explain."
    )


def test_what_did_not_vary_is_named_and_has_no_share(tmp_path: Path) -> None:
    fake = fake_study(tmp_path)
    for _ in range(60):
        run = fake.store.ask()
        complete = run.params["optimizer"] == "adam"
        accuracy = 0.9 + 0.01 * math.log10(run.params["lr"])
        train(fake, run, accuracy, ending="complete" if complete else "pruned")
    found = importances(fake)
    assert isinstance(found, Importances)
    assert found.unvaried == ("optimizer",)
    assert "optimizer" not in {one.name for one in found.shares}
    told = "Nothing is known of optimizer: all these trials had the same value."
    shown = ImportancePlot.compute(read_search(fake.store, fake.layout))
    assert isinstance(shown, ImportancePlot)
    assert told in shown.caption


@pytest.mark.slow
def test_the_spread_is_wide_where_trials_are_few(tmp_path: Path) -> None:
    few, many = fake_study(tmp_path), fake_study(tmp_path)
    search(few, 16)
    search(many, 110)
    spreads = []
    for fake in (few, many):
        found = importances(fake)
        assert isinstance(found, Importances)
        assert all(one.spread >= 0 for one in found.shares)
        spreads.append(sum(one.spread for one in found.shares))
    assert spreads[0] > 1.5 * spreads[1]
