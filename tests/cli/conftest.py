import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from tlsearch.cli.app import app
from tlsearch.config.loader import read_study
from tlsearch.config.schema import StudyConfig

if TYPE_CHECKING:
    from tests.cli.finished import Finished


STUDY = """\
name: s
data: {source: digits, split: {test: 0.6}, labels_per_class: 2}
backbone: {name: resnet18, weights: none}
budget: {trials: 4, epochs: 2}
workers: 1
search: {sampler: random, pruner: none}
space: {lr: {low: 1.0e-3, high: 1.0e-1, log: true}}
confirm: {top: 1, seeds: 1}
baselines: [linear_probe]
presets: {small: {budget.trials: 2}}
"""

Invoke = Callable[..., Result]
Files = Callable[[], dict[str, int]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where commands run, with one study in it."""
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TLSEARCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path


@pytest.fixture
def files(here: Path) -> Files:
    """What lies there: names and times of change."""
    return lambda: {str(p.relative_to(here)): p.stat().st_mtime_ns for p in here.rglob("*")}


@pytest.fixture
def tlsearch(here: Path) -> Invoke:
    """Run a command in this process; a trace instead of a message is an error."""
    assert here.exists()

    def invoke(*arguments: str, code: int = 0) -> Result:
        done = CliRunner().invoke(app, arguments, prog_name="tlsearch")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, done.output
        return done

    return invoke


def inherited() -> dict[str, str]:
    """The environment without the address of the MLflow of whoever runs the tests."""
    return {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}


def command(*arguments: str, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the real command in a process of its own, its output in pipes."""
    done = subprocess.run(
        [sys.executable, "-m", "tlsearch", *arguments],
        cwd=cwd,
        env={**inherited(), "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def only_line(text: str) -> Any:
    """The one line of a text."""
    (line,) = text.splitlines()
    return line


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> "Finished":
    """One study of image files that was run; not to be changed."""
    from tests.cli.finished import Finished

    return Finished(tmp_path_factory.mktemp("finished"))


@pytest.fixture(scope="session")
def exported(finished: "Finished") -> "Finished":
    """The same with its model exported, for those who use that."""
    finished.export()
    return finished


@pytest.fixture
def there(finished: "Finished", here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Commands run in the finished study's folder; what they write goes elsewhere."""
    before = sorted(finished.folder.iterdir())
    monkeypatch.chdir(finished.folder)
    yield here
    assert sorted(finished.folder.iterdir()) == before


@pytest.fixture
def config(here: Path) -> StudyConfig:
    return read_study(here / "study.yaml", overrides=[], preset=None)


@pytest.fixture
def caches(here: Path) -> dict[str, Path]:
    """A file of 1,000 bytes in each cache, and two that are none."""
    state, user = here / "mlruns" / "cache", here / "cache"
    files = {
        "activations": state / "activations" / "a.safetensors",
        "images": user / "images" / "key" / "images.npy",
        "styled-images": state / "styled" / "a.npy",
        "source-models": user / "glyphs-resnet18-32px-0.safetensors",
        "measurements": user / "precision" / "a.json",
        "": user / "mine.txt",
        "store": here / "mlruns" / "studies" / "s" / "weights" / "w.safetensors",
    }
    for file in files.values():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * 1000)
    return files
