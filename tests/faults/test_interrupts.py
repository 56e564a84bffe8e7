"""Ctrl-C and SIGTERM: once to finish the epoch, twice to leave now."""

import signal
from typing import Any

import pytest
from optuna.trial import TrialState

from tests.faults.conftest import MakePlace
from tests.faults.running import Command, Place
from tests.faults.stores import check_same, mirrored, open_states
from tests.faults.test_coordinator_killed import wait_for_checkpoint

pytestmark = pytest.mark.slow

SLOW = [
    part
    for change in ("workers=2", "data.labels_per_class=null", "data.size=64")
    for part in ("--set", change)
]


def check_left(place: Place, run: Command) -> None:
    """It left as it should, and nothing is RUNNING anywhere."""
    assert run.code == 130
    assert "Traceback" not in run.said
    assert set(open_states(place)) <= {TrialState.WAITING}


def statuses(place: Place) -> tuple[str, set[str]]:
    """MLflow's status of the parent, and those of the children."""
    found = {key: status for key, (status, _) in mirrored(place).items()}
    return found.pop(""), set(found.values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_once(number: signal.Signals, make_place: MakePlace, searched: dict[str, Any]) -> None:
    place = make_place()
    run = place.start()
    wait_for_checkpoint(run, place, "trial-0000")
    run.signal_group(number)
    run.wait()
    check_left(place, run)
    assert "trial 0: saved, goes on with the next run" in run.said
    assert run.message.startswith("tlsearch: stopped as asked")
    assert open_states(place) == [TrialState.WAITING]
    assert statuses(place) == ("KILLED", {"SCHEDULED"})
    done = place.finish()
    assert "carrying on" in done.said
    check_same(place, searched)


def test_twice(make_place: MakePlace) -> None:
    place = make_place()
    run = place.start(*SLOW)
    wait_for_checkpoint(run, place, "trial-0000")
    wait_for_checkpoint(run, place, "trial-0001")
    run.signal_group(signal.SIGINT)
    run.wait_for("once more stops now")
    run.signal_group(signal.SIGINT)
    run.wait()
    check_left(place, run)
    assert run.message.startswith("tlsearch: stopped at once")
    assert open_states(place) == [TrialState.WAITING] * 2
    parent, children = statuses(place)
    assert parent == "KILLED"
    assert children == {"SCHEDULED"}


def test_while_it_prepares(make_place: MakePlace) -> None:
    place = make_place(tables=False)
    run = place.start()
    run.wait_for("reading the data")
    run.signal_group(signal.SIGINT)
    run.wait()
    check_left(place, run)
    assert run.message.startswith("tlsearch: stopped as asked")
    assert open_states(place) == []
    assert not (place.state / "mlflow.db").exists()
