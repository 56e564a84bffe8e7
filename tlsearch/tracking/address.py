"""Where MLflow keeps things: one absolute address, checked before anything is trained."""

import json
import os
import re
import shlex
import sqlite3
import urllib.request
from base64 import b64encode
from contextlib import closing
from hashlib import sha256
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from socket import gaierror
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlencode, urlsplit, urlunsplit

from tlsearch.errors import RAW_AT, RAW_AT_REMEDY, RequestError, WorkError, has_raw_at, hidden

_SQLITE = "sqlite:///"
_SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql")


def absolute_address(tracking_uri: str) -> str:
    """The same address, absolute, so that another folder or process means the same store.

    Raises:
        RequestError: the address is a folder (MLflow's file store is closed since 3.13), or of a
            kind that tlsearch does not write to, or of a server without a host; or its password
            holds an @ that is not percent-encoded.
    """
    scheme = "databricks" if tracking_uri.startswith("databricks") else _scheme(tracking_uri)
    if has_raw_at(tracking_uri):
        raise RequestError(f"MLflow address = {hidden(tracking_uri)}: {RAW_AT} — {RAW_AT_REMEDY}")
    if scheme in ("", "file") or len(scheme) == 1:  # one letter: a drive on Windows
        raise RequestError(
            f"MLflow address = {hidden(tracking_uri)}: a folder is no tracking store (MLflow closed"
            " its file store) — use a database such as sqlite:////absolute/path/mlflow.db, or a"
            " server such as http://127.0.0.1:5000"
        )
    if scheme not in _SCHEMES:
        raise RequestError(
            f"MLflow address = {hidden(tracking_uri)}: {scheme!r} is no kind of store that tlsearch"
            f" writes to — use one of {', '.join(f'{s}://' for s in _SCHEMES)}, or none"
            " (MLFLOW_TRACKING_URI unset, tracking_uri null) for a database under mlruns/, and"
            " register the exported model there afterwards"
        )
    if scheme in ("http", "https") and not _has_host(tracking_uri):
        raise RequestError(
            f"MLflow address = {hidden(tracking_uri)}: names no host, or a port that is no number"
            " — use one such as http://127.0.0.1:5000"
        )
    path = sqlite_path(tracking_uri)
    return tracking_uri if path is None else _SQLITE + path.absolute().as_posix()


def sqlite_path(tracking_uri: str) -> Path | None:
    """The file behind a SQLite address, None for every other store.

    Raises:
        RequestError: the address names no file, or one that SQLite's addresses cannot express.
    """
    if _scheme(tracking_uri) != "sqlite":
        return None
    name = tracking_uri.partition(":///")[2]
    if not name or name == ":memory:" or "?" in name or "#" in name:
        raise RequestError(
            f"MLflow address = {hidden(tracking_uri)}: names no database file, or holds one of '?#'"
            " — use sqlite:////absolute/path/mlflow.db"
        )
    return Path(name)


def _scheme(address: str) -> str:
    """The kind of store. A database's password may hold what no other part of a URL does."""
    found = re.match(r"([a-z][a-z0-9.-]*)(\+[a-z0-9+.-]*)?:", address, re.IGNORECASE)
    return found[1].lower() if found else ""


