"""The comparison with plain Optuna and MLflow: both sides do the same, and are judged alike."""

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from benchmarks.peers import plain
from benchmarks.peers.judge import Pair, Race, choices, race
from benchmarks.peers.runs import FIRST, TPE, Record, Setup, Way, hand_over, same_trials
from benchmarks.replay import Replay, Step
from benchmarks.versus import Found, markdown
from tlsearch.config.optimization import CosineDecay, lr_factor
from tlsearch.config.paths import user_cache
from tlsearch.config.runtime import no_progress
from tlsearch.config.schema import StudyConfig
from tlsearch.config.space import with_defaults
from tlsearch.execution.messages import PrepareJob, TrainJob
from tlsearch.execution.prepare import prepare
from tlsearch.execution.workbench import Workbench
from tlsearch.search.baselines import run_of
from tlsearch.search.samplers import suggest_with
from tlsearch.search.store import SEARCH

SETUP = Setup(Path("real"), Path("state"), trials=5, epochs=10, size=48)
NUMBERS = plain.Numbers(channels_last=True, bf16=False)


def test_the_peer_searches_the_same_space() -> None:
    ours, theirs = optuna.create_study(), optuna.create_study()
    for optimizer in ("sgd", "adam"):
        of_ours, of_theirs = (_asked(each, optimizer) for each in (ours, theirs))
        SETUP.study("fashion-20-lite0").assign(suggest_with(of_ours))
        params = plain.suggest(of_theirs)
        assert of_ours.distributions == of_theirs.distributions
        assert ("momentum" in params) is (optimizer == "sgd")


def _asked(of: optuna.Study, optimizer: str) -> optuna.Trial:
    of.enqueue_trial({"optimizer": optimizer})
    return of.ask()


def test_the_same_trials_are_those_that_tlsearch_draws() -> None:
    config = SETUP.study("fashion-20-lite0", search={"sampler": "random"})
    drawn = same_trials(config)
    assert drawn == same_trials(config)
    assert len({trial["lr"] for trial in drawn}) == 5
    assert all(trial.keys() <= config.searched().keys() for trial in drawn)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workbench, StudyConfig, Path]:
    folder = tmp_path_factory.mktemp("task")
    config = StudyConfig.model_validate(
        {
            "name": "versus",
            "data": {
                "source": "digits",
                "size": 32,
                "split": {"validation": 0.05, "test": 0.6},
                "labels_per_class": 2,
            },
            "backbone": {"name": "timm/tf_efficientnet_lite0", "weights": "imagenet"},
            "precision": "fp32",
            "device": "cpu",
        }
    )
    job = PrepareJob(config=config, folder=folder, cache=folder, user_cache=user_cache(), threads=1)
    setting, _ = prepare(job, device_index=None, on_progress=no_progress)
    hand_over(setting, folder)
    return Workbench(setting, device_index=None, on_progress=no_progress), config, folder


@pytest.mark.parametrize(("depth", "statistics"), [(9, "batch"), (5, "batch"), (5, "pretrained")])
def test_both_sides_train_alike(
    task: tuple[Workbench, StudyConfig, Path], depth: int, statistics: str
) -> None:
    """One batch an epoch, so that its order does not matter, from the same head."""
    bench, config, folder = task
    searched: dict[str, Any] = {
        "freeze_depth": depth,
        "lr": 0.01,
        "lr_ratio": 0.5,
        "warmup_fraction": 0.2,
        "optimizer": "sgd",
        "weight_decay": 1e-3,
        "dropout": 0.0,
        "batch_size": 32,
        "head_init": "probe",
        "norm_statistics": statistics,
    }
    sgd = {"optimizer.sgd.momentum": 0.9, "optimizer.sgd.nesterov": False}
    run = run_of(config, SEARCH, 0, with_defaults({**searched, **sgd}))
    ours = list(islice(bench.trainer(TrainJob(run=run)).epochs(), 2))
    images = plain.read(folder, NUMBERS.layout)
    assert images.train == 20
    params = {**searched, "momentum": 0.9}
    theirs = plain.train(folder, images, params, num_epochs=10, numbers=NUMBERS, seed=0)
    for epoch, found in zip(ours, theirs, strict=False):
        for name, value in found.items():
            assert value == pytest.approx(getattr(epoch, name), rel=1e-3), name


# How they are judged.


def record(*trials: tuple[float, float | None], choice: Record | None = None) -> Record:
    """Trials by their seconds and values, their number in the parameters."""
    found = [
        {"seconds": seconds, "value": value, "loss": None, "params": {"number": number}}
        for number, (seconds, value) in enumerate(trials)
    ]
    return {"seconds": 9.0, "cpu": 12.0, "trials": found} | ({"choice": choice} if choice else {})


