"""A small comparison that is really run: image files in one scenario, digits in the other."""

import csv
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.storages.journal import JournalFileBackend
from PIL import Image
from sklearn.datasets import load_digits

from tests.faults.running import Place
from tlsearch.search.collect import CSV_FILE, JSON_FILE

RESULT, RUN = "tlsearch:result", "tlsearch:run"
STUDY = """
name: tiny
data:
  source: {manifest: {path: labels.csv, image: path, label: label}}
  size: 32
  split: {strategy: random, validation: 0.15, test: 0.25}
  labels_per_class: 6
backbone: {name: resnet10, weights: none}
workers: 1
device: cpu
precision: fp32
space: {lr: {low: 1e-3, high: 0.1, log: true}, batch_size: 8}
comparison:
  arms:
    fixed: {space.schedule: constant}
    decay: {space.schedule: cosine}
    given: {space.lr: 0.02}
  scenarios:
    photos: {traits: {difficulty: easy}}
    digits few:
      set: {data.source: digits, data.split.validation: 0.1, data.labels_per_class: 2}
      arms: [fixed, decay]
  tuning: {trials: 2, epochs: 2}
  confirm: {seeds: 2}
  sweeps:
    seeds: 2
    scenarios: [photos]
    of: [{arm: fixed, dimension: lr, values: [0.01, 0.03]}]
"""
CLASSES, PER_CLASS = 4, 60


def make_photos(folder: Path) -> None:
    """Digits as image files, and the table that labels them."""
    (folder / "photos").mkdir(parents=True)
    digits = load_digits()
    rows = []
    for label in range(CLASSES):
        for n, image in enumerate(digits.images[digits.target == label][:PER_CLASS]):
            path = f"photos/{label}-{n}.png"
            Image.fromarray((15 * image).astype(np.uint8)).save(folder / path)
            rows.append((path, f"class {label}"))
    write_labels(folder, rows)


def write_labels(folder: Path, rows: list[tuple[str, str]]) -> None:
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *rows])


def relabelled(folder: Path, rows: np.ndarray) -> None:
    """Shuffle the labels of these images among themselves."""
    with (folder / "labels.csv").open(newline="") as file:
        _, *labels = [(path, label) for path, label in csv.reader(file)]
    before = [label for _, label in labels]
    shuffled = np.random.default_rng(0).permutation(rows)
    for row, other in zip(rows, shuffled, strict=True):
        labels[row] = (labels[row][0], before[other])
    assert sum(was != label for was, (_, label) in zip(before, labels, strict=True)) > 20
    write_labels(folder, labels)


def make_place(folder: Path, *, cache: Path) -> Place:
    make_photos(folder)
    return Place(folder, cache=cache, study=STUDY)


def tables(place: Place) -> dict[str, bytes]:
    """What the files hold that keep the tables, but for when, where and how fast they were made."""
    told = {name: value for name, value in content(place).items() if name != "provenance"}
    for arm in (arm for found in told["scenarios"] for arm in found["arms"]):
        for name in ("seconds", "images_per_second"):
            arm["measures"].pop(name, None)
    return {JSON_FILE: json.dumps(told).encode(), CSV_FILE: (place.own / CSV_FILE).read_bytes()}


def content(place: Place) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place.own / JSON_FILE).read_bytes())
    return found


def studies(place: Place) -> dict[str, optuna.Study]:
    backend = JournalFileBackend(str(place.state / "optuna.journal"))
    storage = optuna.storages.JournalStorage(backend)
    names = [study.study_name for study in storage.get_all_studies()]
    return {name: optuna.load_study(study_name=name, storage=storage) for name in names}


def runs(place: Place) -> dict[str, dict[str, Any]]:
    """All runs of the comparison by key: what was asked, reported and told, but for the times."""
    found: dict[str, dict[str, Any]] = {}
    for name, study in studies(place).items():
        if " until " in name:
            continue
        _, scenario, arm, *_ = [*name.split(":"), "", ""]
        for trial in study.get_trials():
            result = json.loads(json.dumps(trial.user_attrs.get(RESULT, {})))
            for timed in (result, result.get("epochs", {}), result.get("measures", {})):
                for measured in ("seconds", "step_seconds"):
                    timed.pop(measured, None)
            run = trial.user_attrs.get(RUN)
            key = run["key"] if run else f"{arm}@{scenario}.trial-{trial.number:04d}"
            key = key.replace(" ", "_")
            assert key not in found
            found[key] = {
                "kind": run["role"] if run else "search",
                "state": trial.state.name,
                "params": trial.params,
                "values": trial.values,
                "reports": trial.intermediate_values,
                "run": run,
                "result": result,
            }
    return found


def mirrored(place: Place) -> list[dict[str, str]]:
    """Tags and status of MLflow's runs in the order of their beginning, a parent, which has no
    key, before its children.
    """
    with closing(sqlite3.connect(place.state / "mlflow.db")) as database:
        rows = database.execute(
            "SELECT r.run_uuid, r.start_time, r.status, t.key, t.value"
            " FROM runs r JOIN tags t USING (run_uuid)"
            " WHERE r.lifecycle_stage = 'active'"
        ).fetchall()
    found: dict[str, dict[str, str]] = {}
    began: dict[str, int] = {}
    for run_id, start_ms, status, key, value in rows:
        found.setdefault(run_id, {"status": status, "id": run_id})[key] = value
        began[run_id] = start_ms
    return sorted(found.values(), key=lambda tags: (began[tags["id"]], "tlsearch.key" in tags))


def scores(place: Place) -> dict[str, dict[str, np.ndarray]]:
    """Of each run that was scored on the test part: probabilities, labels and rows."""
    found = {}
    for path in sorted((place.own / "scores").glob("*.npz")):
        with np.load(path) as file:
            found[path.stem] = dict(file)
    return found
