from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from tests.search.conftest import Study
from tests.search.fakes import drive, epoch, layout_in, memory_ledger, result, states
from tlsearch.config.schema import StudyConfig
from tlsearch.errors import StoreError
from tlsearch.search import ledger as ledger_module
from tlsearch.search.baselines import baseline_spec
from tlsearch.search.ledger import Ledger, existing_ledger, is_started
from tlsearch.search.storage import open_storage


@pytest.fixture(params=["journal", "sqlite"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Opens the same ledger again, as another process would."""
    layout = layout_in(tmp_path)

    def opening(config: StudyConfig) -> Ledger:
        if request.param == "sqlite":
            config = config.model_copy(update={"storage": "sqlite:///studies.db"})
        storage = open_storage(config, layout, create=True)
        assert storage is not None
        return Ledger(config, storage)

    return opening


def test_round_trip(study: Study, reopen: Any) -> None:
    config = study()
    ledger = reopen(config)
    run = ledger.ask()
    assert ledger.num_running() == ledger.num_open() == 1
    assert not drive(ledger, run, [0.2, 0.5, 0.4])
    assert (ledger.num_ended(), ledger.num_open()) == (1, 0)
    (row,) = reopen(config).rows()
    assert row.run == run
    assert row.run.key == "trial-0000"
    assert (row.state, row.value, row.number) == ("complete", 0.4, 0)
    assert row.epochs == tuple(epoch(i, a) for i, a in enumerate([0.2, 0.5, 0.4], 1))
    assert (row.images_trained, row.max_grad_norm) == (30, 2.0)
    assert row.ended >= row.started


def test_a_paused_run_goes_on_with_its_parameters(study: Study, reopen: Any) -> None:
    config = study()
    ledger = reopen(config)
    run = ledger.ask()
    ledger.report(run, epoch(1, 0.3), fold=None)
    ledger.pause(run)
    assert states(ledger) == {"trial-0000": "waiting"}
    again = reopen(config).ask()
    assert again == run
    assert again.trial == 0


def test_recovery_of_what_a_killed_coordinator_left(study: Study, reopen: Any) -> None:
    config = study()
    ledger = reopen(config)
    ledger.enqueue([baseline_spec(config, "linear_probe", seed=0)])
    runs = [ledger.ask_fixed(), ledger.ask(), ledger.ask()]
    ledger.report(runs[2], epoch(1, 0.3), fold=None)
    ledger = reopen(config)
    assert ledger.num_open() == 3
    assert ledger.recover() == 3
    assert ledger.recover() == 0
    assert set(states(ledger).values()) == {"waiting"}
    again = [ledger.ask_fixed(), ledger.ask(), ledger.ask()]
    assert again == runs
    assert ledger.ask().trial == 2  # nobody is left to go on


def test_an_epoch_is_recorded_once(study: Study) -> None:
    ledger = memory_ledger(study())
    run = ledger.ask()
    ledger.report(run, epoch(1, 0.3), fold=None)
    ledger.report(run, epoch(1, 0.9), fold=None)
    (trial,) = ledger.search.get_trials()
    assert trial.intermediate_values == {1: 0.3}


@pytest.mark.parametrize(
    ("ending", "state"),
    [("pruned", TrialState.PRUNED), ("diverged", TrialState.PRUNED), ("failed", TrialState.FAIL)],
)
def test_endings(study: Study, ending: Any, state: TrialState) -> None:
    ledger = memory_ledger(study())
    run = ledger.ask()
    ledger.report(run, epoch(1, 0.3), fold=None)
    told = None if ending == "failed" else result([0.3], ending="diverged", reason="nan")
    assert ledger.tell(run, ending, told, reason="because") is None
    (trial,), (row,) = ledger.search.get_trials(), ledger.rows()
    assert trial.state == state
    assert (row.state, row.value, row.reason) == (ending, None, "because")


def test_a_loss_is_minimised(study: Study) -> None:
    ledger = memory_ledger(study("search.metric=val_loss"))
    run = ledger.ask()
    ledger.report(run, epoch(1, 0.25), fold=None)
    assert ledger.tell(run, "complete", result([0.25]), reason="") == 0.75
    assert ledger.search.direction == ledger.fixed.direction == optuna.study.StudyDirection.MINIMIZE


def test_fixed_runs_are_enqueued_once_and_kept_from_the_sampler(study: Study, reopen: Any) -> None:
    config = study()
    specs = [baseline_spec(config, name, seed=0) for name in config.baselines]
    ledger = reopen(config)
    ledger.enqueue(specs)
    ledger.enqueue(specs[:2])
    ledger = reopen(config)
    ledger.enqueue(specs)
    asked = [ledger.ask_fixed() for _ in range(4)]
    assert asked == [*specs, None]
    for run in asked[:3]:
        drive(ledger, run, [0.9] * 3)
    assert ledger.num_ended() == len(ledger.search.get_trials()) == 0
    assert [row.value for row in ledger.rows()] == [0.9] * 3


def test_a_baseline_is_never_pruned(study: Study) -> None:
    config = study("search.pruner={median: {n_startup_trials: 0}}")
    ledger = memory_ledger(config)
    ledger.enqueue([baseline_spec(config, name, seed=0) for name in config.baselines])
    assert not drive(ledger, ledger.ask_fixed(), [0.9] * 3)  # type: ignore[arg-type]
    assert not drive(ledger, ledger.ask_fixed(), [0.1] * 3)  # type: ignore[arg-type]
    assert not drive(ledger, ledger.ask(), [0.9] * 3)
    assert drive(ledger, ledger.ask(), [0.1] * 3)


@pytest.mark.parametrize("sampler", ["random", "tpe", "qmc"])
def test_values_do_not_repeat_after_a_reload(study: Study, reopen: Any, sampler: str) -> None:
    config = study(f"search.sampler={sampler}")
    rates = []
    for _ in range(4):
        ledger = reopen(config)  # a fresh sampler would begin its stream again
        run = ledger.ask()
        drive(ledger, run, [0.5] * 3)
        rates.append(run.params["lr"])
    assert len(set(rates)) == 4


def test_a_reload_changes_nothing_in_what_is_sampled(study: Study, reopen: Any) -> None:
    config = study("search.sampler={tpe: {n_startup_trials: 2}}")
    in_one = memory_ledger(config)
    for i in range(5):
        drive(in_one, in_one.ask(), [0.1 * i] * 3)
    for i in range(5):
        ledger = reopen(config)
        drive(ledger, ledger.ask(), [0.1 * i] * 3)
    assert [r.run for r in ledger.rows()] == [r.run for r in in_one.rows()]


def test_another_seed_samples_other_values(study: Study) -> None:
    one = memory_ledger(study()).ask().params["lr"]
    other = memory_ledger(study("search.seed=1")).ask().params["lr"]
    assert one != other


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("space.lr={low: 0.001, high: 0.2}", "space.lr: "),
        ("data.labels_per_class=3", "data.labels_per_class: 2 → 3"),
        ("backbone.name=resnet34", 'backbone.name: "resnet18" → "resnet34"'),
        ("budget.epochs=2", "budget.epochs: 3 → 2"),
        ("search.seed=5", "search.seed: 0 → 5"),
    ],
)
def test_another_question_is_refused(study: Study, reopen: Any, change: str, line: str) -> None:
    reopen(study()).ask()
    with pytest.raises(StoreError) as caught:
        reopen(study(change))
    message = str(caught.value)
    assert f"\n  {line}" in message
    assert message.startswith("name = 's': ")
    assert "--fresh" in message
    assert caught.value.exit_code == 2


def test_before_its_first_run_a_study_may_become_another(study: Study, reopen: Any) -> None:
    first, other = reopen(study()), study("search.seed=5")
    first.adopt()
    key = first.key
    looked_at = reopen(other)
    assert looked_at.key == key, "looking changes nothing"
    looked_at.adopt()
    assert looked_at.key != key
    looked_at.ask()
    with pytest.raises(StoreError):
        reopen(study())
    assert reopen(other).key == looked_at.key


@pytest.mark.parametrize(
    "change",
    ["budget.trials=9", "workers=1", "confirm.seeds=3", "baselines=[]", "budget.timeout=1h"],
)
def test_the_same_question_at_another_price_goes_on(study: Study, reopen: Any, change: str) -> None:
    key = reopen(study()).key
    assert reopen(study(change)).key == key


def test_a_study_of_others_is_refused(study: Study, tmp_path: Path) -> None:
    storage = open_storage(study(), layout_in(tmp_path), create=True)
    assert storage is not None
    theirs = optuna.create_study(study_name="s", storage=storage)
    theirs.optimize(lambda _: 0.0, n_trials=1)
    with pytest.raises(StoreError, match="tlsearch did not make"):
        Ledger(study(), storage)
    assert not is_started("s", storage)


def test_a_study_whose_maker_was_killed_at_once_is_taken_up(study: Study, tmp_path: Path) -> None:
    storage = open_storage(study(), layout_in(tmp_path), create=True)
    assert storage is not None
    optuna.create_study(study_name="s", storage=storage, direction="maximize")
    assert not is_started("s", storage)
    Ledger(study(), storage).ask()
    assert is_started("s", storage)


def test_a_study_set_aside_while_one_looks_is_not_made_anew(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = optuna.storages.InMemoryStorage()
    Ledger(study(), storage)
    assert existing_ledger(study(), storage) is not None
    monkeypatch.setattr(ledger_module, "is_started", lambda _name, _storage: True)
    optuna.delete_study(study_name="s", storage=storage)
    assert existing_ledger(study(), storage) is None
    optuna.create_study(study_name="s", storage=storage)  # its coordinator has come no further
    assert existing_ledger(study(), storage) is None
    (found,) = (s for s in storage.get_all_studies() if s.study_name == "s")
    assert found.user_attrs == {}


def test_a_trial_whose_asking_was_cut_short_has_no_row(study: Study, reopen: Any) -> None:
    ledger = reopen(study())
    ledger.search.ask()
    assert ledger.rows() == []
    assert ledger.recover() == 1
    assert ledger.ask().trial == 0
    assert [row.state for row in ledger.rows()] == ["running"]


@pytest.mark.parametrize("storage", ["journal", "sqlite"])
def test_rows_are_read_in_bulk(
    study: Study, tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = study(*(["storage=sqlite:///x.db"] if storage == "sqlite" else []))
    opened = open_storage(config, layout_in(tmp_path), create=True)
    assert opened is not None
    ledger = Ledger(config, opened)
    for _ in range(6):
        drive(ledger, ledger.ask(), [0.5] * 3)
    calls = []
    for name in ("get_all_trials", "get_trial"):
        inner = getattr(type(opened), name)

        def counting(self: Any, *args: Any, _inner: Any = inner, **options: Any) -> Any:
            calls.append(_inner.__name__)
            return _inner(self, *args, **options)

        monkeypatch.setattr(type(opened), name, counting)
    assert len(ledger.rows()) == 6
    assert calls.count("get_all_trials") <= 2
    assert "get_trial" not in calls
