"""The coordinator is killed with SIGKILL; the next run carries on to the same study."""

from typing import Any

import pytest
import torch

from tests.faults.conftest import CONFIRMED, MakePlace
from tests.faults.running import Command, Place
from tests.faults.stores import check_same, open_states, seconds
from tlsearch.training.results import EpochResult

pytestmark = pytest.mark.slow


def trained_before(place: Place, key: str) -> list[float]:
    """Times of the epochs that a checkpoint holds."""
    state = torch.load(place.checkpoint(key), weights_only=True)
    place_of_seconds = EpochResult._fields.index("seconds")
    return [row[place_of_seconds] for row in state["history"]]


def wait_for_checkpoint(run: Command, place: Place, key: str) -> None:
    run.wait_until(place.checkpoint(key).exists, f"a checkpoint of {key}")


@pytest.mark.ci
def test_in_the_search(make_place: MakePlace, searched: dict[str, Any]) -> None:
    place = make_place()
    run = place.start()
    run.wait_for("reading the data")
    run.kill()
    assert open_states(place) == []

    run = place.start()
    wait_for_checkpoint(run, place, "trial-0000")
    run.kill()
    assert len(open_states(place)) == 1
    before = trained_before(place, "trial-0000")

    run = place.start()
    run.wait_for("trial 0: complete")
    run.kill()
    assert seconds(place, "trial-0000")[: len(before)] == before

    done = place.finish()
    assert "trial 0:" not in done.said
    check_same(place, searched)


def test_in_confirmation_scoring_and_logging(make_place: MakePlace, whole: dict[str, Any]) -> None:
    place = make_place(study=CONFIRMED)
    key = next(key for key in whole if key.startswith("confirm-"))
    run = place.start()
    wait_for_checkpoint(run, place, key)
    run.kill()
    before = trained_before(place, key)

    run = place.start()
    run.wait_for("scoring the test part")
    run.kill()
    assert seconds(place, key)[: len(before)] == before

    run = place.start()
    models = place.state / "artifacts" / "tiny" / "models"
    run.wait_until(models.exists, "the model is half logged")
    run.kill()

    place.finish()
    check_same(place, whole)
    assert len(list(models.iterdir())) <= 2
