"""`tlsearch run`, `status` and `report` on a search, a comparison and a cross-validation."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import optuna
import pytest
from mlflow import MlflowClient
from optuna.storages.journal import JournalFileBackend

import tlsearch
from tests.cli.shared import Shared
from tlsearch.comparison.answers import tables_schema_text

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader")  # MLflow's own tables

STATES = {"complete", "pruned", "failed", "diverged"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    return Shared(tmp_path_factory.mktemp("shared"))


def trials_of(result: dict[str, Any], companion: str = "") -> list[optuna.trial.FrozenTrial]:
    storage = optuna.storages.JournalStorage(JournalFileBackend(result["optuna"]["storage"]))
    name = result["optuna"]["study_name"] + companion
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
    # Beside a baseline that won stands the best trial.
    assert set(result["baselines"]) - {"best_trial"} == {"linear_probe"}
    assert result["test"]["scorings"] == 1
    assert result["test"]["accuracy"]["num_images"] == 48
    assert result["mlflow"]["tracking_uri"] == f"sqlite:///{shared.folder}/mlruns/mlflow.db"
    assert Path(result["report"]).read_text().lstrip().lower().startswith("<!doctype html")


def check_agreement(result: dict[str, Any]) -> None:
    """One child for each of Optuna's trials, with its number, parameters, metrics and status."""
    _, children, client = mirrored(result)
    by_key = {run.data.tags["tlsearch.key"]: run for run in children}
    keys = set()
    for trial in (*trials_of(result), *trials_of(result, ":fixed")):
        run = trial.user_attrs.get("tlsearch:run")
        key = run["key"] if run else f"trial-{trial.number:04d}"
        keys.add(key)
        child = by_key[key]
        assert trial.state == optuna.trial.TrialState.COMPLETE
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
    assert keys == set(by_key)


def test_mlflow_agrees_with_optuna(shared: Shared) -> None:
    result = shared.search
    check_agreement(result)
    parent, children, _ = mirrored(result)
    # Two trials, and in the confirmation one of them beside the baseline.
    assert len(children) == 4
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["tlsearch.model"] == result["model"]
    test = result["test"]
    assert parent.data.tags["tlsearch.winner"] == (test["baseline"] or str(test["winner"]))
    assert parent.data.tags["tlsearch.stopped"] == "no"
    assert "more trials would gain" in parent.data.tags["tlsearch.outlook"]
    (dataset,) = parent.inputs.dataset_inputs
    assert dataset.dataset.name == "textures"
    (best,) = (t for t in trials_of(result) if t.number == result["best"]["number"])
    assert best.value == result["best"]["value"]
    assert best.params.items() <= result["best"]["params"].items()


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


@pytest.mark.slow
@pytest.mark.ci
def test_a_later_search_starts_with_what_won(shared: Shared, tmp_path: Path) -> None:
    small = ("budget.trials=1", "budget.epochs=1", "baselines=[]")

    def run(*overrides: str) -> dict[str, Any]:
        return shared.json("run", "search.yaml", *(f"--set={one}" for one in (*small, *overrides)))

    first = run("name=first")
    start = ("name=second", "search.start=history", "confirm=null")
    second = run(*start)
    searched = ("lr", "freeze_depth")
    assert [second["best"]["params"][n] for n in searched] == [
        first["best"]["params"][n] for n in searched
    ]
    (before, _, _), (parent, (child,), _) = mirrored(first), mirrored(second)
    origin = f"trial 0 of study first, MLflow run {before.info.run_id}"
    assert child.data.tags["tlsearch.start"] == origin
    assert parent.data.params["start"] == "history"
    out = ("--format=json", "-o", str(tmp_path / "r.json"))
    shared.tlsearch("report", "search.yaml", *(f"--set={n}" for n in (*small, *start)), *out)
    (one,) = json.loads((tmp_path / "r.json").read_text())["start"]
    assert (one["trial"], one["from"], one["clipped"]) == (0, origin, [])
    assert "the same images and the same test part" in one["about"]
    assert "tlsearch.history" not in parent.data.tags  # it confirmed nothing


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
        assert status["report"] == ended["report"]
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


