"""What more trials would bring, and when a search ends for that, whatever works it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.search.conftest import Study
from tests.search.fakes import Story, memory_store, train
from tests.search.scenes import Scene
from tlsearch.config.portfolio import starts
from tlsearch.config.schema import StudyConfig
from tlsearch.search.confirm import cell_is_done, num_trials, trials_left
from tlsearch.search.runner import Queue
from tlsearch.search.stop import Decided, Decisions, outlook, outlook_text, stop_text, stopped
from tlsearch.search.store import FACTS, SEARCH, STOP, Store

PLAIN = """
budget: {trials: 60, epochs: 3}
search: {sampler: random, pruner: none}
space: {lr: {low: 1.0e-3, high: 1.0e-1, log: true}, dropout: {low: 0.0, high: 0.5}}
confirm: {top: 1, seeds: 1}
baselines: []
"""
STOPPING = PLAIN.replace("none}", "none, stop: {gain: 0.002}}")
FACTS_OF = {"facts": {"validation_counts": [500, 500]}}

# A plateau from trial 8 on: what is left is less than the luck of 1,000 images.
EARLY = (0.3, 0.5, 0.6, 0.4, 0.7, 0.75, 0.5, 0.8)
Value = Callable[[int], float]


def flat(trial: int) -> float:
    return EARLY[trial] if trial < len(EARLY) else 0.9 + 0.003 * (trial * 7 % 5 - 2)


def rising(trial: int) -> float:
    return 0.2 + 0.013 * trial


def tells(value: Value) -> Callable[[Any, int], Story]:
    def story(job: Any, _attempt: int) -> Story:
        reached = value(job.run.trial)
        return train(job.key, [reached - 0.1, reached - 0.05, reached])

    return story


def searched(
    config: StudyConfig, folder: Path, value: Value, *, workers: int = 1, store: Store | None = None
) -> Scene:
    """A search and what follows, on from where the store stands."""
    scene = Scene(config, folder / "study", tells(value), workers=workers)
    if store is not None:
        scene.store = scene.coordinator.store = store
    scene.store.note(FACTS, FACTS_OF)
    queue = Queue(scene.coordinator)
    queue.announce()
    scene.coordinator.carry_out(lambda: queue.next_run([SEARCH]))
    return scene


def told(scene: Scene) -> list[str]:
    return [n.text for n in scene.watched.notices if "search.stop" in getattr(n, "text", "")]


def noted(scene: Scene) -> Decided:
    return Decided(**scene.store.noted(STOP))


@pytest.mark.parametrize("workers", [1, 3])
def test_a_search_ends_where_more_would_gain_little(
    study: Study, tmp_path: Path, workers: int
) -> None:
    scene = searched(study(body=STOPPING), tmp_path, flat, workers=workers)
    found, begun = noted(scene), scene.store.num_begun()
    assert stopped(scene.store) == found
    assert found.gain is not None
    assert found.gain < 0.002
    assert found.budget == 60
    # Those under way are finished, and none begins.
    assert found.after <= begun < found.after + workers
    assert {row.state for row in scene.store.trials()} == {"complete"}
    assert trials_left(scene.store) == 0
    assert cell_is_done(scene.store, SEARCH)
    assert [row.run.role for row in scene.store.fixed_rows()] == ["confirm"]
    (text,) = told(scene)
    assert f"after {begun} of 60 trials" in text
    assert "0.2 points of accuracy" in text


def test_the_same_decision_whatever_the_number_of_workers(study: Study, tmp_path: Path) -> None:
    one, three = (
        noted(searched(study(body=STOPPING), tmp_path / str(n), flat, workers=n)) for n in (1, 3)
    )
    assert one == three


@pytest.mark.parametrize("gain", ["null", "{gain: 0.0005}"])
def test_a_search_that_gains_goes_on(study: Study, tmp_path: Path, gain: str) -> None:
    body = STOPPING.replace("{gain: 0.002}", gain)
    scene = searched(study(body=body), tmp_path, rising)
    assert scene.store.num_ended() == 60
    assert stopped(scene.store) is None
    assert not told(scene)


def test_a_loss_that_falls_no_more(study: Study, tmp_path: Path) -> None:
    # The stand-ins' loss is what their accuracy lacks to 1.
    loss = ("search.metric=val_loss", "search.stop.gain=0.0005")
    falls = searched(study(*loss, body=STOPPING), tmp_path / "1", rising)
    assert falls.store.num_ended() == 60
    stands = searched(study(*loss[:1], body=STOPPING), tmp_path / "2", flat)
    assert stands.store.num_ended() < 60
    assert "0.002 nats of log loss" in told(stands)[0]


@pytest.mark.parametrize(
    "option",
    [
        "search.sampler={tpe: {n_startup_trials: 28}}",
        "search.sampler={tpe: {n_startup_trials: 3}}",
        "search.sampler=cmaes",
        "search.sampler=qmc",
        "search.start=portfolio",
        "search.pruner=median",
        "search.pruner=hyperband",
    ],
)
def test_not_before_the_sampler_has_begun(study: Study, tmp_path: Path, option: str) -> None:
    config = study(option, body=STOPPING)
    assert config.search.stop is not None
    first, startup = config.search.stop.first(config), config.search.sampler
    before = max(getattr(startup, "n_startup_trials", 0), len(starts(config)))
    assert first >= max(15, before + 5)
    scene = searched(config, tmp_path, lambda trial: 0.9 if trial % 2 else 0.8)
    assert noted(scene).after == scene.store.num_ended() >= first
    assert scene.store.num_ended() < 60


def test_a_grid(study: Study, tmp_path: Path) -> None:
    points = ", ".join(f"{0.001 * i:g}" for i in range(1, 61))
    options = (f"space.lr=[{points}]", "space.dropout=0.0", "search.sampler=grid")
    scene = searched(study(*options, body=STOPPING), tmp_path, flat)
    assert 15 <= scene.store.num_ended() < 60


def test_a_race_stops_between_generations(study: Study, tmp_path: Path) -> None:
    race = ("search.pruner={racing: {generation: 4}}", "budget.epochs=9", "search.stop.gain=0.01")

    def learns(job: Any, _attempt: int) -> Story:
        reached = flat(job.run.trial)
        return train(job.run.key, [reached - 0.01 * i for i in range(8, -1, -1)])

    def raced(workers: int) -> Store:
        folder = tmp_path / str(workers) / "study"
        scene = Scene(study(*race, body=STOPPING), folder, learns, workers=workers)
        scene.store.note(FACTS, FACTS_OF)
        queue = Queue(scene.coordinator)
        scene.coordinator.carry_out(lambda: queue.next_run([SEARCH]))
        return scene.store

    one, three = raced(1), raced(3)
    # Nothing is under way between generations, so that no trial comes after the decision.
    assert one.noted(STOP) == three.noted(STOP)
    assert one.noted(STOP)["after"] == one.num_ended() == three.num_ended() < 60
    assert {row.state for row in one.trials()} == {"complete", "pruned"}
    assert cell_is_done(one, SEARCH)


def test_a_stopped_search_stays_stopped_until_it_is_told_otherwise(
    study: Study, tmp_path: Path
) -> None:
    first = searched(study(body=STOPPING), tmp_path, flat)
    ended, found = first.store.num_ended(), noted(first)

    def again(*overrides: str) -> Scene:
        config = study(*overrides, body=STOPPING)
        store = Store(config, first.store.storage)
        return searched(config, tmp_path, flat, store=store)

    same = again()
    assert same.store.num_ended() == ended
    assert told(same) == told(first)
    assert not same.keys
    assert again("budget.trials=50").store.num_ended() == ended  # less is wanted still
    assert again("search.stop.gain=0.004").store.num_ended() == ended

    more = again("budget.trials=200")  # goes on, and may stop anew
    assert more.store.num_ended() > found.after
    assert noted(more).after > found.after
    assert noted(more).budget == 200
    whole = again("search.stop=null")
    assert whole.store.num_ended() == 60
    assert stopped(whole.store) is None
    assert stop_text(whole.store) == ""
    # What was decided once is no reason any more.
    assert stopped(again("budget.trials=60").store) is None


def test_a_stop_that_comes_later_looks_at_all_trials(study: Study, tmp_path: Path) -> None:
    first = searched(study("budget.trials=32", body=PLAIN), tmp_path, flat)
    config = study(body=STOPPING)
    scene = searched(config, tmp_path, flat, store=Store(config, first.store.storage))
    assert noted(scene).after >= 30
    assert scene.store.num_ended() == 32


def test_what_was_interrupted_beyond_the_stop_is_finished(study: Study, tmp_path: Path) -> None:
    first = searched(study(body=STOPPING), tmp_path, flat)
    store, ended = first.store, first.store.num_ended()
    store.ask()  # killed while it trained
    store = Store(store.config, store.storage)
    store.recover()
    assert num_trials(store, SEARCH) == ended + 1
    assert not cell_is_done(store, SEARCH)
    scene = searched(store.config, tmp_path, flat, store=store)
    assert scene.keys[:1] == [f"trial-{ended:04d}"]
    assert scene.store.num_ended() == ended + 1
    assert cell_is_done(scene.store, SEARCH)


def test_an_interruption_makes_no_difference(study: Study, tmp_path: Path) -> None:
    config = study(body=STOPPING)
    whole = noted(searched(config, tmp_path / "whole", flat))
    store = memory_store(config)
    store.note(FACTS, FACTS_OF)
    for _ in range(100):  # each invocation is left after four trials
        scene = Scene(config, tmp_path / "study", tells(flat))
        scene.store = scene.coordinator.store = store = Store(config, store.storage)
        queue, given = Queue(scene.coordinator), 0

        def few(queue: Queue = queue) -> Any:
            nonlocal given
            given += 1
            return None if given > 4 else queue.next_run([SEARCH])

        scene.coordinator.carry_out(few)
        if given <= 4:
            break
    assert noted(scene) == whole


def test_an_outlook_needs_values_and_images(study: Study, tmp_path: Path) -> None:
    scene = searched(study("budget.trials=8", body=PLAIN), tmp_path, rising)
    store = scene.store
    assert outlook(store, trials=3, more=5).gain is None
    known = outlook(store, trials=8, more=8).gain
    assert known is not None
    assert known > 0.001
    assert outlook(store, trials=8, more=24).gain == pytest.approx(2 * known)  # two doublings
    assert outlook_text(store) == (
        f"8 more trials would probably gain {100 * known:.2g} points of accuracy at most, beyond "
        "the luck of the validation images"
    )
    store.note(FACTS, {"facts": {"validation_counts": [10, 10]}})
    fewer = outlook(store, trials=8, more=8).gain
    assert fewer is not None
    assert fewer < known  # fewer images, more of it is luck
    store.note(FACTS, {})
    assert outlook(store, trials=8, more=8).gain is None
    assert outlook_text(store) == "too few trials are complete to say what 8 more trials would gain"


def test_nothing_more_to_try(study: Study, tmp_path: Path) -> None:
    config = study("space.lr=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]", "space.dropout=0.0", body=PLAIN)
    scene = searched(config, tmp_path, rising)
    assert scene.store.num_ended() == 6
    assert outlook_text(scene.store) == ""


def test_nothing_is_written_without_a_stop(study: Study, tmp_path: Path) -> None:
    scene = searched(study("budget.trials=20", body=PLAIN), tmp_path, flat)
    assert scene.store.noted(STOP) is None
    assert not Decisions(scene.store).look()
