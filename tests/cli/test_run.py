"""`tlsearch run`, `status` and `report` on a search, a comparison and a cross-validation."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import optuna
import pytest
from mlflow import MlflowClient
from optuna.storages.journal import JournalFileBackend

from tests.cli.shared import Shared
from tlsearch.comparison.answers import tables_schema_text

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader")  # MLflow's own tables

STATES = {"complete", "pruned", "failed", "diverged"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    return Shared(tmp_path_factory.mktemp("shared"))


def trials_of(result: dict[str, Any]) -> list[optuna.trial.FrozenTrial]:
    storage = optuna.storages.JournalStorage(JournalFileBackend(result["optuna"]["storage"]))
    name = result["optuna"]["study_name"]
    return optuna.load_study(study_name=name, storage=storage).get_trials()


def mirrored(result: dict[str, Any]) -> tuple[Any, list[Any], MlflowClient]:
    """The parent run, its children, and the client that found them."""
    client = MlflowClient(result["mlflow"]["tracking_uri"])
    runs = list(client.search_runs([result["mlflow"]["experiment_id"]]))
    (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    children = [run for run in runs if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    keys = [run.data.tags["tlsearch.key"] for run in children]
    assert len(set(keys)) == len(keys), "two children mirror one run"
    return parent, children, client


def test_a_search_ends_with_its_json(shared: Shared) -> None:
    result = shared.search
    assert {
        "study", "trials", "best", "test", "baselines", "report", "model", "mlflow", "optuna",
        "seconds",
    } <= set(result)  # fmt: skip
    assert result["study"] == "search"
    assert result["finished"]
    assert result["trials"] == {"complete": 2, "pruned": 0, "failed": 0, "diverged": 0}
    assert set(result["best"]) >= {"number", "value", "params"}
    assert set(result["baselines"]) == {"linear_probe"}
    assert result["test"]["scorings"] == 1
    assert result["test"]["accuracy"]["num_images"] == 48
    assert result["mlflow"]["tracking_uri"] == f"sqlite:///{shared.folder}/mlruns/mlflow.db"
    assert Path(result["report"]).read_text().lstrip().lower().startswith("<!doctype html")


def test_mlflow_agrees_with_optuna(shared: Shared) -> None:
    result = shared.search
    parent, children, client = mirrored(result)
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["tlsearch.model"] == result["model"]
    # Two trials, one baseline in the search, and one each in the confirmation.
    assert len(children) == 5
    assert {run.info.status for run in children} == {"FINISHED"}
    assert {run.data.tags["tlsearch.state"] for run in children} == {"complete"}
    by_number = {run.data.tags.get("tlsearch.trial"): run for run in children}
    trials = trials_of(result)
    (best,) = (trial for trial in trials if trial.number == result["best"]["number"])
    assert best.value == result["best"]["value"]
    for trial in trials:
        if str(trial.number) not in by_number:
            continue
        child = by_number[str(trial.number)]
        params = {name: str(value) for name, value in trial.params.items()}
        assert params.items() <= child.data.params.items()
        history = client.get_metric_history(child.info.run_id, "val_accuracy")
        assert {point.step: point.value for point in history} == trial.intermediate_values
        assert len(history) == 2


def test_a_comparison_ends_with_its_json(shared: Shared, tmp_path: Path) -> None:
    result = shared.comparison
    assert result["finished"]
    assert result["trials"] == {"complete": 6, "pruned": 0, "failed": 0, "diverged": 0}
    shared.tlsearch("report", "comparison.yaml", "--format", "json", "-o", str(tmp_path / "r.json"))
    kept = json.loads((tmp_path / "r.json").read_text())
    assert kept["claims"] == result["claims"]
    (claim,) = {(c["id"], c["seeds"], c["n"]) for c in result["claims"]}
    assert claim == ("cosine", 2, 48)
    tables = {name: result[name] for name in json.loads(tables_schema_text())["properties"]}
    jsonschema.validate(tables, json.loads(tables_schema_text()))
    parent, children, _ = mirrored(result)
    assert parent.data.tags["tlsearch.kind"] == "comparison"
    assert len(children) == 6
    arms = [run.data.tags["tlsearch.arm"] for run in children]
    assert (arms.count("fixed"), arms.count("cosine")) == (3, 3)


@pytest.mark.slow
@pytest.mark.ci
def test_a_cross_validation_ends_with_its_json(shared: Shared) -> None:
    result = shared.folds
    assert result["finished"]
    assert result["trials"]["complete"] == 1
    assert result["test"] is None
    assert 0 <= result["best"]["value"] <= 1
    (trial,) = trials_of(result)
    assert trial.value == result["best"]["value"]


@pytest.mark.parametrize("name", ["search", "comparison"])
def test_running_again_refreshes_the_report_alone(shared: Shared, name: str) -> None:
    result = getattr(shared, name)
    journal = shared.folder / "mlruns" / "optuna.journal"
    before, report = journal.read_bytes(), Path(result["report"])
    report.write_text("stale")
    again = shared.json("run", f"{name}.yaml")
    assert {**again, "seconds": 0} == {**result, "seconds": 0}
    assert report.read_text() != "stale"
    assert journal.read_bytes() == before


def test_reading_commands_write_nothing(shared: Shared, tmp_path: Path) -> None:
    result = {name: getattr(shared, name) for name in ("search", "comparison", "folds")}
    before = shared.files()
    for name, ended in result.items():
        status = shared.json("status", f"{name}.yaml")
        assert (status["finished"], status["running"]) == (True, False)
        assert status["trials"] == ended["trials"]
        assert f"{name}: finished; " in shared.tlsearch("status", f"{name}.yaml").stdout
        for kind, start in (("html", "<!doctype html"), ("md", "#"), ("json", "{")):
            path = tmp_path / f"{name}.{kind}"
            done = shared.tlsearch("report", f"{name}.yaml", "--format", kind, "-o", str(path))
            assert done.stdout == f"{path}\n"
            assert path.read_text().lstrip().lower().startswith(start)
    assert "2 of 2 arms done" in shared.tlsearch("status", "comparison.yaml").stdout
    refused = shared.tlsearch("report", "search.yaml", "--format", "csv", code=2)
    assert "only a comparison has tables of claims" in refused.stderr
    shared.tlsearch("report", "comparison.yaml", "--format", "csv", "-o", str(tmp_path / "c.csv"))
    assert (tmp_path / "c.csv").read_text().count("\n") == 1 + len(result["comparison"]["claims"])
    done = shared.tlsearch("export", "comparison.yaml", code=2)
    assert "a comparison keeps no model" in done.stderr
    done = shared.tlsearch("export", "folds.yaml", code=2)
    assert "confirms no winner" in done.stderr
    assert shared.files() == before


def test_a_changed_study_is_refused(shared: Shared) -> None:
    assert shared.search["finished"]
    assert shared.comparison["finished"]
    before = shared.files()
    done = shared.tlsearch("run", "search.yaml", "--set", "space.lr=0.01", code=2)
    assert "space.lr" in done.stderr
    assert "--fresh" in done.stderr
    option = "comparison.arms.cosine={space.schedule: exponential}"
    done = shared.tlsearch("run", "comparison.yaml", "--set", option, code=2)
    assert 'space.schedule: "cosine" → "exponential"' in done.stderr
    after = shared.files()
    changed = {p for p in after.keys() | before.keys() if after.get(p) != before.get(p)}
    assert not [p for p in changed if p.suffix in (".journal", ".db", ".json", ".csv", ".html")]


def test_a_terminal_is_shown_the_result_and_the_next_steps(shared: Shared) -> None:
    assert shared.search["finished"]
    assert shared.comparison["finished"]
    lines = shared.tlsearch("run", "search.yaml").stdout.splitlines()
    assert any(line.startswith("confirmed winner: trial ") for line in lines)
    assert any(line.startswith("test accuracy ") for line in lines)
    for first in ("report ", "model ", "dashboards ", "report again "):
        assert any(line.startswith(first) for line in lines), first
    text = shared.tlsearch("run", "comparison.yaml").stdout
    assert "tlsearch ui comparison.yaml" in text
    assert "6 complete" in text
