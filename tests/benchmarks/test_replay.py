"""The replay of policies: made-up curves of one task, the real runner and store."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from benchmarks.curves import tables
from benchmarks.curves.landscape import Answer, Costs, Kept, Landscape
from benchmarks.curves.tables import PARAMS
from benchmarks.curves.tasks import EPOCHS, configurations, study
from benchmarks.replay import Replay, VirtualExecutor, one_epoch_first, replay
from tlsearch.execution.messages import Decision, EpochDone, Event, TrainDone, TrainJob
from tlsearch.execution.runs import Run
from tlsearch.search.baselines import run_of
from tlsearch.search.store import SEARCH

TASK = "letters-5-resnet10"
RANDOM: Mapping[str, Any] = {
    "budget": {"trials": 12, "epochs": EPOCHS},
    "search": {"sampler": "random", "pruner": "none"},
    "confirm": None,
    "baselines": False,
}
COSTS = Costs(start=0.5, epoch=2.0, kept=4.0)


def level(params: Mapping[str, Any]) -> float:
    return 0.9 - 0.1 * abs(math.log10(params["lr"]) + 2)


def kept() -> Kept:
    """Twenty configurations that are best at a rate of 0.01, half of them on three more seeds."""
    trainings, epochs = [], {}
    draw = np.random.default_rng(0)
    for number, params in enumerate(configurations(study(TASK), 20)):
        for redraw in range(4 if number % 2 else 1):
            end = level(params) + draw.normal(0, 0.01)
            row = {"task": TASK, "training": len(trainings), "configuration": number}
            row |= {"baseline": None, "redraw": redraw, "ending": "complete"}
            row |= {name: params.get(name) for name in PARAMS}
            trainings.append({**row, "test_accuracy": end - 0.05, "test_log_loss": 1 - end})
            epochs[TASK, row["training"]] = [
                {
                    "epoch": i + 1,
                    "val_accuracy": round(100 * end * (1 - 0.5**(i + 1))) / 100,
                    "val_loss": 1.5 - end,
                    "val_macro_f1": end,
                    "train_loss": 0.1,
                }
                for i in range(EPOCHS)
            ]  # fmt: skip
    times = [
        {
            "task": TASK,
            "freeze_depth": depth,
            "batch_size": size,
            "start_seconds": 0.5,
            "step_seconds": 1.0,
            "validation_seconds": 0.5,
            "kept_seconds": 1.0 * depth,
        }
        for depth in range(6)
        for size in (16, 32)
    ]
    return Kept(trainings, epochs, times)


@pytest.fixture(scope="module")
def landscape() -> Landscape:
    return Landscape(TASK, kept())


def job(number: int, *, depth: int = 2) -> TrainJob:
    config = study(TASK)
    params = {**configurations(config, 1)[0], "freeze_depth": depth}
    return TrainJob(run=run_of(config, SEARCH, number, params))


def executor(
    workers: int, *, seconds: Mapping[int, float] | None = None, length: int = EPOCHS
) -> VirtualExecutor:
    curve = np.linspace(0.1, 0.9, EPOCHS)[:length]
    found = Answer(
        dict.fromkeys(("val_accuracy", "val_loss", "val_macro_f1", "train_loss"), curve), {}, False
    )

    def costs(run: Run) -> Costs:
        its = (seconds or {}).get(run.trial or 0, COSTS.epoch)
        return COSTS._replace(epoch=its)

    return VirtualExecutor(workers, answer=lambda _run: found, costs=costs, overhead=0.0)


def hear(workers: VirtualExecutor, decision: Decision = "continue") -> tuple[float, Event]:
    ((worker, event),) = workers.events(timeout=1.0)
    if isinstance(event, EpochDone):
        workers.answer(worker, decision)
    else:
        workers.release(worker)
    return workers.now, event


def test_events_come_in_the_order_of_the_clock() -> None:
    workers = executor(2, seconds={0: 3.0, 1: 2.0})
    workers.submit(0, job(0))  # makes the activations of its depth
    workers.submit(1, job(1))
    heard = [hear(workers) for _ in range(4)]
    assert [(at, event.key) for at, event in heard if isinstance(event, EpochDone)] == [
        (2.5, "trial-0001"),
        (4.5, "trial-0001"),
        (6.5, "trial-0001"),
        (7.5, "trial-0000"),
    ]


def test_a_training_ends_after_its_last_epoch() -> None:
    workers = executor(1)
    workers.submit(0, job(0))
    heard = [hear(workers) for _ in range(EPOCHS + 1)]
    at, last = heard[-1]
    assert isinstance(last, TrainDone)
    assert (last.ending, at, len(last.result.epochs)) == ("complete", 4.5 + 2 * EPOCHS, EPOCHS)
    assert workers.idle() == [0]
    with pytest.raises(AssertionError, match="nobody ever will"):
        workers.events(timeout=1.0)


def test_a_paused_training_goes_on_without_paying_again() -> None:
    workers = executor(1)
    workers.submit(0, job(0))
    hear(workers)
    hear(workers, "pause")
    at, ended = hear(workers)
    assert isinstance(ended, TrainDone)
    assert (ended.ending, at) == ("paused", 8.5)
    workers.submit(0, job(1))
    hear(workers, "stop")
    assert hear(workers)[0] == 8.5 + 0.5 + 2.0
    workers.submit(0, job(0))  # says what is known again, then trains on
    heard = [hear(workers) for _ in range(3)]
    assert [(at, e.result.epoch) for at, e in heard if isinstance(e, EpochDone)] == [
        (11.5, 1),
        (11.5, 2),
        (13.5, 3),
    ]


def test_a_curve_that_ends_early_diverges() -> None:
    workers = executor(1, length=1)
    workers.submit(0, job(0))
    hear(workers)
    _, ended = hear(workers)
    assert isinstance(ended, TrainDone)
    assert (ended.ending, ended.result.ending, len(ended.result.epochs)) == (
        "diverged",
        "diverged",
        1,
    )


def test_what_was_trained_answers_as_recorded(landscape: Landscape) -> None:
    for number, params in enumerate(configurations(landscape.config, 20)):
        recorded = landscape.recorded[tables.key_of(params), 0]
        assert landscape.answer(params, redraw=0, world=number) is recorded
        # Of one that was repeated, the mean over seeds is known.
        expected = landscape.expected_test(params, world=number)
        assert expected == pytest.approx(level(params) - 0.05, abs=0.02 if number % 2 else 0.03)


def test_what_was_not_trained_answers_by_the_surrogate(landscape: Landscape) -> None:
    asked = configurations(landscape.config, 52)[20:]
    *_, params = asked
    one, same, other = (landscape.answer(params, redraw=0, world=w) for w in (1, 1, 2))
    assert np.array_equal(one.curves["val_loss"], same.curves["val_loss"])
    assert not np.array_equal(one.curves["val_loss"], other.curves["val_loss"])
    # As many images validate as the recorded accuracies say.
    steps = one.curves["val_accuracy"] * landscape.num_validation
    assert landscape.num_validation == 100
    assert np.allclose(steps, steps.round())
    found = np.array([[landscape.expected_test(p, world=w) for p in asked] for w in range(10)])
    true = np.array([level(p) - 0.05 for p in asked])
    assert found.mean(0) == pytest.approx(true, abs=0.06)
    # Peaks are as high as they are in truth.
    assert found.max(1).mean() == pytest.approx(true.max(), abs=0.03)
    assert found.std(1).mean() == pytest.approx(true.std(), rel=0.25)


def test_a_seed_searches_alike_whatever_the_workers(landscape: Landscape) -> None:
    found = {n: replay(landscape, RANDOM, seed=3, workers=n) for n in (1, 2, 4)}
    again = replay(landscape, RANDOM, seed=3, workers=2)
    assert again == found[2]
    assert {ends_at(one) for one in found.values()} == {ends_at(again)}
    assert found[1].seconds > found[2].seconds > found[4].seconds
    assert ends_at(replay(landscape, RANDOM, seed=4, workers=2)) != ends_at(again)


def ends_at(found: Replay) -> tuple[float, int]:
    return found.steps[-1].accuracy, found.trials


def test_a_pruner_saves_time(landscape: Landscape) -> None:
    pruned = {**RANDOM, "search": {"sampler": "random", "pruner": "successive_halving"}}
    whole, halved = (replay(landscape, p, seed=0, workers=2) for p in (RANDOM, pruned))
    assert halved.busy_seconds < 0.7 * whole.busy_seconds
    assert halved.trials == whole.trials == 12


def test_confirmation_chooses_last(landscape: Landscape) -> None:
    confirmed = {**RANDOM, "confirm": {"top": 2, "seeds": 2}}
    plain, found = (replay(landscape, p, seed=0, workers=2) for p in (RANDOM, confirmed))
    assert found.steps[: len(plain.steps)] == plain.steps
    assert found.steps[-1].seconds == found.seconds > plain.seconds
    assert found.trials == plain.trials == 12


def test_one_epoch_for_all_trains_the_best_anew(landscape: Landscape) -> None:
    found = replay(landscape, {**RANDOM, "plan": one_epoch_first}, seed=0, workers=1)
    assert found.trials == 12 + 6
    epochs = 1.5 * (12 + 6 * EPOCHS)
    kept = {int(p["freeze_depth"]) for p in configurations_of(landscape)}
    assert found.busy_seconds == pytest.approx(epochs + 18 * 0.5 + sum(kept))


def configurations_of(landscape: Landscape) -> list[dict[str, Any]]:
    config = study(landscape.task, **RANDOM)
    return one_epoch_first(config, 0)[0].configurations
