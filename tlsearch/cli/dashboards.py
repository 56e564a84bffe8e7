"""`tlsearch ui`: MLflow's UI and Optuna Dashboard on loopback, opened at a study."""

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import webbrowser
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from socketserver import ThreadingMixIn
from types import FrameType
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import typer

from tlsearch.config.paths import layout_here
from tlsearch.config.schema import StudyConfig
from tlsearch.errors import WorkError, hidden
from tlsearch.execution.interrupts import heard
from tlsearch.tracking.address import (
    ASK_SECONDS,
    absolute_address,
    request,
    sqlite_path,
    without_user,
)
from tlsearch.tracking.store import view_of

HOST = "127.0.0.1"
# urlopen's own opener would send loopback through a proxy of the environment.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def runs_page(server: str, experiment: str) -> str:
    """The page of a study's runs as the study would have them shown; the server's first page while
    MLflow has not been written.
    """
    is_ours = server.startswith(f"http://{HOST}:")
    opener = DIRECT if is_ours else urllib.request.build_opener()
    address = f"{server}/api/2.0/mlflow/experiments/get-by-name?"
    try:
        query = request(address + urllib.parse.urlencode({"experiment_name": experiment}))
        with opener.open(query, timeout=ASK_SECONDS) as answer:
            found = json.load(answer)["experiment"]
        number, tags = found["experiment_id"], {tag["key"] for tag in found.get("tags", ())}
    except urllib.error.HTTPError:  # it answers: there is no such experiment, or we may not read it
        return f"{server}/"
    except (OSError, ValueError, KeyError, TypeError, HTTPException) as error:
        reason: object = "no answer of an MLflow server"
        if isinstance(error, OSError):
            reason = getattr(error, "reason", error)
        typer.echo(
            f"MLflow at {hidden(server)} does not answer ({hidden(str(reason))}) — start that "
            "server to see the study's runs",
            err=True,
        )
        return f"{server}/"
    view = view_of(tags)
    shown = f"?viewStateShareKey={view}" if view else ""
    return f"{server}/#/experiments/{number}/runs{shown}"


MLFLOW_PORT, OPTUNA_PORT = 5000, 8080
"""Where both are usually found; taken if they are free, so that bookmarks last."""
START_SECONDS = 120.0
"""MLflow's server imports for seconds, on a busy machine for many."""
STOP_SECONDS = 5.0
_POLL_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Stores:
    """Where a study's runs and trials are. `experiment` is its name in MLflow, `pictures` the
    folder of what Optuna Dashboard shows beside trials; neither need be there yet.

    `tracking_uri` and `storage` are as MLflow and Optuna take them, passwords included.
    """

    tracking_uri: str
    experiment: str
    artifacts: Path
    storage: str
    study_id: int
    pictures: Path


class _Server:
    """A web server in a process group of its own, which Ctrl-C in the terminal does not reach.

    It gets a socket that listens from now on as its standard input, and `settings` through the
    environment: everyone sees a process's arguments, and an address may hold a password.
    """

    def __init__(
        self, name: str, command: Sequence[str], settings: Mapping[str, str], *, port: int
    ) -> None:
        self.name = name
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the server
        with _listening(port) as listening:
            self.root = f"http://{HOST}:{listening.getsockname()[1]}"
            self.process = subprocess.Popen(  # noqa: S603 - our own interpreter
                # -P: a folder here that is named like a library is not what is meant.
                [sys.executable, "-P", "-W", "ignore", *command],
                stdin=listening.fileno(),
                stdout=self._log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "PYTHONSAFEPATH": "1", **settings},
            )

    def answers(self) -> bool:
        try:
            with DIRECT.open(f"{self.root}/", timeout=2):
                return True
        except OSError:
            return False

    def last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return str(hidden(lines[-1])) if lines else f"exit code {self.process.returncode}"

    def stop(self) -> None:
        """End the server and the workers that it started."""
        # Killed in any case: a worker may outlive its server.
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, sign)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)
        self._log.close()


def stores_of(config: StudyConfig, *, arguments: str) -> Stores:
    """The stores of a study that was started; creates nothing, but lets those that were moved or
    copied name their own folder.

    Raises:
        RequestError: it was not.
        WorkError: Optuna's storage cannot be read, or MLflow's database be written.
    """
    from tlsearch.api import not_started
    from tlsearch.search.coordinator import settled_in, tracking_address
    from tlsearch.search.storage import open_storage, storage_address
    from tlsearch.search.store import is_started

    layout = layout_here()
    storage = open_storage(config, layout, create=False)
    if storage is None or not is_started(config.name, storage):
        raise not_started(config.name, f"tlsearch run {arguments}")
    for text in settled_in(layout):
        typer.echo(f"note: {text}", err=True)
    study_id = storage.get_study_id_from_name(config.name)
    return Stores(
        tracking_uri=absolute_address(tracking_address(config, layout)),
        experiment=config.name,
        artifacts=layout.artifacts,
        storage=storage_address(config, layout),
        study_id=study_id,
        pictures=layout.optuna_artifacts,
    )


