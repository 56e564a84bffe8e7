"""What others rely on: names, commands, options, exit codes. To change it is to break them."""

from importlib.metadata import entry_points, version
from pathlib import Path

import pytest
import typer

import tlsearch
from tlsearch import errors
from tlsearch.cli.app import app

COMMANDS = {
    "init": {"--output", "--weights", "--size", "--name", "--force", "--json"},
    "check": {
        "--set",
        "--preset",
        "--json",
        "--files",
        "--label-errors",
        "--views",
        "--score",
        "--schema",
    },
    "run": {"--set", "--preset", "--fresh", "--open-report", "--json"},
    "status": {"--set", "--preset", "--json"},
    "report": {"--set", "--preset", "--output", "--format"},
    "ui": {"--set", "--preset", "--browser"},
    "export": {"--set", "--preset", "--output", "--format", "--half", "--json"},
    "predict": {"--output", "--batch-size", "--top", "--probabilities", "--json"},
    "networks": {"--json"},
    "clean": {"--yes", "--json"},
    "doctor": {"--set", "--preset", "--clear-cache", "--json"},
}


def test_version() -> None:
    assert tlsearch.__version__ == version("tlsearch")


NAMES = {
    *("load_study", "check", "run", "open_results", "load_model", "Results", "Model"),
    *("TlsearchError", "RequestError", "StudyError", "WeightsError", "StoreError", "WorkError"),
    *("Interrupted", "__version__"),
}


def test_the_package_exports_what_its_page_documents() -> None:
    assert set(tlsearch.__all__) == set(dir(tlsearch)) == NAMES
    assert all(getattr(tlsearch, name) is not None for name in NAMES)
    with pytest.raises(AttributeError, match="'tlsearch' has no attribute 'runn'"):
        tlsearch.runn  # noqa: B018
    page = (Path(__file__).parents[1] / "docs" / "python.md").read_text()
    assert all(name in page for name in NAMES - {"__version__"})


def test_one_entry_point() -> None:
    (found,) = entry_points(group="console_scripts", name="tlsearch")
    assert found.value == "tlsearch.cli:main"


def test_commands_and_options() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    found = {
        name: {o for p in command.params for o in p.opts if o.startswith("--")} - {"--help"}
        for name, command in commands.items()
    }
    assert found == COMMANDS


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("TlsearchError", 1),
        ("RequestError", 2),
        ("StudyError", 2),
        ("WeightsError", 2),
        ("StoreError", 2),
        ("WorkError", 1),
    ],
)
def test_exit_codes(kind: str, code: int) -> None:
    assert getattr(errors, kind).exit_code == code
