"""The runs of cells: which there are, in which order, and what is made of their results."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from tests.search.conftest import HEAD, Study
from tests.search.fakes import drive, layout_in, result
from tlsearch.config.cells import Cell
from tlsearch.config.paths import scores_path
from tlsearch.config.schema import StudyConfig
from tlsearch.errors import StoreError
from tlsearch.execution.runs import Run
from tlsearch.search import board as board_module
from tlsearch.search.board import Board, existing_board
from tlsearch.search.cell_runs import choose, confirm_specs, fixed_specs, sweep_specs
from tlsearch.search.collect import CSV_FILE, JSON_FILE, collect, write_tables
from tlsearch.search.comparison_run import ScenarioWork, is_done, num_done, tuning_left
from tlsearch.search.job_maker import comparison_job
from tlsearch.search.ledger import Ledger
from tlsearch.search.storage import open_storage

BODY = """
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


@pytest.fixture
def config(study: Study) -> StudyConfig:
    return study(body=BODY, head=HEAD)


@pytest.fixture
def board(config: StudyConfig) -> Board:
    return board_of(config)


def board_of(config: StudyConfig, storage: optuna.storages.BaseStorage | None = None) -> Board:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return Board(config, storage or optuna.storages.InMemoryStorage())


def tune(ledger: Ledger, *accuracies: float) -> None:
    for accuracy in accuracies:
        drive(ledger, ledger.ask(), [0.1, accuracy])


