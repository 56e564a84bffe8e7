"""MLflow's store is deleted, or nobody answers at its address: Optuna holds the truth."""

import shutil
import socket

import pytest

from tests.faults.conftest import CONFIRMED, MakePlace
from tests.faults.running import Place
from tests.faults.stores import check_agreement, mirrored, open_states, told

pytestmark = pytest.mark.slow


def delete_store(place: Place) -> None:
    (place.state / "mlflow.db").unlink()
    shutil.rmtree(place.state / "artifacts")


def test_a_store_that_is_deleted_is_rebuilt(make_place: MakePlace) -> None:
    place = make_place(study=CONFIRMED, tables=False)
    run = place.start()
    run.wait_for("confirmation: 0 of 2 done")
    run.kill()
    before = {k: v for k, v in told(place).items() if v["result"]}
    delete_store(place)

    place.finish()
    check_agreement(place)
    after = told(place)
    assert {key: after[key] for key in before} == before

    # After the end as well, the model included: no training, only the mirror.
    delete_store(place)
    done = place.finish()
    assert "complete val_accuracy" not in done.said
    check_agreement(place)
    models = place.state / "artifacts" / "tiny" / "models"
    assert len(list(models.iterdir())) == 1
    assert told(place) == after

    assert "logging the model" not in place.finish().said


def test_an_address_where_nobody_answers(make_place: MakePlace) -> None:
    place = make_place(tables=False)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, and nobody listens
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        failed = place.run(env={"MLFLOW_TRACKING_URI": address})
    assert failed.code == 1, failed.said
    assert f"MLflow at {address} cannot be used" in failed.message
    assert "start the server or correct the address" in failed.message
    assert len(failed.message.splitlines()) == 1
    assert all(state.name == "WAITING" for state in open_states(place))
    assert not (place.state / "mlflow.db").exists()

    place.finish()
    check_agreement(place)
    assert "" in mirrored(place)
