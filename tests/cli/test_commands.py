"""Help, JSON, colours, the schema."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.cli.conftest import STUDY, Invoke, command
from tlsearch import __version__
from tlsearch.config.loader import read_study
from tlsearch.config.resolved import json_schema
from tlsearch.config.sources import EmbeddedSource, Folder, Manifest, source_name

ROOT = Path(__file__).parent.parent.parent
ANSI = "\x1b["


@pytest.mark.parametrize("verb", ["check", "run", "status", "report"])
def test_help_has_an_example_that_names_real_options(tlsearch: Invoke, verb: str) -> None:
    text = tlsearch(verb, "--help").stdout
    words = text.partition("Example:")[2].split()
    assert words[:2] == ["tlsearch", verb]
    assert (ROOT / words[2]).is_file()
    for option in (word for word in words if word.startswith("-")):
        assert option in text.partition("Example:")[0]


def test_top(tlsearch: Invoke) -> None:
    text = tlsearch("--help").stdout
    assert "Example: tlsearch run studies/quickstart.yaml" in text
    assert tlsearch("--version").stdout == f"{__version__}\n"


def test_the_module_and_the_command_are_one(here: Path) -> None:
    assert command("--version", cwd=here).stdout == f"{__version__}\n"


def test_check_shows_the_resolved_study_space_and_cost(tlsearch: Invoke) -> None:
    text = tlsearch("check", "study.yaml", "--set", "budget.trials=7").stdout
    assert "trials: 7" in text
    assert re.search(r"^ lr +0\.001 … 0\.1, logarithmic", text, re.MULTILINE)
    assert "at most 10 trainings: 7 trials, 1 for baselines, 2 for confirmation" in text
    assert "all 7 trials will be" not in text


def test_check_as_json(tlsearch: Invoke) -> None:
    done = tlsearch("check", "study.yaml", "--json", "--preset", "small")
    told = json.loads(done.stdout)
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""
    assert set(told) == {
        "study", "identity", "searched", "notes", "audit", "estimate", "source_models_to_train",
    }  # fmt: skip
    assert told["study"]["budget"]["trials"] == 2
    assert told["searched"] == {"lr": {"low": 0.001, "high": 0.1, "log": True}}
    jsonschema.validate(told["study"], json_schema())


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


@pytest.mark.parametrize("study", sorted((ROOT / "studies").glob("*.yaml")), ids=lambda p: p.name)
def test_every_shipped_study_is_right(tlsearch: Invoke, study: Path) -> None:
    for preset in (None, *yaml.safe_load(study.read_text()).get("presets", {})):
        options = ("--preset", preset) if preset else ()
        config = read_study(study, overrides=[], preset=preset)
        if isinstance(config.data.source, EmbeddedSource):
            tlsearch("check", str(study), *options)
        elif isinstance(config.data.source, Folder | Manifest):  # theirs are the user's
            refused = tlsearch("check", str(study), *options, code=2)
            assert f"data.source.{source_name(config.data.source)}.path" in refused.stderr
    assert study.read_text().startswith(f"# tlsearch run studies/{study.name}\n")


@pytest.mark.parametrize("arguments", [["check", "study.yaml"], ["run", "--help"], ["nosuch"]])
def test_no_colours_in_a_pipe(here: Path, arguments: list[str]) -> None:
    for environment in ({}, {"NO_COLOR": "1"}):
        done = command(*arguments, cwd=here, TERM="xterm-256color", **environment)
        assert ANSI not in done.stdout + done.stderr


def test_colours_go_where_no_color_is_set(here: Path) -> None:
    """In a terminal, which a forced one stands for here."""
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    text = command("check", "study.yaml", cwd=here, NO_COLOR="1", **terminal).stdout
    assert not re.search(r"\x1b\[[0-9;]*(3[0-9]|4[0-9]|9[0-7])m", text)


def test_a_reader_that_leaves_is_no_error(here: Path) -> None:
    import os
    import subprocess
    import sys

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
