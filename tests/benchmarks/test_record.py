"""Recordings go on from the tables, which come back as the records that they were made of."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.curves import record, tables
from benchmarks.curves.tasks import baseline_runs, configurations, run, study

TASK = "letters-5-resnet10"
CONFIG = study(TASK)
POINTS = configurations(CONFIG, 3)
EPOCH = dict.fromkeys(tables.FIGURES, 0.5)


def record_of(number: int | None, *, name: str = "", **changes: Any) -> dict[str, Any]:
    params = POINTS[0 if number is None else number]
    found = {"key": f"{name}{number}", "name": name, "configuration": number, "redraw": 0}
    found |= {"params": params, "ending": "complete", "epochs": [{**EPOCH, "epoch": 1}]}
    return {**found, "test_accuracy": 0.75, "test_log_loss": 0.5, **changes}


def write(folder: Path, records: list[dict[str, Any]]) -> None:
    trainings, epochs = tables.trainings_of(TASK, records)
    tables.write(folder, tables.TRAININGS, trainings, about={})
    tables.write(folder, tables.EPOCHS, epochs, about={})


def test_tables_hold_the_records_again(tmp_path: Path) -> None:
    kept = [record_of(2), record_of(0), record_of(None, name="linear_probe")]
    write(tmp_path, kept)
    found = {tables.identity(r): r for r in tables.records_of(TASK, tmp_path)}
    assert found.keys() == set(map(tables.identity, kept))
    for its in kept:
        again = found[tables.identity(its)]
        assert again["epochs"] == its["epochs"]
        assert (again["ending"], again["test_accuracy"]) == ("complete", 0.75)
        assert tables.key_of(again["params"]) == tables.key_of(its["params"])
    write(tmp_path, list(found.values()))
    assert tables.records_of(TASK, tmp_path) == list(found.values())
    assert tables.records_of("another", tmp_path) == []


def test_a_recording_goes_on_from_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "HERE", tmp_path)
    # The second was drawn otherwise when it was recorded.
    write(tmp_path, [record_of(0), record_of(1, params={**POINTS[1], "lr": 0.5}), record_of(2)])
    line = json.dumps(record_of(2, test_accuracy=0.25))
    (tmp_path / f"{TASK}.jsonl").write_text(line + "\n", encoding="utf-8")
    known = record.recorded(tmp_path, CONFIG)
    assert {r["configuration"]: r["test_accuracy"] for r in known} == {2: 0.25, 0: 0.75}
    trials = [run(CONFIG, n, params, redraw=0) for n, params in enumerate(POINTS)]
    assert [record.is_recorded(one, known) for one in trials] == [True, False, True]
    assert not record.is_recorded(run(CONFIG, 0, POINTS[0], redraw=1), known)
    assert not any(record.is_recorded(one, known) for one in baseline_runs(CONFIG, [0]))