def serve(stores: Stores, *, browser: bool) -> None:
    """Start what can be started, print the addresses, and wait for Ctrl-C.

    Raises:
        WorkError: a server does not start, or ends by itself.
    """
    servers: list[_Server] = []
    with _until_stopped():
        try:
            pages = _start(stores, servers)
            for name, page in pages.items():
                typer.echo(f"{name:<17} {hidden(page)}")
            if not servers:
                return
            typer.echo("Ctrl-C ends both." if len(servers) > 1 else "Ctrl-C ends it.")
            sys.stdout.flush()
            if browser and sys.stdout.isatty():
                for page in pages.values():
                    webbrowser.open(without_user(page))
            _watch(servers)
        finally:
            for server in servers:
                server.stop()


def _start(stores: Stores, servers: list[_Server]) -> dict[str, str]:
    """Start servers into `servers`; the page of each thing that there is to see, by its name."""
    file, mlflow, optuna = sqlite_path(stores.tracking_uri), "MLflow", "Optuna Dashboard"
    pages = {}
    if stores.tracking_uri.startswith(("http://", "https://")):
        pages[mlflow] = runs_page(stores.tracking_uri.rstrip("/"), stores.experiment)
    elif file is not None and not file.exists():  # which the server would make
        typer.echo(f"{mlflow}: {file} is not there — it comes with the study's next run", err=True)
    else:
        servers.append(_mlflow(mlflow, stores))
    if importlib.util.find_spec("optuna_dashboard") is None:
        typer.echo(f"{optuna} is not installed — pip install 'tlsearch[dashboard]'", err=True)
    else:
        settings = {_STORAGE: stores.storage, _ARTIFACTS: str(stores.pictures)}
        command = ["-c", "from tlsearch.cli.dashboards import serve_optuna; serve_optuna()"]
        servers.append(_Server(optuna, command, settings, port=OPTUNA_PORT))
    for server in servers:
        _await(server)
        is_optuna = server.name == optuna
        pages[server.name] = (
            f"{server.root}/dashboard/studies/{stores.study_id}"
            if is_optuna
            else runs_page(server.root, stores.experiment)
        )
    return pages


def _mlflow(name: str, stores: Stores) -> _Server:
    options = ["--workers", "1", "--artifacts-destination", str(stores.artifacts)]
    settings = {
        "MLFLOW_BACKEND_STORE_URI": stores.tracking_uri,
        # Jobs are for MLflow's own evaluations, and start processes of their own.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    # The process of `mlflow ui` hands its standard input on to uvicorn's, which listens there.
    command = ["-m", "mlflow", "ui", *options, "--uvicorn-opts", "--fd 0 --loop asyncio"]
    return _Server(name, command, settings, port=MLFLOW_PORT)


_STORAGE, _ARTIFACTS = "TLSEARCH_DASHBOARD_STORAGE", "TLSEARCH_DASHBOARD_ARTIFACTS"
"""Environment variables with Optuna's address, which may hold a password and so is no argument,
and with the folder of Optuna's artifacts, which need not be there yet.
"""


class _ThreadedServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log nothing: the dashboard's page sends a request every few seconds, all day."""


def serve_optuna() -> None:
    """Serve Optuna Dashboard on the socket that is standard input, until a signal ends the process.

    The dashboard's own command takes a port's number, and between finding a free one and taking it
    somebody else may take it; a socket that was handed over is ours.
    """
    from tlsearch.search.storage import dashboard_app

    app = dashboard_app(os.environ.pop(_STORAGE), pictures=os.environ.pop(_ARTIFACTS))
    listening = socket.socket(fileno=0)
    server = _ThreadedServer(listening.getsockname(), _QuietHandler, bind_and_activate=False)
    server.socket.close()
    server.socket = listening
    server.server_name, server.server_port = listening.getsockname()
    server.setup_environ()
    server.set_app(app)
    server.serve_forever()


def _listening(wanted: int) -> socket.socket:
    """A socket that listens on the wanted port, or on another where that one is taken."""
    for port in (wanted, 0):
        with suppress(OSError):
            # As servers do: a port whose last connections are still closing is free.
            return socket.create_server((HOST, port))
    raise WorkError(f"no port is free on {HOST} — end a program that holds one, then try again")


def _await(server: _Server) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not server.answers():
        if server.process.poll() is not None:
            raise WorkError(f"{server.name} did not start: {server.last_words()}")
        if time.monotonic() > deadline:
            raise WorkError(f"{server.name} did not answer within {START_SECONDS:.0f} seconds")
        time.sleep(_POLL_SECONDS)


def _watch(servers: Sequence[_Server]) -> None:
    while True:
        for server in servers:
            if server.process.poll() is not None:
                raise WorkError(f"{server.name} has ended: {server.last_words()}")
        time.sleep(_POLL_SECONDS)


class _StoppedError(Exception):
    """Ctrl-C, the terminal's closing, or `kill`."""


@contextmanager
def _until_stopped() -> Iterator[None]:
    """What ends a server in a terminal ends this block quietly; a second signal is ignored, so that
    the servers are ended in any case.
    """
    signs = heard()

    def stop(_sign: int, _frame: FrameType | None) -> None:
        for sign in signs:
            signal.signal(sign, signal.SIG_IGN)
        raise _StoppedError

    before = {sign: signal.signal(sign, stop) for sign in signs}
    try:
        with suppress(_StoppedError):
            yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
