"""Wrong requests: one message with field, value, rule and remedy, exit code 2, nothing written."""

import errno
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import STUDY, Files, Invoke, command, only_line
from tlsearch.cli.request import asked

COMMANDS = ("check", "run", "status", "report")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("studdy.yaml", None, "no such file — did you mean 'study.yaml'?"),
        ("empty.yaml", "", "empty.yaml: "),
        ("list.yaml", "- a\n- b\n", "list.yaml: holds a list, not a mapping of fields"),
        ("folder", None, "folder: "),
        ("broken.yaml", "name: [", "broken.yaml: "),
        ("tab.yaml", "name: s\n\tdata: x\n", "tab.yaml: "),
    ],
)
@pytest.mark.parametrize("verb", COMMANDS)
def test_no_study(
    here: Path, tlsearch: Invoke, files: Files, verb: str, name: str, content: Any, message: str
) -> None:
    if name == "folder":
        (here / name).mkdir()
    elif content is not None:
        (here / name).write_text(content)
    before = files()
    done = tlsearch(verb, name, code=2)
    assert done.stdout == ""
    assert done.stderr.startswith("tlsearch: ")
    assert message in done.stderr
    assert files() == before


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "budget:",
            "bugdet:",
            "line 4: bugdet = {trials: 4, epochs: 2}: unknown field — did you mean 'budget'?",
        ),
        (
            "trials: 4",
            "trails: 4",
            "line 4: budget.trails = 4: unknown field — did you mean 'trials'?",
        ),
        ("trials: 4", "trials: many", "line 4: budget.trials = "),
        ("trials: 4", "trials: 0", "line 4: budget.trials = 0: "),
        ("name: resnet18", "name: resnet81", "did you mean 'resnet18'?"),
        ("weights: none", "weights: IMAGENET1K_V9", "did you mean 'IMAGENET1K_V1'?"),
        ("weights: none", "weights: model.pt", "pickles are never loaded"),
        ("sampler: random", "sampler: tpee", "did you mean 'tpe'?"),
        ("low: 1.0e-3", "low: 0", "space.lr"),
        ("epochs: 2", "epochs: 0", "budget.epochs = 0"),
    ],
)
def test_a_wrong_study(tlsearch: Invoke, here: Path, old: str, new: str, message: str) -> None:
    assert old in STUDY
    (here / "study.yaml").write_text(STUDY.replace(old, new, 1))
    told = {verb: tlsearch(verb, "study.yaml", code=2).stderr for verb in COMMANDS}
    assert len(set(told.values())) == 1
    text = told["run"]
    assert re.match(r"tlsearch: study\.yaml: \d problems?\n  line \d+: ", text)
    assert message in text
    assert not (here / "mlruns").exists()


def test_all_that_is_wrong_at_once(tlsearch: Invoke, here: Path) -> None:
    wrong = STUDY.replace("trials: 4", "trials: 0").replace("sampler: random", "sampler: x")
    (here / "study.yaml").write_text(wrong + "extra: 1\n")
    done = tlsearch("check", "study.yaml", code=2)
    assert done.stderr.startswith("tlsearch: study.yaml: 3 problems\n")
    assert len(done.stderr.splitlines()) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "budget.trials"], "--set budget.trials: has no '='"),
        (["--set", "budget.trials="], "--set budget.trials: has no value"),
        (["--set", "=3"], "is no field"),
        (["--set", "budget.trails=3"], "did you mean 'trials'?"),
        (["--set", "budget.trials=x"], "--set budget.trials = "),
        (["--preset", "smal"], "no preset 'smal' — did you mean 'small'?"),
        (["--set", "tracking_uri=./mlruns"], "tracking_uri = "),
    ],
)
def test_wrong_options(tlsearch: Invoke, files: Files, arguments: list[str], message: str) -> None:
    before = files()
    for verb in COMMANDS:
        assert message in tlsearch(verb, "study.yaml", *arguments, code=2).stderr
    assert files() == before


