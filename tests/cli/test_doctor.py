"""`tlsearch doctor`: what works here, and what does not."""

import json
import sqlite3
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import optuna
import pytest
from filelock import FileLock

from tests.cli.conftest import Invoke
from tlsearch.cli import doctor as examining
from tlsearch.cli.doctor import Finding, _distribution, examine
from tlsearch.config.paths import Layout


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the probe of number formats, which takes seconds and has tests of its own."""
    monkeypatch.setattr(examining, "_precision", lambda _device: "fp32")


def found(layout: Layout, *, tracking_uri: str | None = None) -> dict[str, Finding]:
    return {f.name: f for f in examine(None, layout, tracking_uri=tracking_uri)}


def test_an_empty_folder_is_fine_and_stays_empty(tmp_path: Path) -> None:
    findings = found(Layout(tmp_path / "mlruns"))
    assert {f.state for f in findings.values()} <= {"works", "absent"}
    assert findings["MLflow"].detail.endswith("mlruns/mlflow.db: made by the first run")
    assert findings["Optuna"].state == "absent"
    assert findings["torch"].detail.startswith("2.")
    assert list(tmp_path.iterdir()) == []


def test_stores_say_what_they_hold(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "mlruns")
    layout.create()
    with sqlite3.connect(layout.mlflow_db) as database:
        database.execute("CREATE TABLE runs (run_uuid TEXT)")
        database.executemany("INSERT INTO runs VALUES (?)", [("a",), ("b",)])
    journal = optuna.storages.journal.JournalFileBackend(str(layout.journal))
    storage = optuna.storages.JournalStorage(journal)
    for name in ("digits", "digits:fixed", "digits until 2026"):
        optuna.create_study(study_name=name, storage=storage)
    findings = found(layout)
    assert findings["MLflow"].detail.endswith(": 2 runs")
    assert findings["Optuna"].detail.endswith(": 1 study")


def test_what_fails_says_how_to_repair_it(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "mlruns")
    layout.create()
    layout.mlflow_db.write_bytes(b"no database" * 1000)
    layout.journal.write_text("no json\n" * 3)
    findings = found(layout)
    assert findings["MLflow"].state == "fails"
    assert "not a database" in findings["MLflow"].detail
    assert findings["Optuna"].state == "fails"
    assert "cannot be opened" in findings["Optuna"].detail
    away = found(layout, tracking_uri="http://me:secret@127.0.0.1:9")["MLflow"]
    assert (away.state, "secret" in str(away)) == ("fails", False)
    assert away.remedy.startswith("start the server")


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "mlruns").write_text("")
    assert found(Layout(tmp_path / "mlruns"))["folder"].state == "fails"


def test_a_missing_extra_is_shown_with_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examining.importlib.util, "find_spec", lambda _name: None)
    findings = found(Layout(tmp_path))
    assert findings["onnx"] == Finding(
        "extras", "onnx", "absent", "for models in the ONNX format", "pip install 'tlsearch[onnx]'"
    )


def test_an_extra_of_another_distribution_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name != "onnxruntime-gpu":
            raise PackageNotFoundError(name)
        return "1.27"

    brought = {"onnxruntime": ["onnxruntime-gpu"]}
    monkeypatch.setattr(examining, "version", version)
    monkeypatch.setattr(examining, "packages_distributions", lambda: brought)
    assert _distribution("onnxruntime") == "onnxruntime-gpu 1.27"
    brought.clear()
    assert _distribution("onnxruntime") == "onnxruntime, of no known version"


def test_a_failure_without_words_is_shown_by_its_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_address: str) -> None:
        raise TimeoutError

    monkeypatch.setattr(examining, "look", fails)
    result = found(Layout(tmp_path), tracking_uri="http://127.0.0.1:9")["MLflow"]
    assert (result.state, result.detail) == ("fails", "http://127.0.0.1:9: TimeoutError")


def test_the_exit_code_says_whether_all_works(
    tlsearch: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    done = tlsearch("doctor", "--json")
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["ok"] is True
    names = {"section", "name", "state", "told", "remedy"}
    assert all(set(finding) == names for finding in result["findings"])
    assert {f["section"] for f in result["findings"]} == {
        *("versions", "devices", "stores", "caches", "extras")
    }
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    done = tlsearch("doctor", code=1)
    assert "!! MLflow" in done.stdout
    assert done.stderr == "tlsearch: what is needed fails — stores: MLflow\n"


def test_each_cache_is_shown_with_its_size_and_cleared_on_request(
    caches: dict[str, Path], tlsearch: Invoke
) -> None:
    names = [name for name in caches if name not in ("", "store")]
    shown = {f["name"]: f for f in json.loads(tlsearch("doctor", "--json").stdout)["findings"]}
    assert all(shown[name]["told"].endswith("1 files, 1.0 kB") for name in names)
    done = tlsearch("doctor", "--clear-cache", "activations", "--json")
    assert json.loads(done.stdout)["cleared"] == ["activations: 1 files deleted, 1.0 kB"]
    assert [name for name, file in caches.items() if not file.exists()] == ["activations"]
    tlsearch("doctor", "--clear-cache", "all")
    assert [name for name, file in caches.items() if file.exists()] == ["", "store"]


def test_what_is_no_cache_or_in_use_is_not_cleared(
    caches: dict[str, Path], tlsearch: Invoke
) -> None:
    done = tlsearch("doctor", "--clear-cache", "activation", code=2)
    assert "--clear-cache = 'activation'" in done.stderr
    assert "did you mean 'activations'" in done.stderr
    with FileLock(caches["store"].parents[1] / "lock"):
        done = tlsearch("doctor", "--clear-cache", "all", code=2)
    assert "s is running" in done.stderr
    assert all(file.exists() for file in caches.values())
