"""The command line: help, JSON, colours, exit codes, and wrong requests in one message each."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.cli.conftest import STUDY, Files, Invoke, command, only_line
from tlsearch import __version__
from tlsearch.cli.app import app, as_arguments
from tlsearch.config.loader import read_study
from tlsearch.config.resolved import json_schema
from tlsearch.config.sources import EmbeddedSource, Folder, Manifest, source_name

ROOT = Path(__file__).parent.parent.parent
ANSI = "\x1b["


def test_help_has_an_example_that_names_real_options(tlsearch: Invoke) -> None:
    verbs = [command.name or command.callback.__name__ for command in app.registered_commands]
    assert set(verbs) == {
        "init", "check", "run", "status", "report", "ui", "export", "networks", "predict",
        "clean", "doctor",
    }  # fmt: skip
    for verb in verbs:
        text = tlsearch(verb, "--help").stdout
        before, _, example = text.partition("Example:")
        words = example.split()
        assert words[:2] == ["tlsearch", verb]
        for word in words[2:]:
            assert not word.startswith("studies/") or (ROOT / word).is_file()
            assert not word.startswith("-") or word in before


def test_top(tlsearch: Invoke) -> None:
    text = tlsearch("--help").stdout
    assert "Example: tlsearch run studies/quickstart.yaml" in text
    assert tlsearch("--version").stdout == f"{__version__}\n"


def test_the_module_and_the_command_are_one(here: Path) -> None:
    assert command("--version", cwd=here).stdout == f"{__version__}\n"


def test_check_shows_the_resolved_study_space_and_cost(tlsearch: Invoke) -> None:
    text = tlsearch("check", "study.yaml", "--set", "budget.trials=7").stdout
    assert "trials: 7" in text
    assert re.search(r"^ lr +0\.001 to 0\.1, logarithmic", text, re.MULTILINE)
    assert "at most 9 trainings: 7 trials, 2 for confirmation and baselines" in text
    assert "all 7 trials will be" not in text


def test_check_as_json(tlsearch: Invoke, files: Files) -> None:
    before = files()
    done = tlsearch("check", "study.yaml", "--json", "--preset", "small")
    result = json.loads(done.stdout)
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""
    assert set(result) == {
        "study", "identity", "searched", "networks", "notes", "audit", "estimate",
        "source_models_to_train",
    }  # fmt: skip
    assert result["study"]["budget"]["trials"] == 2
    assert result["searched"] == {"lr": {"low": 0.001, "high": 0.1, "log": True}}
    jsonschema.validate(result["study"], json_schema())
    assert files() == before


def test_check_hides_passwords(here: Path, tlsearch: Invoke) -> None:
    (here / "study.yaml").write_text(STUDY + "storage: postgresql://me:secret@h/x\n")
    for arguments in ([], ["--json"]):
        assert "secret" not in tlsearch("check", "study.yaml", *arguments).stdout


def test_the_published_schema_is_up_to_date(tlsearch: Invoke) -> None:
    text = tlsearch("check", "--schema").stdout
    assert text == (ROOT / "studies" / "study.schema.json").read_text()
    schema = json.loads(text)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load(STUDY), schema)


SHIPPED = sorted((ROOT / "studies").glob("*.yaml"))


def test_every_shipped_study_can_be_read() -> None:
    for study in SHIPPED:
        for preset in (None, *yaml.safe_load(study.read_text()).get("presets", {})):
            assert read_study(study, overrides=[], preset=preset)
        assert study.read_text().startswith(f"# tlsearch run studies/{study.name}\n")


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("study", SHIPPED, ids=lambda p: p.name)
def test_every_shipped_study_passes_its_check(tlsearch: Invoke, study: Path) -> None:
    presets = yaml.safe_load(study.read_text()).get("presets", {}).keys() - {"imagenet"}
    for preset in (None, *presets):  # imagenet's images come from packages of Debian's
        options = ("--preset", preset) if preset else ()
        config = read_study(study, overrides=[], preset=preset)
        if isinstance(config.data.source, EmbeddedSource):
            tlsearch("check", str(study), *options)
        elif isinstance(config.data.source, Folder | Manifest):  # theirs are the user's
            refused = tlsearch("check", str(study), *options, code=2)
            assert f"data.source.{source_name(config.data.source)}.path" in refused.stderr


def test_no_colours_in_a_pipe(here: Path) -> None:
    for arguments in (["check", "study.yaml"], ["run", "--help"], ["nosuch"]):
        done = command(*arguments, cwd=here, TERM="xterm-256color")
        assert ANSI not in done.stdout + done.stderr


def test_colours_go_where_no_color_is_set(here: Path) -> None:
    """In a terminal, which a forced one stands for here."""
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    text = command("check", "study.yaml", cwd=here, NO_COLOR="1", **terminal).stdout
    assert not re.search(r"\x1b\[[0-9;]*(3[0-9]|4[0-9]|9[0-7])m", text)


def test_a_reader_that_leaves_is_no_error(here: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "tlsearch", "check", "study.yaml"],
        cwd=here,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert "Traceback" not in done.stderr
    assert done.returncode == 1


def test_output_that_is_not_utf8_loses_characters_and_nothing_else(here: Path) -> None:
    (here / "study.yaml").write_text("about: 狗 → кошка\n" + STUDY, "utf-8")
    done = command("check", "study.yaml", cwd=here, PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert "? ? ?????" in done.stdout
    refused = command("check", "狗.yaml", cwd=here, PYTHONIOENCODING="ascii")
    assert (refused.returncode, "no such file" in refused.stderr) == (2, True)
    answer = command("check", "study.yaml", "--json", cwd=here, PYTHONIOENCODING="ascii")
    assert json.loads(answer.stdout)["study"]["about"] == "狗 → кошка"


COMMANDS = ("check", "run", "status", "report")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("studdy.yaml", None, "no such file — did you mean 'study.yaml'?"),
        ("empty.yaml", "", "empty.yaml: "),
        ("folder", None, "folder: "),
        ("broken.yaml", "name: [", "broken.yaml: "),
    ],
)
def test_no_study(
    here: Path, tlsearch: Invoke, files: Files, name: str, content: Any, message: str
) -> None:
    if name == "folder":
        (here / name).mkdir()
    elif content is not None:
        (here / name).write_text(content)
    before = files()
    for verb in COMMANDS:
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
        ("trials: 4", "trials: 0", "line 4: budget.trials = 0: "),
        ("weights: none", "weights: no such", "must be imagenet, glyphs, none"),
        ("sampler: random", "sampler: tpee", "did you mean 'tpe'?"),
        ("low: 1.0e-3", "low: 0", "space.lr"),
    ],
)
def test_a_wrong_study(tlsearch: Invoke, here: Path, old: str, new: str, message: str) -> None:
    assert old in STUDY
    (here / "study.yaml").write_text(STUDY.replace(old, new, 1))
    result = {verb: tlsearch(verb, "study.yaml", code=2).stderr for verb in COMMANDS}
    assert len(set(result.values())) == 1
    text = result["run"]
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


@pytest.mark.parametrize("storage", ["null", "sqlite:///x.db"])
def test_a_study_that_was_never_started(tlsearch: Invoke, files: Files, storage: str) -> None:
    before = files()
    for verb in ("status", "report", "ui", "export"):
        done = tlsearch(verb, "study.yaml", "--set", f"storage={storage}", code=2)
        result = only_line(done.stderr)
        assert "no such study has been started" in result
        assert result.endswith(f"start it with: tlsearch run study.yaml --set storage={storage}")
    assert files() == before


def test_what_to_type_next_holds_the_options_but_no_password() -> None:
    sets = ["storage=postgresql://me:secret@host/db", "data.size=64"]
    text = as_arguments(Path("my study.yaml"), sets, "small")
    storage = "'storage=postgresql://me:***@host/db'"
    assert text == f"'my study.yaml' --preset small --set {storage} --set data.size=64"


def test_a_tracking_address_that_is_a_folder(
    here: Path, tlsearch: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(here / "mlruns"))
    done = tlsearch("run", "study.yaml", code=2)
    assert only_line(done.stderr).startswith(f"tlsearch: MLflow address = {here}/mlruns: a folder")


def test_an_mlflow_that_nothing_answers_for_stops_before_any_training(
    tlsearch: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    done = tlsearch("run", "study.yaml", code=1)
    line = only_line(done.stderr)  # no stage of the study has begun
    assert line.startswith("tlsearch: MLflow at http://127.0.0.1:9 cannot be used: nothing answers")
    assert "start the server or correct the address" in line


def test_precedence_of_the_tracking_address(
    here: Path, tlsearch: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    def address(*arguments: str) -> Any:
        result = json.loads(tlsearch("check", "study.yaml", "--json", *arguments).stdout)
        return result["study"]["tracking_uri"]

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