def test_python_gives_the_same_as_frames(
    shared: Shared, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    result = {name: getattr(shared, name) for name in ("search", "comparison")}
    monkeypatch.chdir(shared.folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    before = shared.files()
    search, comparison = (
        tlsearch.open_results(tlsearch.load_study(f"{name}.yaml")) for name in result
    )
    best, trials = result["search"]["best"], search.trials.set_index("number")
    assert trials.loc[best["number"], "value"] == best["value"]
    assert trials.loc[best["number"], "params_lr"] == best["params"]["lr"]
    assert {"trial", "baseline", "confirm"} == set(search.runs["role"])
    assert search.runs["epochs"].sum() == len(search.epochs)
    assert search.claims.empty
    assert search.tables == {}
    found = json.loads(comparison.claims.to_json(orient="records"))
    claims = result["comparison"]["claims"]
    shown = ("id", "scenario", "verdict", "n", "seeds")
    assert [[c[n] for n in shown] for c in found] == [[c[n] for n in shown] for c in claims]
    assert set(comparison.tables) == {t["scenario"] for t in result["comparison"]["tables"]}
    rows = comparison.tables["all"]
    assert set(rows["verdict"]) <= {claim["verdict"] for claim in claims}
    assert not rows.empty
    assert comparison.trials["arm"].nunique() == 2
    assert shared.files() == before
    assert not recwarn


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
    assert any(line.startswith("confirmed winner: ") for line in lines)
    assert any(line.startswith("test accuracy ") for line in lines)
    for first in ("report ", "model ", "dashboards ", "report again "):
        assert any(line.startswith(first) for line in lines), first
    text = shared.tlsearch("run", "comparison.yaml").stdout
    assert "tlsearch ui comparison.yaml" in text
    assert "6 complete" in text


SCORE = """
import json, sys
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


@pytest.mark.slow
@pytest.mark.ci
def test_the_model_predicts_in_a_fresh_process(shared: Shared) -> None:
    result, state = shared.search, shared.folder / "mlruns"
    scores = state / "studies" / "search" / "scores" / f"{result['test']['champion']}.npz"
    images, *_ = (state / "cache" / "images").glob("*/images.npy")
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
    assert len(found["classes"]) == 3


@pytest.mark.slow
@pytest.mark.ci
def test_the_same_seed_gives_the_same_bits(shared: Shared, tmp_path: Path) -> None:
    result = shared.search
    again = Shared(tmp_path).json("run", "search.yaml", "--set", "confirm=null")
    for one, two in zip(trials_of(result), trials_of(again), strict=True):
        assert one.params == two.params
        assert one.intermediate_values == two.intermediate_values
        columns = [t.user_attrs["tlsearch:result"]["epochs"] for t in (one, two)]
        for name in columns[0].keys() - {"seconds"}:
            assert columns[0][name] == columns[1][name]


@pytest.mark.slow
@pytest.mark.ci
def test_a_larger_budget_goes_on(shared: Shared) -> None:
    """Last in this file: it changes the study that the others look at."""
    result = shared.search
    before = {t.number: t for t in trials_of(result)}
    further = shared.json("run", "search.yaml", "--set", "budget.trials=3")
    assert further["trials"]["complete"] == 3
    assert further["finished"]
    after = {t.number: t for t in trials_of(further)}
    assert {number: after[number] for number in before} == before
    assert further["mlflow"] == result["mlflow"]
    assert further["registered"] == result["registered"] == "models:/search@champion"
    versions = mirrored(further)[2].search_model_versions("name = 'search'")
    assert {version.source for version in versions} == {result["model"], further["model"]}
    assert len(versions) == len({result["model"], further["model"]})
    check_agreement(further)
