"""Every sampler and every pruner by name, through a whole mock study."""

import math
import random
import warnings
from typing import Any

import optuna
import pytest

from tests.search.conftest import Study
from tests.search.fakes import drive, epoch, memory_ledger
from tlsearch.config.dimensions import Choice, Fixed, Range
from tlsearch.config.schema import StudyConfig
from tlsearch.config.search_options import PRUNERS, SAMPLERS
from tlsearch.search.ledger import Ledger
from tlsearch.search.samplers import make_pruner, make_sampler, suggest_with

TRIALS = 13
NUMBERS = """
space:
  lr: {low: 1.0e-4, high: 1.0e-1, log: true}
  dropout: {low: 0.0, high: 0.5}
  freeze_depth: {low: 0, high: 5}
  batch_size: [16, 32]
"""
CONDITIONAL = (
    NUMBERS
    + """
  optimizer:
    sgd: {momentum: {low: 0.8, high: 0.99}}
    adam: {}
  schedule: {cosine: {}, step: {every_epochs: [1, 2]}}
"""
)
GRID = """
space:
  lr: [0.001, 0.01, 0.1]
  freeze_depth: {low: 0, high: 5, step: 5}
"""


def learn(params: Any, number: int) -> list[float]:
    """Accuracies whose best rate is 1e-2; repeatable, and different for every trial."""
    noise = random.Random(number).uniform(0, 0.01)
    best = 1 - 0.2 * abs(math.log10(params["lr"]) + 2) - 0.1 * params["dropout"] - noise
    return [best * share for share in (0.3, 0.6, 0.8, 0.9)]


def search(ledger: Ledger, trials: int) -> list[bool]:
    """A study of `trials`; which were pruned. Warnings are errors here, as in all tests."""
    pruned = []
    for _ in range(trials):
        run = ledger.ask()
        pruned.append(drive(ledger, run, learn(run.params, run.trial)))
    return pruned


def configured(study: Study, body: str, sampler: str, pruner: str) -> StudyConfig:
    head = f"\nbudget: {{trials: 6, epochs: 4}}\nsearch: {{sampler: {sampler}, pruner: {pruner}}}"
    return study(body=f"{head}\nconfirm: null\n{body}")


@pytest.mark.parametrize("name", sorted(set(SAMPLERS) - {"grid"}))
def test_every_sampler_runs_a_study(study: Study, name: str) -> None:
    ledger = memory_ledger(configured(study, NUMBERS, name, "none"))
    search(ledger, TRIALS)
    rows = ledger.rows()
    assert [row.state for row in rows] == ["complete"] * TRIALS
    assert len({row.run.params["lr"] for row in rows}) == TRIALS
    for row in rows:
        assert 1e-4 <= row.run.params["lr"] <= 1e-1
        assert isinstance(row.run.params["freeze_depth"], int)
        assert row.run.params["batch_size"] in (16, 32)
        assert row.run.strategy.lr == row.run.params["lr"]
        assert set(row.sampled) == {"lr", "dropout", "freeze_depth", "batch_size"}


@pytest.mark.parametrize("name", sorted(set(SAMPLERS) - {"grid"}))
def test_every_sampler_can_be_stopped_and_taken_up(study: Study, name: str) -> None:
    config = configured(study, NUMBERS, name, "none")
    storage = optuna.storages.InMemoryStorage()
    for _ in range(TRIALS):
        search(Ledger(config, storage), 1)
    in_one = memory_ledger(config)
    search(in_one, TRIALS)
    assert [r.run for r in Ledger(config, storage).rows()] == [r.run for r in in_one.rows()]


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_choices_open_dimensions(study: Study, name: str) -> None:
    ledger = memory_ledger(configured(study, CONDITIONAL, name, "none"))
    search(ledger, TRIALS)
    chosen = set()
    for row in ledger.rows():
        params, sgd = row.run.params, row.run.params["optimizer"] == "sgd"
        assert ("optimizer.sgd.momentum" in params) == ("optimizer.sgd.momentum" in row.sampled)
        assert ("optimizer.sgd.momentum" in params) == sgd
        assert ("optimizer.adam.beta1" in params) == (not sgd)
        assert type(row.run.strategy.optimizer).__name__ == ("Sgd" if sgd else "Adam")
        chosen.add((params["optimizer"], params["schedule"]))
    assert len(chosen) > 2


def test_tpe_groups_conditional_spaces_alone(study: Study) -> None:
    for body, grouped in ((NUMBERS, False), (CONDITIONAL, True)):
        sampler: Any = make_sampler(configured(study, body, "tpe", "none"), seed=1)
        assert sampler._group == grouped
        assert sampler._multivariate
        assert sampler._constant_liar


