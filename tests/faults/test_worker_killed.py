"""Workers are killed in mid-epoch; the coordinator goes on."""

from typing import Any

import pytest

from tests.faults.conftest import MakePlace
from tests.faults.running import Command
from tests.faults.stores import check_agreement, check_same, seconds, told
from tests.faults.test_coordinator_killed import trained_before, wait_for_checkpoint

pytestmark = pytest.mark.slow


def kill_worker(run: Command) -> None:
    """The only one that is left once the study is prepared."""
    run.workers()[-1].kill()


def test_once_each_and_three_times(make_place: MakePlace, searched: dict[str, Any]) -> None:
    place = make_place()
    run = place.start()
    wait_for_checkpoint(run, place, "trial-0000")
    before = trained_before(place, "trial-0000")
    kill_worker(run)
    run.wait_for("another worker goes on from the last checkpoint")
    run.wait_for("trial 0: complete")
    for deaths in range(1, 4):
        wait_for_checkpoint(run, place, "trial-0001")
        kill_worker(run)
        run.wait_until(lambda n=deaths: run.said.count("died") == 1 + n, f"death {deaths} is told")
    run.wait()
    assert run.code == 0, run.said
    assert seconds(place, "trial-0000")[: len(before)] == before
    found = told(place)
    assert found["trial-0001"]["state"] == "FAIL"
    reason = found["trial-0001"]["result"]["reason"]
    assert "died (exit code -9)" in reason
    assert "3 times; is there enough memory?" in reason
    for key in ("trial-0000", "trial-0002"):
        assert found[key] == searched[key]
    check_agreement(place)


def test_while_it_prepares(make_place: MakePlace, searched: dict[str, Any]) -> None:
    place = make_place()
    run = place.start()
    run.wait_until(lambda: len(run.workers()) == 2, "both processes are there")
    for process in run.workers():
        process.kill()
    run.wait()
    assert run.code == 0, run.said
    check_same(place, searched)