@pytest.mark.parametrize(
    "arguments",
    [["chekc"], ["run"], ["check"], ["run", "study.yaml", "--frehs"], ["report", "--format", "x"]],
)
def test_wrong_usage(tlsearch: Invoke, arguments: list[str]) -> None:
    done = tlsearch(*arguments, code=2)
    assert done.stdout == ""
    assert "Usage: tlsearch" in done.stderr


@pytest.mark.parametrize("verb", ["status", "report"])
@pytest.mark.parametrize("storage", ["null", "sqlite:///x.db"])
def test_a_study_that_was_never_started(
    tlsearch: Invoke, files: Files, verb: str, storage: str
) -> None:
    before = files()
    done = tlsearch(verb, "study.yaml", "--set", f"storage={storage}", code=2)
    told = only_line(done.stderr)
    assert told.endswith(f"start it with: tlsearch run study.yaml --set storage={storage}")
    assert files() == before


def test_what_to_type_next_holds_the_options_but_no_password() -> None:
    sets = ["storage=postgresql://me:secret@host/db", "data.size=64"]
    text = asked(Path("my study.yaml"), sets, "small")
    storage = "'storage=postgresql://me:***@host/db'"
    assert text == f"'my study.yaml' --preset small --set {storage} --set data.size=64"


def test_check_writes_nothing(tlsearch: Invoke, files: Files) -> None:
    before = files()
    tlsearch("check", "study.yaml")
    tlsearch("check", "study.yaml", "--json")
    assert files() == before


def test_a_tracking_address_that_is_a_folder(
    here: Path, tlsearch: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(here / "mlruns"))
    done = tlsearch("run", "study.yaml", code=2)
    assert only_line(done.stderr).startswith(f"tlsearch: MLflow address = {here}/mlruns: a folder")


def test_precedence_of_the_tracking_address(
    here: Path, tlsearch: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    def address(*arguments: str) -> Any:
        told = json.loads(tlsearch("check", "study.yaml", "--json", *arguments).stdout)
        return told["study"]["tracking_uri"]

    assert address() is None
    (here / "study.yaml").write_text(STUDY + "tracking_uri: http://file\n")
    assert address() == "http://file"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://environment")
    assert address() == "http://environment"
    assert address("--set", "tracking_uri=http://option") == "http://option"
    assert address("--set", "tracking_uri=null") is None


def test_a_place_that_cannot_be_written(here: Path, tlsearch: Invoke) -> None:
    (here / "mlruns").write_text("a file where the folder should be")
    done = tlsearch("run", "study.yaml", code=2)
    assert f"tlsearch: {here}/mlruns: is no folder" in only_line(done.stderr)
    assert "run in another folder" in done.stderr
    assert (here / "mlruns").is_file()
    tlsearch("status", "study.yaml", code=2)


def test_a_folder_that_takes_no_files(here: Path) -> None:
    done = command("run", str(here / "study.yaml"), cwd=Path("/proc/self"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert "or run in another folder" in only_line(done.stderr)


def test_a_folder_that_may_not_be_entered(
    tlsearch: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_path: Path) -> bool:
        raise PermissionError(13, "Permission denied", "mlruns/optuna.journal")

    monkeypatch.setattr(Path, "exists", denied)
    for verb in ("status", "report"):
        done = tlsearch(verb, "study.yaml", code=1)
        assert "Permission denied" in only_line(done.stderr)


def test_a_database_that_cannot_be_reached(here: Path, tlsearch: Invoke) -> None:
    (here / "study.yaml").write_text(STUDY + "storage: nosuch://me:secret@nowhere/x\n")
    for verb in ("run", "status"):
        line = only_line(tlsearch(verb, "study.yaml", code=1).stderr)
        assert line.startswith("tlsearch: storage = nosuch://me:***@nowhere/x: cannot be opened (")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_read_only_folder(
    here: Path, tlsearch: Invoke, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """These tests may run as root, who may write everywhere: the system's answer is injected."""

    def refused(path: Path, *_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "mkdir", refused)
    line = only_line(tlsearch("run", "study.yaml", code=2).stderr)
    assert line.startswith(f"tlsearch: {here}/mlruns: {os.strerror(number)} — ")
    assert "make it writable, or run in another folder" in line
    assert not (here / "mlruns").exists()