def test_the_grid_is_walked_once(study: Study) -> None:
    ledger = memory_ledger(configured(study, GRID, "grid", "none"))
    for _ in range(2):
        run = ledger.ask()
        ledger.tell(run, "failed", None, reason="")  # a failed point was visited, too
    paused = ledger.ask()
    ledger.pause(paused)
    assert ledger.ask() == paused
    ledger.recover()
    for _ in range(4):
        run = ledger.ask()
        drive(ledger, run, [0.1] * 4)
    points = [(r.run.params["lr"], r.run.params["freeze_depth"]) for r in ledger.rows()]
    assert sorted(points) == [(lr, f) for lr in (0.001, 0.01, 0.1) for f in (0, 5)]


def test_two_workers_share_the_grid(study: Study) -> None:
    ledger = memory_ledger(configured(study, GRID, "grid", "none"))
    runs = [ledger.ask() for _ in range(6)]
    assert len({str(run.params) for run in runs}) == 6


@pytest.mark.parametrize("name", sorted(PRUNERS))
def test_every_pruner_runs_a_study(study: Study, name: str) -> None:
    ledger = memory_ledger(configured(study, NUMBERS, "random", name))
    pruned = search(ledger, TRIALS)
    states = [row.state for row in ledger.rows()]
    assert states == ["pruned" if p else "complete" for p in pruned]
    assert any(pruned) == (name != "none")
    assert not all(pruned)
    for row in ledger.rows():
        assert len(row.epochs) == 4 or row.state == "pruned"


def test_options_reach_optuna(study: Study) -> None:
    pruner: Any = make_pruner(
        configured(study, NUMBERS, "random", "{percentile: {percentile: 40, n_startup_trials: 2}}")
    )
    assert (pruner._percentile, pruner._n_startup_trials) == (40.0, 2)
    hyperband: Any = make_pruner(configured(study, NUMBERS, "random", "hyperband"))
    assert (hyperband._max_resource, hyperband._reduction_factor) == (4, 3)
    sampler: Any = make_sampler(
        configured(study, NUMBERS, "{tpe: {n_startup_trials: 3, multivariate: false}}", "none"),
        seed=1,
    )
    assert (sampler._n_startup_trials, sampler._multivariate) == (3, False)


def test_percentile_prunes_what_it_should(study: Study) -> None:
    config = configured(
        study, NUMBERS, "random", "{percentile: {percentile: 50, n_startup_trials: 2}}"
    )
    ledger = memory_ledger(config)
    for accuracy in (0.5, 0.7):
        drive(ledger, ledger.ask(), [accuracy] * 4)
    better, worse = ledger.ask(), ledger.ask()
    assert not ledger.report(better, epoch(1, 0.65), fold=None)
    assert ledger.report(worse, epoch(1, 0.55), fold=None)
    # The answer to a repeated epoch is given again: its worker may have died before it heard it.
    assert ledger.report(worse, epoch(1, 0.55), fold=None)


def test_an_old_epoch_decides_nothing(study: Study) -> None:
    ledger = memory_ledger(configured(study, NUMBERS, "random", "{median: {n_startup_trials: 1}}"))
    drive(ledger, ledger.ask(), [0.1, 0.2, 0.8, 0.8])
    run = ledger.ask()
    assert not ledger.report(run, epoch(1, 0.5), fold=None)
    assert not ledger.report(run, epoch(2, 0.5), fold=None)
    assert not ledger.report(run, epoch(1, 0.5), fold=None)
    assert ledger.report(run, epoch(3, 0.5), fold=None)


def test_suggestions() -> None:
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    suggest = suggest_with(trial)
    assert suggest("a", Choice((None, "x", 2))) in (None, "x", 2)
    whole = suggest("b", Range(low=0, high=9, log=False, step=3))
    assert isinstance(whole, int)
    assert whole % 3 == 0
    assert 1e-4 <= suggest("c", Range(low=1e-4, high=1e-1, log=True, step=None)) <= 1e-1
    assert suggest("d", Range(low=0.0, high=1.0, log=False, step=0.5)) in (0.0, 0.5, 1.0)
    with pytest.raises(AssertionError, match="not searched"):
        suggest("e", Fixed(1))


def test_no_news_of_experiments(study: Study) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in SAMPLERS:
            make_sampler(
                configured(study, GRID if name == "grid" else NUMBERS, name, "none"), seed=1
            )
        for name in PRUNERS:
            make_pruner(configured(study, NUMBERS, "random", name))
