"""Addresses, and a look at a tracking store: MLflow's database, a server that asks who comes."""

import re
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import StreamRequestHandler, TCPServer
from urllib.error import HTTPError

import pytest
from mlflow import MlflowClient

from tests.tracking.conftest import FreshStore
from tlsearch.errors import RequestError, WorkError
from tlsearch.tracking.address import (
    absolute_address,
    artifact_location,
    look,
    refuse_closed,
    refuse_one_database,
    server_remedy,
    sqlite_path,
)
from tlsearch.tracking.store import refuse_unusable


class _Guarded(BaseHTTPRequestHandler):
    """Tells everybody its version, as MLflow's server does, and all else those whom it knows."""

    def do_GET(self) -> None:
        # "me:it is secret" in base64.
        is_me = self.headers.get("Authorization") == "Basic bWU6aXQgaXMgc2VjcmV0"
        refusal = 403 if self.headers.get("Authorization") else 401
        self.send_response(200 if is_me or self.path == "/version" else refusal)
        self.end_headers()
        self.wfile.write(b"3.17.2")

    def log_message(self, *_args: object) -> None:
        pass


class _Mute(StreamRequestHandler):
    def handle(self) -> None:
        self.rfile.readline()
        self.wfile.write(b"220 mail.example.org\r\n")


@pytest.fixture
def port() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), _Guarded)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def mute() -> Iterator[int]:
    """A port that answers, though not as the web does."""
    server = TCPServer(("127.0.0.1", 0), _Mute)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_server_gets_the_credentials_that_mlflow_would_send(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert look(f"http://me:it%20is%20secret@127.0.0.1:{port}/") == "answers, version 3.17.2"
    with pytest.raises(HTTPError, match="401") as caught:
        look(f"http://127.0.0.1:{port}")
    with pytest.raises(WorkError, match=r"cannot be used: 401 .* MLFLOW_TRACKING_USERNAME"):
        refuse_closed(f"http://127.0.0.1:{port}", "any")
    assert "MLFLOW_TRACKING_USERNAME" in server_remedy(caught.value.code)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "it is secret")
    assert look(f"http://127.0.0.1:{port}") == "answers, version 3.17.2"
    refuse_closed(f"http://127.0.0.1:{port}", "any")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    with pytest.raises(HTTPError, match="403") as caught:
        look(f"http://127.0.0.1:{port}")
    assert "--allowed-hosts" in server_remedy(caught.value.code)


