"""Where MLflow keeps things: one absolute address, checked before anything is trained."""

import re
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from tlsearch.errors import RequestError
from tlsearch.study.values import hidden

_SQLITE = "sqlite:///"
_SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql")


def absolute_address(tracking_uri: str) -> str:
    """The same address, absolute, so that another folder or process means the same store.

    Raises:
        RequestError: the address is a folder (MLflow's file store is closed since 3.13), or of a
            kind that MLflow does not know, or of a server without a host.
    """
    scheme = _scheme(tracking_uri)
    if scheme in ("", "file") or len(scheme) == 1:  # one letter: a drive on Windows
        raise RequestError(
            f"MLflow address = {hidden(tracking_uri)}: a folder is no tracking store (MLflow closed"
            " its file store) — use a database such as sqlite:////absolute/path/mlflow.db, or a"
            " server such as http://127.0.0.1:5000"
        )
    if scheme not in _SCHEMES:
        raise RequestError(
            f"MLflow address = {hidden(tracking_uri)}: {scheme!r} is no known kind of store — use"
            f" one of {', '.join(f'{s}://' for s in _SCHEMES)}"
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
    slug = re.sub(r"[^A-Za-z0-9_.-]+", "-", experiment).strip("-.")[:60]
    if slug != experiment:
        slug = f"{slug}-{sha256(experiment.encode()).hexdigest()[:8]}"
    return f"{root.absolute().as_uri()}/{slug}"
