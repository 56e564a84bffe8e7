"""Looks at a tracking store without making anything there, and without MLflow's import."""

import os
import sqlite3
import urllib.request
from base64 import b64encode
from contextlib import closing
from http.client import HTTPException
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
        return f"answers, version {_version(address)}"
    return _database(address)


def _version(address: str) -> str:
    try:
        asked = request(f"{address.rstrip('/')}/version")
        with urllib.request.urlopen(asked, timeout=ASK_SECONDS) as answer:  # noqa: S310
            found: bytes = answer.read(40)
    except HTTPException as error:  # what listens there speaks another language
        raise OSError(f"is no web server ({type(error).__name__})") from error
    except ValueError as error:
        raise OSError(f"is no address ({error})") from error
    return found.decode(errors="replace")


def request(address: str) -> urllib.request.Request:
    """A request for an address that may hold a user and a password, which urllib takes for a part
    of the host's name.
    """
    made = urllib.request.Request(without_user(address))  # noqa: S310
    who = urlsplit(address).netloc.rpartition("@")[0]
    if who:
        token = b64encode(unquote(who).encode()).decode()
        made.add_header("Authorization", f"Basic {token}")
    return made


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

    try:  # a driver that is not installed is told when the engine is made
        engine = create_engine(address)
        try:
            return "reachable" if inspect(engine).has_table("runs") else None
        finally:
            engine.dispose()
    except (SQLAlchemyError, ImportError) as error:
        raise OSError(str(error)) from error
