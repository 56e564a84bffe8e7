"""`tlsearch run` as a user runs it: to the end, again, further; and what the stores then say."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from tests.cli.conftest import command, only_line

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ci,
    # MLflow's own tables use what SQLAlchemy 2.1 deprecates.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader"),
]

STUDY = """
name: tiny
data: {source: digits, size: 32, labels_per_class: 2, split: {test: 0.6}}
backbone: {name: resnet18, weights: none}
budget: {trials: 2, epochs: 2}
workers: 1
precision: fp32
search: {sampler: tpe, pruner: none}
space:
  lr: {low: 1.0e-3, high: 1.0e-2, log: true}
  freeze_depth: [0, 5]
  optimizer: {sgd: {momentum: {low: 0.8, high: 0.95}}, adam: {}}
baselines: [linear_probe]
confirm: {top: 1, seeds: 1}
"""
SCORE = """
import json, sys
from pathlib import Path
import mlflow
import numpy as np
address, uri, scores, images = sys.argv[1:]
mlflow.set_tracking_uri(uri)
model = mlflow.pyfunc.load_model(address)
with np.load(scores) as file:
    rows, labels, ours = file["rows"], file["labels"], file["probabilities"]
pixels = np.load(images)[rows].astype(np.float32) / 255
batch = np.ascontiguousarray(np.broadcast_to(pixels.transpose(0, 3, 1, 2), (len(rows), 3, 32, 32)))
found = np.asarray(model.predict(batch))
print(json.dumps({"accuracy": float((found.argmax(1) == labels).mean()),
                  "difference": float(abs(found - ours).max()),
                  "classes": model.metadata.metadata["class_names"]}))
