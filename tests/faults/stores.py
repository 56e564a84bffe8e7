"""What the stores hold in the end, and whether they agree."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from tests.faults.running import Place

RESULT, RUN = "tlsearch:result", "tlsearch:run"
STATUS = {"complete": "FINISHED", "pruned": "KILLED", "diverged": "FAILED", "failed": "FAILED"}


def storage(place: Place) -> optuna.storages.BaseStorage:
    backend = JournalFileBackend(str(place.state / "optuna.journal"))
    return optuna.storages.JournalStorage(backend)


def studies(place: Place) -> set[str]:
    return {s.study_name for s in storage(place).get_all_studies()}


def trials(place: Place, study: str = "tiny") -> list[FrozenTrial]:
    """Optuna's trials of a study; none if there is no such study."""
    if study not in studies(place):
        return []
    return optuna.load_study(study_name=study, storage=storage(place)).get_trials()


def told(place: Place) -> dict[str, dict[str, Any]]:
    """All runs of both studies by key: what was asked, reported and told, but for the times."""
    found = {}
    for study in ("tiny", "tiny:fixed"):
        for trial in trials(place, study):
            result = json.loads(json.dumps(trial.user_attrs.get(RESULT, {})))
            for name in ("seconds", "step_seconds"):
                result.pop(name, None)
            result.get("epochs", {}).pop("seconds", None)
            found[key_of(trial)] = {
                "number": trial.number,
                "state": trial.state.name,
                "params": trial.params,
                "values": trial.values,
                "reports": trial.intermediate_values,
                "run": trial.user_attrs.get(RUN),
                "result": result,
            }
    return found


def key_of(trial: FrozenTrial) -> str:
    run = trial.user_attrs.get(RUN)
    return run["key"] if run else f"trial-{trial.number:04d}"


def seconds(place: Place, key: str) -> list[float]:
    """How long each epoch of a run took: an epoch that is trained again takes another time."""
    for study in ("tiny", "tiny:fixed"):
        for trial in trials(place, study):
            if key_of(trial) == key:
                return list(trial.user_attrs[RESULT]["epochs"]["seconds"])
    raise KeyError(key)


def open_states(place: Place) -> list[TrialState]:
    """States of the trials that have no ending."""
    both = [*trials(place), *trials(place, "tiny:fixed")]
    return [t.state for t in both if not t.state.is_finished()]


def mirrored(place: Place) -> dict[str, tuple[str, dict[str, list[tuple[int, float]]]]]:
    """MLflow's live runs of the newest parent: key → status and points; the parent's key is ''."""
    with closing(sqlite3.connect(place.state / "mlflow.db")) as database:
        rows = database.execute(
            "SELECT r.run_uuid, r.status, k.value, s.value FROM runs r"
            " JOIN tags s ON s.run_uuid = r.run_uuid AND s.key = 'tlsearch.study_key'"
            " LEFT JOIN tags k ON k.run_uuid = r.run_uuid AND k.key = 'tlsearch.key'"
            " WHERE r.lifecycle_stage = 'active' ORDER BY r.start_time"
        ).fetchall()
        newest = [study for _, _, key, study in rows if key is None][-1]
        found = {}
        for run_id, status, key, study in rows:
            if study != newest:
                continue
            assert (key or "") not in found, f"two runs mirror {key}"
            found[key or ""] = (status, _points(database, run_id))
        return found


def all_statuses(place: Place) -> list[str]:
    """Statuses of all runs in MLflow, those of studies that were set aside included."""
    with closing(sqlite3.connect(place.state / "mlflow.db")) as database:
        return sorted(status for (status,) in database.execute("SELECT status FROM runs"))


def _points(database: sqlite3.Connection, run_id: str) -> dict[str, list[tuple[int, float]]]:
    points: dict[str, list[tuple[int, float]]] = {}
    for name, step, value in database.execute(
        "SELECT key, step, value FROM metrics WHERE run_uuid = ? ORDER BY key, step", (run_id,)
    ):
        points.setdefault(name, []).append((step, value))
    return points


def check_agreement(place: Place) -> None:
    """Every trial has an ending and exactly one child that tells the same; the parent is done."""
    runs, children = told(place), mirrored(place)
    status, _ = children.pop("")
    assert status == "FINISHED"
    assert children.keys() == runs.keys()
    for key, run in runs.items():
        status, points = children[key]
        assert status == STATUS[run["result"]["ending"]], key
        epochs = run["result"].get("epochs", {})
        if not epochs:  # of a run that failed, Optuna knows what was reported meanwhile
            assert points.get("val_accuracy", []) == sorted(run["reports"].items()), key
            continue
        for name in ("val_accuracy", "val_loss", "train_loss", "lr"):
            expected = list(zip(epochs["epoch"], epochs[name], strict=True))
            assert points.get(name, []) == expected, (key, name)


def check_tidy(place: Place) -> None:
    """Nothing half-written, no checkpoint of a run that has ended."""
    left = [p for p in place.state.rglob("*") if ".part" in p.name]
    left += list((place.own / "checkpoints").glob("*"))
    assert left == []


def check_same(place: Place, other: dict[str, dict[str, Any]]) -> None:
    """The same runs as those of a study that nobody disturbed, to the last bit."""
    ours = told(place)
    assert ours.keys() == other.keys()
    for key, run in ours.items():
        assert run == other[key], key
    check_agreement(place)
    check_tidy(place)


def artifacts(place: Place) -> list[Path]:
    return [p for p in (place.state / "artifacts").rglob("*") if p.is_file()]
