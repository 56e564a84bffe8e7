"""Confirmation as a race over seeds: who drops out, who takes a place, and who wins."""

import pytest

from tests.search.conftest import Study
from tests.search.fakes import memory_store, result
from tests.search.test_confirm import carry_out, queue_of
from tlsearch.execution.runs import Run
from tlsearch.search.champion import recipe_of
from tlsearch.search.confirm import baseline_keys, choose
from tlsearch.search.store import SEARCH, Store


def raced(study: Study, values: dict[str, float], *overrides: str) -> tuple[Store, list[str]]:
    """A study of six trials, confirmed by three on three seeds; a run's value by its key, else 0.5
    and less for later trials.
    """
    store = memory_store(study("budget.trials=6", "confirm.top=2", "confirm.seeds=3", *overrides))
    keys = carry_out(store, lambda run: values.get(run.key, 0.5 - 0.01 * (run.trial or 0)))
    return store, keys


def test_who_falls_behind_drops_out_of_the_confirmation(study: Study) -> None:
    assert study("confirm.top=3", "confirm.seeds=3").confirm.rounds == (4, 3, 2)
    assert study("confirm.top=1", "confirm.seeds=3").confirm.rounds == (1, 1, 1)
    assert study("confirm.top=2", "confirm.seeds=5").confirm.rounds == (3, 3, 2, 1, 1)
    assert study("confirm.top=4", "confirm.seeds=2").confirm.rounds == (4, 4)
    store, keys = raced(study, {"confirm-0002-seed-1": 0.6, "full_fine_tuning-seed-1": 0.55})
    confirmed = [key for key in keys if key.startswith("confirm")]
    # Trial 2 makes up for what it lacked; trial 1 and then 0 fall behind.
    assert confirmed == [
        *(f"confirm-000{trial}-seed-1" for trial in (0, 1, 2)),
        *(f"confirm-000{trial}-seed-2" for trial in (2, 0)),
        "confirm-0002-seed-3",
    ]
    choice = choose(store)
    assert choice is not None
    assert (choice.number, choice.baseline) == (2, "")
    assert choice.keys == tuple(f"confirm-0002-seed-{seed}" for seed in (1, 2, 3))
    found = {name: len(its) for name, its in baseline_keys(store, choice).items()}
    assert found == {"linear_probe": 3, "full_fine_tuning": 3, "from_scratch": 3}


def test_a_baseline_that_has_fallen_behind_on_three_seeds_drops_out(study: Study) -> None:
    of = {"full_fine_tuning": 0.495, "from_scratch": 0.1}  # beside trials of 0.5, 0.49 and less
    values = {f"{name}-seed-{seed}": value for name, value in of.items() for seed in range(1, 6)}
    store, _ = raced(study, values, "confirm.seeds=5")
    choice = choose(store)
    assert choice is not None
    found = {name: len(its) for name, its in baseline_keys(store, choice).items()}
    assert found == {"linear_probe": 5, "full_fine_tuning": 3, "from_scratch": 3}


def test_what_a_seed_decided_stands(study: Study) -> None:
    """The leader of the first seed has bad luck on the second: nobody takes its place there."""
    store, keys = raced(study, {"confirm-0000-seed-2": 0.1})
    confirmed = [key.removeprefix("confirm-000") for key in keys if key.startswith("confirm")]
    assert confirmed == [
        *("0-seed-1", "1-seed-1", "2-seed-1"),
        *("0-seed-2", "1-seed-2"),
        "1-seed-3",
    ]
    choice = choose(store)
    assert choice is not None
    assert choice.number == 1


@pytest.mark.parametrize("is_late", [False, True])
def test_how_long_a_baseline_takes_decides_nothing(study: Study, is_late: bool) -> None:
    """It is better than the second trial on three seeds; that one then fails on the fourth."""
    store = memory_store(study("budget.trials=4", "confirm.top=3", "confirm.seeds=5"))
    queue, keys, held = queue_of(store)[0], set[str](), list[Run]()
    while (run := queue.next_run([SEARCH])) is not None or held:
        if run is not None and is_late and run.key == "full_fine_tuning-seed-3":
            held.append(run)
            continue
        run = run or held.pop()
        keys.add(run.key)
        if run.key == "confirm-0001-seed-4":
            store.tell(run, "failed", None, reason="")
            continue
        value = {"full_fine_tuning": 0.495, "from_scratch": 0.1}.get(run.name)
        value = 0.5 - 0.01 * (run.trial or 0) if value is None else value
        store.tell(run, "complete", result([value] * 3), reason="")
    assert {key for key in keys if key.startswith("full")} == {
        f"full_fine_tuning-seed-{seed}" for seed in (1, 2, 3, 4)
    }


def test_a_racer_that_fails_leaves_its_place_to_the_next(study: Study) -> None:
    store = memory_store(study("budget.trials=6", "confirm.top=2", "confirm.seeds=3"))
    lost = {"confirm-0000-seed-1", "confirm-0001-seed-3"}
    keys = carry_out(store, lambda run: None if run.key in lost else 0.5 - 0.01 * (run.trial or 0))
    confirmed = [key.removeprefix("confirm-000") for key in keys if key.startswith("confirm")]
    assert confirmed == [
        *("0-seed-1", "1-seed-1", "2-seed-1"),
        "3-seed-1",
        *("1-seed-2", "2-seed-2"),
        *("1-seed-3", "2-seed-3"),
    ]
    choice = choose(store)
    assert choice is not None
    assert choice.number == 2


def test_a_baseline_may_win(study: Study) -> None:
    good = {f"full_fine_tuning-seed-{seed}": 0.7 for seed in (1, 2, 3)}
    store, keys = raced(study, good)
    assert "full_fine_tuning-seed-3" in keys
    assert "from_scratch-seed-3" in keys  # no worse than the last of the trials
    choice = choose(store)
    assert choice is not None
    assert (choice.baseline, choice.number) == ("full_fine_tuning", 0)
    assert choice.champion == "full_fine_tuning-seed-1"
    assert choice.mean == pytest.approx(0.7)
    found = baseline_keys(store, choice)
    assert list(found) == ["linear_probe", "from_scratch", "best_trial"]
    assert found["best_trial"] == [f"confirm-0000-seed-{seed}" for seed in (1, 2, 3)]
    assert recipe_of(store, "best_trial") == {"recipe": "tuned", "trials": 6}