"""


class Ran:
    """A folder where the study was run, with its stores."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder, self.cache = folder, cache
        (folder / "study.yaml").write_text(STUDY)

    def tlsearch(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        done = command(*arguments, cwd=self.folder, TLSEARCH_CACHE=str(self.cache))
        assert done.returncode == 0, done.stderr
        return done

    def run(self, *options: str) -> dict[str, Any]:
        done = self.tlsearch("run", "study.yaml", "--json", *options)
        result: dict[str, Any] = json.loads(only_line(done.stdout))
        return result

    def trials(self, name: str) -> list[FrozenTrial]:
        journal = JournalFileBackend(str(self.folder / "mlruns" / "optuna.journal"))
        storage = optuna.storages.JournalStorage(journal)
        return optuna.load_study(study_name=name, storage=storage).get_trials()

    def mirrored(self) -> tuple[Run, dict[str, Run], MlflowClient]:
        """The parent, the children by key, and the client that found them."""
        client = MlflowClient(f"sqlite:///{self.folder}/mlruns/mlflow.db")
        experiment = client.get_experiment_by_name("tiny")
        runs = list(client.search_runs([experiment.experiment_id]))
        (parent,) = (r for r in runs if "mlflow.parentRunId" not in r.data.tags)
        children = {r.data.tags["tlsearch.key"]: r for r in runs if r is not parent}
        assert len(children) == len(runs) - 1, "two children mirror one trial"
        for child in children.values():
            assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        return parent, children, client


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return Ran(tmp_path_factory.mktemp("ran"), tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def result(ran: Ran) -> dict[str, Any]:
    """What the first run ended with."""
    return ran.run()


def check_agreement(ran: Ran) -> None:
    """One child for each of Optuna's trials, with its number, parameters, metrics and status."""
    _, children, client = ran.mirrored()
    keys = set()
    for name in ("tiny", "tiny:fixed"):
        for trial in ran.trials(name):
            run = trial.user_attrs.get("tlsearch:run")
            key = run["key"] if run else f"trial-{trial.number:04d}"
            keys.add(key)
            child = children[key]
            assert trial.state == TrialState.COMPLETE
            assert child.info.status == "FINISHED"
            assert child.data.tags["tlsearch.state"] == "complete"
            assert child.data.tags.get("tlsearch.trial") == (None if run else str(trial.number))
            params = run["params"] if run else trial.params
            assert {k: str(v) for k, v in params.items()}.items() <= child.data.params.items()
            history = client.get_metric_history(child.info.run_id, "val_accuracy")
            points = {point.step: point.value for point in history}
            assert len(points) == len(history)
            assert points == trial.intermediate_values
            assert trial.value in points.values()
            names = [file.path for file in client.list_artifacts(child.info.run_id)]
            # Baselines and confirmations are no trials: the best of these have a picture.
            assert names == (["evaluation.json"] if run else ["confusion.png", "evaluation.json"])
    assert keys == set(children)


def test_the_first_run(ran: Ran, result: dict[str, Any]) -> None:
    assert result["trials"] == {"complete": 2, "pruned": 0, "failed": 0, "diverged": 0}
    assert result["finished"]
    assert Path(result["report"]).read_text().lstrip().lower().startswith("<!doctype html")
    assert set(result["baselines"]) == {"linear_probe"}
    assert result["test"]["scorings"] == 1
    check_agreement(ran)
    parent, children, _ = ran.mirrored()
    assert parent.info.status == "FINISHED"
    number = result["best"]["number"]
    best = next(r for r in children.values() if r.data.tags.get("tlsearch.trial") == str(number))
    (trial,) = (t for t in ran.trials("tiny") if t.number == number)
    assert trial.value == result["best"]["value"] == best.data.metrics["val_accuracy"]
    for name, value in result["best"]["params"].items():
        assert best.data.params[name] == str(value)
    assert parent.data.tags["tlsearch.winner"] == str(number)
    assert parent.data.tags["tlsearch.model"] == result["model"]
    (dataset,) = parent.inputs.dataset_inputs
    assert dataset.dataset.name == "digits"


def test_the_model_predicts_in_a_fresh_process(ran: Ran, result: dict[str, Any]) -> None:
    state = ran.folder / "mlruns"
    (images,) = (state / "cache" / "images").glob("*/images.npy")
    scores = state / "studies" / "tiny" / "scores" / f"{result['test']['champion']}.npz"
    arguments = [result["model"], result["mlflow"]["tracking_uri"], str(scores), str(images)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCORE, *arguments],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    # One seed: the winner's accuracy is that of the champion.
    assert found["accuracy"] == pytest.approx(result["test"]["accuracy"]["mean"], abs=1e-12)
    assert found["difference"] < 1e-4
    assert found["classes"] == [str(digit) for digit in range(10)]


def test_the_same_seed_gives_the_same_bits(
    ran: Ran, result: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert result
    other = Ran(tmp_path_factory.mktemp("other"), ran.cache)
    other.run("--set", "confirm=null")
    for one, two in zip(ran.trials("tiny"), other.trials("tiny"), strict=True):
        assert one.params == two.params
        assert one.intermediate_values == two.intermediate_values
        columns = [t.user_attrs["tlsearch:result"]["epochs"] for t in (one, two)]
        for name in columns[0].keys() - {"seconds"}:
            assert columns[0][name] == columns[1][name]


def test_a_larger_budget_goes_on(ran: Ran, result: dict[str, Any]) -> None:
    """Last in this file: it changes the study that the others look at."""
    before = {t.number: t for t in ran.trials("tiny")}
    further = ran.run("--set", "budget.trials=3")
    assert further["trials"]["complete"] == 3
    assert further["finished"]
    after = {t.number: t for t in ran.trials("tiny")}
    assert {number: after[number] for number in before} == before
    assert further["mlflow"] == result["mlflow"]
    assert further["registered"] == result["registered"] == "models:/tiny@champion"
    versions = ran.mirrored()[2].search_model_versions("name = 'tiny'")
    assert {version.source for version in versions} == {result["model"], further["model"]}
    assert len(versions) == len({result["model"], further["model"]})
    check_agreement(ran)
