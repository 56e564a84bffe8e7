"""A look at a tracking store, with MLflow's database and with a server that asks who comes."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import StreamRequestHandler, TCPServer

import pytest

from tests.tracking.conftest import FreshStore
from tlsearch.tracking.address import look


class _Guarded(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        # "me:it is secret" in base64.
        known = self.headers.get("Authorization") == "Basic bWU6aXQgaXMgc2VjcmV0"
        self.send_response(200 if known and self.path == "/version" else 401)
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


def test_a_server_is_told_who_asks(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert look(f"http://me:it%20is%20secret@127.0.0.1:{port}/") == "answers, version 3.17.2"
    with pytest.raises(OSError, match="401"):
        look(f"http://127.0.0.1:{port}")


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