def test_the_best_complete_trial_is_chosen_until_the_confirmation_ends() -> None:
    last = {"seconds": 8.0, "baseline": "linear_probe", "params": {"number": 3}}
    found = choices(record((4, 0.5), (2, 0.4), (3, None), (5, 0.7), (6, 0.7), choice=last))
    chosen = [(seconds, choice["params"]["number"]) for seconds, choice in found]
    assert chosen == [(2, 1), (4, 0), (5, 3), (8.0, 3)]
    assert [choice["baseline"] for _, choice in found] == ["", "", "", "linear_probe"]


def test_baselines_count_until_a_trial_is_better() -> None:
    found = record((4, 0.5), (5, 0.7))
    probe = {"seconds": 1.0, "value": 0.6, "loss": 1.0, "baseline": "linear_probe"}
    found["baselines"] = [probe, probe | {"seconds": 6.0, "baseline": "full_fine_tuning"}]
    chosen = [(s, choice["baseline"], choice["params"]) for s, choice in choices(found)]
    assert chosen == [(1.0, "linear_probe", {}), (5, "", {"number": 1})]


def test_a_race_ends_where_the_mean_has_what_the_peer_ends_with() -> None:
    peers = [Replay((Step(0, 0.1), Step(50, 0.6), Step(100, 0.8)), 100, 0, 2)]
    ours = [
        Replay((Step(0, 0.1), Step(10, 0.8), Step(20, 0.9)), 30, 0, 2),
        Replay((Step(0, 0.1), Step(20, 0.5), Step(25, 0.7)), 30, 0, 2),
    ]
    found = race(ours, peers, chance=0.1)
    assert (found.target, found.seconds) == (0.8, 100)
    assert found.reached == pytest.approx(25, rel=0.05)
    assert found.speed == pytest.approx(4, rel=0.05)
    assert found.peer_reached == pytest.approx(100, rel=0.05)
    assert found.by_seed[0] == pytest.approx(10, rel=0.05)
    assert np.isinf(found.by_seed[1])
    assert (found.own_seconds, found.own_final) == (30, pytest.approx(0.8))


def test_a_pair_is_of_the_same_trials() -> None:
    ours, peer = record((1, 0.5), (2, 0.6), (3, None)), record((1, 0.6), (2, 0.8), (3, 0.1))
    mean, correlation, number = Pair(ours, peer).agreement()
    assert (mean, correlation, number) == (pytest.approx(0.15), pytest.approx(1.0), 2)
    with pytest.raises(AssertionError, match="same trials"):
        Pair(ours, record((1, 0.5))).agreement()


def test_the_table_says_what_was_found() -> None:
    lost = Race(100, 0.8, 100, np.inf, [np.inf], 30, 0.7)
    won = lost._replace(reached=20, by_seed=[15, np.inf], own_final=0.85)
    pair = Pair(record((1, 0.5), (2, 0.6)), record((1, 0.6), (2, 0.8)))
    found = Found(
        pairs={task: [pair, pair] for task in ("a", "b", "c")},
        races={task: {TPE: won, FIRST: lost} for task in ("a", "b", "c")},
        ways=dict.fromkeys("abc", Way(2, 1, ("--channels-last",))),
        overhead={"ours": [20.0] * 10 + [30.0] * 10, "peer": [100.0, 120.0]},
        steps={"resnet18, 32 px, batch 16": 0.94, "resnet18, 32 px, batch 64": 0.98},
        when="a day in May",
    )
    rows = markdown(found, SETUP, seeds=2).splitlines()
    measures = [
        row.split(" | ")[-1].removesuffix(" |") for row in rows if "≥ " in row or "≤" in row
    ]
    assert measures == [
        "1.00 (1.00 to 1.00)×",
        "5.0 (5.0 to 5.0)×",
        "0.0 (0.0 to 0.0)×",
        "25 ms over 1,000 trials, the last tenth by the first 1.50",
        "0.96 (0.94 to 0.98)",
    ]
    raced = "| a | 0.8000, 100 s | 100 s | 20 s (15 s, never) | 5.0× | 0.8500, 30 s |"
    assert raced in rows
    assert "- a: 2 processes of 1 threads, --channels-last" in rows


def test_rates_are_those_of_tlsearch() -> None:
    schedule = CosineDecay()
    for warmup in (0, 3):
        for step in range(20):
            assert plain.lr_factor(step, warmup=warmup, steps=20) == pytest.approx(
                lr_factor(
                    step,
                    schedule=schedule,
                    warmup_steps=warmup,
                    warmup_start_fraction=0.0,
                    total_steps=20,
                    steps_per_epoch=5,
                    val_losses=(),
                )
            )
