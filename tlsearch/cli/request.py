"""What every command shares: the study that was asked for, and errors as a user reads them."""

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tlsearch.errors import RequestError, TlsearchError, hidden

if TYPE_CHECKING:
    from tlsearch.config.schema import StudyConfig
    from tlsearch.search.store import Store


def asked(study: Path, sets: list[str] | None, preset: str | None) -> str:
    """The study with the options that make it what it is, as a shell takes them; a password in
    them is left to the user to put back.
    """
    options = ["--preset", preset] if preset else []
    options += [word for text in sets or [] for word in ("--set", str(hidden(text)))]
    return shlex.join([str(study), *options])


def read_asked(study: Path, sets: list[str] | None, preset: str | None) -> "StudyConfig":
    """The study; the environment's MLflow address goes before the file's, an option before both."""
    from tlsearch.config.loader import read_study

    config = read_study(study, overrides=sets or [], preset=preset)
    named = os.environ.get("MLFLOW_TRACKING_URI")
    if not named or any(text.partition("=")[0].strip() == "tracking_uri" for text in sets or []):
        return config
    return config.model_copy(update={"tracking_uri": named})  # the mirror checks it


def existing_store(config: "StudyConfig", text: str) -> "Store":
    """The store of a study that was started; `text` is what `asked` gives. Creates nothing."""
    from tlsearch.config.paths import layout_here
    from tlsearch.search.storage import open_storage
    from tlsearch.search.store import existing_store as existing

    store = existing(config, open_storage(config, layout_here(), create=False))
    if store is None:
        raise not_started(config.name, text)
    return store


def not_started(name: str, text: str) -> RequestError:
    """What is said of a study that is not there."""
    return RequestError(
        f"name = {name!r}: no such study has been started in {Path.cwd()} — start it with: "
        f"tlsearch run {text}"
    )


@contextmanager
def answering() -> Iterator[None]:
    """Show a user's errors as one message, and leave with the right exit code."""
    try:
        yield
    except TlsearchError as error:
        typer.echo(f"tlsearch: {error}", err=True)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BrokenPipeError:  # the reader of our output has left, as `head` does
        sys.stderr.close()
        raise typer.Exit(1) from None
    except OSError as error:  # of a folder that a reading command may not enter, or of `--output`
        place = f"{error.filename}: " if error.filename else ""
        typer.echo(f"tlsearch: {place}{error.strerror or error}", err=True)
        raise typer.Exit(1) from None
