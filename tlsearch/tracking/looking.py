"""Looks at a tracking store without making anything there, and without MLflow's import."""

import os
import sqlite3
import urllib.request
from base64 import b64encode
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from tlsearch.tracking.address import sqlite_path

ASK_SECONDS = 10.0


def look(address: str) -> str | None:
    """What is there, in few words; None where nothing is yet.

    Raises:
        OSError: the store cannot be reached, read or written.
    """
    file = sqlite_path(address)
    if file is not None:
        return _file(file) if file.exists() else None
    if address.startswith(("http://", "https://")):
        asked = request(f"{address.rstrip('/')}/version")
        with urllib.request.urlopen(asked, timeout=ASK_SECONDS) as answer:  # noqa: S310
            return f"answers, version {answer.read(40).decode(errors='replace')}"
    return _database(address)


def request(address: str) -> urllib.request.Request:
    """A request for an address that may hold a user and a password, which urllib takes for a part
    of the host's name.
    """
    parts = urlsplit(address)
    who, _, host = parts.netloc.rpartition("@")
    made = urllib.request.Request(urlunsplit(parts._replace(netloc=host)))  # noqa: S310
    if who:
        token = b64encode(unquote(who).encode()).decode()
        made.add_header("Authorization", f"Basic {token}")
    return made


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

    try:  # a driver that is not installed is told when the engine is made
        engine = create_engine(address)
        try:
            return "reachable" if inspect(engine).has_table("runs") else None
        finally:
            engine.dispose()
    except (SQLAlchemyError, ImportError) as error:
        raise OSError(str(error)) from error
