"""The page of a study's runs on somebody's MLflow server."""

import json
import threading
import webbrowser
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tlsearch.cli import dashboards
from tlsearch.cli.dashboards import Stores, runs_page, serve


class _Answering(BaseHTTPRequestHandler):
    answers: Any = None

    def do_GET(self) -> None:
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
def test_what_is_no_mlflow_is_told(
    server: str, answers: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_Answering, "answers", answers)
    assert runs_page(server, "digits") == f"{server}/"
    told = capsys.readouterr().err
    shown = server.replace("secret", "***")
    assert told.startswith(f"MLflow at {shown} does not answer (no answer of an MLflow server)")
    assert told.count("\n") == 1


def test_a_browser_gets_no_password_and_no_stars(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(_Answering, "answers", {"experiment": {"experiment_id": "7"}})
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr(dashboards, "_await", lambda _server: None)
    monkeypatch.setattr(dashboards, "_watch", lambda _servers: None)
    local = SimpleNamespace(name="Optuna Dashboard", page=lambda: "http://x/", stop=lambda: None)
    monkeypatch.setattr(dashboards, "_optuna", lambda _stores: local)
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
    assert opened == [page.replace("me:secret@", ""), "http://x/"]
    assert page.replace("secret", "***") in capsys.readouterr().out