def score(folder: Path, key: str, right: tuple[int, ...]) -> None:
    """Store a run's probabilities of two classes for four test images."""
    labels = np.array([0, 1, 0, 1])
    answers = np.where(np.array(right, dtype=bool), labels, 1 - labels)
    path = scores_path(folder, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    probabilities = np.eye(2, dtype=np.float32)[answers]
    np.savez(path, probabilities=probabilities, labels=labels, rows=np.arange(4))


def carry_out(
    board: Board, folder: Path, scenario: str, train: Callable[[Run], float]
) -> list[str]:
    """Run a scenario to its end with one worker; the keys in order."""
    board.note(f"facts:{scenario}", {"similarity": 0.25, "test_images": 4})
    work, keys = ScenarioWork(board.of_scenario(scenario)), []
    while (run := work.next_run()) is not None:
        keys.append(run.key)
        if run.role != "trial":
            score(folder, run.key, RIGHT[run.arm])
        accuracy = train(run)
        board.tell(run, "complete", result([0.1, accuracy]), reason="")
    return keys


def by_rate(run: Run) -> float:
    """The nearer to 0.01, the better."""
    return 1.0 - abs(np.log10(float(run.params["lr"])) + 2) / 10


def test_the_best_of_the_trials_that_all_arms_have(board: Board) -> None:
    ledger = board.cells[ONE]
    assert choose(ledger.config, ledger.rows_of(ledger.search)) is None
    tune(ledger, 0.5, 0.7, 0.6)
    chosen = choose(ledger.config, ledger.rows_of(ledger.search))
    assert chosen is not None
    assert chosen.trial == 1
    tune(ledger, 0.9)  # of a time when four were asked for
    rows = ledger.rows_of(ledger.search)
    assert choose(ledger.config, rows) == chosen
    nothing = board.cells[GIVEN]
    given = choose(nothing.config, [])
    assert given is not None
    assert (given.trial, given.params["lr"]) == (None, 0.05)


def test_confirmations_share_their_seeds_between_arms(board: Board) -> None:
    tune(board.cells[ONE], 0.5, 0.7, 0.6)
    specs = {
        cell.arm: confirm_specs(ledger.config, choose(ledger.config, ledger.rows()))  # type: ignore[arg-type]
        for cell, ledger in board.cells.items()
        if cell in (ONE, GIVEN)
    }
    assert [s.key for s in specs["one"]] == [f"one@here.confirm-0001-seed-{i}" for i in (1, 2, 3)]
    assert [s.key for s in specs["given"]] == [
        f"given@here.confirm-as-given-seed-{i}" for i in (1, 2, 3)
    ]
    for one, given in zip(specs["one"], specs["given"], strict=True):
        assert (one.seed, one.redraw, one.num_epochs) == (given.seed, given.redraw, 2)
        assert (one.role, one.scenario, one.arm) == ("confirm", "here", "one")
    assert [s.redraw for s in specs["one"]] == [1, 2, 3]


def test_a_setting_that_the_confirmation_has_is_not_trained_twice(board: Board) -> None:
    ledger = board.cells[GIVEN]
    chosen = choose(ledger.config, [])
    assert chosen is not None
    (sweep,) = board.comparison.sweeps.of
    specs = sweep_specs(ledger.config, chosen, sweep)
    assert {place: (s.key, s.role, s.params["lr"]) for place, s in specs.items()} == {
        (0, 1): ("given@here.confirm-as-given-seed-1", "confirm", 0.05),
        (0, 2): ("given@here.confirm-as-given-seed-2", "confirm", 0.05),
        (1, 1): ("given@here.sweep-as-given-lr=0.5-seed-1", "sweep", 0.5),
        (1, 2): ("given@here.sweep-as-given-lr=0.5-seed-2", "sweep", 0.5),
    }
    assert len(fixed_specs(ledger.config, chosen)) == 5
    elsewhere = board.cells[Cell("there", "one")]
    tune(elsewhere, 0.5)
    there = choose(elsewhere.config, elsewhere.rows())
    assert there is not None
    assert len(fixed_specs(elsewhere.config, there)) == 3


def test_every_arm_tunes_alike_before_it_is_confirmed(board: Board, tmp_path: Path) -> None:
    keys = carry_out(board, tmp_path, "here", by_rate)
    tuned = [key.partition("@")[0] for key in keys if ".trial-" in key and "seed" not in key]
    assert sorted(tuned) == ["one"] * 3 + ["other"] * 3
    for arm in ("one", "other"):
        places = [i for i, key in enumerate(keys) if key.startswith(f"{arm}@")]
        kinds = ["seed" in keys[i] for i in places]
        assert kinds == sorted(kinds)
    assert len(keys) == len(set(keys)) == 6 + 9 + 2
    assert all(map(is_done, board.of_scenario("here").values()))
    assert sum(map(num_done, board.cells.values())) == 17
    assert not any(map(is_done, board.of_scenario("there").values()))
    # The draws are those of the arm's own study, the same rates for the same trial.
    rates = {
        cell.arm: [row.run.params["lr"] for row in ledger.rows_of(ledger.search)]
        for cell, ledger in board.of_scenario("here").items()
    }
    assert rates["one"] == rates["other"]


def test_the_order_of_endings_changes_nothing(config: StudyConfig, tmp_path: Path) -> None:
    """Two workers that end in the reverse order of their beginning, against one."""
    straight, crossed = board_of(config), board_of(config)
    crossed.note("facts:here", {"similarity": 0.25, "test_images": 4})
    carry_out(straight, tmp_path / "straight", "here", by_rate)
    work, idle = ScenarioWork(crossed.of_scenario("here")), False
    while not idle:
        claimed = [run for run in (work.next_run(), work.next_run()) if run is not None]
        idle = not claimed
        for run in reversed(claimed):
            if run.role != "trial":
                score(tmp_path / "crossed", run.key, RIGHT[run.arm])
            crossed.tell(run, "complete", result([0.1, by_rate(run)]), reason="")
    for name in (JSON_FILE, CSV_FILE):
        for board, folder in ((straight, "straight"), (crossed, "crossed")):
            write_tables(board, tmp_path / folder)
        assert (tmp_path / "straight" / name).read_bytes() == (
            tmp_path / "crossed" / name
        ).read_bytes()


def test_what_is_carried_on(config: StudyConfig, tmp_path: Path) -> None:
    # The storage in memory looks for waiting trials behind the last that it gave out alone.
    storage = open_storage(config, layout_in(tmp_path), create=True)
    assert storage is not None
    board = board_of(config, storage)
    work = ScenarioWork(board.of_scenario("here"))
    runs = [work.next_run() for _ in range(4)]
    assert all(run is not None for run in runs)
    again = board_of(config, storage)
    again.recover()
    assert sum(tuning_left(ledger) for ledger in again.of_scenario("here").values()) == 6
    keys = carry_out(again, tmp_path, "here", by_rate)
    assert len(keys) == len(set(keys)) == 17
    assert {run.key for run in runs if run is not None} <= set(keys)


def test_more_of_everything_goes_on(study: Study, tmp_path: Path) -> None:
    storage = optuna.storages.InMemoryStorage()
    board = board_of(study(body=BODY, head=HEAD), storage)
    carry_out(board, tmp_path, "here", by_rate)
    seeds = study("comparison.confirm.seeds=4", body=BODY, head=HEAD)
    keys = carry_out(board_of(seeds, storage), tmp_path, "here", by_rate)
    assert sorted(keys) == sorted(
        f"{spec}-seed-4"
        for spec in {key.rpartition("-seed")[0] for key in done(board) if key.endswith("seed-1")}
        if "lr=" not in spec
    )
    trials = study("comparison.tuning.trials=5", body=BODY, head=HEAD)
    keys = carry_out(board_of(trials, storage), tmp_path, "here", by_rate)
    assert sum("seed" not in key for key in keys) == 2 * 2
    fewer = board_of(study("comparison.tuning.trials=2", body=BODY, head=HEAD), storage)
    carry_out(fewer, tmp_path, "here", by_rate)
    found = collect(fewer, tmp_path).scenarios[0].arms
    assert [arm.tuning.shape for arm in found.values()] == [(2,), (2,), (0,)]


def done(board: Board) -> list[str]:
    return [row.run.key for row in board.rows()]


def test_an_interrupted_trial_that_is_no_longer_asked_for_keeps_nothing_open(
    study: Study, tmp_path: Path
) -> None:
    storage = optuna.storages.InMemoryStorage()
    board = board_of(study(body=BODY, head=HEAD), storage)
    ledger = board.cells[ONE]
    tune(ledger, 0.5, 0.6)
    ledger.pause(ledger.ask())
    fewer = board_of(study("comparison.tuning.trials=2", body=BODY, head=HEAD), storage)
    carry_out(fewer, tmp_path, "here", by_rate)
    assert all(map(is_done, fewer.of_scenario("here").values()))


def test_a_cell_that_changed_is_refused_and_one_that_has_not_begun_is_not(
    study: Study, tmp_path: Path
) -> None:
    storage = optuna.storages.InMemoryStorage()
    board = board_of(study(body=BODY, head=HEAD), storage)
    carry_out(board, tmp_path, "here", by_rate)
    changed = "comparison.arms.one={space.schedule: exponential}"
    with pytest.raises(StoreError, match=r"arms\.one in scenario 'here'.*\n.*space\.schedule"):
        board_of(study(changed, body=BODY, head=HEAD), storage)
    elsewhere = "comparison.scenarios.there.set={data.labels_per_class: 2}"
    other = board_of(study(elsewhere, body=BODY, head=HEAD), storage)
    other.adopt()
    assert other.cells[Cell("there", "one")].config.data.labels_per_class == 2
    more = "comparison.arms.more={space.lr: 0.001}"
    added = board_of(study(more, body=BODY, head=HEAD), storage)
    assert Cell("here", "more") in added.cells


def test_looking_at_a_comparison_that_is_not_there_creates_nothing(config: StudyConfig) -> None:
    storage = optuna.storages.InMemoryStorage()
    assert existing_board(config, storage) is None
    assert storage.get_all_studies() == []
    board_of(config, storage)
    assert existing_board(config, storage) is not None


def test_a_comparison_set_aside_while_one_looks_is_not_made_anew(
    config: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board_module, "is_started", lambda _name, _storage: True)
    storage = optuna.storages.InMemoryStorage()
    assert existing_board(config, storage) is None
    assert storage.get_all_studies() == []


def test_what_is_noted_of_the_whole(board: Board) -> None:
    assert board.noted("facts:here") is None
    board.note("facts:here", {"similarity": 0.5})
    assert board.noted("facts:here") == {"similarity": 0.5}
    assert list(board.rows()) == []


def test_results_by_hand(board: Board, tmp_path: Path) -> None:
    carry_out(board, tmp_path, "here", by_rate)
    found = collect(board, tmp_path)
    here, there = found.scenarios
    assert (found.reference, found.trials, found.epochs) == ("one", 3, 2)
    assert there.arms == {}
    assert here.traits.labels == "few"
    # The best arm answers three of four.
    assert here.facts == {"similarity": 0.25, "test_images": 4, "difficulty": 0.25}
    one, given = here.arms["one"], here.arms["given"]
    assert one.answers.tolist() == [list(RIGHT["one"])] * 3
    assert (one.settings, given.settings) == (1, 0)
    rows = board.cells[ONE].rows_of(board.cells[ONE].search)
    assert one.tuning.tolist() == [row.epochs[-1].val_accuracy for row in rows]
    assert given.tuning.size == 0
    assert one.seeds == given.seeds == (1, 2, 3)
    (sweep,) = here.sweeps
    assert (sweep.arm, sweep.dimension, sweep.settings) == ("given", "lr", (0.05, 0.5))
    assert sweep.answers.shape == (2, 2, 4)
    at = [by_rate_of(0.05), by_rate_of(0.5)]
    assert sweep.validation == pytest.approx(np.array([[at[0]] * 2, [at[1]] * 2]))


def by_rate_of(rate: float) -> float:
    return 1.0 - abs(float(np.log10(rate)) + 2) / 10


def test_runs_that_diverge_answer_nothing_and_those_that_fail_are_missing(
    board: Board, tmp_path: Path
) -> None:
    board.note("facts:here", {"test_images": 4})
    work = ScenarioWork(board.of_scenario("here"))
    while (run := work.next_run()) is not None:
        key, ending = run.key, "complete"
        if run.arm == "other":
            ending = {"1": "diverged", "2": "failed"}.get(key[-1], "complete")
            if run.role == "trial":
                ending = "diverged" if run.trial == 0 else "complete"
        if ending == "complete" and run.role != "trial":
            score(tmp_path, key, RIGHT[run.arm])
        told = result([0.1, by_rate(run)], ending=ending) if ending != "failed" else None
        board.tell(run, ending, told, reason="")  # type: ignore[arg-type]
    other = collect(board, tmp_path).scenarios[0].arms["other"]
    assert other.tuning[0] == 0
    assert other.tuning.shape == (3,)
    assert other.answers[0].tolist() == [0] * 4
    assert np.isnan(other.answers[1]).all()
    assert other.answers[2].tolist() == list(RIGHT["other"])
    content = write_tables(board, tmp_path)[JSON_FILE]
    assert json.loads(json.dumps(content, allow_nan=False)) == content


def test_tuning_never_touches_the_test_part(board: Board, tmp_path: Path) -> None:
    """Of no run but confirmations and sweeps are test answers ordered, and no weights are kept."""
    make = comparison_job(board.config)
    orders: dict[str, list[Any]] = {"trial": [], "confirm": [], "sweep": []}

    def noted(run: Run) -> float:
        orders[run.role].append(make(run, tmp_path))
        return by_rate(run)

    carry_out(board, tmp_path, "here", noted)
    assert {kind: len(jobs) for kind, jobs in orders.items()} == {
        "trial": 6, "confirm": 9, "sweep": 2
    }  # fmt: skip
    assert all(job.scores_to is None and job.measures == () for job in orders["trial"])
    for kind in ("confirm", "sweep"):
        paths = [job.scores_to for job in orders[kind]]
        assert None not in paths
        assert len(set(paths)) == len(paths)
    assert all(job.weights_to is None for jobs in orders.values() for job in jobs)
