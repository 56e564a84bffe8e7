"""`tlsearch ui`: both dashboards show the study, on loopback, and leave with Ctrl-C."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import optuna
import pytest
from mlflow import MlflowClient
from optuna.artifacts import get_all_artifact_meta
from optuna.storages.journal import JournalFileBackend
from optuna_dashboard import get_note

from tests.cli.conftest import inherited
from tests.cli.finished import Finished
from tlsearch.cli import dashboards
from tlsearch.cli.dashboards import Stores, runs_page, serve

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader")  # MLflow's own tables
# urlopen's own opener keeps the proxies of its first use, which may have been another test's.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
PATIENCE_SECONDS = 240


class Shown:
    """A process of `tlsearch ui`, and what it prints."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.log = log
        command = [sys.executable, "-m", "tlsearch", "ui", "study.yaml", "--no-browser"]
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                command, cwd=folder, env=inherited(), stdout=file, stderr=file
            )

    def result(self) -> str:
        """All that it says, once both are there."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while "Ctrl-C" not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.2)
        return self.log.read_text()

    def addresses(self) -> tuple["re.Match[str]", "re.Match[str]"]:
        """Port and experiment of MLflow, port and study of Optuna Dashboard."""
        runs = r"MLflow +http://127\.0\.0\.1:(\d+)/#/experiments/(\d+)/runs\?viewStateShareKey=tlsearch\n"
        trials = r"Optuna Dashboard +http://127\.0\.0\.1:(\d+)/dashboard/studies/(\d+)\n"
        result = self.result()
        found = re.search(runs, result), re.search(trials, result)
        assert found[0] is not None, result
        assert found[1] is not None, result
        return found[0], found[1]


@contextmanager
def shown(*folders: Path, logs: Path) -> Iterator[list[Shown]]:
    """The dashboards of some folders, started together and ended whatever happens."""
    started = []
    try:
        for i, folder in enumerate(folders):
            started.append(Shown(folder, logs / f"log-{i}"))
        yield started
    finally:
        for each in started:
            if each.process.poll() is None:
                each.process.send_signal(signal.SIGINT)
        for each in started:
            each.process.wait(60)


def fetched(url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with DIRECT.open(request, timeout=60) as answer:
        return json.load(answer)


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def addresses_of(port: int) -> set[str]:
    """Those at which a server listens on this port, as the kernel lists them."""
    found = set()
    for kind in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]:
            place, state = line.split()[1], line.split()[3]
            address, _, number = place.partition(":")
            if state == "0A" and int(number, 16) == port:
                is_four = len(address) == 8
                found.add(socket.inet_ntoa(bytes.fromhex(address)[::-1]) if is_four else address)
    return found


def experiment_name(where: "re.Match[str]") -> Any:
    root = f"http://127.0.0.1:{where[1]}/api/2.0/mlflow"
    return fetched(f"{root}/experiments/get?experiment_id={where[2]}")["experiment"]["name"]


@pytest.mark.slow
def test_both_show_the_study_until_they_are_ended(finished: Finished, tmp_path: Path) -> None:
    with shown(finished.folder, logs=tmp_path) as (one,):
        where, trials = one.addresses()
        root = f"http://127.0.0.1:{where[1]}/api/2.0/mlflow"
        found = fetched(f"{root}/experiments/get?experiment_id={where[2]}")["experiment"]
        assert found["name"] == "tiny"
        kinds = {tag["key"]: tag["value"] for tag in found["tags"]}
        assert kinds["mlflow.experimentKind"] == "custom_model_development"
        runs = fetched(f"{root}/runs/search", {"experiment_ids": [where[2]]})["runs"]
        names = {run["info"]["run_name"] for run in runs}
        assert "tiny" in names
        assert any(name.startswith("trial-0000") for name in names)
        study = fetched(f"http://127.0.0.1:{trials[1]}/api/studies/{trials[2]}?after=0")
        assert study["name"] == "tiny"
        assert len(study["trials"]) == 1
        ports = [int(where[1]), int(trials[1])]
        assert [addresses_of(port) for port in ports] == [{"127.0.0.1"}] * 2
        one.process.send_signal(signal.SIGINT)
        assert one.process.wait(60) == 0
        assert not any(map(is_open, ports))


@pytest.mark.slow
def test_two_at_once_each_show_their_own(finished: Finished, tmp_path: Path) -> None:
    """Two that start together want the same ports; the second study is a renamed copy."""
    other = tmp_path / "other"
    (other / "mlruns").mkdir(parents=True)
    (other / "study.yaml").write_text(
        (finished.folder / "study.yaml").read_text().replace("name: tiny", "name: other")
    )
    for name in ("mlflow.db", "optuna.journal"):
        whole = (finished.folder / "mlruns" / name).read_bytes()
        (other / "mlruns" / name).write_bytes(whole)
    journal = other / "mlruns" / "optuna.journal"
    text = journal.read_text().replace('"study_name":"tiny', '"study_name":"other')
    journal.write_text(text)
    client = MlflowClient(f"sqlite:///{other}/mlruns/mlflow.db")
    client.rename_experiment(finished.result["mlflow"]["experiment_id"], "other")
    with shown(finished.folder, other, logs=tmp_path) as pair:
        ports = []
        for each, name in zip(pair, ("tiny", "other"), strict=True):
            where, trials = each.addresses()
            assert experiment_name(where) == name
            api = f"http://127.0.0.1:{trials[1]}/api/studies/{trials[2]}?after=0"
            assert fetched(api)["name"] == name
            ports += [where[1], trials[1]]
        assert len(set(ports)) == 4


@pytest.mark.slow
def test_a_server_that_cannot_start_is_shown(finished: Finished, tmp_path: Path) -> None:
    """MLflow's database is damaged; Optuna's dashboard, which has started, is ended."""
    state = tmp_path / "mlruns"
    state.mkdir()
    (tmp_path / "study.yaml").write_text((finished.folder / "study.yaml").read_text())
    (state / "optuna.journal").write_bytes(
        (finished.folder / "mlruns" / "optuna.journal").read_bytes()
    )
    (state / "mlflow.db").write_bytes(b"no database" * 1000)
    done = subprocess.run(
        [sys.executable, "-m", "tlsearch", "ui", "study.yaml", "--no-browser"],
        cwd=tmp_path,
        env=inherited(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("tlsearch: MLflow did not start: ")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_both_hold_the_answer(finished: Finished) -> None:
    result = finished.result["mlflow"]
    client = MlflowClient(result["tracking_uri"])
    note = client.get_run(result["run_id"]).data.tags["mlflow.note.content"]
    done = finished.tlsearch("report", "study.yaml", "--format", "md", "-o", "again.md")
    assert done.stdout.endswith("again.md\n")
    assert note == (finished.folder / "again.md").read_text()
    assert client.get_experiment(result["experiment_id"]).tags["mlflow.note.content"] == note
    names = [found.path for found in client.list_artifacts(result["run_id"])]
    assert "report.html" in names
    figures = [found.path for found in client.list_artifacts(result["run_id"], "figures")]
    assert {"figures/history.png", "figures/confusion.png"} <= set(figures)
    (trial,) = client.search_runs([result["experiment_id"]], "tags.`tlsearch.trial` = '0'")
    assert "confusion.png" in [found.path for found in client.list_artifacts(trial.info.run_id)]
    backend = JournalFileBackend(str(finished.folder / "mlruns" / "optuna.journal"))
    storage = optuna.storages.JournalStorage(backend)
    study = optuna.load_study(study_name="tiny", storage=storage)
    assert get_note(study) == note
    kept = {meta.filename: meta.artifact_id for meta in get_all_artifact_meta(study)}
    assert kept.keys() == {Path(name).name for name in figures} | {"trial-0000-confusion.png"}
    pictures = finished.folder / "mlruns" / "optuna-artifacts"
    assert {file.name for file in pictures.iterdir()} == set(kept.values())


class _Answering(BaseHTTPRequestHandler):
    answers: Any = None
    heard: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.heard.append(self.headers.get("Authorization"))
        if self.answers is None:
            self.wfile.write(b"220 mail.example.org\r\n")
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(self.answers).encode())

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where it listens, with a user and a password."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made = HTTPServer(("127.0.0.1", 0), _Answering)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield f"http://me:secret@127.0.0.1:{made.server_port}"
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.mark.parametrize("answers", [None, [], {"experiment": [1]}, {"experiment": {}}])
def test_what_is_no_mlflow_is_shown(
    server: str, answers: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_Answering, "answers", answers)
    assert runs_page(server, "digits") == f"{server}/"
    result = capsys.readouterr().err
    shown = server.replace("secret", "***")
    assert result.startswith(f"MLflow at {shown} does not answer (no answer of an MLflow server)")
    assert result.count("\n") == 1


def test_the_credentials_of_the_environment_open_the_study(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Answering, "answers", {"experiment": {"experiment_id": "7"}})
    monkeypatch.setattr(_Answering, "heard", [])
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "it is secret")
    address = server.replace("me:secret@", "")
    assert runs_page(address, "digits") == f"{address}/#/experiments/7/runs"
    assert _Answering.heard == ["Basic bWU6aXQgaXMgc2VjcmV0"]


def test_a_browser_gets_no_password_and_no_stars(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(_Answering, "answers", {"experiment": {"experiment_id": "7"}})
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr(dashboards, "_await", lambda _server: None)
    monkeypatch.setattr(dashboards, "_watch", lambda _servers: None)
    local = SimpleNamespace(name="Optuna Dashboard", root="http://x", stop=lambda: None)
    monkeypatch.setattr(dashboards, "_Server", lambda *_args, **_options: local)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    stores = Stores(
        tracking_uri=server,
        experiment="digits",
        artifacts=tmp_path,
        storage="",
        study_id=0,
        pictures=tmp_path,
    )
    serve(stores, browser=True)
    page = f"{server}/#/experiments/7/runs"
    assert opened == [page.replace("me:secret@", ""), "http://x/dashboard/studies/0"]
    assert page.replace("secret", "***") in capsys.readouterr().out