def test_what_is_no_web_server_is_a_plain_failure(
    mute: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    # urlopen's own opener keeps the proxies of its first use, which may have been another test's.
    monkeypatch.setattr("urllib.request._opener", None)
    with pytest.raises(OSError, match="is no web server"):
        look(f"http://127.0.0.1:{mute}")
    for address in ("http://127.0.0.1:port", "http://a b/", "http://[::1/"):
        with pytest.raises(OSError, match=r"is no (web server|address)"):
            look(address)


def test_a_database_tells_its_runs_and_is_not_made(fresh_store: FreshStore, tmp_path: Path) -> None:
    assert look(f"sqlite:///{fresh_store.database}") == "2 runs"
    assert look(f"sqlite:///{tmp_path}/none.db") is None
    assert list(tmp_path.iterdir()) == []


def test_a_driver_that_is_not_installed_is_a_plain_failure() -> None:
    with pytest.raises(OSError, match="nodriver"):
        look("postgresql+nodriver://127.0.0.1/mlflow")


def test_addresses_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_address("sqlite:///a b/é.db") == f"sqlite:///{tmp_path}/a b/é.db"
    assert absolute_address(f"sqlite:///{tmp_path}/x.db") == f"sqlite:///{tmp_path}/x.db"
    assert sqlite_path(f"sqlite:///{tmp_path}/x.db") == tmp_path / "x.db"
    for remote in (
        *("http://127.0.0.1:5000", "https://[::1]", "HTTP://me:p@h:1/x"),
        *("postgresql+psycopg://u@h/db", "postgresql://me:a[b/c@h/x"),
    ):
        assert absolute_address(remote) == remote
        assert sqlite_path(remote) is None


@pytest.mark.parametrize("address", [
    "", "mlruns", "file:/x", "C:/x", "ftp://x", "sqlite:///a?b", "http://[::1/", "http://h:port",
    "http:///x", "databricks", "databricks://profile", "azureml://x",
    "postgresql://u:abc@TopSecret/x@host/db",
])  # fmt: skip
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(RequestError, match=r"MLflow address = .* — (use|write) ") as caught:
        absolute_address(address)
    assert "TopSecret" not in str(caught.value)


@pytest.mark.parametrize("kind", ["ftp", "file", "sqlite"])
def test_a_refused_address_keeps_its_password(kind: str) -> None:
    with pytest.raises(RequestError) as caught:
        absolute_address(f"{kind}://me:secret@h")
    assert f"MLflow address = {kind}://me:***@h: " in str(caught.value)


def test_every_experiment_has_a_folder_of_its_own() -> None:
    names = ["a b", "a-b", "a/b", "é", "../x", "x" * 100, "x" * 101]
    places = {artifact_location(root=Path("/art"), experiment=name) for name in names}
    assert len(places) == len(names)
    assert artifact_location(root=Path("/a b"), experiment="quick_start.1") == (
        "file:///a%20b/quick_start.1"
    )
    assert all("/.." not in place for place in places)


@pytest.mark.parametrize(
    ("storage", "tracking_uri", "is_one"),
    [
        ("sqlite:///mlruns/mlflow.db", "sqlite:////{here}/mlruns/mlflow.db", True),
        ("sqlite:///./a.db?timeout=9", "sqlite:///a.db", True),
        ("sqlite:///a.db", "sqlite:///b.db", False),
        ("postgresql+psycopg://u:p@x@host/d", "postgresql://v:q@HOST/d", True),
        ("postgresql://u:p@host/d", "postgresql://u:p@host/e", False),
        ("postgresql://h/d", "postgresql://h/d?options=-csearch_path%3Dm", False),
        ("postgresql://h/d", "http://h/d", False),
    ],
)
def test_optuna_and_mlflow_share_no_database(
    storage: str, tracking_uri: str, is_one: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    address = tracking_uri.replace("/{here}", str(tmp_path))
    expected = pytest.raises(RequestError, match="share one") if is_one else nullcontext()
    with expected:
        refuse_one_database(storage=storage, tracking_uri=address)


def test_a_deleted_experiment_is_seen_at_once(database: Path, client: MlflowClient) -> None:
    address = f"sqlite:///{database}"
    number = client.create_experiment("gone")
    refuse_closed(address, "gone")
    client.delete_experiment(number)
    command = f"`MLFLOW_TRACKING_URI={address} mlflow experiments restore -x {number}`"
    with pytest.raises(WorkError, match=re.escape(command)):
        refuse_closed(address, "gone")
    refuse_closed(address, "another")
    refuse_closed(f"sqlite:///{database.parent}/none.db", "gone")


def test_where_nothing_answers(tmp_path: Path) -> None:
    remedy = r" — start the server or correct the address \(MLFLOW_TRACKING_URI or the study's\)"
    for address, why in (
        ("http://127.0.0.1:9", "nothing answers there"),
        ("http://nowhere.invalid:5000", "nothing answers there"),
        ("postgresql+nodriver://127.0.0.1/mlflow", "nodriver"),
    ):
        message = f"{re.escape(address)} cannot be used: .*{why}.*{remedy}"
        with pytest.raises(WorkError, match=message):
            refuse_unusable(address, "any")
    (tmp_path / "text.db").write_text("no database")
    for file in ("text.db", "text.db/mlflow.db"):
        with pytest.raises(WorkError, match=rf"{file} cannot be written: .* — make its folder"):
            refuse_unusable(f"sqlite:///{tmp_path}/{file}", "any")