def _has_host(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def artifact_location(*, root: Path, experiment: str) -> str:
    """A `file:` address of its own for one experiment's artifacts, readable and collision-free."""
    return artifact_folder(root=root, experiment=experiment).as_uri()


def artifact_folder(*, root: Path, experiment: str) -> Path:
    """The folder that `artifact_location` names."""
    slug = re.sub(r"[^A-Za-z0-9_.-]+", "-", experiment).strip("-.")[:60]
    if slug != experiment:
        slug = f"{slug}-{sha256(experiment.encode()).hexdigest()[:8]}"
    return root.absolute() / slug


def refuse_one_database(*, storage: str, tracking_uri: str) -> None:
    """Refuse to have Optuna and MLflow make their tables in one database: both have a table of the
    same name for the version of the others. Two schemas of one PostgreSQL are two databases.

    Raises:
        RequestError: it is one.
    """
    place = _database_of(storage)
    if place is None or place != _database_of(tracking_uri):
        return
    raise RequestError(
        f"storage = {hidden(storage)}: MLflow's address names the same database"
        f" ({hidden(tracking_uri)}), and Optuna's tables and MLflow's cannot share one — name"
        " another database or file for one of them, or write storage: null"
    )


def _database_of(address: str) -> tuple[str, str] | None:
    """The kind of a database, and its host and name, or its file; None for a server of MLflow's."""
    found = re.fullmatch(r"([a-z]+)(?:\+\w+)?://(?:.*@)?([^?]*)(.*)", address, re.IGNORECASE)
    if found is None or found[1].lower() in ("http", "https") or "search_path" in found[3]:
        return None
    kind = found[1].lower()
    return kind, str(Path(found[2][1:]).resolve()) if kind == "sqlite" else found[2].lower()


# Looks at a tracking store without making anything there, and without MLflow's import.


ASK_SECONDS = 10.0


class UnreachableError(OSError):
    """A database that cannot be reached."""


def look(address: str) -> str | None:
    """What is there, in few words; None where nothing is yet.

    Raises:
        OSError: the store cannot be reached, read or written.
    """
    file = sqlite_path(address)
    if file is not None:
        return _file(file) if file.exists() else None
    if address.startswith(("http://", "https://")):
        return f"answers, version {_version(address)}"
    return _database(address)


def refuse_closed(address: str, experiment: str) -> None:
    """Look whether a server or a database answers and lets us in, and whether an experiment lies in
    MLflow's bin, where that can be seen at once: in a SQLite file or on a server.

    What else may be wrong, such as a certificate, is left to MLflow's client, whose own settings
    may know better.

    Raises:
        WorkError: nothing can be written to it.
    """
    try:
        if _database_of(address) is not None and sqlite_path(address) is None:
            _database(address)
        number = _number_of_deleted(address, experiment)
    except HTTPError as error:
        error.close()
        if error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise _unusable(address, f"{error.code} {error.reason}", error.code) from error
        return
    except URLError as error:
        if isinstance(error.reason, (ConnectionError, gaierror, TimeoutError)):
            why = error.reason.strerror or str(error.reason)
            raise _unusable(address, f"nothing answers there ({why})") from error
        return
    except UnreachableError as error:
        raise _unusable(address, str(error)) from error
    except (OSError, sqlite3.Error, ValueError, LookupError, HTTPException):
        return
    if number is not None:
        raise deleted(address, experiment, number)


def _unusable(address: str, why: str, status: int | None = None) -> WorkError:
    return WorkError(f"MLflow at {hidden(address)} cannot be used: {why} — {server_remedy(status)}")


def deleted(address: str, experiment: str, number: str) -> WorkError:
    """The error about an experiment in MLflow's bin."""
    store = shlex.quote(str(hidden(address)))
    return WorkError(
        f"MLflow at {hidden(address)}: experiment {experiment!r} was deleted — bring it back with"
        f" `MLFLOW_TRACKING_URI={store} mlflow experiments restore -x {number}`, or name the study"
        " otherwise"
    )


def _number_of_deleted(address: str, experiment: str) -> str | None:
    file = sqlite_path(address)
    if file is not None:
        if not file.exists():
            return None
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as database:
            row = database.execute(
                "SELECT experiment_id FROM experiments WHERE name = ? AND lifecycle_stage ="
                " 'deleted'",
                (experiment,),
            ).fetchone()
        return None if row is None else str(row[0])
    if not address.startswith(("http://", "https://")):
        return None
    query = urlencode({"experiment_name": experiment})
    path = f"api/2.0/mlflow/experiments/get-by-name?{query}"
    with urllib.request.urlopen(  # noqa: S310
        request(f"{address.rstrip('/')}/{path}"), timeout=ASK_SECONDS
    ) as answer:
        found = json.load(answer)["experiment"]
    return str(found["experiment_id"]) if found["lifecycle_stage"] == "deleted" else None


def _version(address: str) -> str:
    try:
        found = _answer(f"{address.rstrip('/')}/version")
        # The version is given to everybody; who may do nothing else is refused here.
        _answer(f"{address.rstrip('/')}/api/2.0/mlflow/experiments/search?max_results=1")
    except HTTPException as error:  # what listens there speaks another language
        raise OSError(f"is no web server ({type(error).__name__})") from error
    except ValueError as error:
        raise OSError(f"is no address ({error})") from error
    return found.decode(errors="replace")


def _answer(address: str) -> bytes:
    try:
        with urllib.request.urlopen(request(address), timeout=ASK_SECONDS) as answer:  # noqa: S310
            found: bytes = answer.read(40)
    except HTTPError as error:
        error.close()  # it is the answer as well, and holds the connection
        raise
    return found


def server_remedy(status: int | None) -> str:
    """What to do about a server that cannot be used, by the HTTP status that it answered."""
    if status == HTTPStatus.UNAUTHORIZED:
        return "give credentials: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    if status == HTTPStatus.FORBIDDEN:
        return (
            "give credentials that may write (MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD),"
            " or start the server with this host's name among its --allowed-hosts"
        )
    return "start the server or correct the address (MLFLOW_TRACKING_URI or the study's)"


def request(address: str) -> urllib.request.Request:
    """A request with the credentials that MLflow's client would send: the address's user and
    password, which urllib takes for a part of the host's name, else its environment variables.
    """
    made = urllib.request.Request(without_user(address))  # noqa: S310
    user, password, token = (os.environ.get(f"MLFLOW_TRACKING_{name}") for name in _CREDENTIALS)
    who = unquote(urlsplit(address).netloc.rpartition("@")[0])
    if not who and user and password:
        who = f"{user}:{password}"
    if who:
        made.add_header("Authorization", f"Basic {b64encode(who.encode()).decode()}")
    elif token:
        made.add_header("Authorization", f"Bearer {token}")
    return made


_CREDENTIALS = ("USERNAME", "PASSWORD", "TOKEN")


def without_user(address: str) -> str:
    """The address without user and password, for a browser, which asks for them."""
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _file(file: Path) -> str:
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as database:
            (runs,) = database.execute("SELECT count(*) FROM runs").fetchone()
    except sqlite3.Error as error:
        raise OSError(str(error)) from error
    if not os.access(file, os.W_OK):
        raise PermissionError("cannot be written")
    return f"{runs} runs"


def _database(address: str) -> str | None:
    from sqlalchemy import create_engine, inspect
    from sqlalchemy.exc import SQLAlchemyError

    try:  # a driver that is not installed is noticed when the engine is made
        engine = create_engine(address)
        try:
            return "reachable" if inspect(engine).has_table("runs") else None
        finally:
            engine.dispose()
    except ImportError as error:
        raise UnreachableError(missing_driver(error)) from error
    except SQLAlchemyError as error:
        raise UnreachableError(str(error).strip().splitlines()[0]) from error


_DRIVERS = {"psycopg2": "psycopg2-binary", "psycopg": "psycopg[binary]", "MySQLdb": "mysqlclient"}
"""Packages of database drivers that are named otherwise than their modules."""


def missing_driver(error: ImportError) -> str:
    """What to install for a database whose driver cannot be imported."""
    cause = error.__cause__  # Optuna's own text names no module, what it comes from does
    name = error.name or (cause.name if isinstance(cause, ImportError) else None)
    if not name:
        return str(error)
    module = name.partition(".")[0]
    package = _DRIVERS.get(module, module)
    return f"its driver {module} is not installed: pip install '{package}'"
